"""Memento's model among what artists put on theirs: what runs, and what is refused in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from helpers.m2v_helpers import M2V, rel_l2
from helpers.memento_shot import (
    CFG,
    SIGMA,
    TEXTS,
    bank_of,
    encoded,
    evaluate,
    expected,
    parts_of,
    patched,
    shot_of,
)
from helpers.wan_reference import WanReference

BOUND = 1e-5
OVERRIDE = "optimized_attention_override"


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


@pytest.fixture(scope="module")
def reference(host):
    return WanReference(
        load_file(host.base / "models" / "diffusion_models" / "tiny_i2v_high.safetensors")
    )


@pytest.fixture(scope="module")
def parts(m2v):
    """One shot with an identity frame and three memory frames."""
    return parts_of(m2v, 3)


@pytest.fixture(scope="module")
def plain(m2v, parts):
    return evaluate(patched(m2v, parts.layout), parts)


# --- what runs ------------------------------------------------------------------------------------


def test_a_batch_has_noise_of_its_own_in_each_row(m2v, reference):
    parts = parts_of(m2v, 3, batch=2)
    ours = evaluate(patched(m2v, parts.layout), parts)
    for row in range(2):
        assert rel_l2(ours[row : row + 1], expected(reference, parts, row=row)) < BOUND


def test_prompts_of_one_length_are_evaluated_together(m2v, reference, monkeypatch):
    same = {name: encoded(20 + i) for i, name in enumerate(TEXTS)}
    for name, text in same.items():
        monkeypatch.setitem(TEXTS, name, text)
    parts, seen = parts_of(m2v, 3), []
    model = patched(m2v, parts.layout)
    model.set_model_unet_function_wrapper(
        lambda call, given: (seen.append(given["cond_or_uncond"]), call(
            given["input"], given["timestep"], **given["c"]
        ))[1]
    )  # fmt: skip
    assert rel_l2(evaluate(model, parts), expected(reference, parts)) < BOUND
    assert [sorted(kinds) for kinds in seen] == [[0, 1]]


def test_a_cfg_of_one_needs_no_negative(m2v, reference, parts):
    ours = evaluate(patched(m2v, parts.layout), parts, cfg=1.0)
    assert rel_l2(ours, expected(reference, parts, cfg=1.0)) < BOUND


def test_attention_that_another_chose_computes_each_part(m2v, parts, plain):
    lengths = []

    def another(function, q, k, v, heads, *args, **kwargs):
        lengths.append((q.shape[1], k.shape[1]))
        return function(q, k, v, heads, *args, **kwargs)

    model = m2v.high.clone()
    model.model_options.setdefault("transformer_options", {})[OVERRIDE] = another
    assert torch.equal(evaluate(patched(m2v, parts.layout, model), parts), plain)
    frame = 6
    blocks = len(m2v.high.model.diffusion_model.blocks)
    wanted = [(4, 4), (6, 6), (1, 512 / frame), (6, 20 / frame)]  # frames, of the positive prompt
    wanted = [(round(q * frame), round(k * frame)) for q, k in wanted]
    assert lengths[: 4 * blocks] in (wanted * blocks, _negative(wanted) * blocks)


def _negative(wanted):
    return [*wanted[:2], (wanted[2][0], 600), (wanted[3][0], 33)]


def test_a_lora_is_part_of_what_is_split(m2v, parts, plain):
    model = m2v.high.clone()
    weight = "diffusion_model.blocks.0.self_attn.q.weight"
    change = torch.full(model.model.state_dict()[weight].shape, 0.01)
    model.add_patches({weight: (change,)})
    assert rel_l2(evaluate(patched(m2v, parts.layout, model), parts), plain) > 1e-4


def test_a_cached_memory_runs_along_and_says_so(m2v, parts, plain, caplog):
    with caplog.at_level("INFO"):
        ours = evaluate(patched(m2v, parts.layout, refresh="cached"), parts, sigmas=(0.9, SIGMA))
    assert torch.equal(ours, plain)
    assert caplog.text.count("memory reads an identity frame, which every step changes") == 1


def test_a_compiled_model_runs_without_its_compilation_and_says_so(m2v, parts, plain, caplog):
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    ran = []

    def backend(graph, _):
        ran.append(graph)
        return graph

    torch.compiler.reset()
    model = m2v.high.clone()
    set_torch_compile_wrapper(model, backend=backend)
    with caplog.at_level("INFO"):
        ours = evaluate(patched(m2v, parts.layout, model), parts)
    assert torch.equal(ours, plain)
    assert not ran
    assert caplog.text.count("runs without torch.compile, for its identity frame") == 1


def test_memory_alone_is_cached_on_its_flow(m2v):
    """Without an identity frame the other steps read what the first kept."""
    parts = parts_of(m2v, 3, has_identity=False)
    exact, cached = (
        evaluate(patched(m2v, parts.layout, refresh=refresh), parts, sigmas=(0.9, SIGMA))
        for refresh in ("exact", "cached")
    )
    assert torch.equal(exact[:, :, :3], cached[:, :, :3])  # the clean memory
    assert 0 < rel_l2(cached[:, :, 3:], exact[:, :, 3:]) < 0.5


def test_a_second_sampler_finds_the_noise_in_what_it_is_given(m2v, parts, plain):
    """The first left memory on its flow; the second is given that and no noise."""

    layout = parts.layout
    clean = parts.condition[:, 4:, 1 : layout.frames]
    noise = parts.noise[:, :, 1 : layout.frames]
    left = parts.x.clone()
    left[:, :, 1 : layout.frames] = (1 - SIGMA) * clean + SIGMA * noise
    silent = replace(parts, noise=torch.zeros_like(parts.noise), x=left)
    assert rel_l2(evaluate(patched(m2v, layout), silent), plain) < BOUND


def test_a_run_leaves_the_memory_where_it_belongs(m2v, parts):
    """The sampler's own latent of the memory ends as the clean memory."""
    import comfy.latent_formats
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(patched(m2v, parts.layout))
    guider.set_conds(parts.positive, parts.negative)
    guider.set_cfg(CFG)
    with torch.inference_mode():
        found = guider.sample(
            parts.noise.clone(), torch.zeros_like(parts.noise),
            comfy.samplers.sampler_object("euler"), torch.tensor([1.0, 0.6, 0.3, 0.0]),
            disable_pbar=True,
        )  # fmt: skip
    memory = comfy.latent_formats.Wan21().process_in(found.cpu())[:, :, 1 : parts.layout.frames]
    assert rel_l2(memory, parts.condition[:, 4:, 1 : parts.layout.frames]) < BOUND


# --- what is refused ------------------------------------------------------------------------------


def test_prompts_and_model_must_agree_on_an_identity_frame(m2v, parts):
    model = patched(m2v, parts.layout)
    bare = parts_of(m2v, 4, has_identity=False)
    with pytest.raises(ValueError, match="has no text for the identity frame"):
        evaluate(model, bare)
    with pytest.raises(ValueError, match="positive comes with an identity frame, but the model"):
        evaluate(patched(m2v, bare.layout), parts)


def test_guidance_that_computes_attention_otherwise_is_refused(m2v, parts):
    """As nodes for normalised attention guidance do: a second prompt of their own is attended."""

    def forward(self, x, context, transformer_options=None, **kwargs):
        from comfy.ldm.modules.attention import optimized_attention

        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(context)), self.v(context)
        parts = [
            optimized_attention(
                q, k[:, :n], v[:, :n], self.num_heads, transformer_options=transformer_options
            )
            for n in (k.shape[1], 5)
        ]
        return self.o(parts[0] * 2 - parts[1])

    model = m2v.high.clone()
    attention = model.model.diffusion_model.blocks[1].cross_attn
    name = "diffusion_model.blocks.1.cross_attn.forward"
    model.add_object_patch(name, forward.__get__(attention))
    with pytest.raises(ValueError, match="normalised attention guidance"):
        evaluate(patched(m2v, parts.layout, model), parts)


@pytest.mark.parametrize("kinds", [("self_attn", "cross_attn"), ("cross_attn",)])
def test_attention_that_passes_the_hook_by_is_refused(m2v, parts, kinds):
    model = m2v.high.clone()
    for i, block in enumerate(model.model.diffusion_model.blocks):
        for kind in kinds:
            attention = getattr(block, kind)
            name = f"diffusion_model.blocks.{i}.{kind}.forward"
            model.add_object_patch(name, lambda x, *_, a=attention, **__: a.o(a.v(x)))
    with pytest.raises(ValueError, match="another node replaces this model's attention"):
        evaluate(patched(m2v, parts.layout, model), parts)


def test_blocks_that_another_skips_are_left_out(m2v, parts, plain):
    model = m2v.high.clone()
    model.set_model_patch_replace(lambda args, _: {"img": args["img"]}, "dit", "double_block", 1)
    assert rel_l2(evaluate(patched(m2v, parts.layout, model), parts), plain) > 1e-3


def test_a_part_of_the_latent_is_refused(m2v, parts):
    area = {"area": (4, 3, 0, 0), "strength": 1.0}
    positive = [[text, {**options, **area}] for text, options in parts.positive]
    with pytest.raises(ValueError, match="has to be whole"):
        evaluate(patched(m2v, parts.layout), replace(parts, positive=positive))


def test_texts_of_the_identity_frame_are_checked(m2v, caplog):
    def condition(**inputs):
        bank = bank_of(m2v, 1)
        return m2v.condition_in_time(bank=bank, shot=shot_of(m2v), **inputs)[-1]

    with pytest.raises(ValueError, match="identity_negative is not connected"):
        condition(identity_positive=encoded(1))
    with pytest.raises(ValueError, match="identity_positive is not connected"):
        condition(identity_negative=encoded(1))
    with pytest.raises(ValueError, match="one encoded text, but it has 2 parts"):
        condition(identity_positive=encoded(1) + encoded(2), identity_negative=encoded(1))
    both = {"identity_positive": encoded(1), "identity_negative": encoded(2)}
    with pytest.raises(ValueError, match="only Memento has an identity frame"):
        condition(method="storymem", **both)
    with caplog.at_level("INFO"):
        empty = condition(identity_positive=encoded(5), identity_negative=encoded(5))
    assert not empty.has_identity
    assert "no identity frame: both of its texts are the same" in caplog.text
    assert condition(**both).all_positions[0] == -512


def test_a_patch_is_taken_off_again(m2v, parts):
    bare = m2v.patch(patched(m2v, parts.layout), 0)
    assert not any(wrappers for kind in bare.wrappers.values() for wrappers in kind.values())
    assert bare.object_patches == {}
    again = patched(m2v, parts.layout, patched(m2v, parts.layout))
    assert all(len(found) < 2 for kind in again.wrappers.values() for found in kind.values())
