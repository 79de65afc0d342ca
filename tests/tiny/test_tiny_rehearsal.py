"""What drafts are worth: which frames are chosen, what a pass begins with, and what it costs."""

from __future__ import annotations

import argparse
import json

import pytest
import torch

from storymem.files.images import to_uint8
from storymem.script.reader import load_story
from storymem.tiny import world
from storymem.tiny.lab import casting, rehearsal

PROMPTS = (
    "Bomo jumps, Fipi stands, meadow, still",
    "Fipi hops, beach, still",
    "Bomo sways, beach, still",
    "meadow, still",
    "Fipi circles, city, still",
)


def tale(prompts=PROMPTS, cast=("Bomo", "Fipi", "Anka")):
    shots = [{"prompt": prompt, "cut": True} for prompt in prompts]
    return load_story({"story_name": "s", "cast": list(cast), "scenes": [{"video_prompts": shots}]})


def striped(*contrasts: int) -> torch.Tensor:
    """Frames of vertical stripes, uint8 [T, 8, 8, 3], each with a contrast of its own."""
    frames = torch.zeros(len(contrasts), 8, 8, 3, dtype=torch.uint8)
    for frame, contrast in zip(frames, contrasts, strict=True):
        frame[:, ::2] = contrast
    return frames


def test_shots_alone_count_and_company_where_there_are_none():
    told = tale()
    assert casting.shots_of(told, "Fipi", told.cast) == [1, 4]
    assert casting.shots_of(told, "Bomo", told.cast) == [2]
    assert casting.shots_of(told, "Anka", told.cast) == []
    company = tale(PROMPTS[:1])
    assert casting.shots_of(company, "Bomo", company.cast) == [0]


@pytest.mark.parametrize(
    ("rule", "shot", "contrast"),
    [
        (casting.FIRST, 1, 20),
        (casting.SHARPEST, 4, 40),
        (casting.SHARPEST_OF_ALL, 1, 90),
        (casting.SHARPEST_SHOT, 1, 20),
        (casting.LAPLACIAN, 4, 40),
    ],
)
def test_each_rule_takes_its_frame(rule, shot, contrast):
    shown = [striped(1, 1, 1)] * 5
    shown[1], shown[4] = striped(90, 20, 10), striped(5, 40, 30)
    (found,) = casting.choose(shown, [1, 4], rule, each=1, name="Fipi")
    assert (found.name, found.shot, int(found.image.max())) == ("Fipi", shot, contrast)


def test_the_cast_comes_first_and_then_the_places_without_anybody():
    shown = [striped(10 * (k + 1), 10 * (k + 1), 1) for k in range(5)]
    how = {"rule": casting.SHARPEST, "places": True}
    found = casting.cast_frames(shown, tale(), **how)
    assert [(one.name, one.shot) for one in found] == [
        ("Bomo", 2), ("Fipi", 4), ("meadow", 3), ("beach", 2), ("city", 4),
    ]  # fmt: skip
    two = casting.cast_frames(shown, tale(), rule=casting.SHARPEST, each=2)
    assert [(one.name, one.shot) for one in two] == [("Bomo", 2), ("Fipi", 4), ("Fipi", 1)]
    among = casting.cast_frames(shown, tale(), rule=casting.SHARPEST, among=1)
    assert [(one.name, one.shot) for one in among] == [("Bomo", 2), ("Fipi", 1)]


class Counting:
    """Paints every shot in a grey of its own and writes down what it was asked for."""

    def __init__(self):
        self.steps, self.length, self.asked = 0, 5, []

    def __call__(self, requests, rope_shift):
        self.asked.append((self.steps, self.length, requests))
        clips = torch.full((len(requests), 4 * self.length - 3, 96, 96, 3), 0.25)
        clips[..., ::2, :] = 0.5 + 0.01 * len(self.asked)
        for clip, request in zip(clips, requests, strict=True):
            if request.given is not None:
                clip[: len(request.given)] = request.given
        return clips


class Blind:
    """A judge for whom all look alike."""

    def identify(self, clips, visible, **how):
        return torch.zeros(*visible.shape, 4, dtype=torch.long)


def measured(tmp_path, *cases: str):
    options = rehearsal.parse(
        ["--out", str(tmp_path), "--stories", "2", "--shots", "3", "--device", "cpu",
         "--workers", "1", "--cases", *cases]
    )  # fmt: skip
    paint = Counting()
    return rehearsal.measure(options, paint, Blind()), paint


def test_a_film_begins_with_the_sharpest_frames_of_its_draft(tmp_path):
    work, paint = measured(tmp_path, "one", "sharpest")
    assert [steps for steps, _, _ in paint.asked] == [20] * 3 + [6] * 3 + [20] * 3
    film = paint.asked[6][2]
    known = [[frame.name for frame in request.memory] for request in film]
    told = [rehearsal.tell(work.stories, s, rehearsal.CASES[0]) for s in range(2)]
    assert known == [[n for n in t.cast if any(n in shot.prompt for shot in t.shots)] for t in told]
    greys = {to_uint8(torch.tensor([0.5 + 0.01 * n]), "x").item() for n in (4, 5, 6)}
    assert {int(frame.image.max()) for request in film for frame in request.memory} <= greys
    assert not any(request.memory for request in paint.asked[3][2])
    found = json.loads((tmp_path / "rehearsal.json").read_text())
    assert found["cases"]["sharpest"]["forwards"] == {"drafts": 18, "film": 60}
    assert found["cases"]["one"]["forwards"] == {"drafts": 0, "film": 60}
    table = (tmp_path / "rehearsal.md").read_text()
    assert "| `sharpest` |" in table
    assert "| 1.30 |" in table
    assert found["comparisons"]["sharpest - one, kept"]["difference"] == 0.0


def test_start_pictures_are_the_drafts_first_frames_and_begin_cuts(tmp_path):
    work, paint = measured(tmp_path, "starts")
    cuts = work.stories.begins == world.CUT
    for k in range(3):
        for s, request in enumerate(paint.asked[3 + k][2]):
            drafted = 0.5 + 0.01 * (k + 1)
            if cuts[s, k] or k == 0:
                assert len(request.given) == 1
                assert float(request.given.max()) == pytest.approx(drafted, abs=0.01)
            else:
                assert len(request.given) in (1, 5)
    assert not any(request.memory for request in paint.asked[3][2])


def test_drafts_are_made_once_and_stills_are_short(tmp_path):
    _, paint = measured(tmp_path, "sharpest", "two", "stills_6")
    made = [(steps, length) for steps, length, _ in paint.asked[::3]]
    assert made == [(6, 5), (20, 5), (20, 5), (6, 1), (20, 5)]


def test_results_of_several_processes_become_one(tmp_path):
    measured(tmp_path / "a", "one")
    measured(tmp_path / "b", "first")
    told = rehearsal.join(tmp_path / "c", [tmp_path / n / "rehearsal.json" for n in "ab"])
    assert "| `one` |" in told
    assert "| `first` |" in told
    assert "+0.000 (+0.000 to +0.000)" in told
    assert isinstance(rehearsal.parse(["--out", str(tmp_path)]), argparse.Namespace)
