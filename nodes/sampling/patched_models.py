"""Models with LoRAs, kept as long as the next shot may need them: the host loads weights anew for
every clone whose patches are its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from weakref import WeakKeyDictionary

MOST = 4  # clones: both experts of two kinds; the weights of their LoRAs are in memory


class PatchedModels:
    """The latest clones of each prompt; they end with the prompt that is being executed."""

    def __init__(self):
        self._kept: WeakKeyDictionary = WeakKeyDictionary()

    def of(self, prompt: object, model, loras: Hashable, patch: Callable):
        """``patch(model)``, once for models with the same weights.

        Of one that differs in other things, such as memory positions, weights are the same: it
        gets the patches that the first one got, and the host finds its weights loaded.

        Args:
            prompt: the host's; without one nothing is kept.
            loras: the same for patches that are the same.
        """
        kept = None if prompt is None else self._kept.setdefault(prompt, OrderedDict())
        key = loras, id(model.model), model.patches_uuid
        if kept is not None and key in kept:
            kept.move_to_end(key)
            before, patched = kept[key]
            return patched if before is model else _with_patches(model, patched)
        patched = patch(model)
        if kept is not None:
            kept[key] = model, patched
            while len(kept) > MOST:
                kept.popitem(last=False)
        return patched


def _with_patches(model, patched):
    """A clone of ``model`` whose weights are those of ``patched``."""
    clone = model.clone()
    clone.patches = {key: list(entries) for key, entries in patched.patches.items()}
    clone.patches_uuid = patched.patches_uuid
    for key in set(patched.attachments) - set(clone.attachments):  # the host compares their names
        clone.attachments[key] = patched.attachments[key]
    return clone
