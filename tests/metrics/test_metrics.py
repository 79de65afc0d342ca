"""The paper's numbers, against a plain rewriting of them that shares no code."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.film_files import PlainFeatures, shot_frames, write_story
from helpers.not_empty import not_empty
from storymem.files.video import read_frames, write_video
from storymem.film import finished_story
from storymem.film.finished_story import find_stories, name_apart, open_film, place_in_shots
from storymem.metrics import scores as metrics
from storymem.metrics.scores import (
    AestheticQuality,
    FrameAverage,
    MetricModels,
    compare_systems,
    estimate,
    measure_story,
)
from storymem.models.clip_vision import ClipShape
from storymem.selection.scorers import Scorer

TOLERANCE = 1e-9
SIZES = [(9, 32, 48), (21, 48, 32), (5, 32, 48), (1, 64, 64), (33, 32, 48), (14, 40, 80)]


class Brightness(Scorer):
    """Mean brightness, in place of the predictor."""

    name, column, title, batch = "sharpness", "aesthetic", "brightness", 4

    def __init__(self):
        super().__init__()
        self.seen = 0

    def _score(self, frames):
        self.seen += len(frames)
        return frames.double().mean(dim=(1, 2, 3)) / 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_story(tmp_path_factory.mktemp("story") / "tale", SIZES)


@pytest.fixture
def judges() -> MetricModels:
    return MetricModels(PlainFeatures(), Brightness())


def reference(folder: Path) -> dict:
    """The numbers, straight from their words (docs/metrics.md), everything in memory."""
    script = json.loads((folder / "script.json").read_text())
    prompts = script["scenes"][0]["video_prompts"]
    features = PlainFeatures()
    shots = [list(read_frames(folder / f"shot_01_{i:02d}.mp4")) for i in range(1, len(prompts) + 1)]

    def eight(frames):
        n, picked = len(frames), []
        k = min(8, n)
        for part in range(k):
            begin, end = n * part // k, n * (part + 1) // k  # end is not part of it
            picked.append(frames[(begin + end - 1) // 2])
        while len(picked) < 8:
            picked.append(picked[-1])
        return picked

    V = [features.video(eight(frames)) for frames in shots]
    T = [features.texts([prompt])[0] for prompt in prompts]
    joined = [frame for frames in shots for frame in frames]
    bright = [float(np.float64(frame).mean()) / 255 for frame in joined]
    of_pairs = []
    for j in range(len(V)):
        for i in range(j):
            of_pairs.append((float(np.dot(T[i], T[j])), float(np.dot(V[i], V[j]))))
    best = sorted(of_pairs, reverse=True)[:10]
    return {
        "aesthetic": sum(bright) / len(bright),
        "global": float(
            np.dot(features.video(eight(joined)), features.texts([script["story_overview"]])[0])
        ),
        "single_shot": sum(float(np.dot(v, t)) for v, t in zip(V, T, strict=True)) / len(V),
        "overall": sum(v for _, v in of_pairs) / len(of_pairs),
        "top10": sum(v for _, v in best) / len(best),
    }


def test_numbers_equal_a_plain_rewriting(folder, judges):
    found = measure_story(open_film(folder), judges)
    assert dict(found.values) == pytest.approx(reference(folder), abs=TOLERANCE)
    assert list(found.values) == list(judges.columns)
    assert len(set(found.values.values())) == 5
    assert judges.aesthetic.seen == sum(count for count, *_ in SIZES)
    assert [(s.frames, s.height, s.width) for s in found.shots] == SIZES
    per_shot = [s.following for s in found.shots]
    assert sum(per_shot) / 6 == pytest.approx(found.values["single_shot"], abs=TOLERANCE)


MUTANTS = {
    "first frames instead of middle ones": (
        "global", lambda n, k=8: list(range(min(n, k))) + [n - 1] * (k - min(n, k))
    ),
    "last frame of every part": (
        "single_shot",
        lambda n, k=8: [min(n - 1, n * (i + 1) // k) for i in range(k)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_other_frames_would_be_seen(folder, judges, monkeypatch, name):
    column, mutant = MUTANTS[name]
    monkeypatch.setattr(metrics, "middle_frames", mutant)
    found = measure_story(open_film(folder), judges).values
    assert abs(found[column] - reference(folder)[column]) > 1e4 * TOLERANCE


def test_other_pairs_and_other_means_would_be_seen(folder, judges, monkeypatch):
    expected, film = reference(folder), open_film(folder)

    def error(column: str, name: str, mutant) -> float:
        with monkeypatch.context() as patch:
            patch.setattr(metrics, name, mutant)
            return abs(measure_story(film, judges).values[column] - expected[column])

    def in_order(texts, limit=10):
        return tuple(metrics.all_pairs(len(texts))[:limit])

    def least_related(texts, limit=10):
        pairs = metrics.all_pairs(len(texts))
        return tuple(sorted(pairs, key=lambda p: float(texts[p[0]] @ texts[p[1]]))[:limit])

    def with_itself(count):
        return [(i, j) for i in range(count) for j in range(i, count)]

    def eleven(texts):
        return related(texts, 11)

    related = metrics.related_pairs
    seen = {
        "pairs of a shot with itself": error("overall", "all_pairs", with_itself),
        "pairs in order": error("top10", "related_pairs", in_order),
        "least related pairs": error("top10", "related_pairs", least_related),
        "eleven pairs": error("top10", "related_pairs", eleven),
        "middle of values": error("aesthetic", "mean", lambda v: sorted(v)[len(v) // 2]),
    }
    assert min(seen.values()) > 1e4 * TOLERANCE, seen
    mean_of_means = np.mean([s.aesthetic for s in measure_story(film, judges).shots])
    assert abs(mean_of_means - expected["aesthetic"]) > 1e4 * TOLERANCE  # every frame counts once


def test_top_ten_is_by_the_prompts_and_ties_go_to_earlier_pairs():
    texts = np.eye(4)[[0, 1, 0, 1, 0]]
    assert metrics.related_pairs(texts, 5) == ((0, 2), (0, 4), (1, 3), (2, 4), (0, 1))
    assert len(metrics.related_pairs(np.eye(6))) == 10


def test_a_story_of_one_shot_has_no_pairs(tmp_path, judges):
    found = measure_story(open_film(write_story(tmp_path / "one", [(9, 32, 48)])), judges)
    assert found.values["overall"] is None
    assert found.values["top10"] is None
    assert found.similarity.shape == (1, 1)
    # Nothing but the overview tells the whole story from its only shot.
    assert found.values["global"] != found.values["single_shot"]


def test_a_story_without_overview_has_no_global_number(tmp_path, judges):
    film = open_film(write_story(tmp_path / "s", [(9, 32, 48)] * 2, overview="  "))
    values = measure_story(film, judges).values
    assert values["global"] is None
    assert values["overall"] is not None


def test_fewer_pairs_than_ten_are_all_taken(tmp_path, judges):
    found = measure_story(open_film(write_story(tmp_path / "s", SIZES[:3])), judges)
    assert len(found.top_pairs) == 3
    assert found.values["top10"] == pytest.approx(found.values["overall"], abs=TOLERANCE)


def test_the_predictor_may_look_at_one_frame_in_several(folder, judges):
    sparse = MetricModels(judges.features, Brightness(), aesthetic_every=5)
    found = measure_story(open_film(folder), sparse)
    assert sparse.aesthetic.seen == sum(-(-count // 5) for count, *_ in SIZES)
    assert found.values["overall"] == measure_story(open_film(folder), judges).values["overall"]
    none = MetricModels(judges.features)
    assert "aesthetic" not in measure_story(open_film(folder), none).values


def test_only_looked_at_frames_are_kept_and_each_file_is_read_once(folder, judges, monkeypatch):
    opened = []
    original = finished_story.watch

    def watch(path, is_wanted, last):
        opened.append(path)
        return original(path, is_wanted, last)

    monkeypatch.setattr(metrics, "watch", watch)
    measure_story(open_film(folder), judges)
    assert len(opened) == len(set(opened)) == len(SIZES)


# --- aesthetic quality and the stand-in ---


def scorer_shape() -> ClipShape:
    return ClipShape(1024, 24, 14, 224, 768)


def test_another_head_has_a_column_of_its_own():
    layers = [torch.nn.Linear(768, 16), torch.nn.Linear(16, 1)]
    mlp = AestheticQuality(None, scorer_shape(), torch.nn.Sequential(*layers))
    assert mlp.column == "aesthetic_other_head"
    b32 = AestheticQuality(
        None, ClipShape(768, 12, 32, 224, 512), torch.nn.Sequential(torch.nn.Linear(512, 1))
    )
    assert b32.column == "aesthetic_other_head"


def test_the_stand_in_has_columns_of_its_own(folder, judges):
    pytest.importorskip("open_clip")

    def encode(pixels):
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(1)

    def encode_text(tokens):
        return torch.stack([torch.sin(tokens.float() * k).sum(1) for k in range(1, 13)], 1)

    average = MetricModels(FrameAverage(encode, encode_text, 56, 77, "ViT-L/14"))
    found = measure_story(open_film(folder), average)
    assert not set(found.values) & set(judges.columns)
    assert all(name.startswith("clip_average_") for name in found.values)
    assert average.describe()["features"] == "open_clip frame average (ViT-L/14)"
    # The mean of unit vectors, then a unit vector: in numpy, for shot 1.
    frames = shot_one(folder)
    rows = np.stack([encode(metrics.as_clip_input(f[None], 56))[0].double() for f in frames])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vector = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
    assert average.features.video([f.numpy() for f in frames]) == pytest.approx(vector, abs=1e-7)

    silent = MetricModels(
        FrameAverage(encode, None, 56, 0, "ViT-L/14")
    )  # a file without text tower
    values = measure_story(open_film(folder), silent).values
    assert values["clip_average_single_shot"] is None
    assert values["clip_average_top10"] is None
    assert values["clip_average_overall"] == found.values["clip_average_overall"]


def shot_one(folder) -> list[torch.Tensor]:
    frames = list(read_frames(folder / "shot_01_01.mp4"))
    return [torch.from_numpy(frames[i]) for i in metrics.middle_frames(len(frames))]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0])
def test_features_that_make_no_sense_are_an_error(value):
    with pytest.raises(ValueError, match="not finite"):
        metrics.unit(torch.full((2, 3), value), "ViCLIP")


# --- several stories, several systems ---


def test_intervals_are_over_stories_seeded_and_as_wide_as_they_should_be():
    values = np.random.RandomState(3).normal(0.5, 0.1, 40).tolist()
    first, again = estimate(values), estimate(values)
    assert first == again
    assert first.mean == pytest.approx(np.mean(values))
    assert first.low < first.mean < first.high
    standard = np.std(values) / math.sqrt(40)  # the bootstrap's own spread of the mean
    assert (first.high - first.low) / (2 * 1.96 * standard) == pytest.approx(1, abs=0.05)
    assert estimate(values, seed=1) != first


def test_what_cannot_be_said_stays_unsaid():
    assert estimate([]) == metrics.Estimate(None, None, None, 0)
    assert estimate([None, 0.25]) == metrics.Estimate(0.25, None, None, 1)
    assert estimate([None, 0.5, 0.5]).stories == 2


def numbers(name: str, **values):
    return metrics.StoryNumbers(name, Path(name), (), values, np.eye(1), ())


def test_differences_are_story_by_story():
    """Both systems find the same stories hard: means overlap, differences do not."""
    hard = np.linspace(0.1, 0.9, 12)
    a = [numbers(f"s{i}", overall=float(h)) for i, h in enumerate(hard)]
    b = [numbers(f"s{i}", overall=float(h) + 0.02) for i, h in enumerate(hard)]
    b += [numbers("only in b", overall=1.0), numbers("s3 again", overall=None)]
    means, differences = compare_systems({"a": a, "b": b}, ["overall"])
    assert means["a"]["overall"].high > means["b"]["overall"].low
    gap = differences["b"]["overall"]
    assert gap.stories == 12
    assert (gap.mean, gap.low, gap.high) == pytest.approx((0.02, 0.02, 0.02))
    assert "a" not in differences


# --- folders ---


def test_frames_of_the_story_are_counted_through_its_shots():
    assert place_in_shots([3, 1, 2], range(6)) == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)]


def test_a_story_is_found_by_its_script_and_shots(tmp_path, folder):
    film = open_film(folder)
    assert (film.name, film.overview) == ("tale", "a red dog goes home")
    assert film.frames == sum(count for count, *_ in SIZES)
    released = write_story(tmp_path / "released", SIZES[:2])
    for path in not_empty(released.glob("shot_*.mp4")):
        path.rename(path.with_name(path.name.removeprefix("shot_")))
    assert [shot.label for shot in open_film(released).shots] == ["01_01", "01_02"]
    assert find_stories(folder) == [folder]
    assert find_stories(tmp_path) == [released]


def test_a_character_description_is_no_part_of_a_shots_prompt(tmp_path, folder):
    script = json.loads((folder / "script.json").read_text()) | {"character": "Mara has red hair"}
    path = tmp_path / "s.json"
    path.write_text(json.dumps(script))
    assert open_film(folder, path).shots[0].prompt == "shot number 1 of tale"


def test_films_of_older_prompts_are_not_measured_against_the_new_script(tmp_path):
    """As when an edited story stopped before all of its shots were regenerated."""
    folder = write_story(tmp_path / "tale", SIZES[:3])
    made = {
        f"01_0{i}": {"shot_prompt": f"shot number {i} of tale", "file": f"shot_01_0{i}.mp4"}
        for i in (1, 2, 3)
    }
    made["01_02"]["shot_prompt"] = "what it said before"
    (folder / "story.json").write_text(json.dumps({"shots": made}))
    with pytest.raises(ValueError, match=r"01_02 of 'tale' .* were made from older prompts"):
        open_film(folder)
    assert [s.label for s in open_film(folder, partial=True).shots] == ["01_01", "01_03"]
    assert len(open_film(folder, folder / "script.json").shots) == 3  # a script that was chosen
    script = json.loads((folder / "script.json").read_text())
    script["scenes"][0]["lock"] = [False, True, False]
    (folder / "script.json").write_text(json.dumps(script))
    assert len(open_film(folder).shots) == 3  # locked: it is meant to stay


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        find_stories(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds shots"):
        find_stories(tmp_path)
    with pytest.raises(ValueError, match="holds no shots"):
        open_film(tmp_path)
    story = write_story(tmp_path / "tale", SIZES[:3])
    (story / "shot_01_02.mp4").unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of the 3 shots of 'tale': 01_02"):
        open_film(story)
    assert [s.label for s in open_film(story, partial=True).shots] == ["01_01", "01_03"]
    (story / "script.json").unlink()
    with pytest.raises(ValueError, match="holds no script"):
        open_film(story)
    with pytest.raises(ValueError, match="cannot be read as a script"):
        open_film(story, tmp_path / "no.json")


def test_a_damaged_video_is_named(tmp_path, judges):
    story = write_story(tmp_path / "tale", SIZES[:2])
    good = story / "shot_01_02.mp4"
    data = good.read_bytes()
    start = data.index(b"mdat") + 8
    good.write_bytes(data[:start] + bytes(len(data) - start))  # a header, and no pictures
    with pytest.raises(ValueError, match=r"shot_01_02\.mp4"):
        measure_story(open_film(story), judges)
    good.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"shot_01_02\.mp4 cannot be read as a video"):
        open_film(story)


def test_stories_of_one_name_are_told_apart_by_their_folders(tmp_path):
    films = [open_film(write_story(tmp_path / f, SIZES[:1])) for f in ("a", "b")]
    other = open_film(write_story(tmp_path / "c", SIZES[:1], name="other"))
    named = name_apart({"one": [*films, other], "two": [films[1]]})
    assert list(named["one"]) == ["tale (a)", "tale (b)", "other"]
    assert list(named["two"]) == ["tale (b)"]  # what belongs together is called the same


def test_frames_are_the_files_own(tmp_path):
    frames = shot_frames(5, 12, 32, 48)
    write_video(tmp_path / "a.mp4", frames)
    decoded = list(read_frames(tmp_path / "a.mp4"))
    found = dict(finished_story.watch(tmp_path / "a.mp4", lambda n: n in (2, 7), 9))
    assert sorted(found) == [2, 7]
    assert all((found[i] == decoded[i]).all() for i in found)
    with pytest.raises(ValueError, match="12 of 21 frames"):
        list(finished_story.watch(tmp_path / "a.mp4", lambda n: False, 20))
