"""What M2V Model Patch puts on a model, takes off again, and looks at before sampling."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import pytest
import torch

from helpers.bare_wan import I2V, T2V, bare_wan
from storymem.sampling.memory_layout import storymem_layout

ROPE = "diffusion_model.rope_encode"


@pytest.fixture(scope="module")
def module(host):
    return host.pack("nodes.sampling.model_patch")


@pytest.fixture
def noted(module, monkeypatch):
    """Calls of the parts that are tested elsewhere."""
    seen = []
    for name in ("prefer_cudnn", "forget_cudnn"):
        monkeypatch.setattr(module, name, lambda model, n=name: seen.append((n, model)))
    real = module.encode_at

    def encode(*arguments):
        seen.append(("encode", *arguments))
        return real(*arguments)

    monkeypatch.setattr(module, "encode_at", encode)
    return seen


def places(memory: int, shift: int) -> tuple[int, ...]:
    return tuple(-shift * i for i in range(memory, 0, -1))


def placed(module, model, memory: int, shift: int = 5):
    return module.place_memory(model, storymem_layout(memory, shift))


def ours(module, model) -> list:
    return model.get_wrappers(module.WrappersMP.OUTER_SAMPLE, module.WRAPPER_KEY)


def is_bare(module, model) -> bool:
    kinds = model.wrappers.values()
    return model.object_patches == {} and not any(any(kind.values()) for kind in kinds)


@pytest.mark.parametrize(("memory", "shift"), [(1, 5), (3, 0), (10, 7)])
def test_a_patched_copy_has_our_positions_our_look_and_our_kernel(module, noted, memory, shift):
    model = bare_wan()
    own = model.get_model_object(ROPE)
    patched = placed(module, model, memory, shift)
    assert patched is not model
    assert is_bare(module, model)
    assert noted == [("encode", own, places(memory, shift)), ("prefer_cudnn", patched)]
    assert list(patched.object_patches) == [ROPE]
    assert module.original_encode(patched.object_patches[ROPE]) == own
    (look,) = ours(module, patched)
    guider = SimpleNamespace(model_options={}, model_patcher=bare_wan(T2V), conds={})
    executor = SimpleNamespace(class_obj=guider)
    with pytest.raises(ValueError, match=f"but the model expects {memory} memory frames"):
        look(executor, torch.zeros(1, 16, memory, 4, 6))


def test_frames_are_five_apart_unless_said_otherwise(module, noted):
    model = bare_wan()
    placed(module, model, 2)
    module.M2VModelPatch.execute(model, 2)
    assert [call[2] for call in noted if call[0] == "encode"] == [(-10, -5)] * 2


@pytest.mark.parametrize("wrong", [(-1, 5), (1.5, 5), (2, -1), (0, -1)])
def test_numbers_that_cannot_be_are_refused(module, wrong):
    name = "memory_frames" if wrong[0] not in (0, 2) else "rope_shift"
    with pytest.raises(ValueError, match=f"^{name} must be a whole number"):
        placed(module, bare_wan(), *wrong)


def test_a_patch_of_an_earlier_node_is_replaced_and_stays_on_its_own_model(module, noted):
    model = bare_wan()
    first = placed(module, model, 2, 5)
    second = placed(module, first, 3, 4)
    own = model.get_model_object(ROPE)
    assert [call for call in noted if call[0] == "encode"] == [
        ("encode", own, (-10, -5)), ("encode", own, (-12, -8, -4))
    ]  # fmt: skip
    assert len(ours(module, first)) == len(ours(module, second)) == 1
    assert ours(module, first) != ours(module, second)
    assert first.object_patches[ROPE] is not second.object_patches[ROPE]


def test_positions_that_another_copy_has_loaded_are_not_wrapped_twice(module, noted):
    """Patches stand on the module itself while a copy is loaded, where others find them."""
    model = bare_wan()
    own = model.get_model_object(ROPE)
    inner = model.get_model_object("diffusion_model")
    inner.rope_encode = module.encode_at(own, (-10, -5))
    noted.clear()
    placed(module, model, 3, 5)
    assert noted[0] == ("encode", own, (-15, -10, -5))
    patched = placed(module, model, 3, 5)
    patched.object_patches.clear()  # as the host does with what it has put on the module
    assert module.without_memory_positions(patched).object_patches == {}


def test_without_memory_an_earlier_patch_is_taken_off_a_copy(module, noted):
    model = bare_wan()
    assert placed(module, model, 0) is model
    assert module.without_memory_positions(model) is model
    patched = placed(module, model, 2)
    noted.clear()
    bare = placed(module, patched, 0)
    assert is_bare(module, bare)
    assert not is_bare(module, patched)
    assert noted == [("forget_cudnn", bare)]
    assert bare.get_model_object(ROPE) == model.get_model_object(ROPE)


def theirs(model, wraps=None):
    """Another pack's positions, put on a copy."""

    def encode(*arguments, **more):
        return None

    clone = model.clone()
    clone.add_object_patch(ROPE, functools.wraps(wraps)(encode) if wraps else encode)
    return clone, clone.object_patches[ROPE]


def test_what_another_pack_put_on_before_ours_stays(module):
    below, encode = theirs(bare_wan())
    bare = placed(module, placed(module, below, 2), 0)
    assert bare.object_patches == {ROPE: encode}


@pytest.mark.parametrize("is_wrapped", [True, False])
@pytest.mark.parametrize("memory", [0, 3])
def test_what_another_pack_put_on_after_ours_is_told(module, is_wrapped, memory):
    patched = placed(module, bare_wan(), 2)
    above, _ = theirs(patched, patched.object_patches[ROPE] if is_wrapped else None)
    with pytest.raises(ValueError, match=r"^another node changed the model's positions"):
        placed(module, above, memory)


def test_a_model_of_another_pack_with_positions_of_its_own_gets_them_back(module):
    """Of a class that has none: they belong to the object."""
    inner = torch.nn.Module()
    inner.rope_encode = own = lambda *_, **__: None
    model = bare_wan()
    model.model.diffusion_model = inner
    bare = placed(module, placed(module, model, 2), 0)
    assert bare.object_patches == {}
    assert bare.get_model_object(ROPE) is own


# --- before sampling ------------------------------------------------------------------------------


def look(module, conds, frames, memory=2, channels=I2V, options=None):
    guider = SimpleNamespace(
        model_options=options or {}, model_patcher=bare_wan(channels), conds=conds
    )

    def sample(noise, *args, **kwargs):
        return noise, args, kwargs

    sample.class_obj = guider
    noise = torch.zeros(1, 16, frames, 4, 6)
    check = module.check_before_sampling(memory)
    found, args, kwargs = check(sample, noise, "more", seed=7)
    assert found is noise
    assert (args, kwargs) == (("more",), {"seed": 7})


def cond(frames=5, **values) -> dict:
    names = ("concat_latent_image", "concat_mask")
    return {name: torch.zeros(1, 1, frames, 4, 6) for name in names} | values


FITS = {"positive": [cond(), cond()], "negative": [cond()]}


def test_what_fits_is_sampled(module):
    look(module, FITS, 5)
    look(module, {"positive": [cond(storymem_memory_frames=2)]}, 5)
    look(module, {"positive": [cond(3)]}, 3)
    look(module, {"positive": [{}], "negative": [{}]}, 5, channels=T2V)  # it sees no pictures


@pytest.mark.parametrize(
    ("name", "place", "change", "words"),
    [
        ("positive", 0, {"concat_mask": None}, "concat_mask of positive is missing"),
        ("positive", 1, {"concat_latent_image": None}, "concat_latent_image of positive is m"),
        ("negative", 0, {"concat_mask": torch.zeros(1, 1, 4, 4, 6)},
         "concat_mask of negative has 4 frames, but the latent has 5"),
        ("negative", 0, {"concat_latent_image": torch.zeros(1, 1, 6, 4, 6)},
         "concat_latent_image of negative has 6 frames, but the latent has 5"),
        ("positive", 1, {"storymem_memory_frames": 3},
         "positive was conditioned on 3 memory frames, but M2V Model Patch is set to 2"),
        ("negative", 0, {"storymem_memory_frames": 0}, "negative was conditioned on 0 memory"),
    ],
)  # fmt: skip
def test_any_part_of_any_conditioning_that_does_not_fit_is_told(module, name, place, change, words):
    conds = {key: [dict(one) for one in parts] for key, parts in FITS.items()}
    conds[name][place] |= change
    with pytest.raises(ValueError, match=f"^{words}"):
        look(module, conds, 5)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("channels", [I2V, T2V])
def test_a_latent_without_a_frame_of_the_shot_is_told(module, frames, channels):
    with pytest.raises(ValueError, match=f"^the latent has {frames} frames, but the model exp"):
        look(module, {"positive": [cond(frames)]}, frames, channels=channels)


def test_context_windows_are_told_before_sampling(module):
    with pytest.raises(ValueError, match=r"^the model has context windows"):
        look(module, FITS, 5, options={"context_handler": object()})


# --- the node -------------------------------------------------------------------------------------


def test_the_node_patches_its_model(module, noted):
    model = bare_wan()
    (patched,) = module.M2VModelPatch.execute(model, 3, 4).result
    assert noted[0] == ("encode", model.get_model_object(ROPE), (-12, -8, -4))
    assert len(ours(module, patched)) == 1
    assert module.M2VModelPatch.execute(model, 0, 4).result[0] is model


def test_a_model_from_text_alone_has_no_memory(module):
    model = bare_wan(T2V)
    assert module.M2VModelPatch.execute(model, 0).result[0] is model
    for memory in (1, 2):
        with pytest.raises(ValueError, match=r"^model must be a Wan 2\.2 I2V A14B model"):
            module.M2VModelPatch.execute(model, memory)
    with pytest.raises(ValueError, match=r"^model must be a Wan 2\.2 I2V or T2V A14B model"):
        module.M2VModelPatch.execute(bare_wan(48), 0)


def test_context_windows_are_told_by_the_node(module):
    model = bare_wan()
    model.model_options["context_handler"] = object()
    with pytest.raises(ValueError, match=r"^model has context windows"):
        module.M2VModelPatch.execute(model, 2)
