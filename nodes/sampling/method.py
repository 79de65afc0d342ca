"""Which memory model a loaded model is of: what Load Story LoRA put on it says so."""

from __future__ import annotations

from ...storymem.sampling.methods import MEMENTO, STORYMEM

ATTACHMENT = "storymem_lora"  # on the patched model: the files that are in it already


def method_of(model) -> str:
    """The method of the LoRA files on ``model``: ``memento`` if one of them brings a query."""
    files = model.get_attachment(ATTACHMENT) or ()
    return MEMENTO if any(getattr(file, "query", None) is not None for file in files) else STORYMEM


def require_same_method(model_high, model_low) -> str:
    """The method of both experts; without a low-noise one, of the other.

    Raises:
        ValueError: when one of them is StoryMem's and the other Memento's.
    """
    high = method_of(model_high)
    if model_low is not None and (low := method_of(model_low)) != high:
        raise ValueError(
            f"model_high has the LoRA of {_NAMES[high]} and model_low that of {_NAMES[low]}; load "
            "the high- and the low-noise file of one of them"
        )
    return high


_NAMES = {STORYMEM: "StoryMem", MEMENTO: "Memento"}
