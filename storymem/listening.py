"""Memory that listens to the prompt: the frames that one shot sees under the bank's policy.

The names of the story's cast tie frames to those whom they show: by the artist's label (the frame's
name, a word written in the gallery), else by the prompt of the shot that the frame is from, as it
was when the shot was made. A frame that came with a file is known by the file's name.
"""

from __future__ import annotations

import re
from dataclasses import replace

from .cast import named_in, names_of
from .memory_bank import MemoryBank
from .memory_policy import Choice, choose_entities, choose_relevant
from .story import Shot, Story

FILE_SIGNS = re.compile(r"[_\-.\d]+")  # between the words of a file name


def listen(bank: MemoryBank, story: Story, shot: Shot) -> MemoryBank:
    """``bank`` with the choice of frames for ``shot``; as it is for the policy ``window``.

    As long as every frame has a place there is nothing to choose.

    Raises:
        ValueError: for the policy ``relevant`` without an embedder that reads texts, and for more
            pins than places.
    """
    if not has_to_choose(bank):
        return bank
    pinned = bank.pinned_indices()
    places = {"max_frames": bank.max_frames, "sink": bank.sink, "pinned": pinned}
    if bank.policy == "entities":
        names = names_of(story.cast, story.character, (s.prompt for s in story.shots))
        shown = [who_is_shown(bank, frame, story, names) for frame in bank.frames]
        choice = choose_entities(shown, named_in(shot.prompt, names), **places)
    else:
        choice = _most_related(bank, shot.prompt, places)
    return replace(bank, choice=choice)


def has_to_choose(bank: MemoryBank) -> bool:
    """Whether the policy is asked, because there are more frames than places."""
    return bank.policy != "window" and len(bank.frames) > bank.max_frames


def who_is_shown(bank: MemoryBank, frame, story: Story, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the story's ``names`` that a frame shows."""
    label = bank.edits.label_of(frame.digest)
    if label is not None:
        return named_in(label, names)
    if found := named_in(FILE_SIGNS.sub(" ", frame.name), names):
        return found
    if frame.story != story.name:
        return ()
    if frame.prompt:
        return named_in(frame.prompt, names)
    if 0 <= frame.shot < len(story.shots):  # of an earlier version, which did not write it down
        return named_in(story.shots[frame.shot].prompt, names)
    return ()


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
