"""Semantic keyframe selection of a shot, with the aesthetic gate, against the bank (paper 3.2)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import torch

from ..files.messages import counted
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
    begin: int | None = None,
) -> Keyframes:
    """The keyframes of one shot, ``images`` float ``[T, H, W, 3]`` in [0, 1] or uint8.

    Embeddings and scores are computed once per frame, and scores only for frames that the
    algorithm asks for. ``threshold`` is a cosine of ``embedder``; 0.9 is for CLIP ViT-B/32.

    Args:
        begin: the moment of the first of ``images``, where that is known (see
            :class:`MemoryFrame`).

    Raises:
        ValueError: for frames with NaN, or that are not images.
    """
    shot_frames = ShotFrames(images)
    shot_frames.check()
    seen = _Measurements(shot_frames, embedder, scorer)
    selection = select_keyframes(
        len(shot_frames),
        seen.similarity,
        seen.is_good,
        threshold=threshold,
        max_keyframes=max_keyframes,
    )
    to_anchor = _similarity_to_anchors(selection.indices, seen)

    def as_memory(i: int, reason: str) -> MemoryFrame:
        return MemoryFrame(
            shot_frames.original(i),
            story=story,
            shot=shot,
            frame=i,
            score=seen.scores.get(i),
            scorer=scorer.name if scorer else "",
            similarity=to_anchor.get(i),
            reason=reason,
            moment=None if begin is None else begin + i,
        )

    candidates = [
        as_memory(i, _why_kept(to_anchor.get(i), selection.threshold, scorer, seen.scores.get(i)))
        for i in selection.indices
    ]
    frames, known_frames, closest = _split_known(candidates, bank, embedder, known_threshold)
    gated = [as_memory(i, _why_gated(scorer, seen.scores[i])) for i in seen.best_failed()]
    rejected = sorted((*known_frames, *gated), key=lambda frame: frame.order)
    decision = Decision(
        count=len(shot_frames),
        asked_threshold=threshold,
        threshold=selection.threshold,
        passes=selection.passes,
        embedder=embedder.name,
        indices=selection.indices,
        similarity=to_anchor,
        known=closest,
        scores=seen.scores,
        scorer=scorer.name if scorer else "",
        score_threshold=scorer.threshold if scorer else None,
    )
    keyframes = Keyframes(tuple(frames), tuple(rejected), decision)
    _log_selection(keyframes, shot)
    return keyframes


class _Measurements:
    """What the algorithm asks of a shot's frames: each is embedded once, and scored once when its
    score is asked for."""

    def __init__(self, frames: ShotFrames, embedder: Embedder, scorer: Scorer | None):
        self.frames = frames
        self.scores: dict[int, float] = {}
        self._embedder, self._scorer = embedder, scorer
        self._vectors: dict[int, torch.Tensor] = {}

    def similarity(self, anchor: int, i: int) -> float:
        """Cosine of two frames."""
        if not self._vectors:
            # The first anchor is compared with every later frame, so they are embedded together.
            self._embed([anchor, *range(max(2, anchor + 1), len(self.frames))])
        return float(self._vectors[anchor] @ self._vectors[i])

    def is_good(self, i: int) -> bool:
        """Whether a frame passes the aesthetic gate; without a scorer all do."""
        if self._scorer is None:
            return True
        if i not in self.scores:
            self.scores[i] = self._scorer.score(self.frames.small(i)[None])[0]
        return self._scorer.is_good(self.scores[i])

    def best_failed(self) -> list[int]:
        """The best of the frames that failed the gate, the best first."""
        failed = [i for i, score in self.scores.items() if not self._scorer.is_good(score)]
        return sorted(failed, key=lambda i: -self.scores[i])[:MAX_LISTED_REJECTS]

    def _embed(self, indices: list[int]) -> None:
        for batch in in_batches(indices, BATCH):
            rows = self._embedder.embed(torch.stack([self.frames.small(j) for j in batch]))
            self._vectors.update(zip(batch, rows.double(), strict=True))


def _similarity_to_anchors(indices: tuple[int, ...], seen: _Measurements) -> dict[int, float]:
    """Of every frame after the first keyframe, the similarity to the keyframe before it."""
    count = len(seen.frames)
    after_first = range(max(2, min(indices, default=count) + 1), count)
    return {i: seen.similarity(max(k for k in indices if k < i), i) for i in after_first}


def _why_kept(
    similarity: float | None, threshold: float, scorer: Scorer | None, score: float | None
) -> str:
    gate = f", {scorer.name} {score:.2f}" if scorer else ""
    if similarity is None:
        return f"first {'good ' if scorer else ''}frame of the shot{gate}"
    return f"similarity {similarity:.3f} to the last keyframe, below {threshold:.2f}{gate}"


def _why_gated(scorer: Scorer, score: float) -> str:
    return f"{scorer.name} {score:.2f}, below {scorer.threshold:g}"


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
            "StoryMem: none of the %d frames of shot %d is good enough: the best, frame %d, has %s "
            "%.2f, below the threshold of %g. Nothing of this shot is remembered; the story goes "
            "on with the memory it has. Lower the scorer's threshold to keep frames of such shots.",
            decision.count,
            shot + 1,
            best,
            decision.scorer,
            decision.scores[best],
            decision.score_threshold,
        )
    else:
        logger.info(
            "StoryMem: shot %d: %s of %s (%s)",
            shot + 1,
            counted(len(keyframes.frames), "keyframe"),
            counted(decision.count, "frame"),
            _in_short(keyframes),
        )
        logger.debug("%s", keyframes.describe())


def _in_short(keyframes: Keyframes) -> str:
    """Which frames a shot gives to the memory, or why it gives none of those that were chosen."""
    decision = keyframes.decision
    if not keyframes.frames:
        first = keyframes.rejected[0]
        return f"frame {first.frame}: {first.reason}"
    numbers = ", ".join(str(frame.frame) for frame in keyframes.frames)
    lowered = f"; threshold {decision.threshold:.2f} after {decision.passes} passes"
    was_lowered = decision.threshold != decision.asked_threshold
    return f"frame{'s' * (len(keyframes.frames) > 1)} {numbers}{lowered if was_lowered else ''}"
