"""Semantic keyframe selection of a shot, with the aesthetic gate, against the bank (paper 3.2)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch

from ..memory.bank import MemoryBank, MemoryFrame
from ..memory.embedders import BATCH, Embedder
from .preprocess import ShotFrames, in_batches
from .scorers import Filtered, Scorer

SIMILARITY_THRESHOLD = 0.9  # released selection, calibrated on CLIP ViT-B/32
THRESHOLD_STEP = 0.01  # released selection
MAX_KEYFRAMES_PER_SHOT = 3  # paper's released selection
KNOWN_THRESHOLD = 0.9  # released selection: above this a keyframe is already in the bank
MAX_LISTED_REJECTS = 4  # frames that failed the gate, the best of them, to be looked at
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyframeSelection:
    """Chosen frames, the threshold that chose them, and how many passes it took to find it."""

    indices: tuple[int, ...]
    threshold: float
    passes: int


def select_keyframes(
    count: int,
    similarity: Callable[[int, int], float],
    good: Callable[[int], bool],
    *,
    threshold: float = SIMILARITY_THRESHOLD,
    step: float = THRESHOLD_STEP,
    max_keyframes: int = MAX_KEYFRAMES_PER_SHOT,
) -> KeyframeSelection:
    """Choose keyframes of a shot of ``count`` frames.

    The first good frame is a keyframe. Then, from frame 2 on, a frame whose similarity to the last
    keyframe is strictly below the threshold and that is good becomes the next one, and the anchor.
    When more than ``max_keyframes`` result, the threshold falls by ``step`` and all starts again.

    ``similarity(anchor, i)`` and ``good(i)`` are called once per pair and frame, and only when the
    outcome depends on them: a pass ends as soon as it has too many keyframes, which changes no
    result and spares the scorer.

    Raises:
        ValueError: for settings that cannot end, and for a similarity that is no cosine.
    """
    if count < 0 or max_keyframes < 1:
        raise ValueError(
            f"count must be 0 or more and max_keyframes 1 or more, not {count} and {max_keyframes}"
        )
    if not (math.isfinite(threshold) and math.isfinite(step) and step > 0):
        raise ValueError(
            f"threshold must be a number and step above 0, but they are {threshold} and {step}"
        )
    known: dict[tuple[int, int], float] = {}
    verdicts: dict[int, bool] = {}

    def is_good(i: int) -> bool:
        if i not in verdicts:
            verdicts[i] = bool(good(i))
        return verdicts[i]

    def cosine(anchor: int, i: int) -> float:
        if (anchor, i) not in known:
            value = float(similarity(anchor, i))
            if not -1.01 <= value <= 1.01:  # else the falling threshold might never end the search
                raise ValueError(
                    f"the similarity of frames {anchor} and {i} is {value}, but a cosine lies "
                    "between -1 and 1"
                )
            known[anchor, i] = value
        return known[anchor, i]

    first = next((i for i in range(count) if is_good(i)), None)
    if first is None:
        return KeyframeSelection((), threshold, 1)
    passes = 0
    while True:
        passes += 1
        chosen = [first]
        for i in range(max(2, first + 1), count):
            if cosine(chosen[-1], i) < threshold and is_good(i):
                chosen.append(i)
                if len(chosen) > max_keyframes:
                    break
        if len(chosen) <= max_keyframes:
            return KeyframeSelection(tuple(chosen), threshold, passes)
        threshold -= step  # in float64, accumulated: 0.9 - 0.01 - 0.01 is not 0.88


def drop_known(
    indices: Iterable[int],
    bank_similarity: Callable[[int], Iterable[float]],
    *,
    threshold: float = KNOWN_THRESHOLD,
) -> tuple[int, ...]:
    """Those ``indices`` that are not strictly more similar than ``threshold`` to any bank frame.

    ``bank_similarity(i)`` gives the similarity of frame ``i`` to every frame of the whole bank.
    New keyframes are not compared with each other.
    """
    return tuple(i for i in indices if not any(s > threshold for s in bank_similarity(i)))


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
    _say(keyframes, shot)
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


def _say(keyframes: Keyframes, shot: int) -> None:
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
