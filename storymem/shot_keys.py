"""The key of a shot: a hash of everything that its pixels depend on.

The shot itself, the loop's body (given as a text that describes it), and the key of the shot before
it or, for the first one, the bank that the story starts from. What an artist's clicks change in the
memory counts from the first shot on that sees something else because of them, and only there: a
frame that is pinned while every shot up to the eighth sees it anyway changes the ninth. The same
goes for the bank's policy.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from .bank_edits import NO_EDITS
from .code_version import code_version
from .continuity import ShotPlan
from .listening import has_to_choose, listen, with_names
from .memory_bank import MemoryBank, MemoryFrame
from .memory_policy import POLICIES
from .shot_record import describe_bank
from .shot_store import digest_of
from .story import Shot

RELATED_BY = [f"storymem/{name}.py" for name in ("listening", "embedders", "clip", "clip_text")]

if TYPE_CHECKING:
    from .shot_loop import Loop


def own_key(loop: Loop, plan: ShotPlan) -> str:
    """Hash of what a shot is, without what came before it."""
    described = asdict(plan)
    for name in ("lock", "row"):
        described["shot"].pop(name)
    described.pop("has_start")
    pictures = [MemoryFrame(loop.references[name]).digest for name in plan.shot.references]
    if plan.has_start:
        pictures.append(f"start {MemoryFrame(loop.start_images[plan.shot.index]).digest}")
    return digest_of(["shot", described, pictures, loop.body])


def shot_key(loop: Loop, shot: Shot, own: str, previous: str, bank: MemoryBank | None) -> str:
    """Hash of everything that a shot's pixels depend on.

    Args:
        own: what ``own_key`` says of it.
        previous: key of the shot before it; empty for the first.
        bank: the bank that the shot before it left, or the story's first one; may lack pictures
            (see ``ShotStore.outline``). Only asked for when ``needs_bank``.
    """
    parts = ["key", own, previous or describe_bank(loop.bank.with_edits(NO_EDITS))]
    if needs_bank(loop) and (changed := _changed_by_hand(loop, shot, bank)):
        parts.append(changed)
    return digest_of(parts)


def needs_bank(loop: Loop) -> bool:
    """Whether a key depends on what is in the bank: there are clicks, or a policy of its own."""
    return loop.bank.edits.names_frames or loop.bank.policy != POLICIES[0]


def bank_at_start(loop: Loop, shot: Shot, bank: MemoryBank) -> MemoryBank:
    """The bank that a shot begins with: the one before it, and the shot's own reference images."""
    known = {frame.digest for frame in bank.frames}
    extra = [
        MemoryFrame(
            loop.references[name],
            story=loop.story.name,
            shot=shot.index,
            frame=i - len(shot.references),  # before the shot's own keyframes
            reason=f"reference image of shot {shot.index + 1}",
            name=name,
        )
        for i, name in enumerate(shot.references)
    ]
    extra = [frame for frame in extra if frame.digest not in known]
    return bank.remember(extra) if extra else bank


def bank_for_shot(loop: Loop, shot: Shot, bank: MemoryBank) -> MemoryBank:
    """``bank_at_start`` with the artist's clicks and what the policy chooses for the shot."""
    return listen(bank_at_start(loop, shot, with_settings(loop, bank)), loop.story, shot)


def with_settings(loop: Loop, bank: MemoryBank) -> MemoryBank:
    """A shot's bank, perhaps of an earlier run, with the clicks and the policy of this one."""
    settings = {"policy": loop.bank.policy, "embedder": loop.bank.embedder}
    if loop.bank.policy == POLICIES[0]:
        settings["seen"] = {}
    return with_names(replace(bank.with_edits(loop.bank.edits), **settings), loop.story)


def _changed_by_hand(loop: Loop, shot: Shot, bank: MemoryBank) -> list | None:
    """What the shot sees of the memory, when it would see something else without the clicks and
    with the paper's window."""
    clicked = bank_at_start(loop, shot, bank.with_edits(loop.bank.edits))
    clicked = replace(clicked, policy=loop.bank.policy)
    if clicked.policy == "relevant" and has_to_choose(clicked):
        # What is related to the prompt is not known without the pictures; this decides it.
        embedder = loop.bank.embedder
        name = f"{embedder.name} {embedder.identity}" if embedder else ""
        places = [clicked.max_frames, clicked.sink, clicked.pinned_indices()]
        code = code_version(RELATED_BY)
        return ["relevant", name, code, places, [f.digest for f in clicked.frames]]
    seen = _seen(listen(clicked, loop.story, shot))
    try:
        untouched = _seen(bank_at_start(loop, shot, bank.with_edits(NO_EDITS)))
    except ValueError:  # too many pins, until a click took some off
        untouched = None
    return None if seen == untouched else seen


def _seen(bank: MemoryBank) -> list[list[str]]:
    """The frames that the sampler gets, and those that new keyframes are compared with."""
    return [[f.digest for f in bank.used()], [f.digest for f in bank.frames]]
