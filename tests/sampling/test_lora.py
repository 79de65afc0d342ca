"""LoRA files: key layouts, scales, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from storymem.sampling.lora import (
    TARGETS,
    LoraModule,
    check_lora,
    content_digest,
    describe_scale,
    module_name,
    read_lora,
    target_modules,
)

RANK, BLOCKS = 4, 2
SHAPE = (8, 6)  # out, in


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(RANK, SHAPE[1], generator=generator),
        torch.randn(SHAPE[0], RANK, generator=generator),
    )


def peft_state(prefix: str = "", adapter: str = "") -> dict[str, torch.Tensor]:
    state = {}
    for i, module in enumerate(target_modules(BLOCKS)):
        down, up = pair(i)
        state[f"{prefix}{module}.lora_A{adapter}.weight"] = down
        state[f"{prefix}{module}.lora_B{adapter}.weight"] = up
    return state


def kohya_state(alpha: float | None) -> dict[str, torch.Tensor]:
    state = {}
    for i, module in enumerate(target_modules(BLOCKS)):
        name = "lora_unet_" + module.replace(".", "_")
        down, up = pair(i)
        state[f"{name}.lora_down.weight"], state[f"{name}.lora_up.weight"] = down, up
        if alpha is not None:
            state[f"{name}.alpha"] = torch.tensor(alpha)
    return state


def weights() -> dict[str, tuple[int, ...]]:
    return dict.fromkeys(target_modules(BLOCKS), SHAPE)


def test_a_model_of_40_blocks_has_400_target_modules():
    assert len(target_modules(40)) == 400
    assert len(set(target_modules(40))) == 400
    assert set(TARGETS) == {
        *(f"{a}.{p}" for a in ("self_attn", "cross_attn") for p in "qkvo"),
        "ffn.0",
        "ffn.2",
    }


@pytest.mark.parametrize(
    "prefix",
    ["", "base_model.model.", "diffusion_model.", "base_model.model.diffusion_model."],
)
@pytest.mark.parametrize("adapter", ["", ".default"])
def test_every_peft_layout_reads_the_same(prefix, adapter):
    found, plain = read_lora(peft_state(prefix, adapter)), read_lora(peft_state())
    assert found.keys() == plain.keys() == set(target_modules(BLOCKS))
    assert all(torch.equal(found[m].up, plain[m].up) for m in found)
    check_lora(found, weights())


def test_a_state_dict_inside_a_checkpoint_is_found():
    assert read_lora({"state_dict": peft_state()}).keys() == set(target_modules(BLOCKS))


def test_repacked_names_are_read():
    found = read_lora(kohya_state(128.0))
    assert found.keys() == set(target_modules(BLOCKS))
    assert found["blocks.1.ffn.2"].alpha == 128
    assert module_name("lora_unet_blocks_39_cross_attn_v") == "blocks.39.cross_attn.v"


@pytest.mark.parametrize(
    ("state", "choice", "scale"),
    [
        (peft_state(), "auto", RANK / math.sqrt(RANK)),  # as the release trains
        (peft_state(), "rslora", RANK / math.sqrt(RANK)),
        (peft_state(), "standard", 1.0),  # the factor was folded in
        (kohya_state(10.0), "auto", 10 / RANK),
        (kohya_state(10.0), "rslora", 10 / math.sqrt(RANK)),
        (kohya_state(10.0), "standard", 10 / RANK),
        (kohya_state(None), "auto", 1.0),
        (kohya_state(None), "rslora", RANK / math.sqrt(RANK)),
    ],
)
def test_the_scale_of_a_file(state, choice, scale):
    assert {m.scale(choice) for m in read_lora(state).values()} == {scale}


def test_the_released_files_get_eleven_point_three():
    state = {"blocks.0.ffn.0.lora_A.weight": torch.zeros(128, 6)}
    state["blocks.0.ffn.0.lora_B.weight"] = torch.zeros(8, 128)
    assert read_lora(state)["blocks.0.ffn.0"].scale() == pytest.approx(11.3137, abs=1e-4)


def test_the_report_names_rank_and_scale_and_doubts_an_alpha_that_equals_the_rank():
    assert describe_scale(read_lora(peft_state()), "auto") == "rank 4, scale 2"
    assert "set scale to rslora" in describe_scale(read_lora(kohya_state(4.0)), "auto")


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="scale must be one of auto, rslora, standard"):
        read_lora(peft_state())["blocks.0.ffn.0"].scale("peft")


def test_a_partial_file_is_refused_with_the_list_of_what_is_missing():
    state = {k: v for k, v in peft_state().items() if not k.startswith("blocks.1.ffn.2")}
    with pytest.raises(ValueError, match=r"covers 19 of 20 modules; missing: blocks\.1\.ffn\.2\."):
        check_lora(read_lora(state), weights())


def test_a_file_of_a_deeper_model_is_refused():
    shallow = dict.fromkeys(target_modules(1), SHAPE)
    with pytest.raises(ValueError, match=r"not in the model: blocks\.1\.self_attn\.q, .* 4 more"):
        check_lora(read_lora(peft_state()), shallow)


def test_a_file_of_another_width_is_refused():
    wide = dict.fromkeys(target_modules(BLOCKS), (9, 6))
    with pytest.raises(ValueError, match=r"another model: blocks\.0\.self_attn\.q \[8, 6\]"):
        check_lora(read_lora(peft_state()), wide)


def test_packed_weights_skip_the_shape_check():
    check_lora(read_lora(peft_state()), dict.fromkeys(target_modules(BLOCKS)))


def test_half_a_pair_is_refused():
    state = peft_state()
    del state["blocks.0.self_attn.k.lora_B.weight"]
    with pytest.raises(
        ValueError, match=r"half of the pair is missing for blocks\.0\.self_attn\.k"
    ):
        read_lora(state)


def test_two_adapters_in_one_file_are_refused():
    state = {**peft_state(), **peft_state(adapter=".default")}
    with pytest.raises(ValueError, match=r"holds blocks\.0\.self_attn\.q twice"):
        read_lora(state)


def test_keys_that_are_no_lora_are_refused():
    state = {**peft_state(), "head.head.weight": torch.zeros(2, 2)}
    with pytest.raises(ValueError, match=r"not a StoryMem LoRA: it also holds head\.head\.weight"):
        read_lora(state)


UNET = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
OTHERS = {  # what people choose by mistake: a layer of it, its width, and what it is told to be
    "SD 1.5": (UNET, 768, "a LoRA for Stable Diffusion 1.5"),
    "SDXL": (UNET, 2048, "a LoRA for SDXL"),
    "Flux": ("lora_unet_double_blocks_0_img_attn_qkv", 8, "a LoRA for Flux or HunyuanVideo"),
    "LTX": ("diffusion_model.transformer_blocks.0.attn1.to_q", 8, "a LoRA for LTX-Video"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_lora_of_another_model_is_told_by_its_kind(kind):
    layer, width, words = OTHERS[kind]
    state = {f"{layer}.lora_down.weight": torch.ones(4, width),
             f"{layer}.lora_up.weight": torch.ones(8, 4)}  # fmt: skip
    with pytest.raises(ValueError, match=f"it looks like {words}"):
        check_lora(read_lora(state), weights())


def test_a_whole_model_is_told_to_be_one():
    with pytest.raises(ValueError, match="it looks like a whole Wan model, not a LoRA"):
        read_lora({"blocks.0.self_attn.q.weight": torch.zeros(2, 2)})


def test_a_lora_of_a_smaller_wan_is_told_by_its_name():
    state = {
        key: torch.zeros(4, 3072) if "lora_A" in key else torch.zeros(3072, 4)
        for key in peft_state()
    }
    with pytest.raises(ValueError, match=r"was made for Wan 2\.2 5B: blocks"):
        check_lora(read_lora(state), weights())


FIRST = "blocks.0.self_attn.q.lora_A.weight"
FIRST_ALPHA = "lora_unet_blocks_0_self_attn_q.alpha"


def spoiled(value: float, dtype=torch.float32) -> dict[str, torch.Tensor]:
    """A file of which one number, the last of a matrix, is ``value``."""
    matrix = torch.zeros(4, 6)
    matrix[3, 5] = value
    return peft_state() | {FIRST: matrix.to(dtype)}


SPOILED = {
    "a list": (lambda: [torch.zeros(1)], "holds a list where named weights"),
    "a tensor": (lambda: torch.zeros(1), "holds a Tensor where named weights"),
    "a list inside": (lambda: {"state_dict": [1]}, "holds a list where named weights"),
    "keys that are numbers": (
        lambda: {0: torch.zeros(1)},
        "should have names, but one is called 0",
    ),
    "NaN": (lambda: spoiled(math.nan), "NaN or infinite"),
    "infinity": (lambda: spoiled(math.inf), "NaN or infinite"),
    "a vector": (lambda: peft_state() | {FIRST: torch.zeros(4)}, r"a matrix, but has shape \[4\]"),
    "rank 0": (lambda: peft_state() | {FIRST: torch.zeros(0, 6)}, "is empty .rank 0"),
    "alpha NaN": (
        lambda: kohya_state(4.0) | {FIRST_ALPHA: torch.tensor(math.nan)},
        "NaN or infinite",
    ),
    "alpha a vector": (
        lambda: kohya_state(4.0) | {FIRST_ALPHA: torch.ones(4)},
        r"one number, but has shape \[4\]",
    ),
    "alpha for one module": (
        lambda: kohya_state(None) | {FIRST_ALPHA: torch.tensor(4.0)},
        "alpha for some modules but not for blocks.0.self_attn.k",
    ),
}


for value in (0.0, -4.0, 65_537.0, math.inf):
    SPOILED[f"alpha {value:g}"] = (
        lambda v=value: kohya_state(4.0) | {FIRST_ALPHA: torch.tensor(v)},
        "infinite" if value == math.inf else f"is {value:g}, but alpha must be above 0 and at most",
    )
for kind in (torch.bool, torch.complex64):
    SPOILED[f"alpha {kind}"] = (
        lambda k=kind: kohya_state(4.0) | {FIRST_ALPHA: torch.ones((), dtype=k)}, "not a number"
    )  # fmt: skip
for kind in (torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64):
    SPOILED[f"{kind}"] = (
        lambda k=kind: peft_state() | {FIRST: torch.ones(4, 6, dtype=k)},
        "holds .* where weights are fractions .*download the original",
    )
for value in (1_000_000.5, -1_000_000.5):
    SPOILED[f"{value:.1f}"] = (lambda v=value: spoiled(v), r"beyond 1e\+06")
for kind in (torch.float8_e4m3fn, torch.float8_e5m2):  # PyTorch looks at few of their numbers
    SPOILED[f"NaN {kind}"] = (lambda k=kind: spoiled(math.nan, k), "NaN or infinite")


OF_NO_TENSOR = ("a list", "a tensor", "a list inside", "keys that are numbers")


@pytest.mark.parametrize("case", SPOILED)
def test_weights_that_would_spoil_the_model_are_refused_by_the_files_name(case):
    state, words = SPOILED[case]
    if case not in (*OF_NO_TENSOR, "alpha for one module"):
        words = f": {FIRST_ALPHA if case.startswith('alpha') else FIRST} .*{words}"
    with pytest.raises(ValueError, match=rf"^mine\.pth.*{words}"):
        read_lora(state(), "mine.pth")


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2],
)
def test_weights_of_any_precision_are_read_as_they_are(dtype):
    """With a digest of their own: a file rounded to eight bits is another file."""
    state = {key: value.to(dtype) for key, value in peft_state().items()}
    found = read_lora(state)
    assert found["blocks.0.self_attn.q"].down.dtype is dtype
    assert content_digest(found) == content_digest(read_lora(dict(state)))
    assert content_digest(found) != content_digest(read_lora(peft_state()))
    changed = {**state, FIRST: (state[FIRST].float() * 2).to(dtype)}
    assert content_digest(read_lora(changed)) != content_digest(found)


@pytest.mark.parametrize("slot", ["up", "down"])
def test_the_digest_holds_each_half_its_shape_and_its_place(slot):
    one = {"a": {"down": torch.zeros(2, 4), "up": torch.zeros(4, 2)}}

    def digest(pairs):
        return content_digest({
            name: LoraModule(halves["down"], halves["up"], None, is_peft=True)
            for name, halves in pairs.items()
        })  # fmt: skip

    plain = digest(one)
    changed = {**one["a"], slot: one["a"][slot] + 1}
    assert digest({"a": changed}) != plain
    assert digest({"a": {**one["a"], slot: one["a"][slot].reshape(1, 8)}}) != plain
    assert digest({"b": one["a"]}) != plain
    two = {"a": one["a"], "b": changed}
    assert digest(two) == digest(dict(reversed(two.items())))  # in whatever order a file has them


def test_values_at_the_limits_are_meant():
    """Huge alphas and weights are refused only beyond what training leaves."""
    largest = peft_state() | {FIRST: torch.full((4, 6), -1e6)}
    assert float(read_lora(largest)["blocks.0.self_attn.q"].down[0, 0]) == -1e6
    for alpha in (65_536.0, 1e-9):
        state = {k: torch.tensor(alpha) if "alpha" in k else v for k, v in kohya_state(1).items()}
        found = read_lora(state)["blocks.0.self_attn.q"].alpha
        assert found == pytest.approx(alpha)
    state = kohya_state(1.0) | {FIRST_ALPHA: torch.tensor([7])}  # a whole number in a list
    assert read_lora(state)["blocks.0.self_attn.q"].alpha == 7.0


def test_an_outline_is_looked_at_by_its_shapes_alone():
    outline = {key: value.to("meta") for key, value in kohya_state(None).items()}
    check_lora(read_lora(outline), weights())
    outline["lora_unet_blocks_0_self_attn_q.lora_up.weight"] = torch.zeros(8, 9, device="meta")
    with pytest.raises(ValueError, match=r"another model: blocks\.0\.self_attn\.q \[8, 6\]"):
        check_lora(read_lora(outline), weights())  # its halves have another rank


@pytest.mark.parametrize("prefix", ["transformer.", "model.diffusion_model.", "x."])
@pytest.mark.parametrize("end", ["", ".weight", ".default", ".default.weight"])
def test_names_of_modules_are_read_to_their_end(prefix, end):
    state = {f"{prefix}blocks.0.ffn.2.lora_{half}{end}": torch.ones(2, 2) for half in "AB"}
    name = "x.blocks.0.ffn.2" if prefix == "x." else "blocks.0.ffn.2"
    assert list(read_lora(state)) == [name]


def test_a_value_that_is_no_tensor_is_told():
    with pytest.raises(ValueError, match=r"it also holds blocks\.0\.ffn\.0\.lora_A\.weight$"):
        read_lora({"blocks.0.ffn.0.lora_A.weight": 3})


def test_the_report_tells_of_each_kind_of_pair():
    pairs = {
        f"{rank} {alpha}": LoraModule(torch.ones(rank, 2), torch.ones(2, rank), alpha, is_peft=True)
        for rank, alpha in ((4, None), (4, None), (9, 3.0), (2, 2.0))
    }
    told = describe_scale(pairs, "auto").split("; ")
    assert told[0] == "rank 2, scale 1 (the file's alpha equals its rank"
    assert told[2:] == ["rank 4, scale 2", "rank 9, scale 0.3333"]
    assert (
        describe_scale(pairs, "rslora") == "rank 2, scale 1.414; rank 4, scale 2; rank 9, scale 1"
    )


def test_the_digest_of_a_file_is_that_of_its_weights():
    digest = content_digest(read_lora(peft_state()))
    assert content_digest(read_lora(peft_state("base_model.model.", ".default"))) == digest
    changed = peft_state()
    changed[FIRST][0, 0] += 1
    assert content_digest(read_lora(changed)) != digest
    assert content_digest(read_lora(kohya_state(4.0))) != content_digest(
        read_lora(kohya_state(8.0))
    )
