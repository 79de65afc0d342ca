"""Memento's memory: a pool of frames for each expert, from which each chooses for every shot.

The pool is what the last choice left and the candidates of the shot before. What an expert does not
choose is gone from its pool for good, and from the bank when the other does not have it either
(:mod:`storymem.selection.keyframe_query` says how a choice is made). Pinned frames are in both
pools and never go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..memory.bank import LEFT_OUT, MemoryBank
from ..memory.frame import MemoryFrame
from ..memory.policies import Choice
from ..sampling.conditioning import TIME_STRIDE
from ..sampling.continuity import ShotPlan
from ..sampling.memory_layout import moments_of, query_positions
from ..selection.keyframe_query import PINNED, POOL_FRAMES, WHOLE, Chosen, QueryScores, choose

HIGH, LOW = EXPERTS = ("high", "low")
CHOOSES = "StoryMemChooseMemory"  # in the text of a body whose shots choose from the whole memory


@dataclass(frozen=True)
class Pool:
    """The frames that one expert chooses from, in the bank's order."""

    indices: tuple[int, ...]  # into the bank's frames
    frames: tuple[MemoryFrame, ...]
    positions: tuple[int, ...]  # latent frames from the shot's begin, as the query counts them


def pools_of(
    bank: MemoryBank, plan: ShotPlan | None, experts: Sequence[str] = EXPERTS
) -> dict[str, Pool]:
    """The pool of each expert for one shot.

    Args:
        plan: the shot; ``None`` for one by itself, which begins right after the newest frame.
        experts: ``("high",)`` where one model does every step.
    """
    found = {}
    for expert in experts:
        own = [i for i, f in enumerate(bank.frames) if f.pinned or f.pool in ("", expert)]
        frames = tuple(bank.frames[i] for i in own)
        moments = moments_of(frames, plan.story if plan else None)
        begin = plan.begin if plan else max(moments, default=0) + TIME_STRIDE
        found[expert] = Pool(tuple(own), frames, query_positions(moments, begin))
    return found


def places_in(bank: MemoryBank) -> int:
    """Frames that an expert sees: 8 as in the release, or fewer by the bank's ``max_frames``."""
    return min(POOL_FRAMES, bank.max_frames)


def has_to_score(bank: MemoryBank, pool: Pool) -> bool:
    """Whether a pool is too large to be used whole, and the query is asked."""
    return len(pool.indices) > places_in(bank) > 0


def keep_chosen(
    bank: MemoryBank,
    plan: ShotPlan | None,
    pools: Mapping[str, Pool],
    scores: Mapping[str, QueryScores],
) -> MemoryBank:
    """The bank as a shot sees it, and as it goes on to Remember: what no expert chose is dropped.
    An empty bank, and one of which shots see nothing (``max_frames`` 0), stays as it is.

    Both experts get the same number of frames, as the sampler needs it: where one would have more
    (after a click took some away), its last choices go, which are the global ones.

    Args:
        pools: of ``pools_of``.
        scores: of the pools for which ``has_to_score``.

    Raises:
        ValueError: for more pinned frames than ``max_frames``.
    """
    bank.pinned_indices()
    if not (bank.frames and places_in(bank)):
        return bank
    chosen = {expert: _chosen(bank, pool, scores.get(expert)) for expert, pool in pools.items()}
    least = min(map(len, chosen.values()))
    chosen = {expert: _shortened(kept, least) for expert, kept in chosen.items()}
    told = {
        index: "; ".join(
            f"{expert}: {_why(pools[expert], index, chosen[expert].get(index), scores.get(expert))}"
            for expert in pools
            if index in pools[expert].indices
        )
        or "in no pool"
        for index in range(len(bank.frames))
    }
    kept, gone = [], []
    for index, frame in enumerate(bank.frames):
        by = [expert for expert in pools if index in chosen[expert]]
        if by:
            pool = "" if len(by) == len(pools) else by[0]
            kept.append((index, replace(frame, pool=pool)))
        else:
            of_shot = f" for shot {plan.shot.index + 1}" if plan else ""
            reason = f"not chosen{of_shot} ({told[index]})"
            gone.append(replace(frame, pool="", reason=reason, edited=""))
    frames = tuple(frame for _, frame in kept)
    reasons = {place: told[index] for place, (index, _) in enumerate(kept)}
    scored = {frame.digest: LEFT_OUT + told[i] for i, frame in enumerate(bank.frames)}
    scored |= {frame.digest: told[index] for index, frame in kept}
    choice = Choice(tuple(range(len(frames))), reasons)
    dropped = (*bank.dropped, *gone)
    return replace(bank, frames=frames, dropped=dropped, choice=choice, seen={}, scored=scored)


def describe_choice(bank: MemoryBank, before: MemoryBank) -> str:
    """What Choose Memory made of ``before``, a line for each of its frames."""
    counts = ", ".join(
        f"{len(frames)} for the {expert}-noise expert"
        for expert, frames in zip(EXPERTS, bank.memories(), strict=True)
    )
    lines = [f"{len(bank.frames)} of {len(before.frames)} frames of the pool stay: {counts}"]
    for number, frame in enumerate(before.frames, 1):
        why = bank.scored.get(frame.digest, "")
        is_gone = why.startswith(LEFT_OUT)
        word = "gone" if is_gone else "kept"
        lines.append(f"{word} {number}: {frame.place}: {why.removeprefix(LEFT_OUT)}")
    return "\n".join(lines)


def _chosen(bank: MemoryBank, pool: Pool, scores: QueryScores | None) -> dict[int, str]:
    """Which of the bank's frames an expert keeps and as what, in the order of its choice."""
    places = places_in(bank)
    fixed = [i for i, frame in enumerate(pool.frames) if frame.pinned]
    if scores is None:
        found = [Chosen(i, PINNED if i in fixed else WHOLE) for i in range(len(pool.indices))]
    else:
        found = choose(scores.local, scores.whole_story, most=places, fixed=fixed)
    # Pins leave the global places free, and may so bring more than the artist lets a shot see.
    return {pool.indices[one.index]: one.part for one in found[: bank.max_frames]}


def _shortened(chosen: dict[int, str], count: int) -> dict[int, str]:
    """The first ``count`` choices; pinned frames count first."""
    loose = [index for index, part in chosen.items() if part != PINNED]
    kept = {*loose[: max(0, count - (len(chosen) - len(loose)))]}
    return {i: part for i, part in chosen.items() if part == PINNED or i in kept}


def _why(pool: Pool, index: int, part: str | None, scores: QueryScores | None) -> str:
    """``local, local 0.412 (2 of 14), global -0.031 (9 of 14)``, which the page words."""
    told = [part or "left out"]
    if scores is not None:
        place = pool.indices.index(index)
        for name, values in (("local", scores.local), ("global", scores.whole_story)):
            if values is not None:
                rank = 1 + sum(v > values[place] for v in values)
                told.append(f"{name} {values[place]:.3f} ({rank} of {len(values)})")
    return ", ".join(told)
