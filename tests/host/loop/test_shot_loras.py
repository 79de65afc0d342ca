"""LoRAs of single shots in the loop: which shots are made again, and what is told beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.loop_graphs import decoded, story
from helpers.lora_graphs import applied, plain, script, shots_with_loras, write_style
from helpers.pass_graphs import passed
from helpers.plan_ahead import ask_plan


@pytest.fixture(autouse=True)
def files(host):
    """LoRA files of the host's folder, for one test."""
    folder = host.base / "models" / "loras"
    paths = [
        write_style(folder / "ink.safetensors", 1),
        write_style(folder / "styles" / "rain_high_noise.safetensors", 2),
        write_style(folder / "styles" / "rain_low_noise.safetensors", 3),
    ]
    yield folder
    for path in paths:
        path.unlink(missing_ok=True)


@pytest.fixture
def run(host, tmp_path, monkeypatch):
    """Run a graph in an output folder of its own; how many shots were made, and all videos."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))

    def execute(graph):
        before = len(records(tmp_path))
        recorded = host.run(graph)
        folder = Path(recorded["folder"])
        videos = [decoded(path) for path in sorted(folder.glob("shot_*.mp4"))]
        return len(records(tmp_path)) - before, videos

    return execute


def records(folder: Path) -> list[Path]:
    """Every shot that was ever finished."""
    return list(folder.rglob("record.json"))


def test_a_shot_with_a_lora_differs_and_those_before_it_do_not(run):
    made, before = run(plain(story(3)))
    assert (made, len(before)) == (3, 3)
    # The node alone changes nothing, and regenerates nothing.
    assert run(applied(plain(story(3)))) == (0, before)
    made, styled = run(shots_with_loras(None, "ink:0.5", None))
    assert made == 2  # the third continues from the second
    assert styled[0] == before[0]
    assert styled[1] != before[1]
    made, stronger = run(shots_with_loras(None, "ink.safetensors:1", None))
    assert made == 2
    assert stronger[0] == before[0]
    assert stronger[1] not in (before[1], styled[1])
    assert run(shots_with_loras(None, {"ink": 0.5}, None)) == (0, styled)
    assert run(plain(script(None, "ink:1", None))) == (0, before)  # and nothing applies it


def test_later_shots_after_a_cut_stay(run):
    cuts = [True, True, True]
    made, before = run(_without_memory(shots_with_loras(None, None, None, cuts=cuts)))
    assert made == 3
    made, styled = run(_without_memory(shots_with_loras(None, "rain", None, cuts=cuts)))
    assert made == 1
    assert [a == b for a, b in zip(before, styled, strict=True)] == [True, False, True]


def test_a_scene_has_loras_and_a_shot_takes_one_away(run):
    _, before = run(_without_memory(plain(story(2, cuts=[True, True]))))
    scene = {"loras": ["ink:0.5"], "cuts": [True, True]}
    made, styled = run(_without_memory(shots_with_loras(None, "ink:0", **scene)))
    assert made == 1
    assert styled[0] != before[0]
    assert styled[1] == before[1]


def test_a_file_that_is_replaced_is_another_lora(run, files):
    graph = shots_with_loras(None, "ink:0.5")
    _, before = run(graph)
    write_style(files / "ink.safetensors", 9)
    made, after = run(graph)
    assert made == 1
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_draft_has_them_too(run, files):
    draft = {"steps": 2, "lora_high": "ink.safetensors", "lora_low": "ink.safetensors"}
    _, before = run(passed(shots_with_loras(None, None), "draft", **draft))
    made, styled = run(passed(shots_with_loras(None, "rain:0.5"), "draft", **draft))
    assert made == 1
    assert styled[0] == before[0]
    assert styled[1] != before[1]


@pytest.mark.parametrize(
    ("loras", "words"),
    [
        ("inc", "the LoRAs of shot 2 cannot be applied: there is no LoRA 'inc'"),
        ("inc", "near it are ink"),
        ("backbone_high_noise", "is the LoRA of a memory model, which has a scale of its own"),
        ("flux_style", "it is a LoRA for Flux"),
        ("twin", "may be any of"),
        ("ink, rain, styles/rain_low_noise", "are one file"),
        ("other_names", "does not know the names of its weights"),
        ("of_5b", "it is a LoRA for Wan 2.2 5B"),
    ],
)
def test_what_cannot_be_applied_is_told_before_the_first_shot(
    host, run, files, tmp_path, loras, words
):
    more = [
        write_style(files / "backbone_high_noise.safetensors"),
        write_style(files / "flux_style.safetensors", key="single_transformer_blocks.0.attn.to_q"),
        write_style(files / "other_names.safetensors", key="transformer.blocks.0.attn1.to_q"),
        write_style(files / "a" / "twin.safetensors"),
        write_style(files / "b" / "twin.safetensors"),
        write_style(files / "of_5b.safetensors", width=3072),
    ]
    graph = shots_with_loras(None, loras)
    try:
        said = ask_plan(host, graph)
        assert words in said["error"]
        assert said["at_fault"] == "loras"
        with pytest.raises(RuntimeError, match=words):
            run(graph)
        assert not records(tmp_path)
    finally:
        for path in more:
            path.unlink()


def test_a_lora_of_another_size_is_refused(run, files):
    write_style(files / "wide.safetensors", width=384)
    try:
        with pytest.raises(RuntimeError, match="was made for another model than model_high"):
            run(shots_with_loras("wide"))
    finally:
        (files / "wide.safetensors").unlink()


def test_loras_that_nothing_applies_are_told(host, run):
    said = ask_plan(host, plain(script(None, "ink", "nothing_there")))
    assert "the script has LoRAs for shots 2, 3" in said["notices"]["open"]
    assert not said["error"]
    said = ask_plan(host, shots_with_loras(None, "ink"))["notices"]
    assert "open" not in said
    assert "no LoRA is on the way" in said["sampler"]  # of StoryMem, which this node is not


def test_half_a_pair_and_an_expert_left_out_are_told(host, run, files):
    (files / "styles" / "rain_low_noise.safetensors").unlink()
    graph = shots_with_loras(None, "rain")
    assert "low-noise expert gets nothing" in ask_plan(host, graph)["notices"]["loras"]
    graph["sampler"]["inputs"]["model_low"] = ["low", 0]
    graph["sampler"]["inputs"]["shot"] = ["open", 1]
    said = ask_plan(host, graph)["notices"]["sampler"]
    assert "model_low does not come from Apply Shot LoRAs" in said


def test_a_changed_list_is_told_as_the_reason(host, run):
    run(shots_with_loras(None, "ink:0.5"))
    said = ask_plan(host, shots_with_loras(None, "ink:0.8, rain"))
    assert said["changes"] == [
        {
            "shots": [2],
            "reasons": ["its LoRAs changed from 'ink:0.5' to 'ink:0.8, rain'"],
            "edited": False,
        }
    ]


def _without_memory(graph: dict) -> dict:
    graph["close"]["inputs"]["bank"] = ["open", 2]  # nothing is remembered
    return graph
