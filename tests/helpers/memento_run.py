"""The recorded runs of Memento's released ``generate()``: cases, inputs and results.

``tests/golden/memento_run.json`` and ``.safetensors`` are made by
``tests/tools/make_memento_run.py``. Weights are those of ``helpers.released_run``: the tiny I2V
experts and VAE. Latents are normalised, as the experts know them.

A case says which moments its pool remembers, in the pool's own order. The release sorts by time
what the shot sees; ``seen`` has it so.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from helpers import released_run

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CHANNELS, TEXT = released_run.CHANNELS, released_run.TEXT
ROWS, COLUMNS = 4, 8  # of latents: the release resizes every frame to its training size first
WIDTH, HEIGHT = 8 * COLUMNS, 8 * ROWS  # pixels, as small as the tiny VAE is given them
LENGTH, FRAMES = 9, 3  # pixel frames of the shot, and latent ones
TEXT_LENGTH = 512
WORDS = {"positive": 7, "negative": 5, "identity": 6, "empty": 1}  # tokens before the zeros
BOUNDARY, SHIFT = 0.9, 5.0
CANDIDATES = 8  # frames that the release takes of the shot before
TIME_STRIDE = 4


@dataclass(frozen=True)
class Case:
    """One run. Moments are pixel frames from the story's begin.

    ``pool_high`` is the high-noise expert's own pool, where it has one. ``previous`` pixel frames
    of the shot before, which begins at ``begin - previous``, go into the pools behind the others.
    ``is_split`` without an identity frame is the release on one card, which splits self-attention
    even then; on several cards it does not.
    """

    name: str
    pool: tuple[int, ...]
    begin: int
    has_identity: bool = True
    pool_high: tuple[int, ...] = ()
    previous: int = 0
    given: int = 0
    cfg: float = 5.0
    steps: int = 4
    is_split: bool = True

    def __str__(self) -> str:
        return self.name

    @property
    def candidates(self) -> tuple[int, ...]:
        """Moments of the frames that the shot before brings: all, there are so few."""
        assert self.previous <= CANDIDATES
        return tuple(range(self.begin - self.previous, self.begin))

    def moments(self, level: str) -> tuple[int, ...]:
        """Of all that the pool of ``high`` or ``low`` holds for this shot, in the pool's order."""
        own = self.pool_high if level == "high" and self.pool_high else self.pool
        return own + self.candidates

    def order(self, level: str) -> list[int]:
        """Which of ``moments`` the shot sees, first to last."""
        moments = self.moments(level)
        return sorted(range(len(moments)), key=moments.__getitem__)

    @property
    def memory_frames(self) -> int:
        return len(self.moments("low"))

    @property
    def before(self) -> int:
        """Latent frames before the shot."""
        return self.memory_frames + self.has_identity


CASES = (
    Case("one", (0,), 81),
    Case("three", (77, 3, 80), 83, given=1, cfg=3.5),
    Case("three-plain", (77, 3, 80), 83, given=1, cfg=3.5, has_identity=False, is_split=False),
    Case("three-one-card", (77, 3, 80), 83, given=1, cfg=3.5, has_identity=False),
    Case("eight", (0, 9, 1900, 2500, 2501, 3201, 3999, 4000), 4001, given=5, cfg=3.5),
    Case("pair", (5, 40), 86, pool_high=(60, 9), previous=5, steps=8),
)


# --- what a run is given ---------------------------------------------------------------------


def _normal(name: str, shape: Sequence[int]) -> torch.Tensor:
    state = np.random.RandomState(zlib.crc32(f"memento {name}".encode()))
    return torch.from_numpy(state.standard_normal(shape).astype(np.float32))


def noise(case: Case) -> torch.Tensor:
    """``[1, 16, frames, h, w]``: identity frame, memory, shot."""
    frames = case.before + FRAMES
    return _normal(f"noise {case.name}", (1, CHANNELS, frames, ROWS, COLUMNS))


@lru_cache
def text(name: str, *, padded: bool = True) -> torch.Tensor:
    """The embedding of one of ``WORDS``: ``[1, L, 4096]``, zeros after its words."""
    words = _normal(f"text {name}", (1, WORDS[name], TEXT))
    missing = TEXT_LENGTH - words.shape[1]
    return torch.nn.functional.pad(words, (0, 0, 0, missing)) if padded else words


def pool_latents(moments: Sequence[int]) -> torch.Tensor:
    """Normalised latents that a pool holds from before, ``[16, M, h, w]``; any numbers will do."""
    frames = [_normal(f"frame {m}", (CHANNELS, ROWS, COLUMNS)) for m in moments]
    return torch.stack(frames, dim=1)


def previous_frames(case: Case) -> torch.Tensor:
    """The shot before, float32 ``[3, frames, H, W]`` in [-1, 1]."""
    state = np.random.RandomState(zlib.crc32(f"memento previous {case.name}".encode()))
    cells = state.randint(20, 236, (case.previous, 3, ROWS, COLUMNS)).repeat(8, 2).repeat(8, 3)
    return torch.from_numpy(cells.astype(np.float32)).transpose(0, 1) / 127.5 - 1


def given_pictures(case: Case) -> torch.Tensor:
    """The frames that the shot continues from, ``uint8 [1 or 5, H, W, 3]``."""
    state = np.random.RandomState(zlib.crc32(f"memento given {case.name}".encode()))
    cells = state.randint(20, 236, (case.given, ROWS, COLUMNS, 3)).repeat(8, 1).repeat(8, 2)
    return torch.from_numpy(cells.astype(np.uint8))


# --- what was recorded -----------------------------------------------------------------------


@lru_cache
def _recorded() -> tuple[dict, dict[str, torch.Tensor]]:
    record = json.loads((GOLDEN / "memento_run.json").read_text(encoding="utf-8"))
    return record, load_file(GOLDEN / "memento_run.safetensors")


def latents(case: Case) -> torch.Tensor:
    """The shot's latents at the end, ``[1, 16, F, h, w]``."""
    return _recorded()[1][f"shot {case}"]


def identity_latents(case: Case) -> torch.Tensor:
    """The identity frame's latents at the end, ``[1, 16, 1, h, w]``."""
    return _recorded()[1][f"identity {case}"]


def timesteps(case: Case) -> list[int]:
    """What the model was handed at each step."""
    return _recorded()[0]["cases"][str(case)]["timesteps"]


def experts(case: Case) -> str:
    """A letter a step: ``h`` the high-noise expert, ``l`` the low-noise one."""
    return _recorded()[0]["cases"][str(case)]["experts"]


def recorded_positions(case: Case, level: str) -> list[int]:
    """Temporal positions of all latent frames that the expert was handed; the shot's begin at 0."""
    return _recorded()[0]["cases"][str(case)]["positions"][level]


def grey_frame() -> torch.Tensor:
    """One grey frame encoded alone, ``[1, 16, 1, h, w]``."""
    return _recorded()[1]["grey frame"]


def video(case: Case) -> torch.Tensor:
    """The shot's condition behind the mask, ``[1, 16, F, h, w]``."""
    return _recorded()[1]["video grey" if not case.given else f"video {case}"]


def memory(case: Case, level: str) -> torch.Tensor:
    """Clean memory as the shot sees it, ``[1, 16, M, h, w]``, in order of time."""
    old = case.moments(level)[: case.memory_frames - case.previous]
    frames = pool_latents(old)[None]
    if case.previous:
        frames = torch.cat([frames, _recorded()[1][f"candidates {case}"]], dim=2)
    return frames[:, :, case.order(level)]


def condition(case: Case, level: str) -> torch.Tensor:
    """Mask, then latents, ``[1, 4 + 16, frames, h, w]``: 1 where known."""
    values = [grey_frame()] * case.has_identity + [memory(case, level), video(case)]
    values = torch.cat(values, dim=2)
    mask = torch.zeros(1, 4, *values.shape[2:])
    known = {0: 0, 1: 1, 5: 2}[case.given]
    mask[:, :, int(case.has_identity) : case.before + known] = 1
    return torch.cat([mask, values], dim=1)
