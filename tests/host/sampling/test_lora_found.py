"""Load Story LoRA finds the released files under the names that they are downloaded with."""

from __future__ import annotations

import os

import pytest

from helpers.stock_graphs import loaders
from helpers.tiny_models import write_lora

SHIPPED = {f"lora_{noise}": f"storymem_mi2v_{noise}_noise.safetensors" for noise in ("high", "low")}
OWN = "StoryMem/Wan2.2-MI2V-A14B/backbone_{}_noise.safetensors"


@pytest.fixture
def folder(host):
    """The host's loras folder, without those files that another test may have put there."""
    import folder_paths

    folder = host.base / "models" / "loras"
    aside = folder.rename(folder.with_name("loras_aside")) if folder.exists() else None
    folder.mkdir()
    folder_paths.filename_list_cache.clear()
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    if aside:
        aside.rename(folder)
    folder_paths.filename_list_cache.clear()


def put(folder, name: str, **options) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_lora(folder / name, **options)


def report(host, **names) -> str:
    graph = loaders()
    inputs = {"strength": 1.0, "scale": "auto", **SHIPPED, **names}
    inputs |= {"model_high": ["high", 0], "model_low": ["low", 0]}
    graph["lora"] = {"class_type": "StoryMemLoadLoRA", "inputs": inputs}
    graph["told"] = {
        "class_type": "StoryMemTestRecord",
        "inputs": {"value": ["lora", 2], "key": "report"},
    }
    return host.run(graph)["report"]


def test_a_shipped_workflow_finds_the_releases_own_folder(host, folder):
    for seed, noise in enumerate(("high", "low")):
        put(folder, OWN.format(noise), seed=seed)
    told = report(host)
    assert OWN.format("high").replace("/", os.sep) in told
    assert OWN.format("low").replace("/", os.sep) in told


def test_a_file_as_a_browser_saves_it_is_found(host, folder):
    put(folder, "backbone_high_noise.safetensors")
    assert "backbone_high_noise.safetensors: 30 of 30" in report(host, lora_low="none")


def test_the_file_itself_comes_first(host, folder):
    put(folder, OWN.format("high"), seed=1)
    put(folder, SHIPPED["lora_high"], seed=2)
    assert f"{SHIPPED['lora_high']}: 30 of 30" in report(host, lora_low="none")


def test_a_file_that_is_nowhere_is_told_before_anything_runs(host, folder):
    put(folder, OWN.format("high").replace("MI2V", "MM2V"))
    with pytest.raises(RuntimeError, match="is not in models/loras; the released files are found"):
        report(host)
    assert host.executed_nodes() == []


def test_a_replaced_file_is_loaded_again(host, folder):
    put(folder, OWN.format("high"), seed=1)
    fingerprint = host.pack("nodes.sampling.lora").LoadLoRA.fingerprint_inputs
    before = fingerprint(**SHIPPED)
    put(folder, OWN.format("high"), seed=2)
    os.utime(folder / OWN.format("high"), (1, 1))
    assert fingerprint(**SHIPPED) != before != str([])


def test_a_loop_watches_the_file_that_is_meant(host, folder):
    put(folder, OWN.format("high"))
    files_of = host.pack("nodes.loop.graph").files_of
    assert files_of({"inputs": SHIPPED}) == [str(folder / OWN.format("high"))]
