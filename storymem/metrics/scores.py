"""The paper's numbers for a finished story (arXiv 2512.19539, section 4; docs/metrics.md).

Unit vectors V of a shot's video and T of its prompt:

- **single_shot**: mean of V_i . T_i; **global**: V of the joined story . T of the overview;
- **overall**: mean of V_i . V_j over all pairs of shots; **top10**: over the 10 pairs with the
  highest T_i . T_j (fewer when there are fewer; among equals the earlier pair);
- **aesthetic**: mean over all frames of LAION's predictor / 10, as VBench scales it.

What cannot be known is ``None``: pairs of a story of one shot, a story without overview.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..film.finished_story import StoryFilm, frame_counts, place_in_shots, watch
from ..models.clip_parts import OPEN_CLIP, TokenIds
from ..models.clip_vision import ClipShape
from ..models.laion import LaionScorer
from ..models.viclip import (
    FRAMES,
    ViClipShape,
    as_clip_input,
    count_tokens,
    middle_frames,
    tokenise,
)

TOP_PAIRS = 10
OTHER_AESTHETIC = "aesthetic_other_head"  # a column of its own: other heads have other scales
AESTHETIC_SCALE = 10  # the predictor's best score; VBench gives tenths
SEED, ROUNDS = 0, 10_000  # of the bootstrap
THUMBNAIL = 192  # pixels, longest side


class AestheticQuality(LaionScorer):
    """LAION's predictor with VBench's own pixels; scores in tenths, 0.1 to 1."""

    def __init__(self, encode, shape: ClipShape, head: torch.nn.Sequential, **options):
        super().__init__(encode, shape, head, **options)
        is_vbench = len(head) == 1 and shape.name == "ViT-L/14"
        self.column = "aesthetic" if is_vbench else OTHER_AESTHETIC
        kind = "linear" if len(head) == 1 else "MLP"
        self.title = f"LAION's {kind} head on CLIP {shape.name}, / {AESTHETIC_SCALE}"

    def _score(self, frames: torch.Tensor) -> torch.Tensor:
        features = self._encode(as_clip_input(frames, self._image)).float().cpu()
        return self._head(F.normalize(features, dim=-1))[:, 0] / AESTHETIC_SCALE


class FilmFeatures:
    """Turns clips and texts into unit vectors. ``prefix`` begins the names of its columns, so that
    numbers of two kinds of features never share one."""

    name = ""
    prefix = ""
    measures: tuple[str, ...] = ("global", "single_shot", "overall", "top10")  # its columns
    context = 0  # tokens of a text that it reads
    token_ids: TokenIds = staticmethod(OPEN_CLIP.token_ids)

    def video(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """``[D]`` of 8 frames ``uint8 [H, W, 3]``, which may differ in size."""
        raise NotImplementedError

    def texts(self, texts: Sequence[str]) -> np.ndarray | None:
        """``[N, D]``; ``None`` when it cannot read."""
        raise NotImplementedError

    def read_ahead(self, texts: Sequence[str]) -> None:
        """Told all texts before the first clip, it may read them and let its text tower go."""

    def of_story(self, prompts: Sequence[str], clips: np.ndarray) -> Mapping[str, float | None]:
        """Measures beside the usual ones, from the shots' prompts and vectors ``[N, D]``."""
        return {}

    def is_cut(self, text: str) -> bool:
        """Whether ``text`` is longer than what it reads of it."""
        return self.context > 0 and count_tokens(text, self.token_ids) > self.context


class ViClipFeatures(FilmFeatures):
    """The paper's. ``encode_video([1, 8, 3, S, S])``, ``encode_text([N, L])`` are the model."""

    def __init__(
        self, encode_video, encode_text, shape: ViClipShape, context: int,
        token_ids: TokenIds = OPEN_CLIP.token_ids,
    ):  # fmt: skip
        self.name, self.context, self.token_ids = shape.name, context, token_ids
        self._video, self._text, self._image = encode_video, encode_text, shape.image
        self._known: dict[str, np.ndarray] = {}

    def video(self, frames):
        pixels = [as_clip_input(_as_batch(frame), self._image) for frame in frames]
        return unit(self._video(torch.cat(pixels)[None]), self.name)[0]

    def texts(self, texts):
        for text in texts:
            if text not in self._known:
                tokens = tokenise([text], self.context, self.token_ids)
                self._known[text] = unit(self._text(tokens), self.name)[0]
        return np.stack([self._known[text] for text in texts])

    def read_ahead(self, texts):
        self.texts(texts)
        self._text = None  # half a gigabyte


class FrameAverage(FilmFeatures):
    """A stand-in without ViCLIP: the mean of CLIP's unit vectors of the same 8 frames.

    Its numbers have names of their own; they are not the paper's.
    """

    prefix = "clip_average_"

    def __init__(
        self, encode_image, encode_text, image: int, context: int, label: str,
        token_ids: TokenIds = OPEN_CLIP.token_ids,
    ):  # fmt: skip
        self.name, self.context = f"open_clip frame average ({label})", context
        self.token_ids = token_ids
        self._encode, self._text, self._image = encode_image, encode_text, image

    def video(self, frames):
        pixels = [as_clip_input(_as_batch(frame), self._image) for frame in frames]
        each = unit(self._encode(torch.cat(pixels)), self.name)
        return unit(torch.from_numpy(each.mean(axis=0, keepdims=True)), self.name)[0]

    def texts(self, texts):
        if self._text is None:
            return None
        return unit(self._text(tokenise(texts, self.context, self.token_ids)), self.name)


def unit(features: torch.Tensor, name: str) -> np.ndarray:
    """Rows of length 1, float64.

    Raises:
        ValueError: when they are not finite, or zero.
    """
    rows = features.detach().double().cpu().numpy()
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise ValueError(
            f"{name} gave features that are not finite; its weights file may be damaged"
        )
    return rows / length


@dataclass(frozen=True)
class MetricModels:
    """What measures, and how often the predictor looks (1: at every frame, the paper's)."""

    features: FilmFeatures
    aesthetic: AestheticQuality | None = None
    aesthetic_every: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a story's numbers; aesthetic quality, where measured, comes first."""
        own = [f"{self.features.prefix}{name}" for name in self.features.measures]
        return (self.aesthetic.column, *own) if self.aesthetic else tuple(own)

    def describe(self) -> dict:
        """What decides the numbers, for the record."""
        return {
            "features": self.features.name,
            "text_tokens": self.features.context,
            "frames_per_clip": FRAMES,
            "aesthetic": self.aesthetic.title if self.aesthetic else None,
            "aesthetic_every": self.aesthetic_every if self.aesthetic else None,
        }


@dataclass(frozen=True)
class ShotNumbers:
    """One shot's row."""

    label: str
    prompt: str
    frames: int
    width: int
    height: int
    following: float | None
    aesthetic: float | None
    is_prompt_cut: bool  # whether the prompt is longer than the features read
    thumbnail: bytes = field(default=b"", repr=False)  # JPEG


@dataclass(frozen=True)
class StoryNumbers:
    """One story's numbers. ``values`` is by column, ``None`` where there is nothing to say."""

    name: str
    folder: Path
    shots: tuple[ShotNumbers, ...]
    values: Mapping[str, float | None]
    similarity: np.ndarray  # [shots, shots]
    top_pairs: tuple[tuple[int, int], ...]  # the pairs that top10 was taken over


def measure_story(
    film: StoryFilm,
    models: MetricModels,
    *,
    name: str = "",
    on_shot: Callable[[int, int], None] | None = None,
) -> StoryNumbers:
    """Look at every shot once, frame by frame.

    Args:
        on_shot: told the number of finished shots and of all.

    Raises:
        ValueError: when a video cannot be read.
    """
    wanted = place_in_shots(frame_counts(film), middle_frames(film.frames))
    of_story: dict[tuple[int, int], np.ndarray] = {}
    clips, scores, pictures = [], [], []
    for i, shot in enumerate(film.shots):
        for_story = {frame for place, frame in wanted if place == i}
        chosen = middle_frames(shot.frames)
        seen, graded = _look(shot.path, shot.frames, {*chosen, *for_story}, models)
        clips.append(models.features.video([seen[frame] for frame in chosen]))
        of_story |= {(i, frame): seen[frame] for frame in for_story}
        scores.append(graded)
        pictures.append(_thumbnail(seen[chosen[len(chosen) // 2]]))
        if on_shot:
            on_shot(i + 1, len(film.shots))
    whole = models.features.video([of_story[place] for place in wanted])
    return _numbers(film, models, name or film.name, np.stack(clips), whole, scores, pictures)


def _look(
    path: Path, count: int, chosen: set[int], models: MetricModels
) -> tuple[dict[int, np.ndarray], list[float]]:
    """The chosen frames, and the scores of all frames that the predictor looks at."""
    scorer, every = models.aesthetic, models.aesthetic_every
    last = max(chosen) if scorer is None else count - 1
    seen: dict[int, np.ndarray] = {}
    scores: list[float] = []
    batch: list[np.ndarray] = []

    def is_graded(number: int) -> bool:
        return scorer is not None and number % every == 0

    def grade() -> None:
        if batch:
            scores.extend(scorer.score(torch.from_numpy(np.stack(batch))))
            batch.clear()

    for number, pixels in watch(path, lambda n: n in chosen or is_graded(n), last):
        if number in chosen:
            seen[number] = pixels
        if is_graded(number):
            batch.append(pixels)
            if len(batch) == scorer.batch:
                grade()
    grade()
    return seen, scores


def _numbers(film, models, name, clips, whole, scores, pictures) -> StoryNumbers:
    features = models.features
    prompts = [shot.prompt for shot in film.shots]
    words = features.texts(prompts)
    following = [None] * len(prompts) if words is None else (clips * words).sum(axis=1).tolist()
    overview = film.overview.strip()
    reads = words is not None and overview
    similarity = clips @ clips.T
    pairs = related_pairs(words) if words is not None else ()
    graded = [score for shot in scores for score in shot]
    values = {
        "global": float(features.texts([overview])[0] @ whole) if reads else None,
        "single_shot": mean(following),
        "overall": mean([similarity[i, j] for i, j in all_pairs(len(prompts))]),
        "top10": mean([similarity[i, j] for i, j in pairs]),
        **features.of_story(prompts, clips),
    }
    values = {f"{features.prefix}{key}": values[key] for key in features.measures}
    if models.aesthetic:
        values = {models.aesthetic.column: mean(graded), **values}
    shots = tuple(
        ShotNumbers(
            shot.label, shot.prompt, shot.frames, shot.width, shot.height, following[i],
            mean(scores[i]) if models.aesthetic else None,
            features.is_cut(shot.prompt),
            pictures[i],
        )
        for i, shot in enumerate(film.shots)
    )  # fmt: skip
    return StoryNumbers(name, film.folder, shots, values, similarity, pairs)


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of what is known; ``None`` when nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def all_pairs(count: int) -> list[tuple[int, int]]:
    """Every pair of ``count`` shots once, ``(i, j)`` with ``i < j``."""
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def related_pairs(texts: np.ndarray, limit: int = TOP_PAIRS) -> tuple[tuple[int, int], ...]:
    """The pairs whose texts ``[N, D]`` are most alike, most alike first."""
    alike = (texts @ texts.T).round(9)  # the same prompt twice is a tie on every machine
    return tuple(sorted(all_pairs(len(texts)), key=lambda pair: -alike[pair])[:limit])


# --- several stories, several systems ------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A mean over stories, its 95 % interval (from two stories on), and their number."""

    mean: float | None
    low: float | None
    high: float | None
    stories: int


def estimate(values: Sequence[float | None], *, seed: int = SEED) -> Estimate:
    """Mean and percentile bootstrap over stories; stories without a value do not count."""
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if len(known) < 2:
        return Estimate(mean(known.tolist()), None, None, len(known))
    drawn = np.random.default_rng(seed).integers(0, len(known), (ROUNDS, len(known)))
    low, high = np.percentile(known[drawn].mean(axis=1), [2.5, 97.5])
    return Estimate(mean(known.tolist()), float(low), float(high), len(known))


def compare_systems(
    systems: Mapping[str, Sequence[StoryNumbers]], columns: Sequence[str], *, seed: int = SEED
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
    """Each system's numbers, and each system's difference from the first one, story by story.

    Differences are over the stories (by name) that both have, so that hard stories weigh on both.
    """
    means = {
        system: {c: estimate([s.values.get(c) for s in stories], seed=seed) for c in columns}
        for system, stories in systems.items()
    }
    first, *others = systems
    base = {story.name: story.values for story in systems[first]}
    differences = {}
    for system in others:
        differences[system] = {}
        for c in columns:
            pairs = [
                (story.values.get(c), base[story.name].get(c))
                for story in systems[system]
                if story.name in base
            ]
            gaps = [a - b for a, b in pairs if a is not None and b is not None]
            differences[system][c] = estimate(gaps, seed=seed)
    return means, differences


def _as_batch(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(frame))[None]


def _thumbnail(frame: np.ndarray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(frame)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
