"""Rehearse, then film: the opening memory of a film, out of a pass that is finished.

A whole first pass, even a cheap draft, has drawn everybody at least once. One frame of each is
enough for the film to keep looks from its first shot on. Which frame needs no judge and no model:
of the middle frames of the shots in which the script names somebody alone, the sharpest; where
nobody is ever alone, of those in company.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..files.messages import count_shots, counted, listed, shown
from ..loop.shot_store import ShotStore
from ..memory.bank import MAX_DROPPED, MemoryBank
from ..memory.edits import BankEdits
from ..memory.frame import REFERENCE_SHOT, MemoryFrame
from ..memory.retrieval import known_names, names_in_frame
from ..script.cast import MAX_NAMES, named_in
from ..script.story import Story
from ..selection.preprocess import selection_frame
from ..selection.scorers import Scorer
from .passes import pass_of
from .shown_shots import ShownShot, shown_shots

RULES = ("sharpest", "first", "sharpest_of_all")
OF_ALL_EVERY = 4  # frames: what one latent frame holds
OTHERS_PER_NAME = 3  # that the artist may choose instead, with a click
MOST_FRAMES_PER_NAME = 10  # no shot sees more frames than that of all together
PASS_WORDS = {
    "film": "the film's",
    "draft": "the draft's",
    "draft2": "the second draft's",
    "draft3": "the third draft's",
    "stills": "the stills'",
}
Score = Callable[[torch.Tensor], float]  # of a frame, uint8 [H, W, 3]; higher is better


@dataclass(frozen=True, eq=False)
class RehearsedFrame:
    """One frame of a pass, and whom it is there for."""

    names: tuple[str, ...]
    shot: ShownShot
    number: int  # of the frame in the shot, from 0
    picture: MemoryFrame


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """What a pass gives a film to begin with."""

    bank: MemoryBank  # that of before, and the frames, pinned and named
    frames: tuple[RehearsedFrame, ...]  # as chosen, before any click
    notes: tuple[str, ...] = ()  # what the artist should know, such as who is never seen

    def with_edits(self, edits: BankEdits) -> Rehearsal:
        """The same with an artist's clicks, instead of those of before."""
        return replace(self, bank=self.bank.with_edits(edits))


def sharpness(picture: torch.Tensor) -> float:
    """Mean absolute difference of neighbouring pixels of ``uint8 [H, W, 3]``, in levels of 0 to
    255: across and down, added. The same on every machine, for the sums are whole numbers."""
    levels = picture.to(torch.int16)
    total = 0.0
    for axis in (0, 1):
        steps = levels.diff(dim=axis).abs()
        total += int(steps.sum()) / max(1, steps.numel())
    return total


def rehearse(
    folder: Path,
    story: Story,
    *,
    store: ShotStore | None = None,
    frames_per_name: int = 1,
    rule: str = RULES[0],
    score: Score | None = None,
    places: Iterable[str] = (),
    bank: MemoryBank | None = None,
    again: bool = False,
) -> Rehearsal:
    """The opening memory of a film from the finished pass in ``folder``.

    Deterministic: the same files give the same bank. One shot is open at a time. The next best
    frames are among the bank's dropped ones, where a click brings them in.

    Args:
        store: where the records of the pass lie, for files that are missing or cut off.
        frames_per_name: how many frames of each, from as many shots; fewer where there are fewer.
        rule: ``sharpest`` of the middle frames, ``sharpest_of_all``: of every fourth frame, which
            decodes each shot whole; or ``first``: the first shot of the pass.
        score: in place of sharpness; ``first`` goes without it.
        places: those of the story's names that are places, and further ones, beside those that
            the script is to remember. Who is at a place is
            alone there all the same, and a place is alone where nobody is.
        bank: the artist's own pictures, which come first; its settings are those of the result.
        again: whether names get frames that pictures of ``bank`` show already.

    Raises:
        ValueError: when there is no such folder, it shows another story or no finished shot, a shot
            cannot be read, nobody is found in it, or options are wrong.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, but it is {shown(rule)}")
    if not 1 <= frames_per_name <= MOST_FRAMES_PER_NAME:
        raise ValueError(
            f"frames_per_name must be between 1 and {MOST_FRAMES_PER_NAME}, but it is "
            f"{frames_per_name}"
        )
    bank = MemoryBank() if bank is None else bank
    shots = shown_shots(folder, story, store)
    cast = _Cast(story, (*places, *places_of(story)))
    if not cast.names:
        raise ValueError(
            f"the script of {shown(story.name)} names nobody, so no frame can be chosen for "
            "anybody: list who is in it under cast, or write @Mara where Mara is meant"
        )
    known = () if again else _shown_by(bank, story)
    wanted = [name for name in cast.names if name.casefold() not in known]
    choice = _Choice(folder, cast, score or sharpness, rule, "best" if score else "sharpest")
    unseen = [name for name in wanted if not choice.add(name, shots, frames_per_name)]
    if len(unseen) == len(wanted) and not bank.frames:
        raise ValueError(
            f"no finished shot in {folder} names {listed(wanted)}: use the names of the cast in "
            "the prompts, or finish more of the pass"
        )
    notes = _notes(story, shots, unseen)
    if not wanted:
        notes.append("everybody has a picture already: nothing is taken from the rehearsal")
    frames, others = choice.frames(next_number(bank))
    pictures, more = _with_room(bank, frames, cast, shots)
    return Rehearsal(bank.remember(pictures, dropped=others), frames, (*notes, *more))


def source_of(folder: Path) -> str:
    """What frames of a folder's shots say of where they are from."""
    return f"{folder.parent.name}/{folder.name}"


def opening_of(bank: MemoryBank, folder: Path, *, is_film: bool) -> MemoryBank:
    """What a pass begins with, of a bank that may come from a rehearsal. A draft that began with
    frames of its own would be another one each time, so it begins without them.

    Args:
        folder: of the pass.

    Raises:
        ValueError: for a film whose rehearsal is not made yet, or is the film itself.
    """
    if is_film and bank.lacks:
        raise ValueError(bank.lacks)
    own = source_of(folder)
    if not any(frame.story == own and frame.is_reference for frame in bank.frames):
        return replace(bank, lacks="") if bank.lacks else bank
    if is_film:
        raise ValueError(
            f"{folder} is the film's own folder, so what it gives changes with every shot of the "
            "film; choose the folder of its draft on Rehearsal Memory"
        )
    kept = [tuple(f for f in part if f.story != own) for part in (bank.frames, bank.dropped)]
    return replace(bank, frames=kept[0], dropped=kept[1], lacks="")


def places_of(story: Story) -> tuple[str, ...]:
    """Places that the script says are worth remembering."""
    entries = (entry for shot in story.shots for entry in shot.remember)
    return tuple(dict.fromkeys(e.name for e in entries if e.kind == "place" and e.weight > 0))


def parse_places(text: str) -> tuple[str, ...]:
    """Places as an artist lists them, with commas between."""
    return tuple(dict.fromkeys(place.strip() for place in text.split(",") if place.strip()))


def score_with(scorer: Scorer) -> Score:
    """How good ``scorer`` finds a frame, which it sees as it sees keyframes."""
    return lambda picture: scorer.score(selection_frame(picture)[None])[0]


def describe_pass(folder: Path) -> str:
    """Whose shots those of a folder are, as in ``the draft's shot 6``."""
    return PASS_WORDS[pass_of(folder)]


class _Cast:
    """Who and which places a script names, and in which shots."""

    def __init__(self, story: Story, places: Iterable[str]):
        self.places = tuple(dict.fromkeys(places))
        folded = {place.casefold() for place in self.places}
        people = [name for name in story.names[:MAX_NAMES] if name.casefold() not in folded]
        self.people = tuple(people)
        self.names = (*self.people, *self.places)

    def appearances(self, name: str, shots: Sequence[ShownShot]) -> list[list[ShownShot]]:
        """The shots that name somebody alone, and those in company."""
        there = [shot for shot in shots if named_in(shot.prompt, (name,))]
        return [[s for s in there if self.is_alone(name, s) == alone] for alone in (True, False)]

    def is_alone(self, name: str, shot: ShownShot) -> bool:
        """Whether a shot names nobody else."""
        return not [other for other in named_in(shot.prompt, self.people) if other != name]


class _Choice:
    """The middle frames of shots, and for whom they are chosen. Each shot is looked into once and
    its picture forgotten; those that somebody gets are read again."""

    def __init__(self, folder: Path, cast: _Cast, score: Score, rule: str, word: str):
        self._word, self._cast, self._score, self._rule = describe_pass(folder), cast, score, rule
        self._how = rule if rule == "first" else word
        self._source = source_of(folder)
        self._scores: dict[int, tuple[float, int]] = {}  # by index of the shot; of which frame
        self._chosen: dict[int, tuple[ShownShot, list[str]]] = {}
        self._others: dict[int, tuple[ShownShot, list[str]]] = {}

    def add(self, name: str, shots: Sequence[ShownShot], count: int) -> bool:
        """Choose for one name; whether there was anything to choose from."""
        alone, company = (sorted(s, key=self._rank) for s in self._cast.appearances(name, shots))
        best = (alone or company)[:count]
        rest = [shot for shot in (*alone, *company) if shot not in best]
        for table, found in ((self._chosen, best), (self._others, rest[:OTHERS_PER_NAME])):
            for shot in found:
                table.setdefault(shot.index, (shot, []))[1].append(name)
        return bool(best)

    def frames(self, number: int) -> tuple[tuple[RehearsedFrame, ...], list[MemoryFrame]]:
        """What was chosen, and the next best, which a click may bring in.

        Args:
            number: of the first frame among a bank's own pictures.
        """
        found: dict[str, RehearsedFrame] = {}
        for shot, names in self._chosen.values():
            frame = self._read(shot, names, number + len(found), "")
            if frame.picture.digest in found:  # two shots may show the very same
                names = [*found[frame.picture.digest].names, *names]
                frame = replace(frame, names=tuple(dict.fromkeys(names)))
                picture = replace(frame.picture, name=", ".join(frame.names))
                frame = replace(frame, picture=picture)
            found[frame.picture.digest] = frame
        others: dict[str, MemoryFrame] = {}
        rest = [pair for i, pair in self._others.items() if i not in self._chosen][:MAX_DROPPED]
        for shot, names in rest:
            picture = self._read(shot, names, number + len(found) + len(others), "not ").picture
            if picture.digest not in found:
                others.setdefault(picture.digest, replace(picture, pinned=False))
        return tuple(found.values()), list(others.values())

    def _read(self, shot: ShownShot, names: Sequence[str], number: int, negated: str):
        best = self._scores[shot.index][1] if self._rule != "first" else shot.count_frames() // 2
        how = "alone" if all(self._cast.is_alone(n, shot) for n in names) else "in company"
        why = f"{negated}the {self._how} that shows {' and '.join(names)} {how}"
        picture = MemoryFrame(
            shot.read_frame(best),
            story=self._source,
            frame=number,
            name=", ".join(names),
            reason=f"from {self._word} shot {shot.number}, frame {best}: {why}",
            pinned=True,
        )
        return RehearsedFrame(tuple(names), shot, best, picture)

    def _rank(self, shot: ShownShot) -> tuple[float, int]:
        """The best first; the earlier of equals."""
        if self._rule == "first":
            return 0.0, shot.index
        if shot.index not in self._scores:
            count = shot.count_frames()
            of_all = range(0, count, OF_ALL_EVERY)
            frames = shot.read_frames(of_all if self._rule == "sharpest_of_all" else [count // 2])
            scored = [(float(self._score(torch.from_numpy(f))), -number) for number, f in frames]
            best, negated = max(scored)  # the earlier of equals
            self._scores[shot.index] = best, -negated
        return -self._scores[shot.index][0], shot.index


def _shown_by(bank: MemoryBank, story: Story) -> set[str]:
    """Those whom pictures of a bank show, in small letters."""
    names = known_names(bank, story)
    return {
        name.casefold()
        for frame in bank.frames
        for name in names_in_frame(bank, replace(frame, story=""), story, names)
    }


def next_number(bank: MemoryBank) -> int:
    """Behind the pictures that a bank begins with."""
    held = (*bank.frames, *bank.dropped)
    return max((f.frame + 1 for f in held if f.shot == REFERENCE_SHOT), default=0)


def _with_room(
    bank: MemoryBank, frames: Sequence[RehearsedFrame], cast: _Cast, shots: Sequence[ShownShot]
) -> tuple[list[MemoryFrame], list[str]]:
    """The pictures of ``frames``; pinned as long as a place stays for what the film itself makes,
    first those of the names that appear most."""
    pins = sum(frame.pinned for frame in bank.frames)
    room = max(0, bank.max_frames - 1 - pins) if bank.max_frames > 1 else bank.max_frames - pins
    if len(frames) <= room:
        return [frame.picture for frame in frames], []
    count = Counter({n: len([s for s in shots if named_in(s.prompt, (n,))]) for n in cast.names})
    order = sorted(range(len(frames)), key=lambda i: (-max(count[n] for n in frames[i].names), i))
    pinned = set(order[: max(0, room)])
    pictures = [replace(f.picture, pinned=i in pinned) for i, f in enumerate(frames)]
    note = (
        f"{counted(len(frames), 'frame')} of the rehearsal, but room to pin {max(0, room)} of them "
        f"beside what the film makes (max_frames is {bank.max_frames}): those who appear least are "
        "not pinned; raise max_frames, or choose the policy entities, which finds them by name"
    )
    return pictures, [note]


def _notes(story: Story, shots: Sequence[ShownShot], unseen: Sequence[str]) -> list[str]:
    notes = []
    there = {shot.index for shot in shots}
    missing = [str(shot.index + 1) for shot in story.shots if shot.index not in there]
    if missing:
        notes.append(
            f"the rehearsal lacks {count_shots(len(missing))} of {len(story.shots)} "
            f"({listed(missing)}): no frame of those can be chosen"
        )
    if unseen:
        notes.append(
            f"no finished shot of the rehearsal names {listed(unseen)}: their looks are not known "
            "before the film shows them"
        )
    return notes
