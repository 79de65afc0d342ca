"""Wan2.2 from local diffusers folders: checked before anything big is read, loaded, placed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange

from ..files.json_text import parse_json
from ..files.messages import reason_of
from ..files.packages import explain_missing, install_commands
from ..sampling.conditioning import LATENT_CHANNELS
from .wan_folders import is_pair, is_wan_vae, other_transformer

I2V_CHANNELS = 36  # 16 noisy + 4 mask + 16 conditioning
T2V_CHANNELS = 16
OFFLOADS = ("none", "model", "group")
MAX_TEXT_TOKENS = 512  # Wan's text length
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
EXPERTS = ("transformer", "transformer_2")
PARTS = (*EXPERTS, "vae", "text_encoder", "tokenizer")
OWN_FILES = {"local_files_only": True, "use_safetensors": True}  # nothing that could run code
logger = logging.getLogger(__name__)


def require_diffusers():
    """The diffusers module.

    Raises:
        ValueError: with the install hint when it, or transformers, is missing.
    """
    try:
        import diffusers
        import transformers  # noqa: F401  the text encoder
    except ModuleNotFoundError as error:
        raise ValueError(explain_missing([error.name or "diffusers"])) from error
    except ImportError as error:
        raise ValueError(
            f"diffusers cannot be used in {sys.executable} ({reason_of(error)}); install what "
            f"goes together:\n  {install_commands()[-1]} -U"
        ) from error
    return diffusers


def read_config(folder: Path, part: str) -> dict:
    """The ``config.json`` of one part of a diffusers folder, such as ``vae``.

    Raises:
        ValueError: when it cannot be read or is no JSON object.
    """
    return _read_json(folder / part / "config.json")


def _read_json(path: Path) -> dict:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise ValueError(f"{path} cannot be read ({reason}); download the folder again") from error
    return found


def check_folder(folder: Path, in_channels: int, parts: Collection[str] = PARTS) -> dict:
    """The folder's ``model_index.json``, after a look at every part that will be loaded.

    Raises:
        ValueError: saying what is missing or of the wrong kind.
    """
    what = f"Wan2.2-{'I2V' if in_channels == I2V_CHANNELS else 'T2V'}-A14B-Diffusers"
    index = folder / "model_index.json"
    if not index.is_file():
        raise ValueError(
            f"{folder} is not a diffusers model folder: it has no model_index.json; download "
            f"Wan-AI/{what} there and pass its path"
        )
    document = _read_json(index)
    for part in parts:
        is_optional = part == "transformer_2" and document.get(part, [None])[0] is None
        if is_optional:
            continue
        if not (folder / part).is_dir():
            raise ValueError(f"{folder} has no folder {part}; download Wan-AI/{what} again")
        if part.startswith("transformer"):
            config = read_config(folder, part)
            other = other_transformer(config)
            if other is not None:
                raise ValueError(
                    f"{folder / part} is {other}, not Wan 2.2 A14B; pass a folder of Wan-AI/{what}"
                )
            found = config.get("in_channels")
            if found != in_channels:
                raise ValueError(
                    f"{folder / part} takes {found} channels where {what} takes {in_channels}; "
                    f"pass a folder of Wan-AI/{what}"
                )
        if part != "tokenizer" and not any((folder / part).glob("*.safetensors")):
            raise ValueError(
                f"{folder / part} holds no .safetensors file; other formats may run code and are "
                f"not read: download Wan-AI/{what} again"
            )
        if part == "vae" and not is_wan_vae(read_config(folder, part), LATENT_CHANNELS):
            raise ValueError(
                f"{folder / part} is not the Wan 2.1 VAE that A14B uses; download Wan-AI/{what} "
                "again"
            )
    experts = [
        read_config(folder, part) for part in EXPERTS if part in parts and (folder / part).is_dir()
    ]
    if len(experts) > 1 and not is_pair(*experts):
        raise ValueError(
            f"the two transformers of {folder} are of different size, not the experts of one model;"
            f" download Wan-AI/{what} again"
        )
    return document


@dataclass(frozen=True)
class Placement:
    """Where the models work and in which precision."""

    device: torch.device
    dtype: torch.dtype
    offload: str = "none"

    def __post_init__(self) -> None:
        if self.offload not in OFFLOADS:
            raise ValueError(
                f"offload must be one of {', '.join(OFFLOADS)}, but it is {self.offload!r}"
            )
        if self.device.type == "cpu" and self.offload != "none":
            raise ValueError(f"offload {self.offload} needs a GPU; use --offload none on the CPU")


def load_experts(folder: Path, dtype: torch.dtype) -> tuple[torch.nn.Module, ...]:
    """The transformers of a folder: ``(high, low)``, or one when there is no second."""
    from diffusers import WanTransformer3DModel

    names = [name for name in ("transformer", "transformer_2") if (folder / name).is_dir()]
    return tuple(
        WanTransformer3DModel.from_pretrained(
            folder, subfolder=name, torch_dtype=dtype, **OWN_FILES
        ).eval()
        for name in names
    )


def place(placement: Placement, **parts):
    """A diffusers pipeline that holds ``parts`` where they work: placement is diffusers' own."""
    from diffusers import WanImageToVideoPipeline

    empty = dict.fromkeys(
        ("tokenizer", "text_encoder", "vae", "scheduler", "transformer", "transformer_2")
    )
    pipeline = WanImageToVideoPipeline(**{**empty, **parts})
    if placement.offload == "model":
        pipeline.enable_model_cpu_offload(device=placement.device)
    elif placement.offload == "group":
        pipeline.enable_group_offload(
            placement.device, offload_type="block_level", num_blocks_per_group=1, use_stream=True
        )
    else:
        pipeline.to(placement.device)
    return pipeline


@torch.no_grad()
def encode_texts(folder: Path, placement: Placement, texts: Iterable[str]) -> dict:
    """``[1, 512, text_dim]`` on the CPU for every text.

    All texts of a story at once, before anything else is loaded: umT5-xxl is 11 GB in bf16, and is
    gone when the experts come.
    """
    from transformers import AutoTokenizer, UMT5EncoderModel

    pipeline = place(
        placement,
        tokenizer=AutoTokenizer.from_pretrained(
            folder, subfolder="tokenizer", local_files_only=True, trust_remote_code=False
        ),
        text_encoder=UMT5EncoderModel.from_pretrained(
            folder, subfolder="text_encoder", dtype=placement.dtype, **OWN_FILES
        ).eval(),
    )
    embeddings = {}
    for text in dict.fromkeys(texts):
        embedding, _ = pipeline.encode_prompt(
            text,
            do_classifier_free_guidance=False,
            max_sequence_length=MAX_TEXT_TOKENS,
            device=placement.device,
        )
        embeddings[text] = embedding.cpu()
    return embeddings


class WanVae:
    """The Wan 2.1 VAE: pixels ``[T, H, W, 3]`` in [0, 1] on one side, latents on the other."""

    def __init__(self, module: torch.nn.Module, placement: Placement):
        self.module = module
        self._placement = placement
        self._pipeline = place(placement, vae=module)

    @classmethod
    def load(cls, folder: Path, placement: Placement, *, tiling: bool = False) -> WanVae:
        """The VAE of a diffusers folder, in float32; ``tiling`` takes less memory."""
        from diffusers import AutoencoderKLWan

        # In full precision, as in diffusers' own examples.
        module = AutoencoderKLWan.from_pretrained(
            folder, subfolder="vae", torch_dtype=torch.float32, **OWN_FILES
        ).eval()
        if tiling:
            module.enable_tiling()
        return cls(module, placement)

    @property
    def device(self) -> torch.device:
        """The device that the VAE works on."""
        return self._placement.device

    def free(self) -> None:
        """With model offload, give the GPU's memory back."""
        self._pipeline.maybe_free_model_hooks()

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """One video -> raw latents ``[1, 16, F, H/8, W/8]`` on the CPU."""
        video = rearrange(pixels, "t h w c -> 1 c t h w") * 2 - 1
        video = video.to(self._placement.device, self.module.dtype)
        return self.module.encode(video).latent_dist.mode().float().cpu()

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Normalised latents ``[1, 16, F, h, w]`` -> pixels on the CPU."""
        raw = self.denormalise(latents).to(self._placement.device, self.module.dtype)
        video = self.module.decode(raw, return_dict=False)[0]
        video = video.float().cpu().clamp(-1, 1).add(1).div(2)
        return rearrange(video, "1 c t h w -> t h w c")

    def normalise(self, raw: torch.Tensor) -> torch.Tensor:
        """The VAE's latents as the experts know them: mean 0, deviation 1."""
        mean, deviation = self._statistics()
        return (raw - mean) / deviation

    def denormalise(self, latents: torch.Tensor) -> torch.Tensor:
        """The reverse of ``normalise``: the experts' latents as the VAE knows them."""
        mean, deviation = self._statistics()
        return latents * deviation + mean

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (1, -1, 1, 1, 1)
        return (
            torch.tensor(self.module.config.latents_mean).view(shape),
            torch.tensor(self.module.config.latents_std).view(shape),
        )
