"""Memento's LoRA files: their layouts, the keyframe query beside the LoRA, what is refused."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import save_file

from helpers.keyframe_queries import tiny_query
from storymem.sampling.lora import content_digest, target_modules
from storymem.sampling.lora_file import (
    MemoryLora,
    describe_method,
    load_lora,
    load_memory_lora,
    one_method,
)
from storymem.sampling.query_weights import check_query, query_shapes, split_query

WIDTH, RANK, BLOCKS = 32, 4, 2
SHAPES = dict.fromkeys(target_modules(BLOCKS), (WIDTH, WIDTH))


def memento_state(prefix: str = "", adapter: str = "", query_prefix: str | None = None) -> dict:
    generator = torch.Generator().manual_seed(7)
    state = {}
    for module in target_modules(BLOCKS):
        for half, shape in (("A", (RANK, WIDTH)), ("B", (WIDTH, RANK))):
            key = f"{prefix}{module}.lora_{half}{adapter}.weight"
            state[key] = torch.randn(*shape, generator=generator)
    before = prefix if query_prefix is None else query_prefix
    return state | {f"{before}keyframe_query.{k}": v for k, v in tiny_query(width=WIDTH).items()}


PEFT = "base_model.model."
LAYOUTS = {
    "plain": memento_state(),
    "peft": memento_state(PEFT, ".default"),
    "training": memento_state(f"high_noise_model.{PEFT}", ".default"),
    "training, low": memento_state(f"low_noise_model.{PEFT}", ".default", "low_noise_model."),
    "the query by its own name": memento_state(PEFT, "", ""),
    "comfy": memento_state("diffusion_model."),
}


def written(folder, state, kind: str):
    path = folder / f"backbone_high_noise.{'safetensors' if kind == 'safetensors' else 'pth'}"
    if kind == "safetensors":
        save_file(state, str(path))
    else:
        checkpoint = {"plain": state}.get(kind, {kind: state, "global_step": 3})
        torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "plain", "trainable_state_dict",
                                  "lora_state_dict", "state_dict"])  # fmt: skip
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_same(tmp_path, layout, kind):
    found = load_memory_lora(written(tmp_path, LAYOUTS[layout], kind))
    assert found.method == "memento"
    assert found.modules.keys() == SHAPES.keys()
    query = tiny_query(width=WIDTH)
    assert found.query.keys() == query.keys()
    assert all(torch.equal(found.query[name], query[name]) for name in query)
    found.check(SHAPES, WIDTH)
    assert {pair.scale() for pair in found.modules.values()} == {2.0}  # 4 / sqrt(4)
    assert found.digest == load_memory_lora(written(tmp_path, LAYOUTS["plain"], kind)).digest


@pytest.mark.parametrize("kind", ["safetensors", "trainable_state_dict"])
def test_an_outline_tells_the_method_and_holds_no_matrices(tmp_path, kind):
    found = load_memory_lora(written(tmp_path, LAYOUTS["training"], kind), is_outline=True)
    assert found.method == "memento"
    found.check(SHAPES, WIDTH)
    matrices = [pair.down for pair in found.modules.values()] + [found.query["queries"]]
    assert all(matrix.is_meta for matrix in matrices)


def test_a_file_without_a_query_is_storymems_and_keeps_its_digest(tmp_path):
    state = {key: value for key, value in memento_state().items() if "lora_" in key}
    path = written(tmp_path, state, "plain")
    found = load_memory_lora(path)
    assert found.method == "storymem"
    assert found.query is None
    assert found.digest == content_digest(found.modules) == content_digest(load_lora(path))
    digest = hashlib.sha256()  # as earlier versions made it
    for module in sorted(found.modules):
        for tensor in (found.modules[module].down, found.modules[module].up):
            digest.update(f"{module} {tensor.dtype} {list(tensor.shape)} None".encode())
            digest.update(tensor.numpy().tobytes())
    assert found.digest == digest.hexdigest()


def test_the_query_is_part_of_the_digest():
    modules = {}
    query = tiny_query(width=WIDTH)
    other = query | {"queries": query["queries"] + 1}
    digests = [content_digest(modules), content_digest(modules, query),
               content_digest(modules, other)]  # fmt: skip
    assert len(set(digests)) == 3
    assert content_digest(modules, dict(reversed(query.items()))) == digests[1]


def without(name: str) -> dict:
    return {key: value for key, value in memento_state().items() if name not in key}


def changed(name: str, value: torch.Tensor) -> dict:
    return memento_state() | {f"keyframe_query.{name}": value}


NAN = torch.full((4, WIDTH), torch.nan)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (without("query_to_text.k.bias"), r"of its keyframe query query_to_text\.k\.bias is miss"),
        (without("keyframe_query.queries"), "of its keyframe query queries is missing"),
        (without("query_to_visual"), "query_to_visual.*and 4 more are missing; download it again"),
        (without("lora_"), "holds Memento's keyframe query but no LoRA"),
        (changed("tail.weight", NAN), r"keyframe query of another kind .* tail\.weight is not"),
        (changed("queries", NAN), r"keyframe_query\.queries holds NaN"),
        (changed("queries", torch.full((4, WIDTH), 1e9)), "holds values beyond 1e\\+06"),
        (changed("queries", torch.zeros(4, WIDTH, dtype=torch.int64)), "holds int64 numbers"),
        (changed("queries", torch.zeros(0, WIDTH)), r"keyframe_query\.queries is empty"),
        (changed("query_to_text.q.weight", torch.zeros(WIDTH, 8)),
         r"made for another model: query_to_text\.q\.weight \[32, 8\] \(model: \[32, 32\]\)"),
        (changed("memory_patcher.weight", torch.zeros(WIDTH, 36, 1, 2, 2)),
         r"memory_patcher\.weight \[32, 36, 1, 2, 2\]"),
        (memento_state() | {"low_noise_model.keyframe_query.queries": NAN},
         "holds queries of the keyframe query twice"),
        (memento_state() | {"text_embedding.0.weight": NAN},
         r"is not a StoryMem LoRA: it also holds text_embedding\.0\.weight"),
    ],
)  # fmt: skip
def test_what_is_no_whole_query_is_refused(tmp_path, state, told):
    with pytest.raises(ValueError, match=told):
        load_memory_lora(written(tmp_path, state, "plain"))


def test_a_query_of_another_width_is_refused_where_the_model_is_known(tmp_path):
    state = {key: value for key, value in memento_state().items() if "lora_" in key}
    state |= {f"keyframe_query.{k}": v for k, v in tiny_query(width=64).items()}
    found = load_memory_lora(written(tmp_path, state, "plain"))
    with pytest.raises(ValueError, match="keyframe query was made for another model"):
        found.check(SHAPES, WIDTH)


def test_the_released_query_has_these_shapes():
    shapes = query_shapes(5120, 8, 2)
    assert len(shapes) == 24
    assert shapes["memory_patcher.weight"] == (5120, 16, 1, 2, 2)
    assert shapes["queries_global"] == (2, 5120)
    check_query({name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, 5120)
    assert "queries_global" not in query_shapes(5120, 6, 0)


def test_what_is_no_part_of_the_query_stays():
    rest, query = split_query({"a": torch.zeros(1), "keyframe_query.queries": torch.ones(1, 1)})
    assert list(rest) == ["a"]
    assert list(query) == ["queries"]


def test_two_experts_of_two_methods_are_refused():
    storymem, memento = MemoryLora({}), MemoryLora({}, {})
    assert one_method({"high": memento, "low": memento}) == "memento"
    assert one_method({}) == "storymem"
    with pytest.raises(ValueError, match=r"\(high: Memento, low: StoryMem\); load both files of"):
        one_method({"high": memento, "low": storymem})


def test_the_licence_is_told_where_the_pages_tell_it():
    assert describe_method("memento") == "method: Memento; its licence: Apache-2.0 by its pages"
    assert describe_method("storymem") == "method: StoryMem"
