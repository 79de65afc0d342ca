"""The recorded runs of the released ``generate()``: cases, weights, inputs and results.

``tests/golden/released_run.json`` and ``.safetensors`` are made by
``tests/tools/make_released_run.py``. Everything that a run is given comes from here, by numpy's
frozen RandomState, so that it depends on no version of torch and needs no released code.

A run can be entered in two places: with pictures and a VAE (``memory_pictures``,
``given_pictures``, ``write_models``), or behind the VAE with the recorded latents (``condition``).
Latents are normalised, as the experts know them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
WIDTH, HEIGHT, LENGTH = 48, 32, 9  # pixels, and pixel frames of the shot
ROWS, COLUMNS, FRAMES = HEIGHT // 8, WIDTH // 8, (LENGTH - 1) // 4 + 1  # of its latents
CHANNELS = 16
DIM, FFN, LAYERS, TEXT = 256, 256, 2, 4096  # two heads of 128, as the host reads them from DIM
TEXT_LENGTH = 12  # the release's padding, with zeros; 512 in the full size
VAE_DIM = 8
EXPERTS = {  # input channels, and the seed of (high, low)
    "i2v": (36, (11, 12)),
    "t2v": (16, (13, 14)),
}
BOUNDARY = {"i2v": 0.9, "t2v": 0.875}  # the release's own, of 1000 training steps
GIVEN = {"t2v": 0, "m2v": 0, "mi2v": 1, "mm2v": 5}  # frames of the previous shot
MEMORY_SIZES = ((40, 60), (40, 60), (28, 56))  # height, width of the memory pictures


@dataclass(frozen=True)
class Case:
    """One run. ``cfg_low`` 0 is the same as ``cfg``; ``memory`` is in frames.

    ``rope_shift`` 1 is the code of December 2025 untouched, 5 what its authors put right in
    January 2026. ``overwritten`` is MI2V as released: grey latents where the mask says known.
    """

    mode: str
    steps: int
    shift: float
    memory: int = 3
    rope_shift: int = 5
    cfg: float = 3.5
    cfg_low: float = 0.0
    overwritten: bool = False

    @property
    def kind(self) -> str:
        """Which pair of experts works: ``i2v`` or ``t2v``."""
        return "t2v" if self.mode == "t2v" else "i2v"

    @property
    def boundary(self) -> float:
        return BOUNDARY[self.kind]

    @property
    def seed(self) -> int:
        """Of the noise: each case has its own."""
        return zlib.crc32(json.dumps(asdict(self)).encode())

    def __str__(self) -> str:
        extra = "".join(
            f"-{name}{value:g}"
            for name, value, usual in (
                ("memory", self.memory, 0 if self.kind == "t2v" else 3),
                ("rope", self.rope_shift, 5),
                ("cfg", self.cfg, 3.5),
                ("cfglow", self.cfg_low, 0),
                ("overwritten", self.overwritten, False),
            )
            if value != usual
        )
        return f"{self.mode}-{self.steps}-{self.shift:g}{extra}"


def _from_text(steps: int, shift: float, **changes) -> Case:
    return Case("t2v", steps, shift, memory=0, **changes)


CASES = (
    *(_from_text(steps, 12.0) for steps in (4, 8, 20, 40)),
    _from_text(8, 3.0),
    _from_text(20, 5.0),
    _from_text(8, 12.0, cfg=4.0, cfg_low=3.0),  # the T2V configuration's own guidance
    *(Case("m2v", steps, 4.0) for steps in (4, 8, 20, 40)),
    *(Case("m2v", steps, 3.0) for steps in (4, 8, 20, 40)),
    Case("m2v", 4, 5.0),
    Case("m2v", 8, 8.0),
    Case("m2v", 8, 12.0),
    Case("m2v", 20, 12.0),
    Case("m2v", 8, 4.0, memory=1),
    Case("m2v", 8, 4.0, rope_shift=1),
    *(Case("mi2v", steps, 4.0) for steps in (4, 8, 20, 40)),
    Case("mi2v", 8, 3.0),
    Case("mi2v", 20, 8.0),
    Case("mi2v", 8, 4.0, overwritten=True),
    Case("mi2v", 8, 4.0, rope_shift=1, overwritten=True),  # the release, nothing put right
    *(Case("mm2v", steps, 4.0) for steps in (4, 8, 20, 40)),
    Case("mm2v", 8, 5.0),
    Case("mm2v", 20, 3.0),
    Case("mm2v", 8, 12.0),
)


# --- what a run is given ---------------------------------------------------------------------


def _normal(name: str, shape: Sequence[int]) -> np.ndarray:
    state = np.random.RandomState(zlib.crc32(name.encode()))
    return state.standard_normal(shape).astype(np.float32)


def noise(case: Case) -> torch.Tensor:
    """``[1, 16, M+F, h, w]``: memory first, then the shot."""
    shape = (1, CHANNELS, case.memory + FRAMES, ROWS, COLUMNS)
    return torch.from_numpy(_normal(f"noise {case.seed}", shape))


def text(name: str, *, padded: bool = True) -> torch.Tensor:
    """The embedding of ``positive`` or ``negative``: ``[1, L, 4096]``, zeros after its words."""
    words = torch.from_numpy(_normal(name, (1, {"positive": 7, "negative": 5}[name], TEXT)))
    missing = TEXT_LENGTH - words.shape[1]
    return torch.nn.functional.pad(words, (0, 0, 0, missing)) if padded else words


def _picture(name: str, height: int, width: int) -> torch.Tensor:
    """``uint8 [height, width, 3]``: flat cells of 8, a little noise on them."""
    state = np.random.RandomState(zlib.crc32(name.encode()))
    cells = state.randint(20, 236, (-(-height // 8), -(-width // 8), 3))
    pixels = cells.repeat(8, 0).repeat(8, 1)[:height, :width]
    return torch.from_numpy((pixels + state.randint(-20, 21, pixels.shape)).astype(np.uint8))


def memory_pictures(count: int) -> list[torch.Tensor]:
    """``uint8 [H, W, 3]`` each, of other sizes than the shot."""
    return [_picture(f"memory {i}", *size) for i, size in enumerate(MEMORY_SIZES[:count])]


def given_pictures(mode: str) -> torch.Tensor | None:
    """The previous shot's last frames, ``uint8 [1 or 5, H, W, 3]``.

    MI2V's is of another size than the shot. MM2V's are of its size: the release resizes none.
    """
    count = GIVEN[mode]
    if not count:
        return None
    size = (40, 60) if count == 1 else (HEIGHT, WIDTH)
    return torch.stack([_picture(f"{mode} {i}", *size) for i in range(count)])


# --- weights ---------------------------------------------------------------------------------


def expert_shapes(in_channels: int) -> dict[str, tuple[int, ...]]:
    """The tiny expert's weights under Wan's original names."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    shapes["patch_embedding.weight"] = (DIM, in_channels, 1, 2, 2)
    shapes["patch_embedding.bias"] = (DIM,)
    linear("text_embedding.0", DIM, TEXT)
    linear("text_embedding.2", DIM, DIM)
    linear("time_embedding.0", DIM, 256)
    linear("time_embedding.2", DIM, DIM)
    linear("time_projection.1", 6 * DIM, DIM)
    for block in (f"blocks.{i}" for i in range(LAYERS)):
        shapes[f"{block}.modulation"] = (1, 6, DIM)
        for attention in (f"{block}.self_attn", f"{block}.cross_attn"):
            for part in "qkvo":
                linear(f"{attention}.{part}", DIM, DIM)
            for part in "qk":
                shapes[f"{attention}.norm_{part}.weight"] = (DIM,)
        shapes[f"{block}.norm3.weight"] = shapes[f"{block}.norm3.bias"] = (DIM,)
        linear(f"{block}.ffn.0", FFN, DIM)
        linear(f"{block}.ffn.2", DIM, FFN)
    shapes["head.modulation"] = (1, 2, DIM)
    linear("head.head", 4 * CHANNELS, DIM)
    return shapes


def seeded_weights(seed: int, shapes: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
    """float32 weights by seed, name and shape alone: gains near 1, every layer of unit gain."""
    state = {}
    for key, shape in shapes.items():
        values = _normal(f"{seed} {key}", tuple(shape))
        if "modulation" in key:
            values *= 0.3
        elif "gamma" in key or ("norm" in key and key.endswith("weight")):
            values = 1 + 0.1 * values
        elif len(shape) < 2:
            values *= 0.1
        else:
            values *= (0.5 if "time_projection" in key else 1.0) / np.prod(shape[1:]) ** 0.5
        state[key] = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    return state


@lru_cache
def experts(kind: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The state dicts of (high, low) under Wan's original names."""
    in_channels, seeds = EXPERTS[kind]
    high, low = (seeded_weights(seed, expert_shapes(in_channels)) for seed in seeds)
    return high, low


def vae_weights(shapes: Mapping[str, Sequence[int]] | None = None) -> dict[str, torch.Tensor]:
    """The tiny VAE's state dict under Wan's original names, which the host uses too.

    ``shapes`` are those of a Wan 2.1 VAE of ``dim`` 8; by default the recorded ones.
    """
    return seeded_weights(15, shapes or _recorded()[0]["vae_shapes"])


def write_models(folder: Path) -> dict[str, Path]:
    """The models as files of the host: ``i2v_high``, ``i2v_low``, ``t2v_high``, ``t2v_low`` and
    ``vae``. ``tiny_diffusers`` makes diffusers' twins of such files."""
    paths = {}
    for kind in EXPERTS:
        for noise_level, state in zip(("high", "low"), experts(kind), strict=True):
            name = f"{kind}_{noise_level}"
            paths[name] = folder / "diffusion_models" / f"released_{name}.safetensors"
            paths[name].parent.mkdir(parents=True, exist_ok=True)
            save_file(state, paths[name])
    return {**paths, "vae": write_vae(folder)}


def write_vae(folder: Path) -> Path:
    """``vae/released_vae.safetensors``, a file of the host."""
    path = folder / "vae" / "released_vae.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(vae_weights(), path)
    return path


# --- what was recorded -----------------------------------------------------------------------


@lru_cache
def _recorded() -> tuple[dict, dict[str, torch.Tensor]]:
    record = json.loads((GOLDEN / "released_run.json").read_text(encoding="utf-8"))
    return record, load_file(GOLDEN / "released_run.safetensors")


def latents(case: Case) -> torch.Tensor:
    """The shot's latents at the end, ``[1, 16, F, h, w]``: normalised, memory taken off."""
    return _recorded()[1][f"latents {case}"]


def timesteps(case: Case) -> list[int]:
    """What the model was handed at each step."""
    return _recorded()[0]["cases"][str(case)]["timesteps"]


def expert_of_each_step(case: Case) -> str:
    """A letter a step: ``h`` the high-noise expert, ``l`` the low-noise one."""
    return _recorded()[0]["cases"][str(case)]["experts"]


def encoded(name: str) -> torch.Tensor:
    """What the release's VAE gave, normalised: ``memory [1, 16, 3, h, w]``, or one of the shot's
    videos ``grey``, ``mi2v``, ``mm2v [1, 16, F, h, w]``."""
    return _recorded()[1][f"encoded {name}"]


def condition(case: Case) -> torch.Tensor | None:
    """Mask, then latents, ``[1, 4 + 16, M+F, h, w]``: 1 where known. ``None`` for T2V."""
    if case.kind == "t2v":
        return None
    video = encoded("grey" if case.overwritten or not GIVEN[case.mode] else case.mode)
    values = torch.cat([encoded("memory")[:, :, : case.memory], video], dim=2)
    mask = torch.zeros(1, 4, *values.shape[2:])
    mask[:, :, : case.memory + {0: 0, 1: 1, 5: 2}[GIVEN[case.mode]]] = 1
    return torch.cat([mask, values], dim=1)


def positions(case: Case) -> torch.Tensor:
    """Temporal positions ``[M+F]``: ``-M S ... -S, 0 ... F-1``."""
    memory = torch.arange(-case.memory, 0) * case.rope_shift
    return torch.cat([memory, torch.arange(FRAMES)])
