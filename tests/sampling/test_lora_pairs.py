"""Pairs of a LoRA file one by one: what is said of those that cannot be, and their digest."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError

import pytest
import torch

from storymem.sampling.lora import (
    LoraModule,
    check_lora,
    check_tensor,
    content_digest,
    describe_scale,
    read_lora,
)
from storymem.sampling.lora_scale import StatedScale

MODULE = "blocks.0.ffn.0"
DIGEST = "d5eb243c4cd06f2cb59711d5a43f251c99dc7e65933c67025587ff059a34e044"
DIGEST_OF_HALVES = "90357901afb696eeb94ce6a0119e371bdc820e496654db459cc497973c45be19"


def pair(rank=4, out=8, width=6, *, alpha=None, is_peft=True, stated=None) -> LoraModule:
    down = torch.arange(rank * width, dtype=torch.float32).view(rank, width)
    up = torch.arange(out * rank, dtype=torch.float32).view(out, rank) - 7
    return LoraModule(down, up, alpha, is_peft, stated)


def state(end: str = "", **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """A file of two modules in the layout of PEFT."""
    found = {}
    for module in (MODULE, "blocks.0.ffn.2"):
        found[f"{module}.lora_A{end}"] = torch.ones(4, 6)
        found[f"{module}.lora_B{end}"] = torch.ones(8, 4)
    return found | more


# --- digest ---------------------------------------------------------------------------------------


def test_the_digest_of_a_file_is_that_of_every_version_so_far():
    """Shots are found again by it."""
    two = {"b": pair(2, 3, 4), "a": pair(1, 2, 3, alpha=8.0, is_peft=False)}
    assert content_digest(two) == DIGEST
    halves = {
        name: LoraModule(one.down.half(), one.up.half(), one.alpha, one.is_peft)
        for name, one in two.items()
    }
    assert content_digest(halves) == DIGEST_OF_HALVES


def test_the_digest_is_that_of_the_numbers_however_they_lie_in_memory():
    plain = pair()
    turned = plain.down.t().contiguous().t()
    assert not turned.is_contiguous()
    learning = plain.up.clone().requires_grad_()
    other = LoraModule(turned, learning, None, is_peft=True)
    assert content_digest({"a": other}) == content_digest({"a": plain})


def test_a_pair_stays_as_it_is():
    with pytest.raises(FrozenInstanceError):
        pair().alpha = 2.0


# --- scale ----------------------------------------------------------------------------------------

SAID = StatedScale(2.0, True, "its header")


@pytest.mark.parametrize(
    ("one", "auto", "rslora", "standard"),
    [
        (pair(), True, True, False),
        (pair(alpha=4.0), False, False, False),
        (pair(stated=SAID), False, False, False),
        (pair(is_peft=False), False, True, False),
        (pair(alpha=4.0, is_peft=False), False, False, False),
    ],
)
def test_a_scale_is_a_guess_where_nothing_says_an_alpha_that_it_needs(one, auto, rslora, standard):
    assert one.is_guess() is auto
    found = [one.is_guess(choice) for choice in ("auto", "rslora", "standard")]
    assert found == [auto, rslora, standard]


@pytest.mark.parametrize(
    ("one", "choice", "doubted"),
    [
        (pair(alpha=4.0), "auto", True),
        (pair(alpha=4.0), "standard", False),
        (pair(alpha=4.0), "rslora", False),
        (pair(alpha=5.0), "auto", False),
        (pair(), "auto", False),
        (pair(stated=SAID), "auto", False),
    ],
)
def test_only_an_alpha_in_the_file_that_equals_the_rank_is_doubted(one, choice, doubted):
    assert ("set scale to rslora" in describe_scale({"a": one}, choice)) is doubted


def test_kinds_of_pairs_with_and_without_an_alpha_are_told_in_one_line():
    told = describe_scale({"a": pair(), "b": pair(alpha=8.0), "c": pair(stated=SAID)}, "rslora")
    assert told == "rank 4, scale 1 (alpha 2 by its header); rank 4, scale 2; rank 4, scale 4"
    assert describe_scale({"a": pair(), "b": pair(alpha=8.0)}, "auto") == "; ".join(
        ["rank 4, scale 2"] * 2
    )


def test_an_alpha_in_the_file_comes_before_one_that_is_stated_beside_it():
    both = pair(alpha=12.0, stated=SAID)
    assert [both.scale(choice) for choice in ("auto", "rslora", "standard")] == [3.0, 6.0, 3.0]


# --- what is told ---------------------------------------------------------------------------------


def test_both_names_of_a_module_that_comes_twice_are_told():
    twice = state() | {f"diffusion_model.{MODULE}.lora_down.weight": torch.ones(4, 6)}
    told = f"holds {MODULE} twice ({MODULE}.lora_A, diffusion_model.{MODULE}.lora_down.weight)"
    with pytest.raises(ValueError, match=re.escape(told)):
        read_lora(twice)


@pytest.mark.parametrize("half", ["lora_A", "lora_B"])
def test_either_half_of_a_pair_may_be_the_one_that_is_missing(half):
    left = state()
    del left[f"{MODULE}.{half}"]
    with pytest.raises(ValueError, match=rf"half of the pair is missing for {MODULE}$"):
        read_lora(left)


def test_one_module_without_alpha_among_others_is_told():
    """It would get another scale than the rest; so would one that has it alone."""
    for with_alpha, without in ((MODULE, "blocks.0.ffn.2"), ("blocks.0.ffn.2", MODULE)):
        some = state() | {f"{with_alpha}.alpha": torch.tensor(4.0)}
        with pytest.raises(ValueError, match=f"for some modules but not for {without}, which"):
            read_lora(some)
    both = state() | {f"{m}.alpha": torch.tensor(4.0) for m in (MODULE, "blocks.0.ffn.2")}
    assert {one.alpha for one in read_lora(both).values()} == {4.0}


def test_names_are_told_whole_up_to_a_length_that_can_be_read():
    fits, long = "x" * 90, "y" * 91
    with pytest.raises(ValueError, match=f"it also holds {fits}$"):
        read_lora(state() | {fits: torch.ones(1)})
    with pytest.raises(ValueError, match=f"it also holds {long[:87]}\\.\\.\\.$"):
        read_lora(state() | {long: torch.ones(1)})
    spoiled = {"z" * 84 + ".lora_A": torch.ones(4), "z" * 84 + ".lora_B": torch.ones(4, 4)}
    with pytest.raises(ValueError, match=r"^the file: z{84}\.lo\.\.\. should be a matrix"):
        read_lora(spoiled)


KINDS = {
    torch.bool: "true and false", torch.complex64: "complex numbers", torch.int8: "int8 numbers",
    torch.uint8: "uint8 numbers", torch.int64: "int64 numbers",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_numbers_that_are_no_weights_are_told_by_their_kind(kind):
    with pytest.raises(ValueError, match=f"^f: w holds {KINDS[kind]}, where weights are"):
        check_tensor("up", "w", torch.ones(2, 2, dtype=kind), "f")
    if kind in (torch.bool, torch.complex64):
        with pytest.raises(ValueError, match=f"^f: a holds {KINDS[kind]}, not a number"):
            check_tensor("alpha", "a", torch.ones((), dtype=kind), "f")
    else:
        check_tensor("alpha", "a", torch.ones((), dtype=kind), "f")


class Packed:
    """Numbers of four bits, of which PyTorch can count nothing."""

    shape, ndim, is_meta, dtype = (2, 2), 2, False, "torch.float4_e2m1fn_x2"

    def __init__(self, count=4):
        self.count = count

    def __getattr__(self, name):
        values = {"is_floating_point": True, "is_complex": False, "element_size": 1}
        return lambda: values[name]

    def numel(self):
        return self.count

    def float(self):
        raise RuntimeError("not implemented")


@pytest.mark.parametrize(("slot", "count"), [("up", 4), ("alpha", 1)])
def test_packed_numbers_are_told_by_file_and_name(slot, count):
    told = "^f: w holds float4_e2m1fn_x2 numbers, which cannot be used here"
    with pytest.raises(ValueError, match=told):
        check_tensor(slot, "w", Packed(count), "f")


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_an_alpha_in_eight_bits_is_read(kind):
    check_tensor("alpha", "a", torch.tensor(4.0).to(kind), "f")
    with pytest.raises(ValueError, match=r"^f: a holds NaN or infinite values"):
        check_tensor("alpha", "a", torch.tensor(float("nan")).to(kind), "f")


@pytest.mark.parametrize("slot", ["up", "down", "alpha"])
def test_a_header_read_before_the_weights_has_no_numbers_to_look_at(slot):
    shape = () if slot == "alpha" else (2, 2)
    check_tensor(slot, "w", torch.empty(shape, device="meta"), "f")
    with pytest.raises(ValueError, match=r"^f: w "):
        check_tensor(slot, "w", torch.empty((3, 3, 3), device="meta"), "f")


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1)])
def test_the_smallest_matrices_are_weights(shape):
    check_tensor("up", "w", torch.ones(shape), "f")


# --- against a model ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "shape", "told"),
    [
        (pair(4, 8, 6), (9, 6), r"another model: a \[8, 6\] \(model: \[9, 6\]\)$"),
        (pair(4, 8, 6), (8, 7), r"another model: a \[8, 6\] \(model: \[8, 7\]\)$"),
        (pair(4, 8, 3072), (8, 5120), r"Wan 2\.2 5B: a \[8, 3072\] \(model: \[8, 5120\]\)$"),
        (pair(4, 8, 3072), (9, 3072), r"another model: a \[8, 3072\]"),  # its width is right
    ],
)
def test_a_pair_of_another_size_than_the_models_is_told(one, shape, told):
    with pytest.raises(ValueError, match=rf"^f was made for {told}"):
        check_lora({"a": one}, {"a": shape}, "f")
    check_lora({"a": one}, {"a": None}, "f")  # a packed weight has another shape
    fits = tuple(one.up.shape[:1]) + tuple(one.down.shape[1:])
    check_lora({"a": one}, {"a": fits}, "f")
    check_lora({"a": one}, {"a": list(fits)}, "f")


@pytest.mark.parametrize("shape", [None, (8, 6)])
def test_halves_of_another_rank_are_told_even_for_packed_weights(shape):
    odd = LoraModule(torch.ones(4, 6), torch.ones(8, 5), None, is_peft=True)
    model = list(shape or ())
    with pytest.raises(ValueError, match=re.escape(f"another model: a [8, 6] (model: {model})")):
        check_lora({"a": odd}, {"a": shape})


def test_all_that_does_not_belong_into_a_file_is_told():
    odd = state() | {"head.weight": torch.ones(1), "norm.weight": torch.ones(1)}
    with pytest.raises(ValueError, match=r"it also holds head\.weight, norm\.weight$"):
        read_lora(odd)


def test_how_many_modules_a_file_covers_and_which_are_wrong_is_told():
    file, model = dict.fromkeys("abx", pair()), dict.fromkeys("abcd")
    with pytest.raises(ValueError, match=r"covers 2 of 4 modules; missing: c, d; not in the .*: x"):
        check_lora(file, model)
    with pytest.raises(ValueError, match=r"covers 3 of 4 modules; missing: x\. Load"):
        check_lora(dict.fromkeys("abc", pair()), dict.fromkeys("abcx"))
    with pytest.raises(ValueError, match=r"covers 2 of 2 modules; not in the model: x\. Load"):
        check_lora(file, dict.fromkeys("ab"))
