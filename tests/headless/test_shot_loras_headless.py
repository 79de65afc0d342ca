"""LoRAs of single shots without a host: put on for a shot, and taken off to the bit."""

from __future__ import annotations

import copy
import json

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("peft")

from safetensors.torch import save_file

from helpers import tiny_diffusers
from helpers.lora_graphs import script, write_style
from helpers.not_empty import not_empty
from storymem import __main__ as program
from storymem.headless import adapters
from storymem.headless.shot_loras import ShotAdapters

pytestmark = pytest.mark.slow

FAST = "--embedder no_weights --width 48 --height 32 --length 9 --steps 2 --cfg 2 --device cpu"


@pytest.fixture(scope="module")
def transformer():
    return tiny_diffusers.tiny_transformer(3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    write_style(folder / "ink.safetensors", 1)
    write_style(folder / "styles" / "rain_high_noise.safetensors", 2)
    write_style(folder / "styles" / "rain_low_noise.safetensors", 3)
    generator = torch.Generator().manual_seed(4)
    name = "diffusion_model.blocks.0"
    save_file({
        f"{name}.norm3.diff": torch.randn(256, generator=generator),
        f"{name}.norm3.diff_b": torch.randn(256, generator=generator),
        f"{name}.ffn.0.lora_A.weight": torch.randn(2, 256, generator=generator),
        f"{name}.ffn.0.lora_B.weight": torch.randn(256, 2, generator=generator),
        f"{name}.ffn.0.diff_b": torch.randn(256, generator=generator),
    }, folder / "whole.safetensors")  # fmt: skip
    write_style(folder / "of_5b.safetensors", width=3072)
    return folder


def says(model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return model(
            torch.randn(1, 36, 3, 4, 6, generator=generator),
            torch.tensor([500]),
            torch.randn(1, 8, 64, generator=generator),
            return_dict=False,
        )[0]


def wear(model, worn: ShotAdapters, *files) -> None:
    adapters.set_lora_strength(model, 1.0, worn.put(model, files))


def test_loras_come_and_go_without_a_trace(transformer, files):
    model, worn = copy.deepcopy(transformer), ShotAdapters()
    bare = says(model)
    ink, whole = files / "ink.safetensors", files / "whole.safetensors"
    wear(model, worn)
    assert torch.equal(says(model), bare)
    wear(model, worn, (ink, 0.5), (whole, 0.3))
    both = says(model)
    assert not torch.equal(both, bare)
    wear(model, worn, (whole, 0.3))
    one = says(model)
    wear(model, worn, (ink, 0.5), (whole, 0.3))  # in another order of loading
    assert torch.equal(says(model), both)
    wear(model, worn, (whole, 0.3))
    assert torch.equal(says(model), one)
    wear(model, worn)
    assert torch.equal(says(model), bare)


def test_a_strength_is_what_the_lora_is_multiplied_with(transformer, files):
    model, worn = copy.deepcopy(transformer), ShotAdapters()
    wear(model, worn, (files / "ink.safetensors", 0.25))
    merged = copy.deepcopy(transformer)
    from safetensors.torch import load_file

    state = load_file(files / "ink.safetensors")
    down, up = (state[f"diffusion_model.blocks.0.self_attn.q.lora_{h}.weight"] for h in "AB")
    merged.blocks[0].attn1.to_q.weight.data += 0.25 * up @ down
    apart = (says(model) - says(merged)).norm() / says(merged).norm()
    assert float(apart) < 1e-5


def test_lasting_loras_keep_their_strength(transformer, files):
    model, worn = copy.deepcopy(transformer), ShotAdapters()
    adapters.add_extra_lora(model, files / "ink.safetensors")
    lasting = says(model)
    wear(model, worn, (files / "whole.safetensors", 0.3))
    assert not torch.equal(says(model), lasting)
    wear(model, worn)
    assert torch.equal(says(model), lasting)


# --- whole runs ------------------------------------------------------------------------------


def run(text: str, out, model, *more) -> int:
    path = out.parent / "tale.json"
    path.write_text(text)
    arguments = ["run", path, "--out", out, "--model", model, "--quiet", *FAST.split(), *more]
    return program.main([str(argument) for argument in arguments])


def files_of(out) -> list[dict]:
    found = {}
    for record in (out / ".shots" / "shots").rglob("record.json"):
        body = json.loads(json.loads(record.read_text())["record"])
        found.setdefault(body["facts"]["label"], []).append(body["files"]["shot.mp4"])
    return [found[label] for label in sorted(found)]


def test_only_shots_whose_loras_changed_are_made_again(i2v, files, tmp_path, caplog):
    out, loras = tmp_path / "out", ("--loras", files)
    assert run(script(None, None, None), out, i2v) == 0
    bare = files_of(out)
    text = script(None, "ink:0.5, rain", None)
    assert run(text, out, i2v, "--resume", *loras) == 0
    made = files_of(out)
    assert [len(of) for of in made] == [1, 2, 2]  # the third sees the second
    assert made[0] == bare[0]
    assert made[1][0] != made[1][1]
    assert run(text, out, i2v, "--resume", *loras) == 0
    assert files_of(out) == made
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in not_empty(files.rglob("*.safetensors")):
        (moved / path.name).write_bytes(path.read_bytes())
    assert run(text, out, i2v, "--resume", "--loras", moved) == 0
    assert files_of(out) == made  # the same weights elsewhere
    assert run(script(None, "ink:0.6, rain", None), out, i2v, "--resume", *loras) == 0
    assert [len(of) for of in files_of(out)] == [1, 3, 3]
    assert "its LoRAs changed from 'ink:0.5, rain' to 'ink:0.6, rain'" in caplog.text


@pytest.mark.parametrize(
    ("loras", "given", "words"),
    [
        ("inc", True, "the LoRAs of shot 2 cannot be applied: there is no LoRA 'inc'"),
        ("ink", False, "pass --loras with the folder of their files"),
        ("of_5b", True, "was made for Wan 2.2 5B"),
    ],
)
def test_what_cannot_be_applied_is_told_at_once(i2v, files, tmp_path, caplog, loras, given, words):
    more = ("--loras", files) if given else ()
    assert run(script(None, loras), tmp_path / "out", i2v, *more) == 2
    assert words in caplog.text
    assert run(script(None, None), tmp_path / "two", i2v, "--loras", tmp_path / "none") == 0


def test_the_tiny_model_takes_none_and_says_so(tmp_path, caplog):
    path = tmp_path / "tale.json"
    path.write_text(script("ink"))
    options = ["run", path, "--out", tmp_path / "out", "--tiny", "--steps", "1", "--quiet"]
    assert program.main([str(option) for option in options]) == 0
    assert "the LoRAs of shot 1 have no effect: the tiny model takes none" in caplog.text
