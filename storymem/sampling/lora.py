"""Memory LoRA files: every key layout they come in, and the scale they were trained with.

The released pair is rank 128, alpha 128, ``use_rslora``: the scale is alpha / sqrt(rank) = 11.31. A
loader that reads alpha / rank applies it eleven times too weak, without any error. The release's
training makes alpha the rank, so a file that does not say its alpha has that one.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from ..files.messages import listed, short
from .lora_kinds import kind_of_file, wan_of_width
from .lora_scale import LARGEST_ALPHA, StatedScale

SCALES = ("auto", "rslora", "standard")
TARGETS = (  # of every block, in each expert: 10 x 40 blocks = 400 modules
    *(f"{attention}.{part}" for attention in ("self_attn", "cross_attn") for part in "qkvo"),
    "ffn.0",
    "ffn.2",
)
PREFIXES = (
    "base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.",
    "low_noise_model.", "high_noise_model.",  # of Memento's training, which holds both experts
)  # fmt: skip
LONGEST_KEY = 90  # characters of a weight's name in an error
LISTED = 6  # names shown in an error before "and N more"
LARGEST_WEIGHT = 1e6  # far beyond what training leaves; products stay finite in float32

_PREFIXES = re.compile(rf"^(?:{'|'.join(map(re.escape, PREFIXES))})+")
_PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_down|lora_up)(\.default)?(\.weight)?$"
)
_ALPHA = re.compile(r"(?P<module>.+)\.alpha$")
_FLAT = re.compile(r"lora_unet_blocks_(\d+)_(self_attn|cross_attn|ffn)_([qkvo02])$")


@dataclass(frozen=True)
class LoraModule:
    """One low-rank pair: the change of a weight is ``scale * up @ down``."""

    down: torch.Tensor  # [rank, in]
    up: torch.Tensor  # [out, rank]
    alpha: float | None  # None: the file does not say
    is_peft: bool  # lora_A / lora_B keys, as PEFT writes them
    stated: StatedScale | None = None  # beside the weights, of a file without alpha

    @property
    def rank(self) -> int:
        """Rows of ``down``: 128 in the released files."""
        return self.down.shape[0]

    def scale(self, choice: str = "auto") -> float:
        """The factor of ``up @ down``.

        ``rslora``: alpha / sqrt(rank), alpha being the rank when nothing says it. ``standard``:
        alpha / rank, and 1 when nothing says alpha (a factor folded into the weights). ``auto``:
        what is stated beside the weights, else rslora for files as PEFT writes them (no alpha),
        else standard.
        """
        if choice not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(SCALES)}, but it is {choice!r}")
        alpha = self.alpha
        if alpha is None and self.stated is not None:
            alpha = self.stated.alpha
        if self._is_rooted(choice):
            return (self.rank if alpha is None else alpha) / math.sqrt(self.rank)
        return 1.0 if alpha is None else alpha / self.rank

    def is_guess(self, choice: str = "auto") -> bool:
        """Whether that scale rests on an alpha that nothing states."""
        return self.alpha is None and self.stated is None and self._is_rooted(choice)

    def _is_rooted(self, choice: str) -> bool:
        if choice != "auto":
            return choice == "rslora"
        if self.alpha is not None or not self.is_peft:
            return False
        return self.stated is None or self.stated.is_rooted


def module_name(key: str) -> str:
    """``blocks.3.self_attn.q`` from any layout's name of it."""
    flat = _FLAT.match(key)
    if flat:
        return "blocks.{}.{}.{}".format(*flat.groups())
    return _PREFIXES.sub("", key)


def read_lora(state: Mapping[str, torch.Tensor], name: str = "the file") -> dict[str, LoraModule]:
    """LoRA modules of a state dict, by module name.

    Raises:
        ValueError: for keys that are no LoRA, a module that comes twice, half a pair, tensors that
            are no low-rank pair, or numbers that would spoil the model.
    """
    state = _named_weights(state, name)
    parts: dict[str, dict[str, tuple[str, torch.Tensor]]] = {}
    unknown = []
    for key, tensor in state.items():
        match = _PART.match(key) or _ALPHA.match(key)
        if match is None or not isinstance(tensor, torch.Tensor):
            unknown.append(key)
            continue
        kind = match.groupdict().get("part") or "alpha"
        slot = {"lora_A": "down", "lora_down": "down", "lora_B": "up", "lora_up": "up"}.get(
            kind, kind
        )
        found = parts.setdefault(module_name(match["module"]), {})
        if slot in found:
            raise ValueError(
                f"{name} holds {short(module_name(match['module']))} twice "
                f"({_listed([found[slot][0], key])}); "
                "it would be applied twice: use a file with one adapter"
            )
        found[slot] = (key, tensor)
    if unknown:
        shapes = {k: tuple(t.shape) for k, t in state.items() if isinstance(t, torch.Tensor)}
        raise ValueError(
            f"{name} is not a StoryMem LoRA: it also holds {_listed(unknown)}{_seems(shapes)}"
        )
    half = [module for module, found in parts.items() if not {"up", "down"} <= found.keys()]
    if half:
        raise ValueError(f"{name} is incomplete: half of the pair is missing for {_listed(half)}")
    for found in parts.values():
        for slot, (key, tensor) in found.items():
            check_tensor(slot, short(key, LONGEST_KEY), tensor, name)
    without = [module for module, found in parts.items() if "alpha" not in found]
    if 0 < len(without) < len(parts):
        raise ValueError(
            f"{name} carries alpha for some modules but not for {_listed(without)}, which would "
            "get another scale than the rest; use a file with alpha for all modules, or for none"
        )
    return {
        module: LoraModule(
            down=found["down"][1],
            up=found["up"][1],
            alpha=float(found["alpha"][1]) if "alpha" in found else None,
            is_peft="lora_A" in found["down"][0],
        )
        for module, found in parts.items()
    }


def _named_weights(state: object, name: str) -> Mapping[str, torch.Tensor]:
    """The mapping from names to tensors that a LoRA file must hold."""
    if isinstance(state, Mapping):
        state = state.get("state_dict", state)
    if not isinstance(state, Mapping):
        raise ValueError(
            f"{name} is not a StoryMem LoRA: it holds a {type(state).__name__} where named weights "
            "should be; choose another file"
        )
    unnamed = [repr(key) for key in state if not isinstance(key, str)]
    if unnamed:
        raise ValueError(
            f"{name} is not a StoryMem LoRA: its weights should have names, but one is called "
            f"{_listed(unnamed)}; choose another file"
        )
    return state


def check_tensor(slot: str, key: str, tensor: torch.Tensor, name: str) -> None:
    """Raise ValueError for a tensor of a LoRA file that is no matrix of fractions or no alpha.

    Args:
        slot: ``alpha``, or the half of the pair.
        key: the tensor's name in the file.
        name: the file's.
    """
    shape = list(tensor.shape)
    if slot == "alpha":
        _check_alpha(key, tensor, name)
        return
    _check_fractions(key, tensor, name)
    if tensor.ndim != 2:
        raise ValueError(
            f"{name}: {key} should be a matrix, but has shape {shape}; use a file made for the "
            "linear layers of Wan 2.2 A14B"
        )
    if tensor.numel() == 0:
        raise ValueError(f"{name}: {key} is empty (rank 0, shape {shape}); download it again")
    _check_values(key, tensor, name)


def check_numbers(key: str, tensor: torch.Tensor, name: str) -> None:
    """Raise ValueError for a weight that is not made of finite fractions of a usual size."""
    _check_fractions(key, tensor, name)
    if tensor.numel() == 0:
        raise ValueError(f"{name}: {key} is empty (shape {list(tensor.shape)}); download it again")
    _check_values(key, tensor, name)


def _check_values(key: str, tensor: torch.Tensor, name: str) -> None:
    if tensor.is_meta:  # a header read before the weights: there are no numbers yet
        return
    wide = _wide(tensor, key, name)
    _check_finite(wide, key, name)
    if wide.abs().max() > LARGEST_WEIGHT:
        raise ValueError(
            f"{name}: {key} holds values beyond {LARGEST_WEIGHT:g}, which would spoil every shot; "
            "download the file again"
        )


def _check_fractions(key: str, tensor: torch.Tensor, name: str) -> None:
    if not tensor.is_floating_point():
        raise ValueError(
            f"{name}: {key} holds {_kind(tensor)}, where weights are fractions (float16, bfloat16, "
            "float32); quantised files and those for other programs cannot be used: download the "
            "original"
        )


def _check_alpha(key: str, tensor: torch.Tensor, name: str) -> None:
    if tensor.numel() != 1:
        raise ValueError(
            f"{name}: {key} should be one number, but has shape {list(tensor.shape)}; use another "
            "file"
        )
    if tensor.is_complex() or tensor.dtype is torch.bool:
        raise ValueError(f"{name}: {key} holds {_kind(tensor)}, not a number; use another file")
    if tensor.is_meta:  # a header read before the weights
        return
    tensor = _wide(tensor, key, name)
    _check_finite(tensor, key, name)
    if not 0 < (alpha := float(tensor)) <= LARGEST_ALPHA:
        raise ValueError(
            f"{name}: {key} is {alpha:g}, but alpha must be above 0 and at most "
            f"{LARGEST_ALPHA:.0f} (the rank and twice the rank are usual); download the file again"
        )


def _wide(tensor: torch.Tensor, key: str, name: str) -> torch.Tensor:
    """A tensor that can be looked at: PyTorch counts little with numbers of eight bits and less."""
    if tensor.element_size() > 1:
        return tensor
    try:
        return tensor.float()
    except (RuntimeError, TypeError):  # packed, four bits each
        raise ValueError(
            f"{name}: {key} holds {_kind(tensor)}, which cannot be used here; download the original"
        ) from None


def _check_finite(tensor: torch.Tensor, key: str, name: str) -> None:
    if not tensor.isfinite().all():
        raise ValueError(
            f"{name}: {key} holds NaN or infinite values, which would spoil every shot; download "
            "the file again, or train with a lower learning rate"
        )


def _kind(tensor: torch.Tensor) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    return {"bool": "true and false", "complex64": "complex numbers"}.get(kind, f"{kind} numbers")


def content_digest(
    modules: Mapping[str, LoraModule], query: Mapping[str, torch.Tensor] | None = None
) -> str:
    """The same for the same weights, whatever the file's name, date, layout or format.

    Args:
        query: weights of Memento's keyframe query, for a file that holds one.
    """
    digest = hashlib.sha256()
    for module in sorted(modules):
        pair = modules[module]
        for tensor in (pair.down, pair.up):
            digest.update(f"{module} {tensor.dtype} {list(tensor.shape)} {pair.alpha}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    for key, tensor in sorted((query or {}).items()):
        digest.update(f"keyframe_query {key} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def check_lora(
    modules: Mapping[str, LoraModule],
    weights: Mapping[str, tuple[int, ...] | None],
    name: str = "the file",
) -> None:
    """Raise ValueError unless the file covers exactly the target modules of the model.

    ``weights`` gives the shape ``(out, in)`` of each target module's weight, ``None`` when packed.
    """
    missing = [module for module in weights if module not in modules]
    extra = [module for module in modules if module not in weights]
    if missing or extra:
        found = len(weights) - len(missing)
        raise ValueError(
            f"{name} does not fit this model: it covers {found} of {len(weights)} modules"
            + (f"; missing: {_listed(missing)}" if missing else "")
            + (f"; not in the model: {_listed(extra)}" if extra else "")
            + _seems({f"{m}.lora_down": tuple(pair.down.shape) for m, pair in modules.items()})
            + ". Load the StoryMem LoRA of Wan 2.2 A14B, or download the file again"
        )
    wrong = []
    for module, shape in weights.items():
        pair = modules[module]
        found = (pair.up.shape[0], pair.down.shape[1])
        if pair.up.shape[1] != pair.rank or (shape is not None and found != tuple(shape)):
            wrong.append(f"{module} {list(found)} (model: {list(shape or ())})")
    if wrong:
        first, shape = next(iter(weights.items()))
        width = modules[first].down.shape[1]
        model = wan_of_width(width) if shape is not None and width != shape[1] else ""
        raise ValueError(f"{name} was made for {model or 'another model'}: {_listed(wrong)}")


def target_modules(blocks: int) -> list[str]:
    """Names of the modules that a StoryMem LoRA changes in a model with that many blocks."""
    return [f"blocks.{block}.{target}" for block in range(blocks) for target in TARGETS]


def describe_scale(modules: Mapping[str, LoraModule], choice: str) -> str:
    """Rank and scale of a file in words, for the artist's report."""
    kinds = sorted(
        {(pair.rank, pair.scale(choice), pair.alpha, pair.stated) for pair in modules.values()},
        key=str,
    )
    words = []
    for rank, scale, alpha, stated in kinds:
        text = f"rank {rank}, scale {scale:.4g}"
        if stated is not None:
            text += f" (alpha {stated.alpha:g} by {stated.place})"
        if alpha == rank and choice == "auto":
            text += (
                " (the file's alpha equals its rank; if the effect is weak, set scale to rslora)"
            )
        words.append(text)
    return "; ".join(words)


def _seems(shapes: Mapping[str, tuple[int, ...]]) -> str:
    kind = kind_of_file(shapes)
    return f"; it looks like {kind}" if kind else ""


def _listed(names: Iterable[str]) -> str:
    return listed(names, LISTED, LONGEST_KEY)
