"""Texts of a shot on wires of their own that its key holds only where a picture is made of them:
what is said in it, and what everybody looks like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...storymem.loop.cache_keys import READS_DIALOGUE, READS_RECONSTRUCT
from .wires import links_of

DIALOGUE_SLOT = 8  # of Shot Loop Open and of Next Shot
GLOBAL_SLOT, RECONSTRUCT_SLOT = 9, 10
MARKS = {DIALOGUE_SLOT: READS_DIALOGUE, RECONSTRUCT_SLOT: READS_RECONSTRUCT}


def text_marks(nodes: Iterable[Mapping], open_id: str) -> list[str]:
    """For the description of a body: what makes these texts count in the keys of its shots, when
    one of the nodes that make pictures is told them.

    Args:
        nodes: those that make pictures.
        open_id: the Shot Loop Open or Next Shot that they begin from.
    """
    told = {(source, slot) for node in nodes for _, source, slot in links_of(node)}
    return [mark for slot, mark in MARKS.items() if (open_id, slot) in told]
