"""The dialogue of a shot on a wire: what a voice is made of, and rarely a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...storymem.loop.cache_keys import READS_DIALOGUE
from .wires import links_of

DIALOGUE_SLOT = 8  # of Shot Loop Open and of Next Shot


def dialogue_marks(nodes: Iterable[Mapping], open_id: str) -> list[str]:
    """For the description of a body: what makes the dialogue count in the keys of its shots, when
    one of the nodes that make pictures is told it.

    Args:
        nodes: those that make pictures.
        open_id: the Shot Loop Open or Next Shot that they begin from.
    """
    told = {(source, slot) for node in nodes for _, source, slot in links_of(node)}
    return [READS_DIALOGUE] if (open_id, DIALOGUE_SLOT) in told else []
