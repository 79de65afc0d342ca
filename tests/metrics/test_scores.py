"""The parts of the paper's numbers, each by itself."""

from __future__ import annotations

import io
import weakref
from dataclasses import FrozenInstanceError
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.film_files import PlainFeatures, write_story
from storymem.files.video import read_frames
from storymem.film.finished_story import open_film
from storymem.metrics import scores
from storymem.metrics.scores import (
    AestheticQuality,
    Estimate,
    FilmFeatures,
    FrameAverage,
    MetricModels,
    ShotNumbers,
    StoryNumbers,
    ViClipFeatures,
    compare_systems,
    estimate,
    measure_story,
)
from storymem.models.clip_vision import ClipShape
from storymem.models.viclip import ViClipShape, as_clip_input

SIZES = [(9, 32, 48), (21, 48, 32), (5, 32, 48)]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return open_film(write_story(tmp_path_factory.mktemp("story") / "tale", SIZES))


def head(*sizes: int) -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(*[torch.nn.Linear(a, b) for a, b in pairwise(sizes)])


class Elsewhere:
    """Features on a device, of which nothing but ``cpu`` makes a tensor to work with."""

    def __init__(self, features: torch.Tensor):
        self._features = features

    def detach(self) -> Elsewhere:
        return Elsewhere(self._features.detach())

    def float(self) -> Elsewhere:
        return Elsewhere(self._features.float())

    def double(self) -> Elsewhere:
        return Elsewhere(self._features.double())

    def cpu(self) -> torch.Tensor:
        return self._features


def features_of(pixels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(1)


def test_aesthetic_quality_is_the_head_on_a_unit_vector_in_tenths():
    linear = head(12, 1).requires_grad_(False)
    shape = ClipShape(1024, 24, 14, 56, 12)
    scorer = AestheticQuality(lambda pixels: 3 * features_of(pixels), shape, linear, threshold=0.4)
    frames = torch.rand(3, 40, 60, 3).mul(255).to(torch.uint8)
    vectors = features_of(as_clip_input(frames, 56))
    expected = linear(vectors / vectors.norm(dim=1, keepdim=True))[:, 0] / 10
    assert scorer.score(frames) == pytest.approx(expected.tolist(), abs=1e-6)
    assert scorer.threshold == 0.4
    assert scorer.title == f"LAION's linear head on CLIP {shape.name}, / 10"
    half = AestheticQuality(lambda pixels: Elsewhere(features_of(pixels).half()), shape, linear)
    assert half.score(frames) == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "layers", "column", "kind"),
    [
        (ClipShape(1024, 24, 14, 224, 768), (768, 1), "aesthetic", "linear"),
        (ClipShape(1024, 24, 14, 224, 768), (768, 16, 1), "aesthetic_other_head", "MLP"),
        (ClipShape(768, 12, 32, 224, 512), (512, 1), "aesthetic_other_head", "linear"),
    ],
)
def test_only_vbenchs_head_has_the_papers_column(shape, layers, column, kind):
    scorer = AestheticQuality(None, shape, head(*layers))
    assert scorer.column == column
    assert scorer.title.startswith(f"LAION's {kind} head on CLIP {shape.name}")


def test_a_unit_vector_has_length_one_row_by_row():
    rows = scores.unit(torch.tensor([[3.0, 4.0], [0.0, 0.5]]), "x")
    assert isinstance(rows, np.ndarray)
    assert rows.dtype == np.float64
    assert rows.tolist() == [[0.6, 0.8], [0.0, 1.0]]
    trained = Elsewhere(torch.tensor([[3.0, 4.0]], requires_grad=True))
    assert scores.unit(trained, "x").tolist() == [[0.6, 0.8]]
    for bad in ([[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [float("nan"), 1.0]]):
        with pytest.raises(ValueError, match=r"^ViCLIP gave features that are not finite"):
            scores.unit(torch.tensor(bad), "ViCLIP")


def test_viclip_sees_eight_frames_in_one_clip_and_reads_each_text_once(monkeypatch):
    asked = []

    def encode_text(tokens):
        asked.append(tokens)
        return torch.tensor([[float(len(tokens[0])), 1.0]])

    monkeypatch.setattr(scores, "tokenise", lambda texts, context, _: [[context, *texts[0]]])
    shape = ViClipShape(width=64, layers=1, patch=14, image=56, frames=8, features=5)
    clips = []

    def encode_video(clip):
        clips.append(clip)
        return clip.flatten(1)[:, :5]

    model = ViClipFeatures(encode_video, encode_text, shape, 32)
    frames = [np.full((20 + i, 30, 3), 20 * i, np.uint8) for i in range(8)]
    vector = model.video(frames)
    (clip,) = clips
    assert clip.shape == (1, 8, 3, 56, 56)
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert vector.shape == (5,)
    first = model.texts(["ab", "abc", "ab"])
    assert first.shape == (3, 2)
    assert len(asked) == 2
    assert first[0].tolist() == first[2].tolist() == pytest.approx([3 / 10**0.5, 1 / 10**0.5])
    assert [tokens[0][0] for tokens in asked] == [32, 32]
    tower = weakref.ref(encode_text)
    del encode_text
    model.read_ahead(["d"])
    assert tower() is None  # half a gigabyte
    assert model.texts(["d", "ab"]).shape == (2, 2)  # without its text tower
    assert (model.name, model.context) == (shape.name, 32)


def test_the_stand_in_is_the_mean_of_unit_vectors_made_a_unit_vector(monkeypatch):
    monkeypatch.setattr(scores, "tokenise", lambda texts, context, _: (texts, context))

    def encode_text(tokens):
        texts, context = tokens
        return torch.tensor([[float(len(text)), float(context)] for text in texts])

    model = FrameAverage(features_of, encode_text, 56, 4, "ViT-B/32")
    frames = [np.random.default_rng(i).integers(0, 255, (30, 40, 3), np.uint8) for i in range(8)]
    rows = [features_of(as_clip_input(torch.from_numpy(f)[None], 56))[0].double() for f in frames]
    mean = torch.stack([row / row.norm() for row in rows]).mean(0)
    assert model.video(frames) == pytest.approx((mean / mean.norm()).numpy(), abs=1e-6)
    assert model.texts(["abc", ""]).tolist() == [[0.6, 0.8], [0.0, 1.0]]
    assert FrameAverage(features_of, None, 56, 4, "x").texts(["a"]) is None
    assert (model.name, model.context) == ("open_clip frame average (ViT-B/32)", 4)
    assert model.prefix == "clip_average_"
    assert model.texts(["ab"]).shape == (1, 2)


def test_features_that_make_no_sense_are_told_with_what_gave_them(monkeypatch):
    monkeypatch.setattr(scores, "tokenise", lambda texts, context, _: texts)
    shape = ViClipShape(width=64, layers=1, patch=14, image=56, frames=8, features=5)
    frames = [np.full((20, 30, 3), 255 * (i % 2), np.uint8) for i in range(8)]

    def nothing(given):
        return torch.zeros(len(given), 5)

    def opposite(pixels):  # unit vectors whose mean is none
        return pixels.mean(dim=(1, 2, 3))[:, None].sign()

    viclip = ViClipFeatures(nothing, nothing, shape, 32)
    average = FrameAverage(nothing, nothing, 56, 4, "x")
    cancelled = FrameAverage(opposite, nothing, 56, 4, "x")
    for model, ask, given in (
        (viclip, viclip.video, frames),
        (viclip, viclip.texts, ["a"]),
        (average, average.video, frames),
        (average, average.texts, ["a"]),
        (cancelled, cancelled.video, frames),
    ):
        with pytest.raises(ValueError, match="gave features that are not finite") as error:
            ask(given)
        assert str(error.value).startswith(f"{model.name} gave")


def test_a_text_is_cut_where_it_has_more_tokens_than_are_read(monkeypatch):
    monkeypatch.setattr(scores, "count_tokens", lambda text, _: len(text))
    features = FilmFeatures()
    assert not features.is_cut("any text at all")  # it says no limit
    features.context = 4
    assert [features.is_cut("x" * n) for n in (3, 4, 5)] == [False, False, True]
    features.context = 1
    assert features.is_cut("xx")
    assert features.of_story([], np.zeros((0, 2))) == {}
    features.read_ahead(["a"])
    for ask in (features.video, features.texts):
        with pytest.raises(NotImplementedError):
            ask([])


def test_what_measures_is_described():
    assert MetricModels(PlainFeatures()).describe() == {
        "features": "plain features", "text_tokens": 0, "frames_per_clip": 8, "aesthetic": None,
        "aesthetic_every": None,
    }  # fmt: skip
    scorer = AestheticQuality(None, ClipShape(1024, 24, 14, 224, 768), head(768, 1))
    described = MetricModels(PlainFeatures(), scorer, 4).describe()
    assert (described["aesthetic"], described["aesthetic_every"]) == (scorer.title, 4)
    assert MetricModels(PlainFeatures(), scorer).columns == (
        "aesthetic", "global", "single_shot", "overall", "top10",
    )  # fmt: skip
    assert MetricModels(PlainFeatures()).aesthetic_every == 1


def test_a_story_is_measured_under_its_name_with_its_shots_told(film):
    told = []
    found = measure_story(
        film, MetricModels(PlainFeatures()), on_shot=lambda *numbers: told.append(numbers)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [(s.label, s.prompt, s.frames, s.width, s.height) for s in found.shots] == [
        (f"01_0{i}", f"shot number {i} of tale", count, width, height)
        for i, (count, height, width) in enumerate(SIZES, 1)
    ]
    assert {type(shot.following) for shot in found.shots} == {float}
    assert (found.name, found.folder) == (film.name, film.folder)
    assert measure_story(film, MetricModels(PlainFeatures()), name="mine").name == "mine"
    assert [shot.is_prompt_cut for shot in found.shots] == [False] * 3
    assert [shot.aesthetic for shot in found.shots] == [None] * 3
    for shot, (_, height, width) in zip(found.shots, SIZES, strict=True):
        with Image.open(io.BytesIO(shot.thumbnail)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (width, height))


def test_a_shots_thumbnail_is_of_the_middle_of_its_frames(film):
    found = measure_story(film, MetricModels(PlainFeatures()))
    for i, middle in ((0, 4), (1, 11)):
        frame = list(read_frames(film.shots[i].path))[middle]
        assert found.shots[i].thumbnail == scores._thumbnail(frame)


def test_the_predictor_gets_frames_in_batches_of_its_own_size(film):
    class Predictor(AestheticQuality):
        batch = 4

        def __init__(self):
            super().__init__(lambda pixels: features_of(pixels), shape, head(12, 1))
            self.seen = []

        def score(self, frames):
            self.seen.append(len(frames))
            return [float(len(self.seen))] * len(frames)

    shape = ClipShape(1024, 24, 14, 56, 12)
    predictor = Predictor()
    found = measure_story(film, MetricModels(PlainFeatures(), predictor))
    assert predictor.seen == [4, 4, 1, 4, 4, 4, 4, 4, 1, 4, 1]
    assert [shot.aesthetic for shot in found.shots] == [
        pytest.approx((4 * 1 + 4 * 2 + 3) / 9),
        pytest.approx((4 * (4 + 5 + 6 + 7 + 8) + 9) / 21),
        pytest.approx((4 * 10 + 11) / 5),
    ]
    sparse = Predictor()
    measure_story(film, MetricModels(PlainFeatures(), sparse, 3))
    assert sparse.seen == [3, 4, 3, 2]


def test_features_with_numbers_of_their_own_get_a_column_for_each(film):
    class Own(PlainFeatures):
        prefix = "mine_"
        measures = ("single_shot", "looks")

        def of_story(self, prompts, clips):
            assert np.allclose(np.linalg.norm(clips, axis=1), 1)
            return {"looks": float(len(prompts) * len(clips)), "unused": 1.0}

    found = measure_story(film, MetricModels(Own()))
    assert list(found.values) == ["mine_single_shot", "mine_looks"]
    assert found.values["mine_looks"] == 9
    assert found.values["mine_single_shot"] == pytest.approx(
        measure_story(film, MetricModels(PlainFeatures())).values["single_shot"]
    )
    assert MetricModels(Own()).columns == ("mine_single_shot", "mine_looks")


def test_features_that_cannot_read_tell_how_alike_the_shots_are_and_nothing_of_prompts(film):
    class Silent(PlainFeatures):
        def texts(self, texts):
            return None

    found = measure_story(film, MetricModels(Silent()))
    usual = measure_story(film, MetricModels(PlainFeatures()))
    assert found.values == {
        "global": None, "single_shot": None, "overall": usual.values["overall"], "top10": None,
    }  # fmt: skip
    assert found.top_pairs == ()
    assert [shot.following for shot in found.shots] == [None] * 3
    assert np.array_equal(found.similarity, usual.similarity)


def test_a_prompt_is_told_as_cut_where_the_features_do_not_read_all_of_it(film, monkeypatch):
    class Short(PlainFeatures):
        context = len("shot number 1 of")

    monkeypatch.setattr(scores, "count_tokens", lambda text, _: len(text.removesuffix(" tale")))
    for is_cut in (False, True):
        shots = measure_story(film, MetricModels(Short())).shots
        assert [shot.is_prompt_cut for shot in shots] == [is_cut] * 3
        Short.context -= 1


def test_a_thumbnail_is_192_pixels_on_its_longest_side():
    frame = np.zeros((300, 600, 3), np.uint8)
    with Image.open(io.BytesIO(scores._thumbnail(frame))) as picture:
        assert picture.size == (192, 96)
        usual = io.BytesIO()
        picture.save(usual, "JPEG", quality=80)
        with Image.open(usual) as again:
            assert picture.quantization == again.quantization


def test_a_mean_is_of_what_is_known():
    assert scores.mean([None, 0.25, None, 0.75]) == 0.5
    assert scores.mean([0.0, 1.0]) == 0.5
    assert scores.mean([None]) is scores.mean([]) is None
    assert scores.mean([0.1] * 10) == 0.1  # summed without rounding on the way


def test_pairs_are_each_once_and_equal_texts_tie_on_every_machine():
    assert scores.all_pairs(3) == [(0, 1), (0, 2), (1, 2)]
    assert scores.all_pairs(1) == []
    texts = np.array([[0.6, 0.8], [0.6, 0.8], [0.6, 0.8 + 4e-10]])
    assert scores.related_pairs(texts) == ((0, 1), (0, 2), (1, 2))
    assert scores.related_pairs(texts, 2) == ((0, 1), (0, 2))
    texts[2, 1] += 4e-9
    assert scores.related_pairs(texts) == ((0, 2), (1, 2), (0, 1))


def test_an_estimate_is_a_percentile_bootstrap_of_ten_thousand_rounds():
    values = [0.1, None, 0.4, 0.6]
    known = np.array([0.1, 0.4, 0.6])
    for seed in (0, 5):
        drawn = np.random.default_rng(seed).integers(0, 3, (10_000, 3))
        low, high = np.percentile(known[drawn].mean(axis=1), [2.5, 97.5])
        found = estimate(values, seed=seed)
        assert found == Estimate(pytest.approx(1.1 / 3), low, high, 3)
        assert [type(n) for n in (found.mean, found.low, found.high)] == [float] * 3
    many = np.random.default_rng(1).uniform(0, 1, 20)
    drawn = np.random.default_rng(0).integers(0, 20, (10_000, 20))
    low, high = np.percentile(many[drawn].mean(axis=1), [2.5, 97.5])
    assert estimate(many.tolist()) == Estimate(pytest.approx(many.mean()), low, high, 20)
    assert estimate(values) == estimate(values, seed=0)
    assert estimate([0.5, None]) == Estimate(0.5, None, None, 1)
    assert estimate([0.25, None, 0.75]) == Estimate(0.5, 0.25, 0.75, 2)


def story(name: str, **values) -> StoryNumbers:
    return StoryNumbers(name, Path(name), (), values, np.eye(1), ())


def test_systems_are_compared_by_stories_that_both_have_and_know():
    first = [story("a", x=0.1, y=1.0), story("b", x=0.2), story("c", x=None)]
    first += [story(str(i), x=i * i / 100) for i in range(6)] + [story("e", x=0.4)]
    other = [story("b", x=0.5), story("a", x=0.3, y=0.5), story("c", x=0.9), story("d", x=0.7)]
    other += [story(str(i), x=i / 10) for i in range(6)] + [story("e", x=None)]
    means, differences = compare_systems({"first": first, "other": other}, ["x", "y"], seed=5)
    more = [i * i / 100 for i in range(6)], [i / 10 for i in range(6)]
    assert means["first"]["x"] == estimate([0.1, 0.2, None, *more[0], 0.4], seed=5)
    assert means["other"]["x"] == estimate([0.5, 0.3, 0.9, 0.7, *more[1]], seed=5)
    gaps = [0.5 - 0.2, 0.3 - 0.1, *(b - a for a, b in zip(*more, strict=True))]
    assert differences == {"other": {"x": estimate(gaps, seed=5), "y": estimate([-0.5], seed=5)}}
    assert differences["other"]["x"] != estimate(gaps)


def test_numbers_never_change_and_show_no_pictures():
    shot = ShotNumbers("01_01", "a dog", 81, 832, 480, 0.25, 0.6, True)
    assert shot.thumbnail == b""
    shown = ShotNumbers("01_01", "a dog", 81, 832, 480, 0.25, 0.6, True, b"a picture")
    assert repr(shown) == repr(shot)
    for value in (shot, story("a"), Estimate(0.5, None, None, 1), MetricModels(FilmFeatures())):
        with pytest.raises(FrozenInstanceError):
            setattr(value, next(iter(value.__dataclass_fields__)), None)
