"""Evaluate Story in a real host: folders, files of the model folders, report and picture."""

from __future__ import annotations

import json
import sys

import pytest

from helpers.film_files import write_clip, write_laion, write_story, write_viclip
from helpers.keyframe_graphs import node, record

pytest.importorskip("open_clip")
SIZES = [(9, 32, 48), (13, 48, 32), (5, 40, 40)]


@pytest.fixture(scope="module")
def models(placing):
    """Small random weights where the host looks for the real ones."""
    with placing() as put:
        yield [
            put("viclip", "ViClip-InternVid-10M-FLT.pth", write_viclip),
            put("clip_vision", "ViT-L-14.pt", write_clip),
            put("aesthetics", "sa_0_4_vit_l_14_linear.pth", write_laion),
        ]


@pytest.fixture
def story(host):
    return write_story(host.base / "output" / "storymem" / "tale", SIZES)


def graph(**inputs) -> dict:
    settings = {
        "folder": "storymem/tale",
        "features": "viclip",
        "aesthetic": "laion",
        "viclip_name": "auto",
        "clip_name": "auto",
        "aesthetic_file": "auto",
    } | inputs
    return {
        "e": node("StoryMemEvaluateStory", **settings),
        **{f"r{i}": record(["e", i], key) for i, key in enumerate(("report", "table", "map"))},
    }


def test_a_story_is_measured_in_its_folder(host, models, story):
    values = host.run(graph())
    data = json.loads((story / "metrics" / "metrics.json").read_text())
    (row,) = data["stories"]
    assert row["overall"] is not None
    assert f"{row['overall']:.4f}" in values["report"]
    assert values["table"].count("\n") == 1 + len(SIZES)
    assert values["map"].shape[0] == 1
    assert values["map"].shape[3] == 3
    assert 0 <= float(values["map"].min()) <= float(values["map"].max()) <= 1
    assert (story / "metrics" / "report.html").exists()
    # The same numbers as without the host.
    from storymem import __main__ as program

    options = dict(zip(("--viclip", "--clip", "--laion"), models, strict=True))
    arguments = [str(part) for pair in options.items() for part in pair]
    out = host.base / "temp" / "evaluate"
    program.main(["evaluate", str(story), "--out", str(out), "--quiet", *arguments])
    outside = json.loads((out / "metrics.json").read_text())["stories"][0]
    for column in ("global", "single_shot", "overall", "top10", "aesthetic_other_head"):
        assert row[column] == pytest.approx(outside[column], abs=1e-6)


@pytest.mark.parametrize("features", ["viclip", "open_clip_frame_average"])
def test_a_story_is_measured_without_open_clip(host, models, story, monkeypatch, features):
    for module in ("open_clip", "timm"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it fails
    host.restart()
    prefix = "" if features == "viclip" else "clip_average_"
    values = host.run(graph(features=features))
    (row,) = json.loads((story / "metrics" / "metrics.json").read_text())["stories"]
    assert row[f"{prefix}single_shot"] is not None
    assert f"{row[f'{prefix}overall']:.4f}" in values["report"]


def test_what_reading_texts_lacks_is_told_before_any_model_is_read(
    host, models, story, monkeypatch
):
    packages = host.pack("storymem.files.packages")
    monkeypatch.setattr(packages, "missing", lambda names: [n for n in names if n == "ftfy"])
    monkeypatch.setattr(
        host.pack("storymem.metrics.models"), "load_viclip", lambda path: pytest.fail("read")
    )
    host.restart()
    with pytest.raises(Exception, match=r"needs the package ftfy, .* -m pip install ftfy"):
        host.run(graph())


def test_the_whole_path_of_the_folder_serves_as_well(host, models, story):
    values = host.run(graph(folder=str(story), aesthetic="none"))
    assert "aesthetic" not in values["report"].splitlines()[0]


def test_changed_files_are_measured_again_and_the_same_are_not(host, models, story):
    first = host.run(graph(aesthetic="none"))["report"]
    stamp = (story / "metrics" / "metrics.json").stat().st_mtime_ns
    host.run(graph(aesthetic="none"))
    assert (story / "metrics" / "metrics.json").stat().st_mtime_ns == stamp
    write_story(story, SIZES, seed=50)
    assert host.run(graph(aesthetic="none"))["report"] != first


def test_the_stand_in_is_named(host, models, story):
    values = host.run(graph(features="open_clip_frame_average", aesthetic="none"))
    assert "clip_average_overall" in values["report"].splitlines()[0]


def test_a_missing_file_is_named_with_its_page(host, models, story):
    models[0].unlink()
    host.restart()
    with pytest.raises(Exception, match=r"ViCLIP needs a weights file: ViClip-InternVid-10M-FLT"):
        host.run(graph())
    write_viclip(models[0])


@pytest.mark.parametrize("folder", ["../../etc", "/etc", "", ".", "storymem/none", "a\0b"])
def test_folders_outside_the_output_folder_are_refused(host, models, story, folder):
    with pytest.raises(Exception, match="folder must be a story's folder inside"):
        host.run(graph(folder=folder))
