"""What a pass before the film changes of M2V Sampler's models and recipe."""

from __future__ import annotations

import nodes

from ...storymem.sampling.draft import NO_LORA, Draft
from ...storymem.sampling.recipe import Recipe
from .patched_models import PatchedModels

HOST_LOADER = "LoraLoaderModelOnly"  # of the host, which knows all kinds of LoRA files
_PATCHED = PatchedModels()


def of_pass(
    draft: Draft | None, recipe: Recipe, models: tuple, prompt: object = None
) -> tuple[Recipe, tuple]:
    """The recipe and the experts, high and low, of a shot of a pass; those of the film without.

    Args:
        prompt: the host's prompt, in which a model gets its LoRA once.

    Raises:
        ValueError: for a LoRA that is not there.
    """
    if draft is None:
        return recipe, models
    if not draft.is_faster(recipe.steps):
        return draft.recipe_of(recipe), models  # distilled already: a LoRA for that was too much
    names = (draft.lora_high, draft.lora_low)
    patched = tuple(
        _with_lora(model, name, prompt) for model, name in zip(models, names, strict=True)
    )
    return draft.recipe_of(recipe), patched


def _with_lora(model, name: str, prompt: object):
    """A clone of ``model`` with a LoRA at strength 1, by the host's own loader."""
    if model is None or name == NO_LORA:
        return model

    def patch(model):
        loader = nodes.NODE_CLASS_MAPPINGS[HOST_LOADER]()
        try:
            return loader.load_lora_model_only(model, name, 1.0)[0]
        except FileNotFoundError as error:
            raise ValueError(
                f"the draft's LoRA {name} is not in models/loras; choose another on Draft Settings"
            ) from error

    return _PATCHED.of(prompt, model, name, patch)
