"""The tiny model in the host: its files in the stock loaders, its demo nodes, its workflow."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("diffusers")

from storymem import try_it
from storymem.tiny import demo, dit, files, text

SHORT = "Bomo jumps, beach, still\n---\n[continue]\nBomo hops, beach, zoom\n---\nFipi sways, snow"


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A folder with a random DiT of one layer under the tiny model's name: right in form only."""
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = dit.to_host(dit.build(layers=1, ffn=64).state_dict())
    folder = tmp_path_factory.mktemp("stand_in")
    state = {key: value.half().contiguous() for key, value in state.items()}
    save_file(state, str(folder / files.FILES["diffusion_models"]))
    return folder


@pytest.fixture
def tiny(host):
    return host.pack("nodes.tiny")


def test_the_stock_loaders_list_the_files_that_are_there_once_and_no_other(
    tiny, stand_in, monkeypatch
):
    import folder_paths

    before = {kind: folder_paths.get_folder_paths(kind) for kind in files.FILES}
    everything = set(folder_paths.folder_names_and_paths)
    monkeypatch.setenv(files.VARIABLE, str(stand_in))
    tiny.register_weights()
    tiny.register_weights()
    try:
        for kind, name in files.FILES.items():
            assert folder_paths.get_filename_list(kind).count(name) == 1
            assert folder_paths.get_folder_paths(kind)[: len(before[kind])] == before[kind]
        assert files.FILES["diffusion_models"] not in folder_paths.get_filename_list("vae")
        assert files.FILES["vae"] not in folder_paths.get_filename_list("diffusion_models")
        assert set(folder_paths.folder_names_and_paths) == everything
    finally:
        for kind, paths in before.items():
            folder_paths.folder_names_and_paths[kind][0][:] = paths


def test_the_pack_shows_the_shipped_files_by_itself(host):
    import folder_paths

    for kind, name in files.FILES.items():
        assert name in folder_paths.get_filename_list(kind)


def test_the_text_encoder_says_what_it_understood(tiny, caplog):
    prompt = "The tiny Bomo jumps, Fipi stands, meadow, still"
    positive, negative, understood = tiny.TinyTextEncoder.execute(prompt, "").result
    assert torch.equal(positive[0][0][0], text.encode(prompt))
    assert torch.equal(negative[0][0][0], text.encode(""))
    assert understood == (
        "name: bomo, action: jumps, name 2: fipi, action 2: stands, place: meadow, camera: still"
    )
    assert not caplog.records
    assert tiny.TinyTextEncoder.execute("a lighthouse at dawn").result[2] == "nothing"
    assert "recognises no word" in caplog.text


def test_a_portrait_has_the_look_that_was_chosen(tiny):
    (image,) = tiny.TinyPortrait.execute("small", "red", "stripe", "square", "cone").result
    expected = demo.portrait("small", demo.parse_look("red stripe square cone"))
    assert torch.equal(image, expected[None])


@pytest.mark.http
def test_the_one_command_makes_the_shipped_workflows_story(host, tmp_path, monkeypatch, caplog):
    """``try_it.py`` beside a ComfyUI, shortened: a server of its own, the film, the sheet."""
    caplog.set_level("INFO", logger="storymem")
    workflow = json.loads(try_it.WORKFLOW.read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        values = node.get("widgets_values", [])
        swaps = {demo.SCRIPT: SHORT, demo.RECIPE["steps"]: 2}
        node["widgets_values"] = [
            swaps.get(v, v) if isinstance(v, (str, int)) and v is not True else v for v in values
        ]
    short = tmp_path / "short.json"
    short.write_text(json.dumps(workflow), encoding="utf-8")
    monkeypatch.setattr(try_it, "WORKFLOW", short)
    out = tmp_path / "film"
    assert try_it.main(["story", "--here", "--out", str(out)]) == 0
    made = {path.name for path in out.iterdir()}
    shots = {f"shot_01_0{i}.mp4" for i in (1, 2, 3)}
    assert shots | {"story_00001_.mp4", "contact_sheet.png", "bank", "story.json"} <= made
    assert "finished shot_01_03.mp4" in caplog.text
    assert try_it.main(["story", "--here", "--out", str(out)]) == try_it.REFUSED
    assert "is not empty" in caplog.text
