"""Which memory model a MODEL was made for, by the files that Load Story LoRA put on it."""

from __future__ import annotations

from ...storymem.sampling.lora_file import MemoryLora, one_method
from ...storymem.sampling.methods import MEMENTO, STORYMEM
from ...storymem.selection.keyframe_query import KeyframeQuery

ATTACHMENT = "storymem_lora"  # on the patched model: the files that are in it already
UNUSED = "storymem_lora_unused"  # Memento's file at strength 0: its query and method still count


class LoraFile:
    """A read file; kept alive by the models it is in, so that a loop reads and hashes it once."""

    def __init__(self, name: str, content: MemoryLora):
        self.name = name
        self.content = content
        self.modules = content.modules
        self.query = content.query  # weights of Memento's keyframe query, or None
        self.digest = content.digest


def method_of(model) -> str:
    """``storymem`` or ``memento``; StoryMem for a model without a LoRA of Load Story LoRA.

    A strength of 0 takes the LoRA away and not the method: what the LoRA does can then be seen
    alone, with the same frames of memory in the same places.
    """
    return MEMENTO if _with_query(model) else STORYMEM


def query_of(model) -> KeyframeQuery | None:
    """The keyframe query of the expert's file, in the form that scores frames."""
    file = _with_query(model)
    if file is None:
        return None
    return KeyframeQuery(file.query, model.get_model_object("diffusion_model").num_heads)


def require_same_method(high, low=None) -> str:
    """The method of a pair of experts, of which ``low`` may be missing.

    An expert without any LoRA goes with either.

    Raises:
        ValueError: for one expert of each.
    """
    experts = {"model_high": high, "model_low": low}
    files = {name: _told(model) for name, model in experts.items() if model is not None}
    return one_method({name: file.content for name, file in files.items() if file is not None})


def _told(model) -> LoraFile | None:
    """The file that says the method."""
    applied = model.get_attachment(ATTACHMENT) or ()
    return _with_query(model) or (applied[-1] if applied else None)


def _with_query(model) -> LoraFile | None:
    applied = model.get_attachment(ATTACHMENT) or model.get_attachment(UNUSED) or ()
    return next((file for file in reversed(applied) if file.query is not None), None)
