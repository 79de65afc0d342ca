"""How a pass before the film is made: a draft of few steps, or stills. Plain values.

A pass overrides settings of the nodes that sample. What it sets is decided here alone, for the
sampler, for the shot's key and for what is told before the first shot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .recipe import Recipe

NO_LORA = "none"
SIZE_STEP = 16  # pixels: what a shot's width and height are multiples of
# Shapes of about 480p, the smaller of the two sizes that Wan 2.2 was trained at. A film that is
# larger is drafted from the nearest of them, so that a draft outlives a change of the film's size.
BASE_SIZES = (
    (832, 480), (480, 832), (720, 544), (544, 720), (624, 624), (960, 416), (416, 960),
)  # fmt: skip
BASE_AREA = 832 * 480  # pixels
SAME_SHAPE = 1.06  # ratios of width to height that differ by less are one shape
# What models that were distilled to few steps are sampled with, as their authors publish it.
SAMPLER_FIELDS = {"sampler_name": "sampler"}  # of a recipe, where an input is called otherwise
OF_DISTILLED = {"sampler_name": "euler", "scheduler": "simple", "shift": 5.0}


@dataclass(frozen=True)
class Draft:
    """What a pass before the film sets; 0 of a number leaves what the film has."""

    name: str = "draft"  # of the pass, as in ``storymem.loop.passes``
    steps: int = 4  # over both experts
    cfg: float = 1.0  # of both experts; 1 halves the forwards
    size: float = 0.7  # of the film's width and height, up to 480p
    max_frames: int = 0  # memory frames that a shot sees at most; pinned ones always
    lora_high: str = NO_LORA  # files of the host's LoRA folder, on top of the body's own
    lora_low: str = NO_LORA

    @property
    def is_stills(self) -> bool:
        """Whether each shot is one picture."""
        return self.name == "stills"

    @property
    def has_lora(self) -> bool:
        """Whether the pass brings a LoRA of its own."""
        return (self.lora_high, self.lora_low) != (NO_LORA, NO_LORA)

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height, pixels, of a shot of this pass, by those of the film.

        A film of more than 480p counts as one of 480p in its shape.
        """
        if self.size in (0, 1):
            return width, height
        base = _base_size(width, height)
        return tuple(max(SIZE_STEP, _whole(side * self.size)) for side in base)

    def length_of(self, length: int) -> int:
        """Frames that are sampled for a shot of that many."""
        return 1 if self.is_stills else length

    def is_faster(self, steps: int) -> bool:
        """Whether its steps are fewer than those that the film has already."""
        return 0 < self.steps < steps

    def overrides(self, inputs: Mapping[str, object]) -> dict[str, object]:
        """What the pass sets of a sampling node's inputs, by their names.

        Steps, cfg and LoRAs belong together: where the film's own steps are as few, its models are
        distilled already, and all of them stay. An input whose value is not known yet (one that
        comes over a wire) is left out.

        Args:
            inputs: the node's inputs, those of a film; only the known ones are looked at.
        """
        found: dict[str, object] = {}
        size = inputs.get("width"), inputs.get("height")
        if all(_is_whole(side) for side in size):
            found |= dict(zip(("width", "height"), self.size_of(*size), strict=True))
        if _is_whole(inputs.get("length")):
            found["length"] = self.length_of(inputs["length"])
        if _is_whole(inputs.get("steps")) and self.is_faster(inputs["steps"]):
            found["steps"] = self.steps
            if self.cfg:
                found |= {"cfg": self.cfg, "cfg_low": 0.0}
                if inputs.get("cfg_cut", 0.0) != 0.0:
                    found["cfg_cut"] = 0.0
            if self.has_lora:
                found |= OF_DISTILLED
        return {name: value for name, value in found.items() if inputs.get(name) != value}

    def recipe_of(self, recipe: Recipe) -> Recipe:
        """How a shot of this pass is sampled, by the film's own recipe; see ``overrides``."""
        found = self.overrides({"steps": recipe.steps, "cfg_cut": recipe.cfg_cut})
        names = {name: SAMPLER_FIELDS.get(name, name) for name in found}
        return replace(recipe, **{names[name]: value for name, value in found.items()})


def _base_size(width: int, height: int) -> tuple[int, int]:
    if width * height <= BASE_AREA:
        return width, height
    shape = width / height

    def apart(base: tuple[int, int]) -> float:
        return abs(math.log(base[0] / base[1] / shape))

    nearest = min(BASE_SIZES, key=apart)
    if apart(nearest) <= math.log(SAME_SHAPE):
        return nearest
    scale = math.sqrt(BASE_AREA / (width * height))
    return _whole(width * scale), _whole(height * scale)


def _whole(pixels: float) -> int:
    return round(pixels / SIZE_STEP) * SIZE_STEP


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
