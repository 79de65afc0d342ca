"""What wires of Choose Memory cost a story: told on its node before the first shot."""

from __future__ import annotations

from collections.abc import Iterator

from ...storymem.loop.memory_choice import CHOOSES
from .wires import SAMPLERS, Notice, Wires

REMEMBER = "StoryMemRemember"


def choice_notices(wires: Wires) -> Iterator[Notice]:
    """Of every Choose Memory: what it does not get, and who does not get what it chose."""
    chooses = wires.of_kind(CHOOSES)
    for node_id in chooses:
        opened = wires.name(wires.open_id)
        if not wires.is_of_loop(node_id, "bank"):
            yield wires.notice(
                node_id,
                "bank comes from outside of the loop, so every shot chooses from the same memory "
                f"and nothing of the shots before it; connect the bank of {opened}",
            )
        if wires.source(node_id, "shot") is None:
            yield wires.notice(
                node_id,
                "shot is not connected, so how long ago each frame was is not known, and others "
                f"are chosen; connect the shot of {opened}",
            )
        if wires.source(node_id, "positive") == wires.source(node_id, "global_positive"):
            yield wires.notice(
                node_id,
                "positive and global_positive are the same, so two of the frames are not chosen by "
                f"the story's cast; connect the global_prompt of {opened}, encoded, to "
                "global_positive",
            )
    if not chooses:
        return
    name = wires.name(chooses[-1])
    for node_id in wires.of_kind(*SAMPLERS):
        if wires.is_of_loop(node_id, "bank") and not _is_chosen(wires, node_id):
            yield wires.notice(
                node_id,
                "bank does not come from Choose Memory, so the shot sees other frames than those "
                f"that were chosen; connect the bank of {name}",
            )
    for node_id in wires.of_kind(REMEMBER):
        if wires.is_of_loop(node_id, "bank") and not _is_chosen(wires, node_id):
            yield wires.notice(
                node_id,
                "bank does not come from Choose Memory, so frames that were not chosen come back "
                f"with the next shot; connect the bank of {name}",
            )


def _is_chosen(wires: Wires, node_id: str) -> bool:
    return any(wires.kind(here) == CHOOSES for here in wires.before(node_id, "bank"))
