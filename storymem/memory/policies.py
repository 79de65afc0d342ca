"""Which frames of the bank a shot sees: the paper's window, or what the shot's prompt asks for.

``window`` is the method (paper 3.2). Its authors name the limit: several characters, and someone
who returns after a long absence. ``relevant`` and ``entities`` are ours: they fill the same number
of places by what the prompt says. ``entities_only`` leaves out the frames that show only others,
and may leave places empty. Where a script says what is worth remembering, each of them heeds it:
frames that weigh much are kept longer, and those of weight 0 give way first. All are deterministic,
and give every frame they chose a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..script.remembered import GIVEN, NEUTRAL

MAX_MEMORY_FRAMES = 10  # paper: the model was trained with at most ten memory frames
SINK_FRAMES = 3  # paper: the first three keyframes always stay


def memory_warnings(max_frames: int, sink: int, policy: str) -> list[str]:
    """What the artist should know of a memory's settings before the first shot."""
    warnings = []
    if max_frames > MAX_MEMORY_FRAMES:
        warnings.append(
            f"max_frames is {max_frames}, but the model was trained with up to {MAX_MEMORY_FRAMES} "
            "memory frames; more may blur characters and take longer"
        )
    if 0 < max_frames <= sink:
        # Where names count, it gives way to who appears.
        who = "shot that names nobody of the cast" if policy in BY_NAMES else "shot"
        warnings.append(
            f"the opening frames, {sink} of them, fill all {max_frames} places of the memory, so "
            f"no {who} sees anything newer unless it is pinned; set opening_frames (sink) to "
            f"{max_frames // 3}"
        )
    return warnings


def window(
    count: int, *, max_frames: int = MAX_MEMORY_FRAMES, sink: int = SINK_FRAMES
) -> tuple[int, ...]:
    """Indices of the frames that are used when the bank holds ``count`` frames.

    All of them while there are at most ``max_frames``; else the first ``sink`` and the most recent
    ``max_frames - sink``. ``sink`` is clipped to ``max_frames``.

    Deliberately not the released slice ``bank[:fix] + bank[-(max - fix):]``, which returns the
    whole bank when ``fix == max`` and repeats frames when ``fix > max``. A negative ``sink`` counts
    as none, as in the method's exact cases.

    Raises:
        ValueError: for a negative ``count`` or ``max_frames``.
    """
    for name, value in (("count", count), ("max_frames", max_frames)):
        if value < 0:
            raise ValueError(f"{name} must be 0 or more, but it is {value}")
    if count <= max_frames:
        return tuple(range(count))
    sink = max(0, min(sink, max_frames))
    recent = max_frames - sink
    return tuple(range(sink)) + tuple(range(count - recent, count))


POLICIES = ("window", "relevant", "entities", "entities_only")
BY_NAMES = ("entities", "entities_only")  # those that ask whom a frame shows
DIVERSITY = 0.3  # of a choice's score: how little it looks like the frames chosen before
WEIGHT_SHARE = 0.2  # of a choice's score: each step of a frame's weight from neutral
GIVES_WAY = "weight 0 gives way first"
EQUAL = 6  # decimals to which two scores are compared: the newer of equals wins


@dataclass(frozen=True)
class Choice:
    """Indices into the bank's frames, oldest first, each with its reason.

    ``left_out`` says of frames why they were no candidates; others that were not chosen found no
    place.
    """

    indices: tuple[int, ...]
    reasons: dict[int, str] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)


class _Places:
    """The places of the memory, given away one by one."""

    def __init__(
        self, max_frames: int, pinned: Sequence[int], subjects: Sequence[Mapping[str, int]] = ()
    ):
        self.max_frames = max_frames
        self.subjects = subjects
        self.reasons = {i: "pinned" for i in sorted(pinned)[:max_frames]}

    @property
    def left(self) -> int:
        return self.max_frames - len(self.reasons)

    def give(self, index: int, reason: str) -> None:
        if self.left > 0:
            self.reasons.setdefault(index, reason)

    def give_sink(self, sink: int, count: int) -> None:
        for i in range(min(sink, count)):
            if self.weight(i) > 0:
                self.give(i, "sink: one of the first frames")

    def give_recent(self, count: int) -> None:
        for i in sorted(range(count), key=lambda i: (self.weight(i) > 0, i), reverse=True):
            self.give(i, "recent")

    def weight(self, index: int, name: str = "") -> int:
        """Of a frame, or of it for one of those whom it is kept for."""
        subjects = self.subjects[index] if self.subjects else {}
        if name:
            return subjects.get(name, NEUTRAL)
        return max(subjects.values(), default=NEUTRAL)

    def choice(self, count: int) -> Choice:
        indices = tuple(sorted(self.reasons))
        gone = [i for i in range(count) if i not in self.reasons and self.weight(i) == 0]
        left_out = dict.fromkeys(gone, GIVES_WAY)
        return Choice(indices, {i: self.reasons[i] for i in indices}, left_out)


def _folded(subjects: Sequence[Mapping[str, int]] | None, count: int) -> list[dict[str, int]]:
    """Weights by names in small letters; of nobody without ``subjects``."""
    if subjects is None:
        return [{} for _ in range(count)]
    return [{name.casefold(): weight for name, weight in of.items()} for of in subjects]


def choose_remembered(
    subjects: Sequence[Mapping[str, int]],
    *,
    max_frames: int,
    sink: int,
    pinned: Sequence[int] = (),
) -> Choice:
    """The window of a script that says what is worth remembering.

    Pins, the sink, then frames that weigh 2 or more, then the most recent. A third of the places
    stay for the recent ones. Those for whom frames are kept take turns, the weightiest first; each
    turn goes to their weightiest frame, to one kept for them alone where there is one, then to the
    newest. Whoever weighs 2 gets one frame, whoever weighs 3 gets more. Frames of weight 0 fill
    places that are left.

    Args:
        subjects: for each frame, whom or what it is kept for, with weights; empty when neutral.
    """
    count = len(subjects)
    places = _Places(max_frames, pinned, subjects)
    places.give_sink(sink, count)
    recent = max_frames // 3
    waiting: dict[str, list[tuple[int, bool, int]]] = {}
    names: dict[str, str] = {}
    for i, of in enumerate(subjects):
        for name, weight in of.items():
            if weight >= GIVEN:
                key = names.setdefault(name.casefold(), name).casefold()
                waiting.setdefault(key, []).append((weight, len(of) == 1, i))
    for frames in waiting.values():
        frames.sort()
    turns = sorted(waiting, key=lambda name: (waiting[name][-1][0], waiting[name][-1][2]))[::-1]
    for turn in range(max_frames):
        for name in turns:
            frames = waiting[name]
            if turn == 0 and any(i in places.reasons for _, _, i in frames):
                continue  # kept already, through a pin, the sink or together with another
            free = [frame for frame in frames if frame[2] not in places.reasons]
            if turn:
                free = [frame for frame in free if frame[0] > GIVEN]
            if free and places.left > recent:
                weight, _, i = free[-1]
                places.give(i, f"kept for {names[name]}, weight {weight}")
    places.give_recent(count)
    return places.choice(count)


def choose_relevant(
    relevance: Sequence[float],
    similarity: Callable[[int, int], float],
    *,
    max_frames: int,
    sink: int,
    pinned: Sequence[int] = (),
    diversity: float = DIVERSITY,
    subjects: Sequence[Mapping[str, int]] | None = None,
) -> Choice:
    """Pins, the sink, then one by one the frames most related to the prompt.

    Each place goes to the highest ``(1 - diversity) * relevance - diversity * nearest``: relevance
    scaled to 0 ... 1 over the candidates, nearest the similarity to the closest frame chosen so far
    (maximal marginal relevance, Carbonell and Goldstein 1998). The newer of equals wins.

    Args:
        relevance: of every frame to the shot's prompt, on any scale.
        similarity: of two frames, by index; cosines.
        subjects: for each frame, whom or what the script keeps it for, with weights. A step of the
            weight counts ``WEIGHT_SHARE`` of a score; weight 0 comes after all others.
    """
    count = len(relevance)
    places = _Places(max_frames, pinned, _folded(subjects, count))
    places.give_sink(sink, count)
    waiting = [i for i in range(count) if i not in places.reasons]
    low = min((relevance[i] for i in waiting), default=0.0)
    spread = max((relevance[i] for i in waiting), default=0.0) - low
    nearest = {i: max((similarity(i, j) for j in places.reasons), default=0.0) for i in waiting}

    def score(i: int) -> tuple[bool, float, int]:
        related = (relevance[i] - low) / spread if spread > 0 else 0.0
        worth = WEIGHT_SHARE * (places.weight(i) - NEUTRAL)
        score = (1 - diversity) * related - diversity * nearest[i] + worth
        return places.weight(i) > 0, round(score, EQUAL), i

    while waiting and places.left > 0:
        best = max(waiting, key=score)
        waiting.remove(best)
        weighed = _weighed(places.weight(best))
        places.give(best, f"related to the prompt ({relevance[best]:.2f}){weighed}")
        for i in waiting:
            nearest[i] = max(nearest[i], similarity(i, best))
    return places.choice(count)


def _weighed(weight: int) -> str:
    return "" if weight == NEUTRAL else f", weight {weight}"


def choose_entities(
    shown: Sequence[Sequence[str]],
    wanted: Sequence[str],
    *,
    max_frames: int,
    sink: int,
    pinned: Sequence[int] = (),
    subjects: Sequence[Mapping[str, int]] | None = None,
) -> Choice:
    """Pins, the frames of those who appear in the shot, the sink, then the most recent frames.

    Those who appear take turns, in order of mention, until the places that the sink does not need
    are given away; each turn goes to the newest frame of theirs that is left, the first one to a
    frame that shows them alone where there is one. Everybody gets one frame before anybody gets
    two, even when the sink has to give way. With ``subjects`` the weightiest come first, and get as
    many frames in each later turn as they weigh; each gets the weightiest frame, then the newest.

    Args:
        shown: names of those that each frame shows.
        wanted: names of those who appear in the shot.
        subjects: for each frame, whom or what the script keeps it for, with weights.
    """
    count = len(shown)
    places = _Places(max_frames, pinned, _folded(subjects, count))
    keys = [{name.casefold() for name in names} for names in shown]
    frames = {name: [i for i in range(count) if name.casefold() in keys[i]] for name in wanted}

    def worth(name: str, indices: Iterable[int]) -> int:
        return max((places.weight(i, name.casefold()) for i in indices), default=NEUTRAL)

    worths = {name: worth(name, frames[name]) for name in wanted}
    for turn in range(max_frames):
        room = max_frames - min(sink, count) if turn else max_frames
        for name in sorted(wanted, key=lambda name: -worths[name]):
            if turn == 0 and any(i in places.reasons for i in frames[name]):
                continue  # already seen, through a pin or together with another
            for _ in range(worths[name] if turn else 1):
                free = [i for i in frames[name] if i not in places.reasons]
                if free and len(places.reasons) < room:
                    free = [i for i in free if worth(name, [i]) > 0] or free
                    alone = [i for i in free if len(keys[i]) == 1] if turn == 0 else []
                    best = max(alone or free, key=lambda i: (worth(name, [i]), i))
                    places.give(best, f"shows {name}{_weighed(worth(name, [best]))}")
    places.give_sink(sink, count)
    places.give_recent(count)
    return places.choice(count)


def choose_entities_only(
    shown: Sequence[Sequence[str]],
    wanted: Sequence[str],
    *,
    max_frames: int,
    sink: int,
    pinned: Sequence[int] = (),
    subjects: Sequence[Mapping[str, int]] | None = None,
) -> Choice:
    """As ``choose_entities``, from the frames that show somebody who appears, or nobody known.

    A frame that shows only others makes a model draw them in place of those whom the prompt names.
    So it is left out, even when it is pinned and when places stay empty. Nothing is left out of a
    shot that names nobody: who appears may be said in words that cannot be read.

    Args:
        shown: names of those that each frame shows.
        wanted: names of those who appear in the shot.
    """
    here = {name.casefold() for name in wanted}
    left_out = {
        i: f"shows nobody in the shot, only {', '.join(names)}"
        for i, names in enumerate(shown)
        if here and names and here.isdisjoint(name.casefold() for name in names)
    }
    kept = [i for i in range(len(shown)) if i not in left_out]
    choice = choose_entities(
        [shown[i] for i in kept],
        wanted,
        max_frames=max_frames,
        sink=sink,
        pinned=[place for place, i in enumerate(kept) if i in pinned],
        subjects=None if subjects is None else [subjects[i] for i in kept],
    )
    reasons = {kept[place]: why for place, why in choice.reasons.items()}
    left_out |= {kept[place]: why for place, why in choice.left_out.items()}
    return Choice(tuple(reasons), reasons, left_out)
