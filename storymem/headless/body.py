"""What makes the shots of a headless run, as a text that is part of their keys."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch

from ..loop.memory_choice import CHOOSES
from ..loop.neutral_inputs import inputs_that_count
from ..loop.render_version import render_versions
from ..sampling.methods import METHODS, choose_method
from ..sampling.recipe import Recipe
from .adapters import scale_changes
from .engine import Engine
from .identity import identify_weights
from .judges import SelectionModels
from .method import chooses_memory


def describe_body(
    settings, engine: Engine, models: SelectionModels, start_pixels: torch.Tensor | None,
    recipe: Recipe,
) -> str:  # fmt: skip
    """Everything that decides a shot's pixels and is no part of the shot, as text.

    Args:
        settings: a ``RunSettings``, with the size of the pass.
        start_pixels: the picture that the first shot begins with, if there is one.
        recipe: of the pass.
    """
    described, files = asdict(settings), engine.files
    for name in ("out", "resume", "loop", "fps", "crf", "start_image"):
        del described[name]
    has_choice, of_files = chooses_memory(settings, files), files.method()
    if choose_method(settings.method, of_files) == of_files:  # the files count anyway
        described["method"] = METHODS[0]
    weights = {
        "i2v": identify_weights(files.i2v),
        "t2v": identify_weights(files.t2v),
        "vae": identify_weights(files.vae),
        "lora": [identify_weights(path) for path in files.lora or ()],
        "extra_lora": [identify_weights(path) + note for path, note in files.extra_loras()],
        "clip": identify_weights(models.clip),
        "laion": [
            identify_weights(path) for path in (models.laion_clip, models.laion_head, models.hpsv3)
        ],
    }
    start = None
    if start_pixels is not None:
        start = hashlib.sha256(start_pixels.numpy().tobytes()).hexdigest()
    models = {k: v for k, v in asdict(models).items() if not isinstance(v, Path)}
    body = {
        "settings": inputs_that_count("RunSettings", described),
        "recipe": inputs_that_count("Recipe", asdict(recipe)),
        "weights": weights,
        "lora_scale": files.lora_scale,
        "vae_tiling": files.vae_tiling,
        "judges": inputs_that_count("SelectionModels", models),
        "start_image": start,
        "dtype": str(engine.placement.dtype),
        "code": render_versions((*engine.render_parts, *(["choice"] if has_choice else []))),
    }
    if has_choice:
        body["choice"] = CHOOSES
    if changes := scale_changes(files.lora or (), files.lora_scale):
        body["scale_of_lora"] = changes
    return json.dumps(body, sort_keys=True, default=str)
