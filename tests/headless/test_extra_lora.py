"""Other LoRAs on diffusers' Wan: every way of naming is applied at its scale, or refused."""

from __future__ import annotations

import copy
import json
import math
import shutil

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("peft")

from safetensors.torch import save_file

from helpers import tiny_diffusers
from storymem import __main__ as program
from storymem.headless import adapters, lora_places
from storymem.headless import engine as engine_module
from storymem.headless.engine import ModelFiles
from storymem.headless.extra_lora import identity_note, load_extra_lora
from storymem.headless.lora_places import places_of, places_of_config
from storymem.sampling.lora import read_lora

pytestmark = pytest.mark.slow

RANK, ALPHA = 4, 2.0
NEW_TO_OLD = {new: old for old, new in lora_places.DIFFUSERS_NAMES.items()}


@pytest.fixture(scope="module")
def transformer():
    return tiny_diffusers.tiny_transformer(3)


@pytest.fixture(scope="module")
def pairs(transformer):
    """A pair for every linear layer of the blocks, by diffusers' names: (down, up)."""
    generator = torch.Generator().manual_seed(9)
    found = {}
    for name, module in transformer.named_modules():
        if name.startswith("blocks.") and isinstance(module, torch.nn.Linear):
            out, into = module.weight.shape
            down = torch.randn(RANK, into, generator=generator) / into**0.5
            found[name] = down, torch.randn(out, RANK, generator=generator)
    assert len(found) == 20
    return found


def old_name(part: str) -> str:
    _, block, rest = part.split(".", 2)
    return f"blocks.{block}.{NEW_TO_OLD[rest]}"


def flat(part: str) -> str:
    return part.replace(".", "_")


def with_alpha(name, halves):
    def write(pairs, alpha=ALPHA):
        state = {}
        for part, pair in pairs.items():
            state |= {f"{name(part)}.{h}": t for h, t in zip(halves, pair, strict=True)}
            state[f"{name(part)}.alpha"] = torch.tensor(alpha)
        return state

    return write


def without_alpha(name, halves):
    def write(pairs):
        return {
            f"{name(part)}.{half}": tensor
            for part, pair in pairs.items()
            for half, tensor in zip(halves, pair, strict=True)
        }

    return write


PEFT = ("lora_A.weight", "lora_B.weight")
KOHYA = ("lora_down.weight", "lora_up.weight")
NAMINGS = {  # how people's files name the same change -> its writer, and its scale
    "peft": (without_alpha(lambda p: f"base_model.model.{old_name(p)}", PEFT), 1),
    "peft, diffusers' names": (without_alpha(lambda p: f"base_model.model.{p}", PEFT), 1),
    "peft with the adapter's name": (
        without_alpha(lambda p: old_name(p), ("lora_A.default.weight", "lora_B.default.weight")), 1
    ),
    "bare": (without_alpha(lambda p: p, PEFT), 1),
    "bare original": (without_alpha(old_name, PEFT), 1),
    "diffusers": (without_alpha(lambda p: f"transformer.{p}", PEFT), 1),
    "diffusers with alpha": (with_alpha(lambda p: f"transformer.{p}", PEFT), ALPHA / RANK),
    "diffusers, old": (
        without_alpha(lambda p: f"transformer.{p}", ("lora.down.weight", "lora.up.weight")), 1
    ),
    "transformer with original names": (
        without_alpha(lambda p: f"transformer.{old_name(p)}", PEFT), 1
    ),
    "native": (without_alpha(lambda p: f"diffusion_model.{old_name(p)}", PEFT), 1),
    "native with alpha": (
        with_alpha(lambda p: f"diffusion_model.{old_name(p)}", KOHYA), ALPHA / RANK
    ),
    "native with diffusers' names": (
        with_alpha(lambda p: f"diffusion_model.{p}", KOHYA), ALPHA / RANK
    ),
    "checkpoint": (
        with_alpha(lambda p: f"model.diffusion_model.{old_name(p)}", KOHYA), ALPHA / RANK
    ),
    "kohya": (with_alpha(lambda p: f"lora_unet_{flat(old_name(p))}", KOHYA), ALPHA / RANK),
    "kohya without alpha": (without_alpha(lambda p: f"lora_unet_{flat(old_name(p))}", KOHYA), 1),
    "kohya, diffusers' names": (with_alpha(lambda p: f"lora_unet_{flat(p)}", KOHYA), ALPHA / RANK),
    "lycoris": (with_alpha(lambda p: f"lycoris_{flat(old_name(p))}", KOHYA), ALPHA / RANK),
}  # fmt: skip
# What diffusers alone reads: these films' keys stay as they are.
READ_BEFORE = {"diffusers", "diffusers, old", "native", "native with alpha", "kohya"}
# What it fails on: no film was made with these.
FAILED_BEFORE = {"native with diffusers' names", "kohya without alpha", "kohya, diffusers' names"}


def shot(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(1, model.config.in_channels, 3, 4, 6, generator=generator)
    text = torch.randn(1, 8, model.config.text_dim, generator=generator)
    return {
        "hidden_states": sample,
        "timestep": torch.tensor([700.0]),
        "encoder_hidden_states": text,
        "return_dict": False,
    }


def merged(model, pairs, scale, more=None):
    """A copy whose weights are changed by hand, in float64."""
    model = copy.deepcopy(model)
    for part, (down, up) in pairs.items():
        weight = model.get_submodule(part).weight
        weight.data = (weight.double() + scale * up.double() @ down.double()).to(weight.dtype)
    parameters = dict(model.named_parameters())
    for name, change in (more or {}).items():
        parameters[name].data += change
    return model


def apart(found, expected) -> float:
    with torch.no_grad():
        a, b = found(**shot(found))[0], expected(**shot(expected))[0]
    return float((a - b).norm() / b.norm())


def adapted(transformer, path):
    model = copy.deepcopy(transformer)
    told = adapters.add_extra_lora(model, path)
    return model, told


def write(tmp_path, state, name="style.safetensors", metadata=None):
    path = tmp_path / name
    save_file({k: v.contiguous() for k, v in state.items()}, path, metadata)
    return path


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_is_applied_at_its_scale(transformer, pairs, tmp_path, naming):
    writer, scale = NAMINGS[naming]
    path = write(tmp_path, writer(pairs))
    adapters.check_extra_lora(path, transformer.config)
    model, told = adapted(transformer, path)
    assert told == f"20 layers, rank {RANK}, scale {scale:.4g}"
    expected = merged(transformer, pairs, scale)
    assert apart(model, expected) < 1e-5
    assert apart(model, transformer) > 1e-2
    assert identity_note(path, places_of(transformer)) == (
        "" if naming in READ_BEFORE | FAILED_BEFORE else " whole"
    )


@pytest.mark.parametrize("naming", sorted(FAILED_BEFORE))
def test_what_diffusers_fails_on_made_no_films(pairs, naming):
    from diffusers import WanImageToVideoPipeline

    with pytest.raises((ValueError, KeyError)):
        WanImageToVideoPipeline.lora_state_dict(NAMINGS[naming][0](pairs))


@pytest.mark.parametrize("naming", sorted(READ_BEFORE))
def test_what_diffusers_reads_comes_out_as_it_does_to_the_bit(transformer, pairs, tmp_path, naming):
    from diffusers import WanImageToVideoPipeline

    state = NAMINGS[naming][0]({k: (a.half(), b.half()) for k, (a, b) in pairs.items()})
    if naming == "native with alpha":
        state |= {
            "diffusion_model.blocks.0.self_attn.q.diff_b": torch.randn(256),
            "diffusion_model.blocks.1.ffn.0.diff_b": torch.randn(256),
            "diffusion_model.blocks.1.cross_attn.norm_q.diff": torch.zeros(256),
            "diffusion_model.blocks.1.norm3.diff_b": torch.zeros(256),
            "diffusion_model.head.head.diff": torch.randn(64, 256),
            "diffusion_model.head.head.diff_b": torch.randn(64),
        }
    path = write(tmp_path, state)
    model, _ = adapted(transformer, path)
    twin = copy.deepcopy(transformer)
    theirs = WanImageToVideoPipeline.lora_state_dict(dict(state))
    twin.load_lora_adapter(theirs, prefix="transformer", adapter_name="extra_0")
    adapters.set_lora_strength(twin, 1.0)
    with torch.no_grad():
        assert torch.equal(model(**shot(model))[0], twin(**shot(twin))[0])
    assert identity_note(path, places_of(transformer)) == ""


CHANGES = {  # weights that are changed whole -> the parameters
    "blocks.0.norm3.diff": "blocks.0.norm2.weight",
    "blocks.0.norm3.diff_b": "blocks.0.norm2.bias",
    "blocks.1.self_attn.norm_q.diff": "blocks.1.attn1.norm_q.weight",
    "blocks.1.cross_attn.norm_k.w_norm": "blocks.1.attn2.norm_k.weight",
    "blocks.0.cross_attn.o.diff_b": "blocks.0.attn2.to_out.0.bias",
    "blocks.0.ffn.2.diff": "blocks.0.ffn.net.2.weight",
    "blocks.1.diff_m": "blocks.1.scale_shift_table",
    "head.head.diff": "proj_out.weight",
    "head.diff_m": "scale_shift_table",
    "patch_embedding.diff": "patch_embedding.weight",
    "patch_embedding.diff_b": "patch_embedding.bias",
    "time_embedding.0.diff": "condition_embedder.time_embedder.linear_1.weight",
    "time_projection.1.diff_b": "condition_embedder.time_proj.bias",
    "text_embedding.2.diff_b": "condition_embedder.text_embedder.linear_2.bias",
}


@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
@pytest.mark.parametrize("key", CHANGES)
def test_a_weight_that_is_changed_whole_is_added(transformer, pairs, tmp_path, key, prefix):
    parameter = dict(transformer.named_parameters())[CHANGES[key]]
    change = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 10
    some = {part: pair for part, pair in pairs.items() if "attn1" in part}
    state = without_alpha(lambda p: prefix + old_name(p), PEFT)(some)
    path = write(tmp_path, state | {prefix + key: change})
    adapters.check_extra_lora(path, transformer.config)
    model, _ = adapted(transformer, path)
    assert apart(model, merged(transformer, some, 1, {CHANGES[key]: change})) < 1e-5
    assert apart(model, merged(transformer, some, 1)) > 1e-5


@pytest.mark.parametrize("key", ["blocks.0.norm3.diff", "time_projection.1.diff_b"])
def test_what_diffusers_passes_over_changes_the_key_only_when_it_counts(
    transformer, pairs, tmp_path, key
):
    state = NAMINGS["native"][0](pairs)
    places = places_of(transformer)
    size = 6 * 256 if "time" in key else 256
    for value, note in ((0.0, ""), (0.5, " whole")):
        state[f"diffusion_model.{key}"] = torch.full((size,), value)
        assert identity_note(write(tmp_path, state), places) == note


def test_two_loras_and_the_storymem_one_add_up(transformer, pairs, tmp_path):
    path = write(tmp_path, NAMINGS["peft"][0](pairs))
    more = write(tmp_path, NAMINGS["kohya"][0](pairs), "more.safetensors")
    model = copy.deepcopy(transformer)
    storymem = {f"{old_name(p)}.lora_{h}.weight": t for p, pair in pairs.items()
                for h, t in zip("AB", pair, strict=True)}  # fmt: skip
    adapters.add_lora(model, read_lora(storymem))
    adapters.add_extra_lora(model, path)
    adapters.add_extra_lora(model, more)
    adapters.set_lora_strength(model, 0.25)  # of the StoryMem LoRA alone
    scale = 0.25 * math.sqrt(RANK) + 1 + ALPHA / RANK
    assert apart(model, merged(transformer, pairs, scale)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_the_files_precision_is_its_own_affair(transformer, pairs, tmp_path, dtype):
    rounded = {k: (a.to(dtype), b.to(dtype)) for k, (a, b) in pairs.items()}
    model, _ = adapted(transformer, write(tmp_path, NAMINGS["kohya"][0](rounded)))
    wide = {k: (a.float(), b.float()) for k, (a, b) in rounded.items()}
    assert apart(model, merged(transformer, wide, ALPHA / RANK)) < 1e-4


@pytest.mark.parametrize(("is_rooted", "scale"), [(False, 8 / RANK), (True, 8 / math.sqrt(RANK))])
@pytest.mark.parametrize("place", ["header", "file beside it"])
def test_a_scale_that_stands_outside_of_the_weights_is_read(
    transformer, pairs, tmp_path, place, is_rooted, scale
):
    config = {"r": RANK, "lora_alpha": 8, "use_rslora": is_rooted}
    if place == "header":
        prefixed = json.dumps({f"transformer.{k}": v for k, v in config.items()})
        state, metadata = NAMINGS["diffusers"][0](pairs), {"lora_adapter_metadata": prefixed}
        path = write(tmp_path, state, metadata=metadata)
    else:
        path = write(tmp_path, NAMINGS["peft"][0](pairs), "adapter_model.safetensors")
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    model, told = adapted(transformer, path)
    assert told == f"20 layers, rank {RANK}, scale {scale:.4g}"
    assert apart(model, merged(transformer, pairs, scale)) < 1e-5
    assert identity_note(path, places_of(transformer)) == " whole"


def test_parts_that_the_model_does_not_have_are_left_out_aloud(
    transformer, pairs, tmp_path, caplog
):
    state = NAMINGS["native with alpha"][0](pairs)
    for part in ("k_img", "v_img"):
        state[f"diffusion_model.blocks.0.cross_attn.{part}.lora_down.weight"] = torch.ones(4, 256)
        state[f"diffusion_model.blocks.0.cross_attn.{part}.lora_up.weight"] = torch.ones(256, 4)
    state["diffusion_model.patch_embedding.diff"] = torch.ones(256, 16, 1, 2, 2)  # of a T2V model
    path = write(tmp_path, state)
    adapters.check_extra_lora(path, transformer.config)
    assert "style.safetensors: left out, for this model has no such part: 5 weights" in caplog.text
    assert "blocks.0.cross_attn.k_img" in caplog.text
    model, _ = adapted(transformer, path)
    assert apart(model, merged(transformer, pairs, ALPHA / RANK)) < 1e-5


def pair_of(name, into, out=None, rank=4, halves=KOHYA):
    shapes = (rank, into), (out or into, rank)
    return {f"{name}.{h}": torch.ones(s) for h, s in zip(halves, shapes, strict=True)}


UNET = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
REFUSED = {  # what people pass by mistake -> what they are told
    "SD 1.5": (pair_of(UNET, 768, 320), "a LoRA for Stable Diffusion 1.5"),
    "SDXL": (pair_of(UNET, 2048, 640), "a LoRA for SDXL"),
    "SD, text encoder only": (
        pair_of("lora_te_text_model_encoder_layers_0_mlp_fc1", 768), "a LoRA for a text encoder"
    ),
    "Flux": (pair_of("lora_unet_double_blocks_0_img_attn_qkv", 64), "a LoRA for Flux"),
    "Flux, diffusers": (
        pair_of("transformer.single_transformer_blocks.0.attn.to_q", 64, halves=PEFT),
        "a LoRA for Flux",
    ),
    "LTX": (
        pair_of("diffusion_model.transformer_blocks.0.attn1.to_q", 64, halves=PEFT),
        "a LoRA for LTX-Video",
    ),
    "Qwen-Image": (
        pair_of("transformer.transformer_blocks.0.attn.add_q_proj", 64, halves=PEFT), "Qwen-Image"
    ),
    "VACE": (pair_of("diffusion_model.vace_blocks.0.self_attn.q", 256), "a LoRA for VACE"),
    "a whole model": (
        {f"blocks.{b}.self_attn.q.weight": torch.ones(8, 8) for b in range(3)},
        "a whole Wan model, not a LoRA",
    ),
    "a text encoder": ({"shared.weight": torch.ones(8, 8)}, "a text encoder, not a LoRA"),
    "a VAE": ({"decoder.conv1.weight": torch.ones(8, 8)}, "a VAE, not a LoRA"),
    "5B": (pair_of("diffusion_model.blocks.0.self_attn.q", 3072), "was made for Wan 2.2 5B"),
    "1.3B": (pair_of("lora_unet_blocks_0_self_attn_q", 1536), "was made for Wan 2.1 1.3B"),
    "more blocks": (pair_of("blocks.7.self_attn.q", 256), r"have no place .*blocks\.7\.self_attn"),
    "DoRA": (
        {"blocks.0.self_attn.q.dora_scale": torch.ones(4)}, r"is a DoRA, .*q\.dora_scale"
    ),
    "LoKr": ({"diffusion_model.blocks.0.self_attn.q.lokr_w1": torch.ones(4, 4)}, "is a LoKr"),
    "LoHa": ({"lora_unet_blocks_0_ffn_0.hada_w1_a": torch.ones(4, 4)}, "is a LoHa"),
    "half a pair": (
        {"blocks.0.self_attn.q.lora_A.weight": torch.ones(4, 256)}, "other half of blocks.0"
    ),
    "ranks that differ": (
        {
            "blocks.0.self_attn.q.lora_A.weight": torch.ones(4, 256),
            "blocks.0.self_attn.q.lora_B.weight": torch.ones(256, 8),
        },
        "made for another model",
    ),
    "alpha alone": ({"blocks.0.self_attn.q.alpha": torch.tensor(1.0)}, "stands without its pair"),
    "a bias of the first half": (
        pair_of("blocks.0.self_attn.q", 256, halves=PEFT)
        | {"blocks.0.self_attn.q.lora_A.bias": torch.ones(4)},
        r"1 of its 3 weights have no place in this model \(blocks\.0\.self_attn\.q\.lora_A\.bias",
    ),
    "two adapters": (
        pair_of("blocks.0.self_attn.q", 256, halves=("lora_A.a.weight", "lora_B.a.weight"))
        | pair_of("blocks.0.self_attn.q", 256, halves=("lora_A.b.weight", "lora_B.b.weight")),
        "twice",
    ),
    "one key that nobody knows": (
        pair_of("blocks.0.self_attn.q", 256) | {"blocks.0.gate.scale": torch.ones(2)},
        r"1 of its 3 weights have no place in this model \(blocks\.0\.gate\.scale\)",
    ),
    "a norm of another width": ({"blocks.0.norm3.diff": torch.ones(8)}, r"norm3\.diff \[8\]"),
    "an infinite alpha": (
        pair_of("blocks.0.self_attn.q", 256)
        | {"blocks.0.self_attn.q.alpha": torch.tensor(math.inf)},
        "NaN or infinite",
    ),
    "whole numbers": (
        {k: v.to(torch.int8) for k, v in pair_of("blocks.0.self_attn.q", 256).items()},
        "where weights are fractions",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_cannot_be_applied_whole_is_refused_by_its_header(
    transformer, tmp_path, mistake, monkeypatch
):
    state, words = REFUSED[mistake]
    path = write(tmp_path, state)
    monkeypatch.setattr("storymem.headless.extra_lora.read_state_dict", None)  # header only
    with pytest.raises(ValueError, match=words) as refused:
        adapters.check_extra_lora(path, transformer.config)
    assert str(refused.value).startswith(("style.safetensors", "one LoRA file"))
    assert "\n" not in str(refused.value)


def test_numbers_that_would_spoil_the_model_are_refused_when_they_are_read(
    transformer, pairs, tmp_path
):
    state = NAMINGS["peft"][0](pairs)
    state[next(iter(state))] = torch.full((RANK, 256), math.nan)
    with pytest.raises(ValueError, match="NaN or infinite"):
        adapted(transformer, write(tmp_path, state))


def test_the_storymem_lora_is_sent_to_its_own_option(transformer, pairs, tmp_path):
    path = write(tmp_path, NAMINGS["peft"][0](pairs), "backbone_high_noise.safetensors")
    with pytest.raises(ValueError, match="pass it with --lora-high"):
        adapters.check_extra_lora(path, transformer.config)


def test_a_file_without_a_header_is_read_alike(transformer, pairs, tmp_path):
    path = tmp_path / "style.pth"
    torch.save(NAMINGS["kohya"][0](pairs), path)
    adapters.check_extra_lora(path, transformer.config)
    model, _ = adapted(transformer, path)
    assert apart(model, merged(transformer, pairs, ALPHA / RANK)) < 1e-5


def test_the_places_of_a_config_are_those_of_the_loaded_model(transformer):
    assert places_of_config(transformer.config).shapes == places_of(transformer).shapes


def test_what_diffusers_does_not_take_is_an_error(transformer, pairs, tmp_path, monkeypatch):
    model = copy.deepcopy(transformer)
    monkeypatch.setattr(type(model), "load_lora_adapter", lambda *_, **__: None)
    with pytest.raises(ValueError, match="did not take"):
        adapters.add_extra_lora(model, write(tmp_path, NAMINGS["peft"][0](pairs)))


def test_outline_and_whole_file_give_the_same_answer(transformer, pairs, tmp_path):
    places = places_of(transformer)
    for naming, (writer, _) in NAMINGS.items():
        path = write(tmp_path, writer(pairs))
        whole, header = (load_extra_lora(path, places, is_outline=o) for o in (False, True))
        assert whole.scales == header.scales, naming
        assert whole.is_read_anew == header.is_read_anew, naming
        assert whole.left_out == header.left_out == (), naming


# --- whole runs ----------------------------------------------------------------------------------

FAST = "--embedder no_weights --width 48 --height 32 --length 5 --steps 1 --cfg 1 --device cpu"


@pytest.fixture
def run(tmp_path, i2v):
    script = tmp_path / "tale.txt"
    script.write_text("a red dog walks\n")

    def start(out, lora, *more) -> int:
        arguments = ["run", script, "--out", out, "--model", i2v, *FAST.split(), *more]
        if lora:
            arguments += ["--extra-lora-high", lora, "--extra-lora-low", lora]
        return program.main([str(argument) for argument in arguments])

    return start


def film_of(out):
    return (out / "shot_01_01.mp4").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("naming", ["peft", "bare"])
def test_a_run_applies_what_diffusers_alone_passes_over(
    run, pairs, tmp_path, naming, caplog, monkeypatch
):
    strong = {k: (4 * a, b) for k, (a, b) in pairs.items()}
    lora = write(tmp_path, NAMINGS[naming][0](strong))
    assert run(tmp_path / "plain", None) == 0
    assert run(tmp_path / "styled", lora) == 0
    assert film_of(tmp_path / "styled") != film_of(tmp_path / "plain")
    assert f"style.safetensors (low noise): 20 layers, rank {RANK}, scale 1" in caplog.text
    monkeypatch.setattr(engine_module, "load_experts", None)  # finished shots stay
    assert run(tmp_path / "styled", lora, "--resume") == 0


@pytest.mark.slow
def test_a_run_refuses_another_models_file_before_anything_is_read(
    run, tmp_path, caplog, monkeypatch
):
    for name in ("load_experts", "encode_texts"):
        monkeypatch.setattr(engine_module, name, None)
    lora = write(tmp_path, {"lora_te_x.lora_down.weight": torch.ones(2, 2)})
    assert run(tmp_path / "out", lora) == 2
    assert not (tmp_path / "out").exists()
    assert "lora_te_x.lora_down.weight" in caplog.text
    assert "it looks like a LoRA for a text encoder" in caplog.text


@pytest.mark.slow
def test_a_first_shot_from_text_alone_is_said_to_be_without_the_lora(pairs, tmp_path, i2v, caplog):
    t2v = tiny_diffusers.write_i2v(tmp_path / "t2v", in_channels=16)
    lora = write(tmp_path, NAMINGS["native"][0](pairs))
    ModelFiles(i2v, t2v=t2v, extra_lora=(lora, lora)).check()
    assert "a first shot that --t2v makes from text alone is made without them" in caplog.text


@pytest.mark.slow
def test_the_file_of_an_expert_that_is_not_there_is_named(pairs, tmp_path, i2v, caplog):
    one = tmp_path / "one"
    shutil.copytree(i2v, one)
    shutil.rmtree(one / "transformer_2")
    index = json.loads((one / "model_index.json").read_text())
    (one / "model_index.json").write_text(json.dumps(index | {"transformer_2": [None, None]}))
    high, low = (write(tmp_path, NAMINGS["native"][0](pairs), f"{n}.safetensors") for n in "ab")
    ModelFiles(one, extra_lora=(high, low)).check()
    assert f"{one} has one expert, so b.safetensors is not used" in caplog.text
