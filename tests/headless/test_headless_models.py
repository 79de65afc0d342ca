"""Memory positions, LoRA, schedule and loading on diffusers' Wan, on tiny random weights."""

from __future__ import annotations

import json
import math
import shutil
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("diffusers")
pytest.importorskip("peft")

from helpers import tiny_diffusers
from storymem.cli.run_options import in_options
from storymem.headless import adapters, models, sampling
from storymem.headless.engine import ModelFiles
from storymem.headless.judges import SelectionModels
from storymem.headless.positions import install_memory_positions, set_memory_frames
from storymem.headless.runner import RunSettings, StoryRun
from storymem.sampling.lora import read_lora, target_modules


@pytest.fixture(scope="module")
def transformer():
    return tiny_diffusers.tiny_transformer(3)


def rotary_by_hand(positions, height, width, dims=(44, 42, 42), theta=10000.0):
    """cos and sin of every token in float64, from the formula."""
    rows = []
    for t in positions:
        for h in range(height):
            for w in range(width):
                angles = []
                for position, dim in zip((t, h, w), dims, strict=True):
                    steps = torch.arange(0, dim, 2, dtype=torch.float64) / dim
                    angles.append((position / theta**steps).repeat_interleave(2))
                rows.append(torch.cat(angles))
    angles = torch.stack(rows)[None, :, None]
    return angles.cos(), angles.sin()


@pytest.mark.parametrize(("memory", "offset"), [(0, 5), (1, 5), (3, 5), (3, 1), (2, 0)])
def test_memory_stands_at_negative_multiples_of_the_shift(memory, offset):
    model = tiny_diffusers.tiny_transformer(3, layers=1)
    install_memory_positions(model, rope_shift=offset)
    set_memory_frames(model, memory)
    cos, sin = model.rope(torch.zeros(1, 36, memory + 4, 4, 6))
    positions = [-(memory - i) * offset for i in range(memory)] + [0, 1, 2, 3]
    expected_cos, expected_sin = rotary_by_hand(positions, 2, 3)
    assert torch.allclose(cos.double(), expected_cos, atol=1e-6)
    assert torch.allclose(sin.double(), expected_sin, atol=1e-6)


def test_without_memory_nothing_changes(transformer):
    sample = torch.zeros(1, 36, 5, 4, 6)
    before = transformer.rope(sample)
    model = tiny_diffusers.tiny_transformer(3)
    install_memory_positions(model)
    after = model.rope(sample)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_installing_twice_replaces_and_keeps_the_weights_names():
    model = tiny_diffusers.tiny_transformer(3, layers=1)
    names = set(model.state_dict())
    install_memory_positions(model, rope_shift=5)
    rope = install_memory_positions(model, rope_shift=2)
    assert model.rope is rope
    assert type(rope.original).__name__ == "WanRotaryPosEmbed"
    assert set(model.state_dict()) == names


def test_memory_beyond_the_models_table_is_refused():
    model = tiny_diffusers.tiny_transformer(3, layers=1)
    install_memory_positions(model, rope_shift=200)
    set_memory_frames(model, 6)
    with pytest.raises(ValueError, match="reach position 1200"):
        model.rope(torch.zeros(1, 36, 8, 4, 4))
    set_memory_frames(model, 1)
    with pytest.raises(ValueError, match="1025 latent frames of a shot reach position 1024"):
        model.rope(torch.zeros(1, 36, 1026, 4, 4))


def test_errors_name_options_but_leave_paths_alone():
    error = ValueError("/a/max_frames/b and C:\\end_shot: start_shot is 7, redo_shots names 9")
    told = in_options(error)
    assert told == "/a/max_frames/b and C:\\end_shot: --start-shot is 7, --redo names 9"


def test_memory_on_a_model_without_memory_positions_is_refused():
    with pytest.raises(ValueError, match="no memory positions"):
        set_memory_frames(tiny_diffusers.tiny_transformer(3, layers=1), 2)


# --- LoRA -------------------------------------------------------------------------------------


def lora_state(model, rank=4, seed=0, prefix="base_model.model."):
    """A PEFT-keyed file of all target modules, by the checkpoint's names."""
    generator = torch.Generator().manual_seed(seed)
    named, state = dict(model.named_modules()), {}
    for module in target_modules(len(model.blocks)):
        weight = named[adapters.to_diffusers_name(module)].weight
        out, into = weight.shape
        for part, shape in (("A", (rank, into)), ("B", (out, rank))):
            key = f"{prefix}{module}.lora_{part}.weight"
            state[key] = torch.randn(shape, generator=generator) / shape[1] ** 0.5
    return state


def shot(model, memory=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    text = model.config.text_dim
    frames = memory + 3
    return {
        "hidden_states": torch.randn(
            1, model.config.in_channels, frames, 4, 6, generator=generator
        ),
        "timestep": torch.tensor([700.0]),
        "encoder_hidden_states": torch.randn(1, 8, text, generator=generator),
        "return_dict": False,
    }


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_lora_changes_weights_by_the_root_of_its_rank(strength):
    """Alpha over that root, and alpha is the rank when the file does not say it."""
    rank = 4
    plain, adapted = tiny_diffusers.tiny_transformer(3), tiny_diffusers.tiny_transformer(3)
    state = lora_state(plain, rank)
    adapters.add_lora(adapted, read_lora(state))
    adapters.set_lora_strength(adapted, strength)
    for module in target_modules(len(plain.blocks)):
        down = state[f"base_model.model.{module}.lora_A.weight"]
        up = state[f"base_model.model.{module}.lora_B.weight"]
        layer = plain.get_submodule(adapters.to_diffusers_name(module))
        layer.weight.data += strength * math.sqrt(rank) * up @ down
    with torch.no_grad():
        expected, found = plain(**shot(plain))[0], adapted(**shot(adapted))[0]
    assert (found - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_lora_in_another_precision_is_the_change_that_it_holds(dtype):
    plain, adapted = tiny_diffusers.tiny_transformer(3), tiny_diffusers.tiny_transformer(3)
    state = {key: value.to(dtype) for key, value in lora_state(plain).items()}
    told = adapters.add_lora(adapted, read_lora(state))
    assert told == "rank 4, scale 2"
    for module in target_modules(len(plain.blocks)):
        halves = [state[f"base_model.model.{module}.lora_{half}.weight"].float() for half in "BA"]
        layer = adapted.get_submodule(adapters.to_diffusers_name(module))
        assert torch.allclose(layer.get_delta_weight("storymem"), 2 * halves[0] @ halves[1])
        assert layer.lora_A["storymem"].weight.dtype is torch.float32  # the model's own


def test_a_lora_that_covers_half_the_model_is_refused(transformer):
    state = lora_state(transformer)
    half = {k: v for k, v in state.items() if ".blocks.1." not in k}
    with pytest.raises(ValueError, match="10 of 20 modules"):
        adapters.add_lora(tiny_diffusers.tiny_transformer(3), read_lora(half))


@pytest.fixture
def lora_files(transformer, tmp_path):
    """Pairs of files by rank; one of 64 was applied at twice its scale by earlier versions."""

    def write(rank):
        (tmp_path / str(rank)).mkdir()
        paths = [tmp_path / str(rank) / f"{name}.safetensors" for name in ("high", "low")]
        for path in paths:
            save_file(lora_state(transformer, rank), path)
        return tuple(paths)

    return write


def test_a_scale_that_is_assumed_is_told_before_anything_is_loaded(transformer, lora_files, caplog):
    config = transformer.config
    for rank, scale, told in ((128, "auto", False), (64, "auto", True), (32, "standard", False)):
        caplog.clear()
        adapters.check_lora_file(lora_files(rank)[0], config, scale)
        assert ("does not say its alpha" in caplog.text) == told
    adapters.check_lora_file(lora_files(16)[1], config)
    assert (
        "low.safetensors does not say its alpha, which is taken to be its rank, 16" in caplog.text
    )


def test_a_shots_key_holds_the_scale_of_files_that_had_another_one(lora_files, tmp_path):
    def body(lora, scale="auto"):
        files = ModelFiles(i2v=tmp_path, lora=lora, lora_scale=scale)
        engine = SimpleNamespace(
            files=files, recipe=sampling.Recipe(), placement=CPU, render_parts=()
        )
        run = SimpleNamespace(
            settings=RunSettings(out=tmp_path),
            engine=engine,
            models=SelectionModels(),
            start_pixels=None,
        )
        return json.loads(StoryRun._describe_body(run, engine.recipe))

    released, own = lora_files(128), lora_files(64)
    assert "scale_of_lora" not in body(None)
    assert "scale_of_lora" not in body(released)
    assert "scale_of_lora" not in body(own, "standard")
    change = dict.fromkeys(("high.safetensors", "low.safetensors"), "8 instead of 16")
    assert body(own)["scale_of_lora"] == change


def test_names_of_modules_go_both_ways():
    for module in target_modules(2):
        assert adapters.to_checkpoint_name(adapters.to_diffusers_name(module)) == module


def test_the_released_folder_is_found_and_a_wrong_one_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"backbone_high_noise\.safetensors"):
        adapters.find_lora_files(tmp_path)
    for name in ("backbone_high_noise.safetensors", "backbone_low_noise.pth"):
        (tmp_path / name).touch()
    high, low = adapters.find_lora_files(tmp_path)
    assert (high.name, low.name) == ("backbone_high_noise.safetensors", "backbone_low_noise.pth")


# --- sampling ---------------------------------------------------------------------------------


def test_the_released_schedule_has_13_high_noise_steps_of_40():
    scheduler = sampling.make_scheduler(sampling.Recipe())
    assert len(scheduler.timesteps) == 40
    assert int((scheduler.timesteps >= 900).sum()) == 13


def test_euler_walks_the_sigmas_of_a_shifted_simple_schedule():
    scheduler = sampling.make_scheduler(
        sampling.Recipe(steps=6, sampler="euler", scheduler="simple")
    )
    times = torch.tensor([1000, 834, 667, 500, 334, 167]) / 1000  # of a table of 1000
    expected = [*(4 * times / (1 + 3 * times)).tolist(), 0.0]
    assert scheduler.sigmas.tolist() == pytest.approx(expected, abs=1e-7)
    assert scheduler.timesteps.tolist() == pytest.approx(
        [1000 * s for s in expected[:-1]], rel=1e-6
    )


def test_the_shots_noise_does_not_depend_on_the_memory():
    alone = sampling.draw_noise(11, 0, 3, 4, 6)
    with_memory = sampling.draw_noise(11, 4, 3, 4, 6)
    assert torch.equal(with_memory[:, :, 4:], alone)
    assert torch.equal(alone, torch.randn(1, 16, 3, 4, 6, generator=torch.manual_seed(11)))


def inputs_of(model, memory=2, frames=3, negative=True):
    generator = torch.Generator().manual_seed(5)
    text = model.config.text_dim
    return sampling.ShotInputs(
        noise=sampling.draw_noise(5, memory, frames, 4, 6),
        positive=torch.randn(1, 8, text, generator=generator),
        negative=torch.randn(1, 8, text, generator=generator) if negative else None,
        condition=torch.randn(1, 20, memory + frames, 4, 6, generator=generator),
        memory_frames=memory,
    )


def euler_by_hand(high, low, inputs, recipe):
    """The recipe in ten lines: shifted sigmas, guidance, experts by sigma, Euler steps."""
    x = inputs.noise
    times = torch.arange(recipe.steps, -1, -1) / recipe.steps
    sigmas = recipe.shift * times / (1 + (recipe.shift - 1) * times)
    for sigma, following in pairwise(sigmas):
        expert = high if sigma >= recipe.boundary else low
        cfg = recipe.cfg if sigma >= recipe.boundary else (recipe.cfg_low or recipe.cfg)
        model_input = torch.cat([x, inputs.condition], dim=1)
        with torch.no_grad():
            cond, uncond = (
                expert(model_input, sigma[None] * 1000, text, return_dict=False)[0]
                for text in (inputs.positive, inputs.negative)
            )
        x = x + (following - sigma) * (uncond + cfg * (cond - uncond))
    return x[:, :, inputs.memory_frames :]


@pytest.mark.parametrize("cfg_low", [0.0, 1.0, 2.0])
def test_euler_with_two_experts_equals_the_recipe_by_hand(cfg_low):
    high, low = tiny_diffusers.tiny_transformer(1), tiny_diffusers.tiny_transformer(2)
    for model in (high, low):
        install_memory_positions(model)
    recipe = sampling.Recipe(steps=5, sampler="euler", scheduler="simple", cfg_low=cfg_low)
    inputs = inputs_of(high)
    steps = []
    found = sampling.denoise(
        (high, low), inputs, recipe, on_step=lambda done, total: steps.append((done, total))
    )
    expected = euler_by_hand(high, low, inputs, recipe)
    assert found.shape == (1, 16, 3, 4, 6)
    assert (found - expected).norm() / expected.norm() < 1e-5
    assert steps == [(i, 5) for i in range(1, 6)]
    swapped = euler_by_hand(low, high, inputs, recipe)
    assert (found - swapped).norm() / swapped.norm() > 1e-2


@pytest.mark.slow
def test_uni_pc_equals_diffusers_own_pipeline_when_there_is_no_memory():
    from diffusers import UniPCMultistepScheduler, WanPipeline

    high, low = (tiny_diffusers.tiny_transformer(i, in_channels=16) for i in (1, 2))
    encoder, tokenizer = tiny_diffusers.tiny_text_encoder()
    pipeline = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=tiny_diffusers.tiny_vae(),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=4.0
        ),
        transformer=high,
        transformer_2=low,
        boundary_ratio=0.9,
    )
    pipeline.set_progress_bar_config(disable=True)
    noise = sampling.draw_noise(3, 0, 3, 4, 6)
    texts = [pipeline.encode_prompt(text, False)[0] for text in ("a red dog", "")]
    expected = pipeline(
        prompt_embeds=texts[0],
        negative_prompt_embeds=texts[1],
        latents=noise,
        height=32,
        width=48,
        num_frames=9,
        num_inference_steps=6,
        guidance_scale=3.5,
        output_type="latent",
    ).frames
    inputs = sampling.ShotInputs(noise, texts[0], texts[1], None, 0)
    recipe = sampling.Recipe(steps=6, sampler="uni_pc", scheduler="simple")
    found = sampling.denoise((high, low), inputs, recipe)
    assert (found - expected).norm() / expected.norm() < 1e-5


def test_latents_that_are_not_finite_are_an_error():
    model = tiny_diffusers.tiny_transformer(1)
    install_memory_positions(model)
    model.proj_out.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        sampling.denoise((model,), inputs_of(model), sampling.Recipe(steps=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"sampler": "ddim"},
        {"shift": 0},
        {"shift": -1},
        {"boundary": 2},
        {"cfg": -1},
        {"scheduler": "beta"},
        {"denoise": 0.5},
    ],
    ids=str,
)
def test_a_recipe_that_cannot_work_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        sampling.check_recipe(sampling.Recipe(**wrong))


# --- folders ----------------------------------------------------------------------------------


CPU = models.Placement(torch.device("cpu"), torch.float32)


def test_a_whole_folder_loads_and_its_texts_are_those_of_diffusers(i2v):
    from diffusers import WanImageToVideoPipeline

    models.check_folder(i2v, models.I2V_CHANNELS)
    texts = models.encode_texts(i2v, CPU, ["a red dog", "", "a red dog"])
    pipeline = WanImageToVideoPipeline.from_pretrained(i2v)
    expected = pipeline.encode_prompt("a red dog", "", max_sequence_length=512)
    assert list(texts) == ["a red dog", ""]
    assert torch.allclose(texts["a red dog"], expected[0], atol=1e-6)
    assert torch.allclose(texts[""], expected[1], atol=1e-6)
    assert len(models.load_experts(i2v, torch.float32)) == 2


def test_the_vae_goes_from_pixels_to_latents_and_back(i2v):
    vae = models.WanVae.load(i2v, CPU)
    pixels = torch.rand(5, 32, 48, 3)
    raw = vae.encode(pixels)
    assert raw.shape == (1, 16, 2, 4, 6)
    with torch.no_grad():
        module = tiny_diffusers.tiny_vae(5)
        expected = module.encode(pixels.permute(3, 0, 1, 2)[None] * 2 - 1).latent_dist.mode()
    assert torch.allclose(raw, expected, atol=1e-6)
    normal = vae.normalise(raw)
    assert torch.allclose(vae.denormalise(normal), raw, atol=1e-6)
    decoded = vae.decode(normal)
    assert decoded.shape == (5, 32, 48, 3)
    assert float(decoded.min()) >= 0
    assert float(decoded.max()) <= 1


def test_a_folder_that_is_none_or_of_another_model_is_refused_in_words(i2v, tmp_path):
    with pytest.raises(ValueError, match=r"no model_index\.json; download Wan-AI/Wan2\.2-I2V"):
        models.check_folder(tmp_path, models.I2V_CHANNELS)
    with pytest.raises(ValueError, match=r"takes 36 channels where Wan2\.2-T2V"):
        models.check_folder(i2v, models.T2V_CHANNELS)
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ValueError, match="has no folder transformer"):
        models.check_folder(tmp_path, models.I2V_CHANNELS)


def of_config(folder, tmp_path, part="transformer", **changes):
    """That folder with another config of one part."""
    shutil.copytree(folder, tmp_path / "other", dirs_exist_ok=True)
    path = tmp_path / "other" / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return tmp_path / "other"


@pytest.mark.parametrize("part", ["transformer", "transformer_2"])
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image_dim": 1280, "added_kv_proj_dim": 5120}, "is Wan 2.1 I2V, not Wan 2.2 A14B"),
        ({"added_kv_proj_dim": 5120}, "is Wan 2.1 I2V"),
        ({"image_dim": 1280, "pos_embed_seq_len": 514}, "is Wan 2.1 FLF2V"),
        ({"_class_name": "WanVACETransformer3DModel"}, "is Wan VACE"),
        ({"_class_name": "WanAnimateTransformer3DModel"}, "is Wan 2.2 Animate"),
        ({"_class_name": "FluxTransformer2DModel"}, "is FluxTransformer2DModel"),
        ({"in_channels": 48, "out_channels": 48}, "is Wan 2.2 TI2V 5B"),
    ],
)
def test_a_relative_of_wan_2_2_is_refused(i2v, tmp_path, part, changes, told):
    folder = of_config(i2v, tmp_path, part, **changes)
    with pytest.raises(ValueError, match=rf"other/{part} {told}.* Wan-AI/Wan2\.2-I2V-A14B"):
        models.check_folder(folder, models.I2V_CHANNELS)


@pytest.mark.parametrize(
    "changes", [{"num_layers": 3}, {"num_attention_heads": 12}, {"ffn_dim": 8}]
)
@pytest.mark.parametrize("part", ["transformer", "transformer_2"])
def test_two_transformers_of_different_size_are_no_pair(i2v, tmp_path, part, changes):
    folder = of_config(i2v, tmp_path, part, **changes)
    with pytest.raises(ValueError, match=r"the two transformers of .* are of different size"):
        models.check_folder(folder, models.I2V_CHANNELS)
    models.check_folder(folder, models.I2V_CHANNELS, ("transformer",))


@pytest.mark.parametrize(
    "changes", [{"z_dim": 48}, {"_class_name": "AutoencoderKLQwenImage"}, {"z_dim": None}]
)
def test_another_vae_is_refused(i2v, tmp_path, changes):
    folder = of_config(i2v, tmp_path, "vae", **changes)
    with pytest.raises(ValueError, match=r"is not the Wan 2\.1 VAE .* download Wan-AI/Wan2"):
        models.check_folder(folder, models.I2V_CHANNELS)


def test_configs_of_older_versions_pass(i2v, tmp_path):
    """Without the names of classes, and with what Wan 2.1 had, set to nothing."""
    for part in ("transformer", "transformer_2", "vae"):
        shutil.copytree(i2v, tmp_path / "other", dirs_exist_ok=True)
        path = tmp_path / "other" / part / "config.json"
        config = json.loads(path.read_text())
        del config["_class_name"]
        empty = {"image_dim": None, "added_kv_proj_dim": None, "pos_embed_seq_len": None}
        path.write_text(json.dumps({**config, **empty} if part != "vae" else config))
    models.check_folder(tmp_path / "other", models.I2V_CHANNELS)


def test_offload_on_the_cpu_is_refused():
    with pytest.raises(ValueError, match="needs a GPU"):
        models.Placement(torch.device("cpu"), torch.float32, "model")
