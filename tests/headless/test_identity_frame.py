"""Memento's forward and its run on diffusers' Wan, against the equations in float64."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers")

from helpers.tiny_diffusers import tiny_transformer
from helpers.wan_reference import Split, WanReference
from storymem.headless.identity_frame import install_split, split_of
from storymem.headless.positions import install_memory_positions, set_memory_layout
from storymem.headless.sampling import (
    MASK_CHANNELS,
    ShotInputs,
    denoise,
    make_scheduler,
)
from storymem.sampling.memory_layout import MemoryLayout, memento_layout
from storymem.sampling.recipe import Recipe

SHOT, HEIGHT, WIDTH, PROMPT, IDENTITY = 3, 4, 6, 512, 7
HOST_NAMES = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "attn1": "self_attn",
    "attn2": "cross_attn",
    "to_out.0": "o",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "norm2": "norm3",  # the norm before cross-attention
    "proj_out": "head.head",
}


def weights_of(model) -> dict[str, torch.Tensor]:
    """A transformer's weights by Wan's own names."""
    found = {}
    for key, value in model.state_dict().items():
        if key == "scale_shift_table":
            key = "head.modulation"
        key = key.replace("scale_shift_table", "modulation")
        for ours, theirs in HOST_NAMES.items():
            key = key.replace(f"{ours}.", f"{theirs}.")
        found[key] = value
    return found


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def distance(one, other) -> float:
    return float((one.double() - other.double()).norm() / other.double().norm())


def layout_of(memory: int, has_identity: bool) -> MemoryLayout:
    moments = [81 * i + 13 * (i % 3) for i in range(memory)]
    return memento_layout(moments, 81 * memory + 2, has_identity=has_identity)


@pytest.fixture(scope="module")
def model():
    found = tiny_transformer(4)
    install_memory_positions(found)
    return found


@pytest.fixture(scope="module")
def reference(model):
    return WanReference(weights_of(model))


def forward(model, layout, x, text):
    set_memory_layout(model, layout)
    with torch.no_grad(), split_of(model, layout, HEIGHT, WIDTH, PROMPT):
        return model(x, torch.tensor([700.0]), text, return_dict=False)[0]


def expected(reference, layout, x, text, *, is_split=True):
    return reference(
        x, 700.0, text[:, :PROMPT], layout.with_shot(SHOT),
        split=Split(layout.memory_frames) if layout.has_identity and is_split else None,
        identity_text=text[:, PROMPT:] if layout.has_identity and is_split else None,
    )  # fmt: skip


@pytest.mark.parametrize("has_identity", [False, True])
@pytest.mark.parametrize("memory", [0, 1, 3, 8])
def test_a_forward_equals_the_equations(model, reference, memory, has_identity):
    layout = layout_of(memory, has_identity)
    x = random(1, 36, layout.frames + SHOT, HEIGHT, WIDTH)
    text = random(1, PROMPT + IDENTITY * has_identity, 64, seed=1)
    ours = forward(model, layout, x, text)
    assert distance(ours, expected(reference, layout, x, text)) < 1e-5
    if has_identity:
        whole = expected(reference, layout, x, text, is_split=False)
        assert distance(ours[:, :, layout.frames :], whole[:, :, layout.frames :]) > 1e-4


def test_the_shot_sees_the_identity_frame_by_memory_alone(model):
    text = random(1, PROMPT + IDENTITY, 64, seed=1)
    for memory in (0, 2):
        layout = layout_of(memory, True)
        x = random(1, 36, layout.frames + SHOT, HEIGHT, WIDTH)
        other = x.clone()
        other[:, :, 0] += 1
        shots = [forward(model, layout, one, text)[:, :, layout.frames :] for one in (x, other)]
        assert torch.equal(*shots) == (memory == 0)


def test_a_model_gets_one_split_however_often_it_is_asked_for(model):
    split = install_split(model)
    processor = model.blocks[0].attn1.processor
    assert install_split(model) is split
    assert model.blocks[0].attn1.processor is processor
    assert (split.identity, split.memory, split.prompt) == (0, 0, 0)  # nothing is left behind
    processor.original.a_backend = "native"
    assert processor.a_backend == "native"


def test_an_identity_frame_on_several_gpus_is_refused():
    shared = tiny_transformer(4, layers=1)
    shared._parallel_config = object()
    with pytest.raises(ValueError, match="without torchrun, or leave --reconstruct away"):
        split_of(shared, layout_of(1, True), HEIGHT, WIDTH, PROMPT)
    with split_of(shared, layout_of(1, False), HEIGHT, WIDTH, PROMPT) as split:
        assert split is None


def test_positions_beyond_the_models_table_are_refused():
    from diffusers import WanTransformer3DModel

    small = WanTransformer3DModel(num_layers=1, num_attention_heads=1, rope_max_seq_len=512)
    install_memory_positions(small)
    set_memory_layout(small, MemoryLayout((-3,), has_identity=True))
    with pytest.raises(ValueError, match="memory frames reach position 512, but the model's table"):
        small.rope(torch.zeros(1, 16, 4, 4, 4))


# --- the run over both experts ------------------------------------------------------------------

RECIPE = Recipe(steps=6, cfg=3.0, sampler="euler", scheduler="simple", boundary=0.75)
MEMORY = 2


def inputs() -> ShotInputs:
    """Two memories of one length, and an identity frame."""
    frames = 1 + MEMORY + SHOT
    layouts = tuple(
        memento_layout(moments, 200, has_identity=True) for moments in ([0, 90], [50, 130])
    )
    conditions = [random(1, MASK_CHANNELS + 16, frames, HEIGHT, WIDTH, seed=i) for i in (2, 3)]
    texts = [random(1, count, 64, seed=i) for i, count in enumerate([PROMPT, PROMPT, 7, 9], 4)]
    return ShotInputs(
        noise=random(1, 16, frames, HEIGHT, WIDTH, seed=1),
        positive=texts[0],
        negative=texts[1],
        condition=conditions[0],
        condition_low=conditions[1],
        memory_frames=1 + MEMORY,
        layouts=layouts,
        identity=texts[2],
        identity_negative=texts[3],
    )


@pytest.fixture(scope="module")
def experts():
    found = [tiny_transformer(seed, layers=2) for seed in (1, 2)]
    for expert in found:
        install_memory_positions(expert)
    return found


@pytest.fixture(scope="module")
def by_hand(experts):
    """Euler over both experts in float64: the shot's latents, and the identity frame's."""
    given = inputs()
    references = [WanReference(weights_of(expert)) for expert in experts]
    levels = [*(make_scheduler(RECIPE).timesteps.double() / 1000).tolist(), 0.0]
    x = noise = given.noise.double()
    for now, after in itertools.pairwise(levels):
        which = int(now < RECIPE.boundary)
        condition = (given.condition, given.condition_low)[which].double()
        clean = condition[:, MASK_CHANNELS:, 1 : 1 + MEMORY]
        x = x.clone()
        x[:, :, 1 : 1 + MEMORY] = (1 - now) * clean + now * noise[:, :, 1 : 1 + MEMORY]
        whole = torch.cat([x, condition], 1)
        positions = given.layouts[which].with_shot(SHOT)
        cond, other = (
            references[which](
                whole, now * 1000, prompt, positions, split=Split(MEMORY), identity_text=identity
            )
            for prompt, identity in (
                (given.positive, given.identity),
                (given.negative, given.identity_negative),
            )
        )
        x = x + (after - now) * (other + RECIPE.cfg * (cond - other))
    return x[:, :, 1 + MEMORY :], x[:, :, :1]


def test_a_run_with_two_memories_and_an_identity_frame_equals_the_equations(experts, by_hand):
    portraits = []
    shot = denoise(experts, inputs(), RECIPE, on_identity=portraits.append)
    assert distance(shot, by_hand[0]) < 1e-5
    assert len(portraits) == 1
    assert distance(portraits[0], by_hand[1]) < 1e-5


@pytest.mark.parametrize("wrong", ["one memory", "one text", "storymem"])
def test_a_run_that_is_a_little_off_is_seen(experts, by_hand, wrong):
    given = inputs()
    given = {
        "one memory": replace(given, condition_low=None),
        "one text": replace(given, identity_negative=given.identity),
        "storymem": replace(
            given, layouts=tuple(replace(one, method="storymem") for one in given.layouts)
        ),
    }[wrong]
    portraits = []
    shot = denoise(experts, given, RECIPE, on_identity=portraits.append)
    found = [shot, *portraits]
    assert max(map(distance, found, by_hand)) > 1e-4


def test_an_identity_frame_makes_memory_run_along_in_every_step(experts, caplog):
    cached = replace(RECIPE, memory_refresh="cached")
    assert torch.equal(denoise(experts, inputs(), cached), denoise(experts, inputs(), RECIPE))
    assert "--memory-refresh exact): the identity frame is denoised with it" in caplog.text


def test_memory_in_real_time_can_be_kept_between_refreshes(experts):
    given = replace(inputs(), identity=None, identity_negative=None)
    given = replace(
        given, layouts=tuple(replace(one, has_identity=False) for one in given.layouts),
        memory_frames=MEMORY, noise=given.noise[:, :, 1:], condition=given.condition[:, :, 1:],
        condition_low=given.condition_low[:, :, 1:],
    )  # fmt: skip
    exact = denoise(experts, given, RECIPE)
    every = replace(RECIPE, memory_refresh="cached", refresh_steps="0 1 2 3 4 5")
    assert distance(denoise(experts, given, every), exact) < 1e-6
    few = denoise(experts, given, replace(RECIPE, memory_refresh="cached", refresh_steps="0"))
    assert 1e-4 < distance(few, exact) < 0.2
    assert torch.equal(denoise(experts, given, RECIPE), exact)  # nothing is left behind
