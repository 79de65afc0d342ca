"""Stories of the tiny world side by side: the set of scripts, and numbers without weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.film_files import write_story
from helpers.not_empty import not_empty
from storymem import __main__ as program
from storymem.film.finished_story import open_film
from storymem.metrics.report import title_of
from storymem.metrics.scores import MetricModels, measure_story
from storymem.sampling.start_images import from_folder
from storymem.script.reader import load_story
from storymem.tiny import files, film_features, picture, staging, world
from storymem.tiny.film_features import NOBODY, TinyWorld, keeps_look, look_of
from storymem.tiny.lab.scripts import main, returning_casts, write_stories

pytestmark = pytest.mark.slow

COLUMNS = ("tiny_world_single_shot", "tiny_world_overall", "tiny_world_identity")


class LooksOnce(TinyWorld):
    """Looks at the same pictures once, however often their film is measured."""

    def __init__(self, device):
        super().__init__(device)
        self._known: dict[bytes, np.ndarray] = {}

    def video(self, frames):
        pixels = np.stack(frames).tobytes()
        if pixels not in self._known:
            self._known[pixels] = super().video(frames)
        return self._known[pixels]


@pytest.fixture(scope="module")
def eyes() -> TinyWorld:
    return LooksOnce("cpu")


@pytest.fixture(scope="module")
def tales(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tales")
    write_stories(out, 2, shots=3)
    return out


def clip(*, look=(0, 1, 2, 0), visible=(True, False, False), place=0) -> list[np.ndarray]:
    """Eight frames of one scene: the big character's ``look``, others look like the first."""
    scenes = staging.sample_stories(1, shots=1, seed=3, characters=3).scenes
    scenes = world.Scenes(
        look=torch.tensor([look] + [[0, 0, 0, 0]] * 2)[None],
        visible=torch.tensor([visible]),
        x=scenes.x * 0 + torch.tensor([28.0, 70.0, 70.0])[None, :, None],
        y=scenes.y,
        place=torch.tensor([place]),
        place_look=torch.zeros(1, 2, dtype=torch.long),
        framing=torch.tensor([world.MEDIUM]),
        scroll=scenes.scroll,
        zoom=torch.ones_like(scenes.zoom),
    )
    frames = (picture.render(scenes)[0, :8] * 255).round().to(torch.uint8)
    return list(frames.numpy())


def test_everybody_in_the_written_stories_returns_and_no_shot_is_empty():
    found = returning_casts(6, shots=5, seed=1)
    assert [int(stories.cast[n].sum()) for stories, n in found] == [2, 3] * 3
    for stories, number in found:
        there = stories.visible[number]
        assert (there.sum(0)[stories.cast[number]] >= 2).all()
        assert there.any(1).all()
        absent = [
            world.KINDS[kind]
            for kind in range(3)
            for k in range(1, 5)
            if there[k, kind] and not there[k - 1, kind] and there[:k, kind].any()
        ]
        assert absent, "somebody comes back"
    with pytest.raises(ValueError, match="take 4 shots or more"):
        returning_casts(6, shots=2, seed=1)


def test_a_set_of_stories_has_what_the_comparison_takes(tales):
    scripts = not_empty((tales / "scripts").glob("*.json"))
    assert [path.stem for path in scripts] == ["story_01", "story_02"]
    for path in scripts:
        story = load_story(path.read_text())
        assert len(story.shots) == 3
        assert len(from_folder(tales / "start_images" / path.stem, story)) == 3
        faces = sorted(p.name for p in (tales / "references" / path.stem).iterdir())
        cast = json.loads(path.read_text())["cast"]
        assert faces == [f"{i}_{name}.png" for i, name in enumerate(cast, 1)]
        told = {word.strip(",") for shot in story.shots for word in shot.prompt.split()}
        assert not told & {value for values in world.ATTRIBUTES.values() for value in values}


def test_the_worlds_own_drawing_keeps_every_look_and_shows_what_was_asked_for(tales, eyes):
    for folder in not_empty((tales / "truth").iterdir()):
        film = open_film(folder)
        numbers = measure_story(film, MetricModels(eyes))
        assert tuple(numbers.values) == COLUMNS == MetricModels(eyes).columns
        assert numbers.values["tiny_world_identity"] == 1
        # Kinds and places of the prompt are there; the rest of the vector is looks.
        for shot in numbers.shots:
            count = len(eyes._eyes.kinds_named(shot.prompt))
            best = ((count + 1) / (2 * count + 1)) ** 0.5
            assert shot.following == pytest.approx(best, abs=1e-6)


def test_a_clips_vector_says_who_is_seen_where_and_how_they_look(eyes):
    seen = eyes.video(clip(look=(4, 1, 2, 0), place=2))
    assert np.linalg.norm(seen) == pytest.approx(1)
    assert look_of(seen, 0) == (4, 1, 2, 0)
    assert look_of(seen, 1) == look_of(seen, 2) == NOBODY
    right, other, elsewhere = eyes.texts(
        ["Bomo jumps, city, still", "Fipi jumps, city, still", "Bomo jumps, snow, still"]
    )
    assert seen @ right > seen @ other == pytest.approx(seen @ elsewhere)
    changed = eyes.video(clip(look=(0, 1, 2, 0), place=2))
    assert 0.5 < seen @ changed < 1


def test_a_look_is_kept_when_it_is_that_of_the_first_appearance(eyes):
    red, blue = (eyes.video(clip(look=(hue, 0, 0, 0))) for hue in (0, 4))
    empty = eyes.video(clip(visible=(False, False, False)))
    bomo, fipi = "Bomo jumps, meadow, still", "Fipi jumps, meadow, still"
    assert keeps_look([bomo] * 4, np.stack([red, red, blue, empty])) == [True, False, False]
    assert keeps_look([bomo, fipi, bomo], np.stack([red, empty, red])) == [True]
    assert keeps_look([bomo, bomo], np.stack([empty, empty])) == [False], "nobody keeps no look"
    assert keeps_look([bomo, fipi], np.stack([red, red])) == []


def test_the_tiny_worlds_numbers_never_stand_among_the_papers(
    tales, eyes, tmp_path, caplog, monkeypatch
):
    ours = {torch.device("cpu"): eyes}  # its templates are drawn already
    monkeypatch.setattr(film_features, "TinyWorld", lambda kind: ours[torch.device(kind)])
    one = tales / "truth" / "story_01"
    pair = (f"a={one}", f"b={one}")
    arguments = ["evaluate", "--compare", *pair, "--out", tmp_path, "--features", "tiny_world"]
    assert program.main([str(a) for a in (*arguments, "--quiet", "--measure-device", "cpu")]) == 0
    data = json.loads((tmp_path / "metrics.json").read_text())
    assert tuple(data["systems"]["a"]) == COLUMNS
    assert {key for story in data["stories"] for key in story if "world" in key} == set(COLUMNS)
    assert data["differences_from_first"]["b"]["tiny_world_identity"]["mean"] == 0
    assert any("cannot be compared with the paper's" in note for note in data["notes"])
    assert title_of(COLUMNS[-1]) == "later appearances that keep the look (tiny world)"
    assert title_of(COLUMNS[-1]) in (tmp_path / "report.html").read_text()
    assert program.main([str(a) for a in (*arguments, "--laion", "x")]) == 2
    assert "leave out --laion" in caplog.text


def test_other_pictures_are_refused(tmp_path, eyes):
    write_story(tmp_path, [(9, 32, 48)])
    with pytest.raises(ValueError, match="96x96"):
        measure_story(open_film(tmp_path), MetricModels(eyes))


@pytest.mark.skipif(files.find("diffusion_models") is None, reason="no tiny weights")
def test_one_command_tells_memory_from_no_memory_on_the_tiny_model(tales, tmp_path):
    """A short story, three systems, from script to table (test_compare has more stories)."""
    pytest.importorskip("diffusers")
    out = tmp_path / "results"
    arguments = ["compare", "--scripts", tales / "scripts" / "story_01.json", "--out", out,
                 "--systems", "storymem", "wan", "two_stage", "--references", tales / "references",
                 "--start-images", tales / "start_images", "--features", "tiny_world", "--quiet",
                 "--", "--tiny", "--steps", 4, "--device", "cpu"]  # fmt: skip
    assert program.main([str(a) for a in arguments]) == 0
    data = json.loads((out / "report" / "metrics.json").read_text())
    kept = {name: row["tiny_world_identity"]["mean"] for name, row in data["systems"].items()}
    assert kept["storymem"] > kept["wan"] + 0.3
    assert kept["two_stage"] > kept["wan"] + 0.3  # the key images are the world's own
    bank = json.loads((out / "storymem" / "story_01" / "bank" / "bank.json").read_text())
    assert "reference" in json.dumps(bank)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--stories", "0"], "--stories must be 1 or more"),
        (["--shots", "3"], "--shots must be 4 or more"),
        (["--out", "file/inside"], "--out cannot be made"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_drawn(
    wrong, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SystemExit) as stopped:
        main(["--out", "tales", *wrong])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("tales/*"))
