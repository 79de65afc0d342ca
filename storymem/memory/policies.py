"""Which frames of the bank a shot sees: the paper's window, or what the shot's prompt asks for.

``window`` is the method (paper 3.2). Its authors name the limit: several characters, and someone
who returns after a long absence. ``relevant`` and ``entities`` are ours: they fill the same number
of places by what the prompt says. ``entities_only`` leaves out the frames that show only others,
and may leave places empty. All are deterministic, and give every frame they chose a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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

    def __init__(self, max_frames: int, pinned: Sequence[int]):
        self.max_frames = max_frames
        self.reasons = {i: "pinned" for i in sorted(pinned)[:max_frames]}

    @property
    def left(self) -> int:
        return self.max_frames - len(self.reasons)

    def give(self, index: int, reason: str) -> None:
        if self.left > 0:
            self.reasons.setdefault(index, reason)

    def give_sink(self, sink: int, count: int) -> None:
        for i in range(min(sink, count)):
            self.give(i, "sink: one of the first frames")

    def give_recent(self, count: int) -> None:
        for i in reversed(range(count)):
            self.give(i, "recent")

    def choice(self) -> Choice:
        indices = tuple(sorted(self.reasons))
        return Choice(indices, {i: self.reasons[i] for i in indices})


def choose_relevant(
    relevance: Sequence[float],
    similarity: Callable[[int, int], float],
    *,
    max_frames: int,
    sink: int,
    pinned: Sequence[int] = (),
    diversity: float = DIVERSITY,
) -> Choice:
    """Pins, the sink, then one by one the frames most related to the prompt.

    Each place goes to the highest ``(1 - diversity) * relevance - diversity * nearest``: relevance
    scaled to 0 ... 1 over the candidates, nearest the similarity to the closest frame chosen so far
    (maximal marginal relevance, Carbonell and Goldstein 1998). The newer of equals wins.

    Args:
        relevance: of every frame to the shot's prompt, on any scale.
        similarity: of two frames, by index; cosines.
    """
    count = len(relevance)
    places = _Places(max_frames, pinned)
    places.give_sink(sink, count)
    waiting = [i for i in range(count) if i not in places.reasons]
    low = min((relevance[i] for i in waiting), default=0.0)
    spread = max((relevance[i] for i in waiting), default=0.0) - low
    nearest = {i: max((similarity(i, j) for j in places.reasons), default=0.0) for i in waiting}

    def score(i: int) -> tuple[float, int]:
        related = (relevance[i] - low) / spread if spread > 0 else 0.0
        return round((1 - diversity) * related - diversity * nearest[i], EQUAL), i

    while waiting and places.left > 0:
        best = max(waiting, key=score)
        waiting.remove(best)
        places.give(best, f"related to the prompt ({relevance[best]:.2f})")
        for i in waiting:
            nearest[i] = max(nearest[i], similarity(i, best))
    return places.choice()


def choose_entities(
    shown: Sequence[Sequence[str]],
    wanted: Sequence[str],
    *,
    max_frames: int,
    sink: int,
    pinned: Sequence[int] = (),
) -> Choice:
    """Pins, the frames of those who appear in the shot, the sink, then the most recent frames.

    Those who appear take turns, in order of mention, until the places that the sink does not need
    are given away; each turn goes to the newest frame of theirs that is left, the first one to a
    frame that shows them alone where there is one. Everybody gets one frame before anybody gets
    two, even when the sink has to give way.

    Args:
        shown: names of those that each frame shows.
        wanted: names of those who appear in the shot.
    """
    count = len(shown)
    places = _Places(max_frames, pinned)
    keys = [{name.casefold() for name in names} for names in shown]
    for turn in range(max_frames):
        room = max_frames - min(sink, count) if turn else max_frames
        for name in wanted:
            free = [i for i in range(count) if name.casefold() in keys[i]]
            if turn == 0 and any(i in places.reasons for i in free):
                continue  # already seen, through a pin or together with another
            free = [i for i in free if i not in places.reasons]
            if free and len(places.reasons) < room:
                alone = [i for i in free if len(keys[i]) == 1] if turn == 0 else []
                places.give(max(alone or free), f"shows {name}")
    places.give_sink(sink, count)
    places.give_recent(count)
    return places.choice()


def choose_entities_only(
    shown: Sequence[Sequence[str]],
    wanted: Sequence[str],
    *,
    max_frames: int,
    sink: int,
    pinned: Sequence[int] = (),
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
    )
    reasons = {kept[place]: why for place, why in choice.reasons.items()}
    return Choice(tuple(reasons), reasons, left_out)
