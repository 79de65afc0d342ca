"""What CLIP would know of the tiny world's pictures and prompts, for the policy ``relevant``.

Real CLIP has never seen these pictures. The stand-in sees which kinds of characters a picture shows
(as the judge finds them) and before which backdrop; of a prompt it reads which kinds it names and
which place. It knows no looks, and nothing of the shot that a picture is from. Figures that rest on
it say so: with real CLIP they may be lower.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange

from ..memory.embedders import Embedder
from ..memory.frame import MemoryFrame
from ..selection.preprocess import in_batches
from . import picture, text, world
from .judge import ALL_SCALES, AREA_COST, FRAMES_AT_ONCE, Judge, least_area, lowest

FIT = 0.18  # of what a character without any fault would gain: less is nobody
EMBEDDED_AT_ONCE = 64  # pictures
TOP, BOTTOM = slice(0, 12), slice(86, 96)  # rows of the picture that nobody covers


class StandIn(Embedder):
    """Pictures and prompts as unit vectors: kinds of characters, then places."""

    name = "tiny_world_stand_in"

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        scales: tuple[float, ...] = ALL_SCALES,
    ):
        super().__init__()
        self.judge = Judge(device, scales=scales)
        self._known: dict[str, torch.Tensor] = {}
        self._places, self._place_of = (part.to(self.judge.device) for part in _place_colours())

    def embed_each(self, frames: Sequence[MemoryFrame]) -> torch.Tensor:
        """Vectors of many frames; each picture is looked at once, together with all new ones."""
        new = {f.digest: f.image for f in frames if f.digest not in self._known}
        for digests in in_batches(new, EMBEDDED_AT_ONCE):
            rows = self._embed(torch.stack([new[digest] for digest in digests])).cpu()
            rows = rows / rows.norm(dim=-1, keepdim=True)
            self._known.update(zip(digests, rows, strict=True))
        return torch.stack([self._known[frame.digest] for frame in frames])

    def look_at(self, frames: torch.Tensor) -> torch.Tensor:
        """0 or 1 for each kind and each place: ``uint8 [N, H, W, 3]`` -> [N, kinds + places]."""
        return self._embed(frames)

    @staticmethod
    def kinds_named(prompt: str) -> list[int]:
        """The kinds of the characters that a prompt names, in the order of kinds."""
        words = text.parse(prompt)
        return sorted({text.KIND_OF[name] for name in (words[0], words[2]) if name})

    def _embed(self, frames: torch.Tensor) -> torch.Tensor:
        pixels = frames.to(self.judge.device).float() / 255
        if pixels.shape[1:3] != (world.SIZE, world.SIZE):  # keyframe selection enlarges them
            pixels = rearrange(pixels, "n h w c -> n c h w")
            pixels = F.interpolate(pixels, size=(world.SIZE,) * 2, mode="bilinear", antialias=True)
            pixels = rearrange(pixels, "n c h w -> n h w c")
        return torch.cat([self.who(pixels).float(), self._backdrop(pixels)], 1)

    def _embed_text(self, text_: str) -> torch.Tensor:
        named = [kind in self.kinds_named(text_) for kind in range(len(world.KINDS))]
        places = [place == text.parse(text_)[4] for place in world.PLACES]
        return torch.tensor([*named, *places, False]).float()

    def who(self, pixels: torch.Tensor) -> torch.Tensor:
        """Which kinds are seen, bool [N, P]: the best fit of all, then the best beside it."""
        return torch.cat([self._who(part) for part in pixels.split(FRAMES_AT_ONCE)])

    def _who(self, pixels: torch.Tensor) -> torch.Tensor:
        seen = torch.zeros(len(pixels), len(world.KINDS), dtype=torch.bool, device=pixels.device)
        centre = torch.full((len(pixels), 2), torch.nan, device=pixels.device)
        kinds = range(len(world.KINDS))
        areas = torch.tensor([least_area(kind) for kind in kinds], device=pixels.device)
        fitted = [self.judge.costs_by_place(pixels, kind) for kind in kinds]
        for turn in range(world.ON_STAGE):
            costs = torch.stack([lowest(costs, centre) for costs in fitted], 1)
            costs = costs.masked_fill(seen[..., None], torch.inf)
            best, look = costs.min(-1)
            kind = best.argmin(1)
            fits = best < -FIT * AREA_COST * areas
            found = fits.gather(1, kind[:, None])[:, 0]
            if turn:
                found &= seen.any(1)
            seen[torch.arange(len(seen)), kind] |= found
            for k in kinds if turn + 1 < world.ON_STAGE else ():
                who = (found & (kind == k)).nonzero()[:, 0]
                if len(who):
                    centre[who] = self.judge.locate(pixels[who], k, look[who, k])
        return seen

    def _backdrop(self, pixels: torch.Tensor) -> torch.Tensor:
        """The nearest place, one-hot [N, places and the studio]."""
        away = torch.cdist(_strips(pixels), self._places)
        place = self._place_of[away.argmin(1)]
        return F.one_hot(place, len(world.PLACES) + 1).float()


def _strips(pixels: torch.Tensor) -> torch.Tensor:
    """Median colours of the sky's top and of the ground, [N, 6]."""
    parts = (pixels[:, rows].flatten(1, 2).median(1).values for rows in (TOP, BOTTOM))
    return torch.cat(list(parts), 1)


def _place_colours() -> tuple[torch.Tensor, torch.Tensor]:
    """Every place, the studio last, with every tint and framing: [N, 6], and which place it is."""
    place, tint, framing = torch.cartesian_prod(
        *(torch.arange(n) for n in (len(world.PLACES) + 1, len(world.TINTS), len(world.FRAMINGS)))
    ).T
    empty = world.portraits(torch.zeros(len(place), 4, dtype=torch.long), 0)
    scenes = dataclasses.replace(
        empty,
        visible=torch.zeros_like(empty.visible),
        place=place,
        place_look=torch.stack([tint, torch.zeros_like(tint)], 1),
        framing=framing,
        zoom=torch.tensor(world.FRAMING_ZOOM)[framing][:, None],
    )
    return _strips(picture.render(scenes)[:, 0]), place
