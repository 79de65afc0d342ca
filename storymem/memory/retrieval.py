"""Retrieval by the prompt: which frames a bank's policy chooses for one shot.

Names tie frames to those whom they show: those of the story's cast, and those that the artist wrote
about frames in the gallery. Such a label counts first, then the name of a picture's file, then the
prompt of the shot that the frame is from, as it was when the shot was made.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from ..script.cast import MAX_NAMES, named_in, names_in_label, names_of
from ..script.story import Shot, Story
from .bank import MemoryBank
from .embedders import Embedder
from .frame import MemoryFrame
from .policies import (
    BY_NAMES,
    Choice,
    choose_entities,
    choose_entities_only,
    choose_relevant,
    choose_remembered,
)
from .weights import weights_of

FILE_SIGNS = re.compile(r"[_\-.\d]+")  # between the words of a file name


def choose_frames(bank: MemoryBank, story: Story, shot: Shot, embedder: Embedder | None) -> Choice:
    """The frames that ``shot`` sees, when the bank's policy or the script's ``remember`` has to
    choose.

    Raises:
        ValueError: for the policy ``relevant`` without an embedder that reads texts, and for more
            pins than places.
    """
    pinned = bank.pinned_indices()
    places = {"max_frames": bank.max_frames, "sink": bank.sink, "pinned": pinned}
    subjects = weights_of(bank, story)
    if bank.policy == "window":
        return choose_remembered(subjects, **places)
    places["subjects"] = subjects
    if bank.policy in BY_NAMES:
        names = known_names(bank, story)
        shown = [names_in_frame(bank, frame, story, names) for frame in bank.frames]
        choose = choose_entities if bank.policy == "entities" else choose_entities_only
        return choose(shown, named_in(shot.prompt, names), **places)
    return _most_related(bank, shot.prompt, embedder, places)


def has_to_choose(bank: MemoryBank) -> bool:
    """Whether the policy is asked: there are more frames than places, or it leaves frames out even
    so. The window chooses only where frames weigh more or less than others."""
    if bank.policy == "entities_only":
        return bool(bank.frames)
    is_asked = bank.policy != "window" or bool(bank.weights)
    return is_asked and len(bank.frames) > bank.max_frames


def names_in_frame(
    bank: MemoryBank, frame, story: Story, names: tuple[str, ...]
) -> tuple[str, ...]:
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


def frames_to_names(bank: MemoryBank, story: Story) -> dict[str, tuple[str, ...]]:
    """Whom the frames of a bank show by themselves, by digest; those that show nobody are left
    out. What a shot's prompt says of a reference picture is a guess, and told only where the
    bank's policy goes by it."""
    names = known_names(bank, story)
    frames = (*bank.frames, *bank.dropped) if names else ()
    guesses = bank.policy in BY_NAMES

    def shown(frame: MemoryFrame) -> tuple[str, ...]:
        is_told = guesses or not frame.is_reference
        return shown_by_itself(frame if is_told else replace(frame, story=""), story, names)

    found = {frame.digest: shown(frame) for frame in frames}
    return {digest: shown for digest, shown in found.items() if shown}


def _most_related(bank: MemoryBank, prompt: str, embedder: Embedder | None, places: dict) -> Choice:
    if embedder is None:
        raise ValueError(
            "the memory's policy is relevant, but it has no embedder to compare pictures with "
            "prompts: connect Load Embedder (CLIP) to the embedder input of Memory Bank, or choose "
            "another policy"
        )
    words = embedder.embed_text(prompt).double()
    pictures = embedder.embed_each(bank.frames).double()
    embedder.release()  # the sampler needs the room
    relevance = (pictures @ words).tolist()
    similar = (pictures @ pictures.T).tolist()
    return choose_relevant(relevance, lambda i, j: similar[i][j], **places)
