"""The memory bank: keyframes of earlier shots, in order (paper 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

import torch

from ..files.messages import counted, shown
from .edits import NO_EDITS, BankEdits
from .frame import REFERENCE_SHOT, MemoryFrame
from .policies import MAX_MEMORY_FRAMES, POLICIES, SINK_FRAMES, Choice, window

LEFT_OUT = "waits: "  # begins the reason of a frame that a policy left out
MAX_DROPPED = 32  # full-size pictures: the memory of a long story must not grow with them


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """An immutable bank of keyframes, in order of (shot, frame).

    ``frames`` holds every keyframe that was ever kept; ``used()`` is what a shot sees. ``dropped``
    lists the last candidates that were not kept, each with its reason, for the artist to see.
    ``edits`` are the artist's clicks; they hold for frames that come later too. ``policy`` says
    how a shot's frames are chosen when there are more than places. The rest is filled in by
    :mod:`storymem.loop.shot_memory` alone: ``choice`` is what was chosen for the shot that this
    bank was handed to; ``seen`` what the last shot saw under a policy other than the window, with
    reasons, and what was left out of it (see ``LEFT_OUT``); ``shows`` whom the prompts and file
    names say that each frame shows; ``weights`` what the script says that frames weigh, where it is
    not what all others do. ``scored`` is of :mod:`storymem.loop.memory_choice`: what the experts
    made of each frame of their pools, for the shot that this bank was handed to or has left;
    those that went begin with ``LEFT_OUT``.
    """

    frames: tuple[MemoryFrame, ...] = ()
    max_frames: int = MAX_MEMORY_FRAMES
    sink: int = SINK_FRAMES
    dropped: tuple[MemoryFrame, ...] = field(default=())
    edits: BankEdits = NO_EDITS
    policy: str = POLICIES[0]
    embedder: str = ""  # for relevant: the name of the embedder that compares prompts and pictures
    lacks: str = ""  # why no film can begin with it yet, in the artist's words; a draft may
    choice: Choice | None = None
    seen: Mapping[str, str] = field(default_factory=dict)  # digest -> reason
    shows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # digest -> names
    weights: Mapping[str, int] = field(default_factory=dict)  # digest -> weight, unless neutral
    scored: Mapping[str, str] = field(default_factory=dict)  # digest -> what Choose Memory said

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(
                f"policy must be one of {', '.join(POLICIES)}, but it is {shown(self.policy)}"
            )
        if self.max_frames < 0 or self.sink < 0:
            raise ValueError(
                f"max_frames and sink must be 0 or more, but they are {self.max_frames} and "
                f"{self.sink}"
            )

    def __len__(self) -> int:
        return len(self.frames)

    def used_indices(self) -> tuple[int, ...]:
        """Indices into ``frames`` that the next shot sees: the choice that was made for it, else
        the window.

        Pinned frames stay in the window: they take places from the recent part first. More pins
        than ``max_frames`` is a ValueError.
        """
        pinned = set(self.pinned_indices())
        if self.choice is not None:
            return self.choice.indices
        chosen = window(len(self.frames), max_frames=self.max_frames, sink=self.sink)
        missing = pinned.difference(chosen)
        if not missing:
            return chosen
        # A pin from outside the window replaces the oldest unpinned recent frame, then sink frames.
        sink = min(self.sink, self.max_frames)
        recent, first = list(chosen[sink:]), list(chosen[:sink])
        replaceable = [i for i in recent if i not in pinned]
        replaceable += [i for i in reversed(first) if i not in pinned]
        removed = set(replaceable[: len(missing)])
        return tuple(sorted((set(chosen) - removed) | missing))

    def pinned_indices(self) -> tuple[int, ...]:
        """Indices of the pinned frames.

        Raises:
            ValueError: when there are more than ``max_frames``.
        """
        pinned = tuple(i for i, frame in enumerate(self.frames) if frame.pinned)
        if len(pinned) > self.max_frames:
            raise ValueError(
                f"{len(pinned)} frames are pinned but only max_frames = {self.max_frames} can be "
                "used; unpin some frames or raise max_frames"
            )
        return pinned

    def used(self) -> tuple[MemoryFrame, ...]:
        """The frames the next shot sees, oldest first."""
        return tuple(self.frames[i] for i in self.used_indices())

    def memories(self) -> tuple[tuple[MemoryFrame, ...], tuple[MemoryFrame, ...]]:
        """The frames the next shot sees, for the high-noise expert and for the low-noise one, in
        the bank's order; the same ones unless each expert has a memory of its own."""
        used = self.used()
        high = tuple(frame for frame in used if frame.pool != "low")
        low = tuple(frame for frame in used if frame.pool != "high")
        return high, low

    def remember(
        self, frames: Iterable[MemoryFrame], *, dropped: Iterable[MemoryFrame] = ()
    ) -> MemoryBank:
        """A new bank with ``frames`` added, in order of (shot, frame).

        Of the dropped frames the last ``MAX_DROPPED`` stay to be looked at, and all that a click
        dropped, which could not come back otherwise, as well as the artist's references.
        """
        merged = tuple(sorted((*self.frames, *frames), key=lambda frame: frame.order))
        bank = self._changed(frames=merged, dropped=(*self.dropped, *dropped))
        if self.edits.names_frames:
            bank = bank.with_edits(self.edits)
        turned_down = [f for f in bank.dropped if f.edited != "drop" and f.shot != REFERENCE_SHOT]
        forgotten = {id(frame) for frame in turned_down[:-MAX_DROPPED]}
        return replace(bank, dropped=tuple(f for f in bank.dropped if id(f) not in forgotten))

    def with_edits(self, edits: BankEdits) -> MemoryBank:
        """A new bank with these clicks, instead of all that were made before."""
        frames, dropped = edits.apply(self.frames, self.dropped)
        return self._changed(frames=frames, dropped=dropped, edits=edits)

    def with_pins(self, *, pin: Iterable[int] = (), unpin: Iterable[int] = ()) -> MemoryBank:
        """A new bank with the frames at these indices pinned or unpinned."""
        changes = {self._checked(i): True for i in pin} | {self._checked(i): False for i in unpin}
        frames = tuple(
            replace(frame, pinned=changes[i], edited="") if i in changes else frame
            for i, frame in enumerate(self.frames)
        )
        return self._changed(frames=frames, edits=self._edits_without(self.frames, changes))

    def forget(self, indices: Iterable[int]) -> MemoryBank:
        """A new bank without the frames at these indices; they are listed as dropped."""
        gone = {self._checked(i) for i in indices}
        kept = tuple(frame for i, frame in enumerate(self.frames) if i not in gone)
        dropped = tuple(
            replace(self.frames[i], reason="dropped by hand", edited="") for i in sorted(gone)
        )
        edits = self._edits_without(self.frames, gone)
        return self._changed(frames=kept, dropped=(*self.dropped, *dropped), edits=edits)

    def restore(self, indices: Iterable[int]) -> MemoryBank:
        """A new bank in which these of the ``dropped`` frames are kept after all."""
        back = sorted(set(indices))
        wrong = [i for i in back if not 0 <= i < len(self.dropped)]
        if wrong:
            raise ValueError(
                f"there is no dropped frame {wrong[0] + 1}: the bank has "
                f"{counted(len(self.dropped), 'dropped frame')}"
            )
        frames = tuple(replace(self.dropped[i], reason="kept by hand", edited="") for i in back)
        rest = tuple(frame for i, frame in enumerate(self.dropped) if i not in back)
        edits = self._edits_without(self.dropped, back)
        return replace(replace(self, dropped=rest, edits=edits).remember(frames), dropped=rest)

    def edit(
        self,
        *,
        pin: Iterable[int] = (),
        unpin: Iterable[int] = (),
        forget: Iterable[int] = (),
        restore: Iterable[int] = (),
    ) -> MemoryBank:
        """All of an artist's changes at once; every index is one of this bank, not of a step."""
        forget, restore = list(forget), list(restore)
        count = len(self.dropped)
        edited = self.with_pins(pin=pin, unpin=unpin).forget(forget)
        # Forgetting appends to the dropped frames, so that the older indices still hold.
        if wrong := [i for i in restore if not 0 <= i < count]:
            raise ValueError(f"there is no dropped frame {wrong[0] + 1}: {count} were dropped")
        edited = edited.restore(restore)
        if self.choice is not None and self.scored:
            edited = self._still_chosen(edited)
        edited.used_indices()
        return edited

    def _still_chosen(self, edited: MemoryBank) -> MemoryBank:
        """``edited``, of what the experts chose for a shot: it sees all of that, and no window."""
        gone = {d: why for d, why in self.scored.items() if why.startswith(LEFT_OUT)}
        chosen = {d: why for d, why in self.scored.items() if d not in gone}
        told = {frame.digest: chosen.get(frame.digest, frame.why) for frame in edited.frames}
        reasons = {i: told[frame.digest] for i, frame in enumerate(edited.frames)}
        choice = Choice(tuple(reasons), reasons)
        return replace(edited, choice=choice, scored=gone | told)

    def _changed(self, **changes) -> MemoryBank:
        """A new bank with other frames, for which nothing is chosen yet."""
        return replace(self, choice=None, **changes)

    def _edits_without(self, frames: tuple[MemoryFrame, ...], indices: Iterable[int]) -> BankEdits:
        """The clicks on all but these frames: a later change by number counts instead."""
        if not self.edits.names_frames:
            return self.edits
        return self.edits.without(frames[i].digest for i in indices)

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self.frames):
            raise ValueError(
                f"there is no frame {index + 1} in a bank of {counted(len(self.frames), 'frame')}"
            )
        return index


def start_bank(
    references: Iterable[torch.Tensor] = (),
    *,
    max_frames: int = MAX_MEMORY_FRAMES,
    sink: int = SINK_FRAMES,
    pinned: bool = True,
    names: Sequence[str] = (),
    added: Mapping[str, torch.Tensor] | None = None,
    edits: BankEdits = NO_EDITS,
    policy: str = POLICIES[0],
    embedder: str = "",
) -> MemoryBank:
    """The bank a story begins with: the artist's own pictures, float ``[H, W, 3]`` each (MR2V).

    Args:
        names: who or what ``references`` show, in order; fewer names leave the rest without one.
        added: more of them by name, ``uint8 [H, W, 3]``, after ``references``.
        edits: the artist's clicks, which hold for every later bank too.

    Raises:
        ValueError: for pictures with NaN, for more pinned ones than ``max_frames``, and for more
            names than references.
    """
    references = list(references)
    if len(names) > len(references):
        raise ValueError(
            f"{counted(len(references), 'reference picture')} cannot have "
            f"{counted(len(names), 'name')} ({', '.join(names)}); give one for each, in order"
        )
    frames = tuple(
        MemoryFrame.from_pixels(
            pixels, frame=i, reason="reference picture", pinned=pinned, name=name
        )
        for i, (pixels, name) in enumerate(zip_longest(references, names, fillvalue=""))
    )
    frames += tuple(
        MemoryFrame(image, frame=i, reason="reference picture", pinned=pinned, name=name)
        for i, (name, image) in enumerate((added or {}).items(), len(frames))
    )
    bank = MemoryBank(
        frames, max_frames=max_frames, sink=sink, policy=policy, embedder=embedder
    ).with_edits(edits)
    bank.used_indices()
    return bank
