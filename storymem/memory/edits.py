"""What an artist changed in the memory with a click, as a value that can be undone.

A click names a frame by its picture, so it holds wherever that frame turns up, also in the bank of
a shot that is made later. Each frame that a click changed says so in ``edited``; undoing needs
nothing else, and other clicks begin from what the bank would be without any.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, zip_longest

from ..files.json_text import JsonError, parse_json
from ..files.messages import is_unicode, listed, shown
from ..files.names import is_label

MIN_DIGITS = 12  # of a digest, so that no two pictures are meant by one
KINDS = ("pin", "unpin", "drop", "keep")
CONTRARY = (("pin", "unpin"), ("drop", "keep"))
LONGEST_ROW = 200  # characters of a row's id
FROM = "from"  # under which JSON lists the clicks that hold from a shot on
_DIGITS = re.compile(rf"[0-9a-f]{{{MIN_DIGITS},64}}")


@dataclass(frozen=True)
class LaterEdits:
    """Clicks that hold from one shot on: those before it see what they saw.

    The shot is the one whose row has the id ``row``, else the one with the label ``shot``.
    """

    shot: str = ""  # scene and number, such as 02_01
    row: str = ""
    pin: tuple[str, ...] = ()
    unpin: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class BankEdits:
    """Frames by the first digits of their digest, and reference pictures by file name.

    A digest that no frame has is no error: that frame may come back.
    """

    pin: tuple[str, ...] = ()  # in view for the whole story
    unpin: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()  # out of the bank
    keep: tuple[str, ...] = ()  # a dropped candidate is in the bank after all
    images: tuple[str, ...] = ()  # files in the host's input folder
    names: tuple[tuple[str, str], ...] = ()  # digest -> whom the frame shows, in the artist's words
    later: tuple[LaterEdits, ...] = ()  # only a loop applies them: see ``edits_from.edits_at``
    # What the artist clicked, where this is only what holds of it at one shot: told to the page.
    given: BankEdits | None = field(default=None, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> BankEdits:
        """Read the JSON that the memory gallery writes; empty text changes nothing.

        Raises:
            ValueError: for text that is no such JSON, and for clicks that contradict each other.
        """
        if not text.strip():
            return cls()
        try:
            given = parse_json(text)
        except JsonError as error:
            raise ValueError(
                f"edits is not valid JSON ({error}); empty it to undo all changes, or make them "
                "again in the memory gallery"
            ) from None
        if not isinstance(given, Mapping):
            raise ValueError(
                f"edits must be a JSON object such as {_EXAMPLE}, but it is {shown(given)}"
            )
        if unknown := sorted(set(given) - {*KINDS, "images", "names", FROM}):
            raise ValueError(
                f"edits may only have {', '.join(KINDS)}, {FROM}, images and names, but it also "
                f"has {listed(map(shown, unknown))}"
            )
        return cls(
            **_clicks(given),
            images=_file_names(given.get("images", [])),
            names=_labels(given.get("names", {})),
            later=_later(given.get(FROM, [])),
        )

    @classmethod
    def of(cls, frames: Iterable, dropped: Iterable) -> BankEdits:
        """The clicks that these frames of a bank tell of."""
        frames = tuple(frames)
        return cls(
            pin=tuple(f.digest for f in frames if f.edited in ("pin", "keep") and f.pinned),
            unpin=tuple(f.digest for f in frames if f.edited == "unpin"),
            drop=tuple(f.digest for f in dropped if f.edited == "drop"),
            keep=tuple(f.digest for f in frames if f.edited == "keep"),
        )

    @property
    def names_frames(self) -> bool:
        """Whether any click pins, unpins, drops or keeps a frame."""
        return bool(self.pin or self.unpin or self.drop or self.keep)

    def label_of(self, digest: str) -> str | None:
        """What the artist wrote about a frame; ``None`` when nothing."""
        return self._labels.find(digest)

    @cached_property
    def _labels(self) -> Digests:
        return Digests(*zip(*self.names, strict=True)) if self.names else Digests(())

    @cached_property
    def _named(self) -> dict[str, Digests]:
        return {kind: Digests(getattr(self, kind)) for kind in KINDS}

    def without(self, digests: Iterable[str]) -> BankEdits:
        """The same clicks, but none on these frames."""
        digests = tuple(digests)
        left = {}
        for kind, named in self._named.items():
            gone = {start for digest in digests for start in named.starts_of(digest)}
            left[kind] = tuple(d for d in getattr(self, kind) if d not in gone)
        return replace(self, **left, given=self.given or self)

    def apply(self, frames: tuple, dropped: tuple) -> tuple[tuple, tuple]:
        """Kept and dropped frames with these clicks, instead of any that were made before."""
        frames, dropped = undo_edits(frames, dropped)
        if not self.names_frames:
            return frames, dropped
        known = {frame.digest for frame in frames}
        kept, rest = [], []
        for frame in dropped:
            if frame.digest in self._named["keep"] and frame.digest not in known:
                known.add(frame.digest)
                kept.append(replace(frame, edited="keep"))
            else:
                rest.append(frame)
        gone, stay = [], []
        for frame in _put_in_order(frames, kept):
            if frame.digest in self._named["drop"]:
                gone.append(replace(frame, edited="drop"))
            else:
                stay.append(self._pinned(frame))
        return tuple(stay), _put_in_order(rest, gone)

    def _pinned(self, frame):
        kind = "unpin" if frame.pinned else "pin"
        if frame.digest in self._named[kind]:
            return replace(frame, pinned=not frame.pinned, edited=frame.edited or kind)
        return frame


class Digests:
    """Frames by the first digits of their digests, each with a value: found in a few steps, however
    many there are."""

    def __init__(self, starts: Iterable[str], values: Iterable[object] = ()):
        pairs = enumerate(zip_longest(starts, values))
        self._known = {start: (place, value) for place, (start, value) in pairs}
        self._lengths = sorted({len(start) for start in self._known})

    def starts_of(self, digest: str) -> list[str]:
        """Those that ``digest`` begins with."""
        return [digest[:n] for n in self._lengths if digest[:n] in self._known]

    def __contains__(self, digest: str) -> bool:
        return bool(self.starts_of(digest))

    def find(self, digest: str) -> object:
        """The value of the first of them; ``None`` when there is none."""
        found = [self._known[start] for start in self.starts_of(digest)]
        return min(found)[1] if found else None


NO_EDITS = BankEdits()


def undo_edits(frames: tuple, dropped: tuple) -> tuple[tuple, tuple]:
    """Kept and dropped frames as they were before any click."""
    if not any(frame.edited for frame in (*frames, *dropped)):
        return frames, dropped
    back = [replace(f, edited="") for f in dropped if f.edited == "drop"]
    away = [replace(f, edited="", pinned=False) for f in frames if f.edited == "keep"]
    stay = tuple(
        replace(f, edited="", pinned=_PINNED_BEFORE.get(f.edited, f.pinned)) if f.edited else f
        for f in frames
        if f.edited != "keep"
    )
    rest = tuple(f for f in dropped if f.edited != "drop")
    return _put_in_order(stay, back), _put_in_order(rest, away)


_EXAMPLE = '{"pin": ["1f2e3d4c5b6a"], "drop": []}'
_PINNED_BEFORE = {"pin": False, "unpin": True}


def _put_in_order(frames: Sequence, more: Iterable) -> tuple:
    """``frames`` with ``more`` put where their shot and frame number belong: each before the first
    one that comes later."""
    result = list(frames)
    latest = list(accumulate((frame.order for frame in result), max))  # up to each place
    for frame in more:
        place = bisect_right(latest, frame.order)
        result.insert(place, frame)
        latest.insert(place, frame.order)
    return tuple(result)


def _clicks(given: Mapping) -> dict[str, tuple[str, ...]]:
    """Frames by kind of click; a frame is never pinned and unpinned, nor dropped and kept."""
    digests = {kind: _digests(given.get(kind, []), kind) for kind in KINDS}
    for one, other in CONTRARY:
        firsts, others = Digests(digests[one]), Digests(digests[other])
        both = [d for d in digests[one] if d in others]
        both += [d for d in digests[other] if d in firsts]
        if both:
            raise ValueError(
                f"edits names {both[0][:MIN_DIGITS]} under both {one} and {other}; take it out "
                "of one of them"
            )
    return digests


def _later(value) -> tuple[LaterEdits, ...]:
    if not isinstance(value, list):
        raise ValueError(f"edits, {FROM} must be a list, but it is {shown(value)}")
    return tuple(map(_edits_from, value))


def _edits_from(given) -> LaterEdits:
    if not isinstance(given, Mapping) or set(given) - {*KINDS, "shot", "row"}:
        raise ValueError(
            f"edits, {FROM}: each entry may only have shot, row, {', '.join(KINDS)}, but one is "
            f"{shown(given)}"
        )
    shot, row = given.get("shot", ""), given.get("row", "")
    is_row = isinstance(row, str) and is_unicode(row) and len(row) <= LONGEST_ROW
    if not is_row or not (is_label(shot) if shot else row) or not isinstance(shot, str):
        raise ValueError(
            f"edits, {FROM}: an entry must say its shot by scene and number, such as 02_01, but "
            f"one has {shown(shot or row)}"
        )
    return LaterEdits(shot, row, **_clicks(given))


def _digests(value, kind: str) -> tuple[str, ...]:
    names = [item.strip().lower() for item in _texts(value, kind)]
    for name in names:
        if not _DIGITS.fullmatch(name):
            raise ValueError(
                f"edits, {kind}: {shown(name)} is no frame; a frame is named by the first "
                f"{MIN_DIGITS} or more hexadecimal digits of its digest"
            )
    return tuple(dict.fromkeys(names))


def _file_names(value) -> tuple[str, ...]:
    names = _texts(value, "images")
    for name in names:
        if not name.strip() or "\0" in name or not is_unicode(name):
            raise ValueError(f"edits, images: {shown(name)} is no file name of the input folder")
    return tuple(dict.fromkeys(names))


def _labels(value) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
        raise ValueError(f"edits, names must give a text for each frame, but it is {shown(value)}")
    if wrong := [label for label in value.values() if not is_unicode(label)]:
        raise ValueError(
            f"edits, names: {shown(wrong[0])} holds a character that is not valid Unicode; type it "
            "again"
        )
    labels: dict[str, str] = {}
    for digest, label in value.items():
        labels.setdefault(*_digests([digest], "names"), label)
    return tuple(labels.items())


def _texts(value, kind: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"edits, {kind} must be a list of texts, but it is {shown(value)}")
    return value
