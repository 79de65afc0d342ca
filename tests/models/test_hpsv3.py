"""HPSv3 equals the ``hpsv3`` package on a tiny random Qwen2-VL, recorded in its own environment."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from helpers import hpsv3_case as case
from helpers.hpsv3_files import weight_shapes
from storymem.models.hpsv3 import Hpsv3Scorer, Hpsv3Shape, check_hpsv3, image_patches, load_hpsv3

pytestmark = pytest.mark.slow

pytest.importorskip("transformers", reason="HPSv3 runs on the host's transformers")
TINY = Hpsv3Shape(head_dim=16, vision_heads=2)
TOLERANCE = 1e-4  # the scores span 12 points; float32 noise is about 1e-5 (see the mutants below)


def tiny_weights() -> dict[str, torch.Tensor]:
    """The golden case's weights under HPSv3.safetensors' keys."""
    shapes = weight_shapes(case.TEXT, case.VISION, case.VOCABULARY)
    weights = {k: torch.from_numpy(case.weight(k, shape)) for k, shape in shapes.items()}
    # The package rounds everything but the reward head to bfloat16.
    return {k: v if k.startswith("rm_head") else v.bfloat16() for k, v in weights.items()}


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("hpsv3") / "HPSv3.safetensors"
    save_file({**tiny_weights(), "lm_head.weight": torch.zeros(4, 4)}, path)
    return path


@pytest.fixture(scope="module")
def fp32(weights_file):
    return load_hpsv3(weights_file, dtype=torch.float32, shape=TINY)


@pytest.fixture(scope="module")
def images():
    return [torch.from_numpy(case.image(*parameters)) for parameters in case.IMAGES]


def scores(model, images) -> torch.Tensor:
    scorer = Hpsv3Scorer(model)
    with torch.inference_mode():
        return torch.tensor([scorer.score(image[None])[0] for image in images])


def recorded(golden, kind="fp32") -> torch.Tensor:
    return torch.tensor([mu for mu, _sigma in golden("hpsv3.json")[kind]])


def test_the_images_are_cut_into_the_packages_patches(golden, images):
    expected = golden("hpsv3.json")
    for image, grid, (total, absolute) in zip(
        images, expected["grids"], expected["pixels"], strict=True
    ):
        patches, found = image_patches(image)
        assert list(found) == grid
        assert float(patches.double().sum()) == pytest.approx(total, abs=0.05)
        assert float(patches.double().abs().sum()) == pytest.approx(absolute, rel=1e-7)


def test_scores_equal_the_packages_in_fp32(golden, fp32, images):
    assert (scores(fp32, images) - recorded(golden)).abs().max() < TOLERANCE


def test_a_batch_scores_like_its_images_one_by_one(golden, fp32, images):
    with torch.inference_mode():
        together = Hpsv3Scorer(fp32).score(torch.stack(images[:2]))
    expected = [mu for mu, _sigma in golden("hpsv3.json")["together"]]
    assert together == pytest.approx(expected, abs=TOLERANCE)


def test_scores_in_bf16_are_as_near_as_bf16_can_be(golden, weights_file, images):
    model = load_hpsv3(weights_file, dtype=torch.bfloat16, shape=TINY)
    assert {p.dtype for n, p in model.named_parameters() if n[0] != "r"} == {torch.bfloat16}
    assert {p.dtype for p in model.rm_head.parameters()} == {torch.float32}
    exact, theirs = recorded(golden), recorded(golden, "bf16")
    noise = (theirs - exact).square().mean().sqrt()  # what bf16 costs the package: 0.15 of 12
    assert (scores(model, images) - exact).square().mean().sqrt() < 1.5 * noise  # measured: 0.16


class ThreePartPositions(torch.nn.Module):
    """A mutant: the positions that transformers itself would give (habit 1 forgotten)."""

    def __init__(self, model, grid):
        super().__init__()
        self.inner, self.grid = model, grid
        self.embed_tokens = model.embed_tokens

    def forward(self, position_ids, **inputs):
        rows, columns = self.grid[1] // 2, self.grid[2] // 2
        before, length = 15, position_ids.shape[-1]
        y = torch.arange(rows).repeat_interleave(columns)
        x = torch.arange(columns).repeat(rows)
        image = torch.stack([torch.zeros_like(y), y, x]) + before
        first = torch.arange(before).expand(3, -1)
        rest = torch.arange(length - before - rows * columns) + image.max() + 1
        positions = torch.cat([first, image, rest.expand(3, -1)], dim=1)[:, None]
        return self.inner(position_ids=positions, **inputs)


def test_the_two_habits_of_the_package_are_told_apart_from_their_absence(
    golden, weights_file, images
):
    image, exact = images[1], recorded(golden)[1]
    model = load_hpsv3(weights_file, dtype=torch.float32, shape=TINY)
    grid = image_patches(image)[1]
    model.model, plain = ThreePartPositions(model.model, grid), model.model
    assert (scores(model, [image])[0] - exact).abs() > 0.1, "transformers' own positions"
    model.model = plain
    for name, module in model.named_modules():
        if hasattr(module, "inv_freq"):
            theta = 1e4 if name.startswith("visual.") else 1e6
            width = 2 * len(module.inv_freq)
            module.inv_freq = 1 / theta ** (torch.arange(0, width, 2).float() / width)
    assert (scores(model, [image])[0] - exact).abs() > 100 * TOLERANCE, "unrounded frequencies"


@pytest.mark.parametrize("part", ["visual.rotary", "model.rotary"])
def test_frequencies_are_rounded_in_text_and_in_vision(golden, weights_file, images, part):
    model = load_hpsv3(weights_file, dtype=torch.float32, shape=TINY)
    found = 0
    for name, module in model.named_modules():
        if name.startswith(part) and hasattr(module, "inv_freq"):
            found += 1
            assert torch.equal(module.inv_freq.bfloat16().float(), module.inv_freq)
            theta = 1e4 if name.startswith("visual.") else 1e6
            width = 2 * len(module.inv_freq)
            module.inv_freq = 1 / theta ** (torch.arange(0, width, 2).float() / width)
    assert found == 1
    moved = (scores(model, images[:2]) - recorded(golden)[:2]).abs().max()
    assert moved > 10 * TOLERANCE


def test_the_empty_prompt_is_baked_in_and_ends_at_the_reward_token():
    from storymem.models.hpsv3 import _instruction

    before, after = _instruction()
    assert before[0] == 151644  # <|im_start|>
    assert before[-1] == 151652  # <|vision_start|>
    assert after[0] == 151653  # <|vision_end|>
    assert after[-1] == case.REWARD_TOKEN
    assert len(before) == 15


# --- files that are not HPSv3 ---


def test_another_model_is_named(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "sdxl.safetensors")
    with pytest.raises(ValueError, match=r"sdxl\.safetensors is not HPSv3"):
        load_hpsv3(tmp_path / "sdxl.safetensors")


def test_an_incomplete_file_is_named(tmp_path):
    weights = tiny_weights()
    del weights["visual.merger.ln_q.weight"]
    save_file(weights, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match=r"part\.safetensors is not a whole HPSv3.*merger"):
        load_hpsv3(tmp_path / "part.safetensors", shape=TINY)


def test_a_file_is_checked_without_reading_its_weights(tmp_path, weights_file, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the weights were read")

    monkeypatch.setattr("storymem.models.hpsv3.read_state_dict", never)
    check_hpsv3(weights_file, shape=TINY)
    whole = weights_file.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.safetensors cannot be read.*download it again"):
        check_hpsv3(tmp_path / "cut.safetensors", shape=TINY)
    for key in ("model.embed_tokens.weight", "visual.patch_embed.proj.weight"):
        weights = {
            **tiny_weights(),
            key: torch.zeros(4, 2) if "embed_tokens" in key else torch.ones(()),
        }
        save_file(weights, tmp_path / "odd.safetensors")
        with pytest.raises(ValueError, match=r"odd\.safetensors is not HPSv3"):
            check_hpsv3(tmp_path / "odd.safetensors", shape=TINY)
    weights = tiny_weights()
    weights["rm_head.5.weight"] = torch.zeros(3, 16)
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors is not a whole HPSv3.*rm_head"):
        check_hpsv3(tmp_path / "other.safetensors", shape=TINY)


def test_the_shape_of_the_real_model_follows_from_its_weights():
    """Qwen2-VL-7B's sizes, without its 16 GB."""
    from transformers.models.qwen2_vl import configuration_qwen2_vl as configuration

    from storymem.models.hpsv3 import _configs

    with torch.device("meta"):
        state = {
            "model.embed_tokens.weight": torch.empty(151658, 3584),
            "visual.patch_embed.proj.weight": torch.empty(1280, 3, 2, 14, 14),
            "visual.blocks.0.mlp.fc1.weight": torch.empty(5120, 1280),
            **{f"visual.blocks.{i}.norm1.weight": torch.empty(1280) for i in range(32)},
            **{f"model.layers.{i}.input_layernorm.weight": torch.empty(3584) for i in range(28)},
            "model.layers.0.mlp.gate_proj.weight": torch.empty(18944, 3584),
            "model.layers.0.self_attn.k_proj.weight": torch.empty(512, 3584),
        }
    text, vision = _configs(state, Hpsv3Shape(), configuration)
    assert (text.num_hidden_layers, text.num_attention_heads, text.num_key_value_heads) == (
        28,
        28,
        4,
    )
    assert (text.hidden_size, text.intermediate_size, text.vocab_size) == (3584, 18944, 151658)
    assert (vision.depth, vision.num_heads, vision.embed_dim, vision.mlp_ratio) == (32, 16, 1280, 4)
