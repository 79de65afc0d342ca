"""Semantic keyframe selection of a shot, with the aesthetic gate, against the bank (paper 3.2)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import torch

from ..memory.bank import MemoryBank
from ..memory.embedders import BATCH, Embedder
from ..memory.frame import MemoryFrame
from .algorithm import (
    KNOWN_THRESHOLD,
    MAX_KEYFRAMES_PER_SHOT,
    SIMILARITY_THRESHOLD,
    drop_known,
    select_keyframes,
)
from .preprocess import ShotFrames, in_batches
from .scorers import Filtered, Scorer

MAX_LISTED_REJECTS = 4  # frames that failed the gate, the best of them, to be looked at
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Decision:
    """What a selection saw, for the picture of it. Frame indices count from 0 in the shot."""

    count: int
    asked_threshold: float
    threshold: float
    passes: int
    embedder: str
    indices: tuple[int, ...] = ()  # keyframes before the bank was looked at
    similarity: dict[int, float] = field(default_factory=dict)  # to the keyframe before it
    known: dict[int, float] = field(default_factory=dict)  # keyframe -> closest in the bank
    scores: dict[int, float] = field(default_factory=dict)
    scorer: str = ""
    score_threshold: float | None = None


@dataclass(frozen=True, eq=False)
class Keyframes:
    """Keyframes of one shot: what to remember, and what was turned down and why."""

    frames: tuple[MemoryFrame, ...] = ()
    rejected: tuple[MemoryFrame, ...] = ()
    decision: Decision | None = None

    def pinned(self) -> tuple[MemoryFrame, ...]:
        """The kept frames, pinned."""
        return tuple(replace(frame, pinned=True) for frame in self.frames)

    def describe(self) -> str:
        """One line per frame: what was kept and what was not, and why."""
        lines = [f"kept {frame.place}: {frame.reason}" for frame in self.frames]
        lines += [f"not kept {frame.place}: {frame.reason}" for frame in self.rejected]
        return "\n".join(lines) or "no keyframes"


def images_as_keyframes(images: torch.Tensor, *, story: str = "", shot: int = 0) -> Keyframes:
    """Every picture of ``[N, H, W, 3 or 4]`` as a keyframe, for a filter to judge."""
    frames = ShotFrames(images)
    return Keyframes(
        tuple(
            MemoryFrame(frames.original(i), story=story, shot=shot, frame=i)
            for i in range(len(frames))
        )
    )


def filter_keyframes(keyframes: Keyframes, result: Filtered) -> Keyframes:
    """``keyframes`` with what a filter kept; what it did not keep joins the rejected ones."""
    rejected = sorted((*keyframes.rejected, *result.rejected), key=lambda frame: frame.order)
    if keyframes.frames and not result.kept:
        logger.warning(
            "StoryMem: none of the %d keyframes is good enough (%s); nothing is remembered",
            len(keyframes.frames),
            "; ".join(frame.reason for frame in result.rejected),
        )
    return replace(keyframes, frames=result.kept, rejected=tuple(rejected))


def choose_keyframes(
    images: torch.Tensor,
    embedder: Embedder,
    *,
    scorer: Scorer | None = None,
    bank: MemoryBank | None = None,
    story: str = "",
    shot: int = 0,
    threshold: float = SIMILARITY_THRESHOLD,
    max_keyframes: int = MAX_KEYFRAMES_PER_SHOT,
    known_threshold: float = KNOWN_THRESHOLD,
) -> Keyframes:
    """The keyframes of one shot, ``images`` float ``[T, H, W, 3]`` in [0, 1] or uint8.

    Embeddings and scores are computed once per frame, and scores only for frames that the
    algorithm asks for. ``threshold`` is a cosine of ``embedder``; 0.9 is for CLIP ViT-B/32.

    Raises:
        ValueError: for frames with NaN, or that are not images.
    """
    shot_frames = ShotFrames(images)
    shot_frames.check()
    count = len(shot_frames)
    vectors: dict[int, torch.Tensor] = {}
    scores: dict[int, float] = {}

    def similarity(anchor: int, i: int) -> float:
        if i not in vectors or anchor not in vectors:
            # The first scan asks for every later frame, so they are embedded together.
            needed = [j for j in (anchor, *range(max(2, anchor + 1), count)) if j not in vectors]
            for batch in in_batches(needed, BATCH):
                rows = embedder.embed(torch.stack([shot_frames.small(j) for j in batch]))
                vectors.update(zip(batch, rows.double(), strict=True))
        return float(vectors[anchor] @ vectors[i])

    def good(i: int) -> bool:
        if scorer is None:
            return True
        if i not in scores:
            scores[i] = scorer.score(shot_frames.small(i)[None])[0]
        return scorer.is_good(scores[i])

    selection = select_keyframes(
        count, similarity, good, threshold=threshold, max_keyframes=max_keyframes
    )
    to_anchor = {
        i: similarity(max(k for k in selection.indices if k < i), i)
        for i in range(max(2, min(selection.indices, default=count) + 1), count)
    }
    label = {"story": story, "shot": shot, "scorer": scorer.name if scorer else ""}
    candidates = [
        MemoryFrame(
            shot_frames.original(i),
            frame=i,
            score=scores.get(i),
            similarity=to_anchor.get(i),
            reason=_why_kept(to_anchor.get(i), selection.threshold, scorer, scores.get(i)),
            **label,
        )
        for i in selection.indices
    ]
    frames, known_frames, closest = _split_known(candidates, bank, embedder, known_threshold)
    failed = [i for i, score in scores.items() if not scorer.is_good(score)]
    listed = sorted(sorted(failed, key=lambda i: -scores[i])[:MAX_LISTED_REJECTS])
    gated = [
        MemoryFrame(
            shot_frames.original(i),
            frame=i,
            score=scores[i],
            similarity=to_anchor.get(i),
            reason=f"{scorer.name} {scores[i]:.2f}, below {scorer.threshold:g}",
            **label,
        )
        for i in listed
    ]
    rejected = sorted((*known_frames, *gated), key=lambda frame: frame.order)
    decision = Decision(
        count=count,
        asked_threshold=threshold,
        threshold=selection.threshold,
        passes=selection.passes,
        embedder=embedder.name,
        indices=selection.indices,
        similarity=to_anchor,
        known=closest,
        scores=scores,
        scorer=scorer.name if scorer else "",
        score_threshold=scorer.threshold if scorer else None,
    )
    keyframes = Keyframes(tuple(frames), tuple(rejected), decision)
    _log_selection(keyframes, shot)
    return keyframes


def _why_kept(
    similarity: float | None, threshold: float, scorer: Scorer | None, score: float | None
) -> str:
    gate = f", {scorer.name} {score:.2f}" if scorer else ""
    if similarity is None:
        return f"first {'good ' if scorer else ''}frame of the shot{gate}"
    return f"similarity {similarity:.3f} to the last keyframe, below {threshold:.2f}{gate}"


def _split_known(
    candidates: list[MemoryFrame], bank: MemoryBank | None, embedder: Embedder, threshold: float
) -> tuple[list[MemoryFrame], list[MemoryFrame], dict[int, float]]:
    """Candidates that are new to the whole bank, those that are not, and the closest similarity.

    Both sides are embedded at their original size, as in the released selection.
    """
    if not candidates or bank is None or not bank.frames:
        return candidates, [], {}
    known = embedder.embed_each(bank.frames).double()
    vectors = embedder.embed_each(candidates).double()
    similarities = {c.frame: (known @ v).tolist() for c, v in zip(candidates, vectors, strict=True)}
    new = drop_known(similarities, similarities.__getitem__, threshold=threshold)
    closest = {i: max(row) for i, row in similarities.items()}

    def reason(candidate: MemoryFrame) -> str:
        twin = bank.frames[similarities[candidate.frame].index(closest[candidate.frame])]
        return (
            f"already in the bank: similarity {closest[candidate.frame]:.3f} to {twin.place}, "
            f"above {threshold:g}"
        )

    kept = [c for c in candidates if c.frame in new]
    dropped = [replace(c, reason=reason(c)) for c in candidates if c.frame not in new]
    return kept, dropped, closest


def _log_selection(keyframes: Keyframes, shot: int) -> None:
    decision = keyframes.decision
    if not decision.indices:
        best = max(decision.scores, key=decision.scores.get)
        logger.warning(
            "StoryMem: none of the %d frames of shot %d is good enough: the best, frame %d, has "
            "%s %.2f and %g is asked for. Nothing of this shot is remembered; the story goes on "
            "with the memory it has. Lower the scorer's threshold to keep frames of such shots.",
            decision.count,
            shot + 1,
            best,
            decision.scorer,
            decision.scores[best],
            decision.score_threshold,
        )
    else:
        logger.info(
            "StoryMem: shot %d: %d of %d frames are keyframes (threshold %.2f, %s)\n%s",
            shot + 1,
            len(keyframes.frames),
            decision.count,
            decision.threshold,
            "1 pass" if decision.passes == 1 else f"{decision.passes} passes",
            keyframes.describe(),
        )
