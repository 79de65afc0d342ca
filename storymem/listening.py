"""Memory that listens to the prompt: the frames that one shot sees under the bank's policy.

Names tie frames to those whom they show: those of the story's cast, and those that the artist wrote
about frames in the gallery. Such a label counts first, then the name of a picture's file, then the
prompt of the shot that the frame is from, as it was when the shot was made.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from .cast import MAX_NAMES, named_in, names_in_label, names_of
from .memory_bank import MemoryBank
from .memory_policy import Choice, choose_entities, choose_relevant
from .story import Shot, Story

ROOM_FOR_ALL = "there was room for all"
FILE_SIGNS = re.compile(r"[_\-.\d]+")  # between the words of a file name


def listen(bank: MemoryBank, story: Story, shot: Shot) -> MemoryBank:
    """``bank`` with the choice of frames for ``shot``, and in ``seen`` what was chosen and why.

    The policy ``window`` chooses nothing, and no other one as long as every frame has a place.

    Raises:
        ValueError: for the policy ``relevant`` without an embedder that reads texts, and for more
            pins than places.
    """
    if bank.policy == "window":
        return replace(bank, seen={}) if bank.seen else bank
    if not has_to_choose(bank):
        return replace(bank, seen={frame.digest: ROOM_FOR_ALL for frame in bank.frames})
    pinned = bank.pinned_indices()
    places = {"max_frames": bank.max_frames, "sink": bank.sink, "pinned": pinned}
    if bank.policy == "entities":
        names = known_names(bank, story)
        shown = [who_is_shown(bank, frame, story, names) for frame in bank.frames]
        choice = choose_entities(shown, named_in(shot.prompt, names), **places)
    else:
        choice = _most_related(bank, shot.prompt, places)
    seen = {bank.frames[i].digest: why for i, why in choice.reasons.items()}
    return replace(bank, choice=choice, seen=seen)


def has_to_choose(bank: MemoryBank) -> bool:
    """Whether the policy is asked, because there are more frames than places."""
    return bank.policy != "window" and len(bank.frames) > bank.max_frames


def who_is_shown(bank: MemoryBank, frame, story: Story, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` that a frame shows."""
    label = bank.edits.label_of(frame.digest)
    return named_in(label, names) if label is not None else shown_by_itself(frame, story, names)


def shown_by_itself(frame, story: Story, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` that a frame shows as far as its file and its shot's prompt tell."""
    if found := named_in(FILE_SIGNS.sub(" ", frame.name), names):
        return found
    if frame.story != story.name:
        return ()
    if frame.prompt:
        return named_in(frame.prompt, names)
    if 0 <= frame.shot < len(story.shots):  # of an earlier version, which did not write it down
        return named_in(story.shots[frame.shot].prompt, names)
    return ()


def known_names(bank: MemoryBank, story: Story) -> tuple[str, ...]:
    """The names of a story's cast, and those that the artist wrote about frames."""
    written = (name for _, label in bank.edits.names for name in names_in_label(label))
    return _names((*story.cast, *written), story.character, tuple(s.prompt for s in story.shots))


@lru_cache(maxsize=8)
def _names(cast: tuple[str, ...], character: str, prompts: tuple[str, ...]) -> tuple[str, ...]:
    return names_of(cast, character, prompts)[:MAX_NAMES]


def with_names(bank: MemoryBank, story: Story) -> MemoryBank:
    """``bank`` that can tell on the page whom its frames show by themselves."""
    names = known_names(bank, story)
    frames = (*bank.frames, *bank.dropped) if names else ()
    found = {frame.digest: shown_by_itself(frame, story, names) for frame in frames}
    return replace(bank, shows={digest: shown for digest, shown in found.items() if shown})


def with_prompt(bank: MemoryBank, story: Story, shot: Shot) -> MemoryBank:
    """``bank`` whose frames from ``shot`` know its prompt, wherever the shot stands later."""

    def told(frame):
        own = frame.story == story.name and frame.shot == shot.index and not frame.prompt
        return replace(frame, prompt=shot.prompt) if own else frame

    frames, dropped = (tuple(map(told, part)) for part in (bank.frames, bank.dropped))
    return replace(bank, frames=frames, dropped=dropped)


def _most_related(bank: MemoryBank, prompt: str, places: dict) -> Choice:
    if bank.embedder is None:
        raise ValueError(
            "the memory's policy is relevant, but nothing says how related a picture is to a "
            "prompt: connect Load Embedder (CLIP) to the embedder input of Memory Bank, or choose "
            "another policy"
        )
    words = bank.embedder.embed_text(prompt).double()
    pictures = bank.embedder.embed_each(bank.frames).double()
    bank.embedder.release()  # the sampler needs the room
    relevance = (pictures @ words).tolist()
    similar = (pictures @ pictures.T).tolist()
    return choose_relevant(relevance, lambda i, j: similar[i][j], **places)
