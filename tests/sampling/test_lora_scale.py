"""The scale of LoRA files without alpha: stated beside the weights, or the rank as the release
trains; and what an update makes of shots that were made at another one."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from safetensors.torch import save_file

from storymem.sampling.lora import describe_scale
from storymem.sampling.lora_file import assumed, load_lora, scale_change

PEFT, REPACKED = ("lora_A", "lora_B"), ("lora_down", "lora_up")
NAME = "backbone_high_noise.safetensors"


@pytest.fixture
def write(tmp_path):
    """A file of one module, and what stands beside it or in its header."""

    def write(rank=64, *, name=NAME, halves=PEFT, alpha=None, header=None, config=None):
        state = {
            f"blocks.0.ffn.0.{halves[0]}.weight": torch.ones(rank, 6),
            f"blocks.0.ffn.0.{halves[1]}.weight": torch.ones(8, rank),
        }
        if alpha is not None:
            state["blocks.0.ffn.0.alpha"] = torch.tensor(float(alpha))
        metadata = {
            k: v if isinstance(v, str) else json.dumps(v) for k, v in (header or {}).items()
        }
        save_file(state, tmp_path / name, metadata)
        if config is not None:
            text = config if isinstance(config, str) else json.dumps(config)
            (tmp_path / "adapter_config.json").write_text(text)
        return tmp_path / name

    return write


def scales(path, choice="auto"):
    """By the whole file and by its outline, which agree."""
    whole, outline = load_lora(path), load_lora(path, is_outline=True)
    found = [{pair.scale(choice) for pair in modules.values()} for modules in (whole, outline)]
    assert found[0] == found[1]
    assert scale_change(whole, choice) == scale_change(outline, choice)
    (scale,) = found[0]
    return scale, scale_change(whole, choice), assumed(whole, choice, path.name)


@pytest.mark.parametrize(("rank", "scale", "was"), [(64, 8, 16), (16, 4, 32), (256, 16, 8)])
@pytest.mark.parametrize("choice", ["auto", "rslora"])
def test_nothing_says_alpha_so_it_is_the_rank(write, rank, scale, was, choice):
    found, change, told = scales(write(rank), choice)
    assert found == scale
    assert change == f"{scale} instead of {was}"
    assert told == (
        f"{NAME} does not say its alpha, which is taken to be its rank, {rank}, as the release "
        f"trains: scale {scale}; if it was trained with another alpha, set the strength to that "
        f"alpha / {rank}"
    )


@pytest.mark.parametrize("choice", ["auto", "rslora", "standard"])
@pytest.mark.parametrize("config", [None, {"r": 128, "lora_alpha": 64, "use_rslora": False}])
def test_nothing_changes_for_the_released_rank(write, choice, config):
    """Whatever config lies in a folder of many files."""
    scale, change, told = scales(write(128, config=config), choice)
    assert scale == (1 if choice == "standard" else 128 / math.sqrt(128))
    assert (change, told) == ("", "")


@pytest.mark.parametrize("rank", [64, 128])
@pytest.mark.parametrize("alpha", [None, 128])
@pytest.mark.parametrize("choice", ["auto", "standard"])
def test_nothing_changes_for_repacked_files(write, rank, alpha, choice):
    path = write(rank, halves=REPACKED, alpha=alpha, config={"r": rank, "lora_alpha": 7})
    expected = 1 if alpha is None else alpha / rank
    assert scales(path, choice) == (expected, "", "")


def test_a_repacked_file_that_is_forced_to_rslora_has_its_rank_too(write):
    assert scales(write(64, halves=REPACKED), "rslora")[0] == 8
    assert scales(write(64, halves=REPACKED, alpha=128), "rslora") == (16, "", "")


STATED = {"alpha": 32, "use_rslora": True}  # of a file of rank 64: 32 / sqrt(64) = 4
WAYS = {
    "a config of peft's": {
        "name": "adapter_model.safetensors", "config": {"lora_alpha": 32, "use_rslora": True},
    },
    "a config beside it": {"config": {"r": 64, "lora_alpha": 32, "use_rslora": True}},
    "diffusers' header": {
        "header": {"lora_adapter_metadata": {
            "transformer.lora_alpha": 32, "transformer.use_rslora": True, "transformer.r": 64,
        }},
    },
    "the header of our training": {"header": {"storymem": {**STATED, "rank": 64, "step": 9}}},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_is_stated_is_taken(write, way):
    path = write(64, **WAYS[way])
    assert scales(path) == (4, "4 instead of 16", "")
    place = "adapter_config.json" if "config" in WAYS[way] else "its header"
    assert describe_scale(load_lora(path), "auto") == f"rank 64, scale 4 (alpha 32 by {place})"
    assert scales(path, "standard")[0] == 0.5
    assert scales(path, "rslora")[0] == 4


@pytest.mark.parametrize("way", WAYS)
def test_a_stated_scale_is_not_rooted_unless_it_says_so(write, way):
    given = json.loads(json.dumps(WAYS[way]).replace("true", "false"))
    assert scales(write(64, **given))[0] == 0.5


def test_a_film_made_at_the_right_scale_stays(write):
    """Trained by this package with alpha 128, which its files of other ranks did not carry."""
    path = write(64, header={"storymem": {"rank": 64, "alpha": 128.0, "use_rslora": True}})
    assert scales(path) == (16, "", "")


def test_alpha_in_the_file_comes_first(write):
    path = write(64, alpha=64, header=WAYS["diffusers' header"]["header"])
    assert scales(path) == (1, "", "")


@pytest.mark.parametrize(
    "config",
    ["", "[]", "{", '"r"', {}, {"r": 64}, {"r": 64, "lora_alpha": None},
     {"r": 32, "lora_alpha": 32}, {"lora_alpha": 32}],
)  # fmt: skip
def test_a_config_that_says_nothing_of_this_file_is_passed_over(write, config):
    assert scales(write(64, config=config))[:2] == (8, "8 instead of 16")


def test_layers_with_an_alpha_of_their_own_are_told_by_a_header_too(write):
    header = {"transformer.lora_alpha": 32, "transformer.alpha_pattern": {"q": 8}}
    path = write(64, header={"lora_adapter_metadata": header})
    with pytest.raises(ValueError, match=rf"^{NAME} has its own alpha .* \(its header\)"):
        load_lora(path)


@pytest.mark.parametrize("header", [{"storymem": "nothing"}, {"storymem": "[1]"}, {"format": "pt"}])
def test_a_header_that_says_nothing_of_alpha_is_passed_over(write, header):
    assert scales(write(64, header=header))[0] == 8


@pytest.mark.parametrize(
    "alpha",
    [True, "64", 0, -1, [64], 65_537, 1e400, 10**400, math.nan, {"a": 1}],
    ids=lambda a: str(a)[:9],
)
def test_an_alpha_that_cannot_be_is_refused(write, alpha):
    path = write(64, config={"r": 64, "lora_alpha": alpha})
    with pytest.raises(ValueError, match=rf"^{NAME}\b.* alpha .*adapter_config\.json"):
        load_lora(path)


@pytest.mark.parametrize("way", WAYS)
def test_wherever_it_stands_an_alpha_that_cannot_be_is_told_with_file_and_place(write, way):
    given = json.loads(json.dumps(WAYS[way]).replace("32", "0"))
    path = write(64, **given)
    place = "adapter_config.json" if "config" in given else "its header"
    with pytest.raises(ValueError, match=rf"^{path.name}: alpha in {place} must be above 0"):
        load_lora(path)


@pytest.mark.parametrize("alpha", [0.5, 1, 65_536])
def test_any_alpha_that_can_be_meant_is_taken(write, alpha):
    path = write(64, config={"r": 64, "lora_alpha": alpha, "use_rslora": False})
    assert scales(path)[0] == alpha / 64


def test_a_config_with_letters_of_another_encoding_is_read(write, tmp_path):
    path = write(64)
    config = b'{"base": "\xe9t\xe9", "r": 64, "lora_alpha": 32, "use_rslora": true}'
    (tmp_path / "adapter_config.json").write_bytes(config)
    assert scales(path)[0] == 4


def test_what_is_stated_stays_as_it_is(write):
    (pair,) = load_lora(write(64, **WAYS["a config beside it"])).values()
    with pytest.raises(FrozenInstanceError):
        pair.stated.alpha = 1.0


def test_an_alpha_of_single_layers_is_refused(write):
    path = write(64, config={"r": 64, "lora_alpha": 64, "alpha_pattern": {"q": 8}})
    with pytest.raises(ValueError, match="its own alpha for some layers"):
        load_lora(path)
    load_lora(write(64, config={"r": 64, "lora_alpha": 64, "alpha_pattern": {}}))


def test_a_checkpoint_of_pytorch_is_read_with_the_config_beside_it(write, tmp_path):
    write(64, config={"r": 64, "lora_alpha": 32, "use_rslora": True})
    path = tmp_path / "backbone_low_noise.pth"
    halves = {f"blocks.0.ffn.0.{h}.weight": torch.ones(64, 64) for h in PEFT}
    torch.save(halves, path)
    assert scales(path)[0] == 4


def test_the_file_is_named_as_it_is_chosen(tmp_path):
    save_file({"other": torch.ones(2, 2)}, tmp_path / NAME)
    with pytest.raises(ValueError, match=r"^mi2v/high is not a StoryMem LoRA"):
        load_lora(tmp_path / NAME, "mi2v/high")
