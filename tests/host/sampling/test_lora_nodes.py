"""Load Story LoRA in a real host, judged by what PEFT makes of the same adapter."""

from __future__ import annotations

import logging
import math
import os
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.keyframe_queries import tiny_query
from helpers.m2v_helpers import M2V, rel_l2
from storymem.sampling.lora import target_modules

RANK = 4


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


class Tree(torch.nn.Module):
    """Plain Linear layers under the names of a model's target modules, with its weights."""

    def __init__(self, state: dict[str, torch.Tensor], names: list[str]):
        super().__init__()
        for name in names:
            parent = self
            *path, leaf = name.split(".")
            for part in path:
                if part not in parent._modules:
                    parent.add_module(part, torch.nn.Module())
                parent = parent._modules[part]
            weight = state[f"{name}.weight"]
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data = weight.clone()
            parent.add_module(leaf, layer)


@pytest.fixture(scope="module")
def adapters(host):
    """PEFT's own state dict and merged weights for each expert, and the files of the pair."""
    from peft import LoraConfig, get_peft_model
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(0)
    found = {}
    names = target_modules(3)
    for expert in ("high", "low"):
        models = host.base / "models"
        state = load_file(models / "diffusion_models" / f"tiny_i2v_{expert}.safetensors")
        config = LoraConfig(  # alpha is the rank, as the release trains
            r=RANK, lora_alpha=RANK, use_rslora=True, target_modules=names, init_lora_weights=False
        )
        peft = get_peft_model(Tree(state, names), config)
        for name, value in peft.named_parameters():
            if "lora_" in name:
                value.data.mul_(0.25)
        file = {k: v.clone() for k, v in get_peft_model_state_dict(peft).items()}
        merged = peft.merge_and_unload().state_dict()
        save_file(file, models / "loras" / f"backbone_{expert}_noise.safetensors")
        found[expert] = (file, merged, state)
    return found


@pytest.fixture(scope="module", autouse=True)
def loras_folder(host):
    (host.base / "models" / "loras").mkdir(exist_ok=True)
    return host.base / "models" / "loras"


def load(m2v, **changes):
    inputs = {
        "model_high": m2v.high,
        "model_low": m2v.low,
        "lora_high": "backbone_high_noise.safetensors",
        "lora_low": "backbone_low_noise.safetensors",
        "strength": 1.0,
        "scale": "auto",
        **changes,
    }
    return m2v.node("sampling.lora", "LoadLoRA").execute(**inputs).result


def effective(model) -> dict[str, torch.Tensor]:
    """The weights a loaded model computes with."""
    import comfy.model_management

    comfy.model_management.load_models_gpu([model])
    module = model.model.diffusion_model
    return {n: module.get_submodule(n).weight.detach().clone() for n in target_modules(3)}


def assert_equal_to_peft(weights, merged):
    for name, weight in weights.items():
        assert rel_l2(weight, merged[f"{name}.weight"]) < 1e-6, name


def test_effective_weights_equal_those_of_peft(m2v, adapters):
    high, low, report = load(m2v)
    for expert, model in (("high", high), ("low", low)):
        _, merged, state = adapters[expert]
        weights = effective(model)
        assert_equal_to_peft(weights, merged)
        name = "blocks.0.self_attn.q"
        assert rel_l2(weights[name], state[f"{name}.weight"]) > 0.01  # and the change is large
    assert report.count("30 of 30 modules") == 2
    assert "rank 4, scale 2" in report


def test_the_model_itself_keeps_its_weights(m2v, adapters):
    before = effective(m2v.high)
    load(m2v)
    assert m2v.high.patches == {}
    after = effective(m2v.high)
    assert all(torch.equal(after[n], before[n]) for n in before)


def test_a_scale_of_alpha_over_rank_would_be_told_apart(m2v, adapters):
    high, _, _ = load(m2v, scale="standard")
    name = "blocks.0.self_attn.q"
    merged = adapters["high"][1][f"{name}.weight"]
    assert rel_l2(effective(high)[name], merged) > 1e-2


def quantize(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights as Comfy-Org's fp8_scaled files hold them."""
    quantized = dict(state, scaled_fp8=torch.zeros(2, dtype=torch.float8_e4m3fn))
    for name in target_modules(3):
        weight = state[f"{name}.weight"]
        scale = weight.abs().max() / 448
        quantized[f"{name}.weight"] = (weight / scale).to(torch.float8_e4m3fn)
        quantized[f"{name}.scale_weight"] = scale
    return quantized


def test_the_lora_is_as_strong_on_fp8_scaled_files(m2v, adapters):
    import comfy.sd

    state, merged = adapters["high"][2], adapters["high"][1]
    model = comfy.sd.load_diffusion_model_state_dict(quantize(state))
    plain = {name: weight.dequantize() for name, weight in effective(model).items()}
    high, _, report = load(m2v, model_high=model, lora_low="none")
    assert "30 of 30 modules" in report
    for name, weight in effective(high).items():
        wanted = (merged[f"{name}.weight"] - state[f"{name}.weight"]).flatten()
        change = (weight.dequantize() - plain[name]).cpu().flatten()
        # Rounding to fp8 is noise beside the change; its strength is the projection onto it.
        assert float(change @ wanted / (wanted @ wanted)) == pytest.approx(1, abs=0.05), name


REPACKED = {
    "no prefix": lambda s: {k.removeprefix("base_model.model."): v for k, v in s.items()},
    "default adapter": lambda s: {
        k.replace("_A.weight", "_A.default.weight").replace("_B.weight", "_B.default.weight"): v
        for k, v in s.items()
    },
    "comfy prefix": lambda s: {
        "diffusion_model." + k.removeprefix("base_model.model."): v for k, v in s.items()
    },
    "alpha that stock loaders get right": lambda s: with_alpha(s, RANK * math.sqrt(RANK)),
    "factor folded in": lambda s: {
        k.replace("lora_A", "lora_down").replace("lora_B", "lora_up"): v
        * (RANK / math.sqrt(RANK) if "lora_B" in k else 1)
        for k, v in s.items()
    },
}


def with_alpha(state, alpha: float):
    renamed = {
        k.replace("lora_A", "lora_down").replace("lora_B", "lora_up"): v for k, v in state.items()
    }
    modules = {k.split(".lora_")[0] for k in renamed}
    return {**renamed, **{f"{m}.alpha": torch.tensor(float(alpha)) for m in modules}}


@pytest.mark.parametrize("layout", REPACKED)
def test_every_layout_gives_the_same_weights(m2v, adapters, loras_folder, layout):
    state, merged, _ = adapters["high"]
    save_file(REPACKED[layout](state), loras_folder / "high_repacked.safetensors")
    high, _, _ = load(m2v, lora_high="high_repacked.safetensors", lora_low="none")
    assert_equal_to_peft(effective(high), merged)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_a_file_in_another_precision_is_the_change_that_it_holds(
    m2v, adapters, loras_folder, dtype
):
    state, _, base = adapters["high"]
    rounded = {key: value.to(dtype) for key, value in state.items()}
    save_file(rounded, loras_folder / "high_small.safetensors")
    high, _, _ = load(m2v, lora_high="high_small.safetensors", lora_low="none")
    for name, weight in effective(high).items():
        halves = [rounded[f"base_model.model.{name}.lora_{half}.weight"].float() for half in "BA"]
        change = math.sqrt(RANK) * halves[0] @ halves[1]
        assert rel_l2(weight, base[f"{name}.weight"] + change) < 1e-6, name


def test_a_naive_repack_with_the_training_alpha_needs_rslora(m2v, adapters, loras_folder):
    state, merged, _ = adapters["high"]
    save_file(with_alpha(state, RANK), loras_folder / "high_naive.safetensors")
    high, _, _ = load(m2v, lora_high="high_naive.safetensors", lora_low="none", scale="rslora")
    assert_equal_to_peft(effective(high), merged)


def test_pth_files_are_read_as_weights_only(m2v, adapters, loras_folder):
    state, merged, _ = adapters["high"]
    torch.save(state, loras_folder / "backbone_high_noise.pth")
    high, _, _ = load(m2v, lora_high="backbone_high_noise.pth", lora_low="none")
    assert_equal_to_peft(effective(high), merged)


class Danger:
    def __reduce__(self):
        return (print, ("this ran",))


def test_a_pth_with_code_in_it_is_not_opened(m2v, loras_folder, capsys):
    torch.save({"x": Danger()}, loras_folder / "danger_high.pth")
    with pytest.raises(ValueError, match="holds more than tensors"):
        load(m2v, lora_high="danger_high.pth", lora_low="none")
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("kept", [0, 40, 5000])
def test_a_pth_that_is_cut_short_is_named(m2v, adapters, loras_folder, kept):
    torch.save(adapters["high"][0], loras_folder / "whole.pth")
    whole = (loras_folder / "whole.pth").read_bytes()
    (loras_folder / "cut_high.pth").write_bytes(whole[:kept])
    with pytest.raises(ValueError, match=r"^cut_high\.pth ") as refused:
        load(m2v, lora_high="cut_high.pth", lora_low="none")
    assert "weights_only" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_an_error_about_a_pth_never_advises_to_run_its_code(m2v, loras_folder):
    torch.save({"x": Danger()}, loras_folder / "danger_high.pth")
    with pytest.raises(ValueError, match=r"^danger_high\.pth ") as refused:
        load(m2v, lora_high="danger_high.pth", lora_low="none")
    assert "weights_only" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_the_same_weights_under_another_name_or_date_are_not_applied_twice(
    m2v, adapters, loras_folder
):
    state = adapters["high"][0]
    save_file(state, loras_folder / "one_high.safetensors")
    torch.save(state, loras_folder / "other_high.pth")
    high, _, _ = load(m2v, lora_high="one_high.safetensors", lora_low="none")
    with pytest.raises(
        ValueError, match=r"other_high\.pth is already in model_high .as one_high\.safet"
    ):
        load(m2v, model_high=high, lora_high="other_high.pth", lora_low="none")
    os.utime(loras_folder / "one_high.safetensors", (1, 1))
    with pytest.raises(ValueError, match="already in model_high; remove"):
        load(m2v, model_high=high, lora_high="one_high.safetensors", lora_low="none")


def test_a_partial_file_is_refused(m2v, adapters, loras_folder):
    state = {k: v for k, v in adapters["high"][0].items() if "blocks.2.ffn" not in k}
    save_file(state, loras_folder / "high_partial.safetensors")
    words = r"covers 28 of 30 modules; missing: blocks\.2\.ffn\.0, blocks\.2\.ffn\.2"
    with pytest.raises(ValueError, match=words):
        load(m2v, lora_high="high_partial.safetensors")


def test_nothing_is_applied_twice(m2v, adapters):
    high, low, _ = load(m2v)
    with pytest.raises(ValueError, match=r"already in model_high"):
        load(m2v, model_high=high, model_low=low)
    with pytest.raises(ValueError, match=r"already in model_high"):
        load(m2v, model_high=m2v.patch(high, 2), model_low=low)


def test_strength_scales_and_the_shot_wins(m2v, adapters):
    half, _, _ = load(m2v, strength=0.5)
    by_shot, _, report = load(m2v, strength=2.0, shot=m2v.shot(lora_strength=0.5))
    name = "blocks.1.ffn.0"
    _, merged, state = adapters["high"]
    base, full = state[f"{name}.weight"], merged[f"{name}.weight"]
    assert rel_l2(effective(half)[name], (base + full) / 2) < 1e-6
    assert torch.equal(effective(by_shot)[name], effective(half)[name])
    assert "strength 0.5" in report
    same, _, report = load(m2v, strength=0.0)
    assert same is m2v.high
    assert "not applied" in report


def test_none_leaves_an_expert_alone(m2v, adapters):
    high, low, report = load(m2v, lora_low="none")
    assert low is m2v.low
    assert high is not m2v.high
    assert "model_low" not in report


def test_a_file_for_a_model_that_is_not_there_is_refused(m2v):
    with pytest.raises(ValueError, match="model_low is not connected"):
        load(m2v, model_low=None)


def test_swapped_files_are_pointed_out(m2v, adapters, caplog):
    with caplog.at_level(logging.WARNING):
        _, _, report = load(
            m2v,
            lora_high="backbone_low_noise.safetensors",
            lora_low="backbone_high_noise.safetensors",
        )
    assert report.count("warning:") == 2
    assert "swapped" in caplog.text


def stock_lora(model, strength: float = 1.0):
    """A stock LoRA of the kind that distils, put on by the stock loader."""
    import comfy.sd

    generator = torch.Generator().manual_seed(9)
    state = {}
    for name in target_modules(3)[::3]:
        weight = model.model.diffusion_model.get_submodule(name).weight
        down = torch.randn(2, weight.shape[1], generator=generator) * 0.05
        state[f"diffusion_model.{name}.lora_down.weight"] = down
        up = torch.randn(weight.shape[0], 2, generator=generator) * 0.05
        state[f"diffusion_model.{name}.lora_up.weight"] = up
    return comfy.sd.load_lora_for_models(model, None, state, strength, 0)[0], state


def test_stock_loras_before_and_after_add_up(m2v, adapters):
    _, merged, _ = adapters["high"]
    before, state = stock_lora(m2v.high)
    first, _, _ = load(m2v, model_high=before, lora_low="none")
    mine, _, _ = load(m2v, lora_low="none")
    second, _ = stock_lora(mine)
    for weights in (effective(first), effective(second)):
        for name, weight in weights.items():
            expected = merged[f"{name}.weight"].clone()
            if f"diffusion_model.{name}.lora_up.weight" in state:
                up = state[f"diffusion_model.{name}.lora_up.weight"]
                expected += up @ state[f"diffusion_model.{name}.lora_down.weight"]
            assert rel_l2(weight, expected) < 1e-6


def test_the_pair_samples_with_memory_and_distill_loras(m2v, adapters):
    high, low, _ = load(m2v)
    plain = m2v.sample(bank=m2v.bank(2))
    with_lora = m2v.sample(model_high=high, model_low=low, bank=m2v.bank(2))
    assert rel_l2(with_lora, plain) > 1e-3
    fast_high, fast_low = stock_lora(high)[0], stock_lora(low)[0]
    fast = m2v.sample(model_high=fast_high, model_low=fast_low, bank=m2v.bank(2), cfg=1.0)
    assert fast.isfinite().all()
    assert torch.equal(m2v.sample(bank=m2v.bank(2)), plain)  # and nothing stayed behind


def test_a_loop_reads_each_file_once(m2v, adapters, monkeypatch):
    import comfy.utils

    reads = []
    original = comfy.utils.load_torch_file

    def spy(path, *args, **kwargs):
        reads.append(path)
        return original(path, *args, **kwargs)

    kept = [load(m2v)]
    monkeypatch.setattr(comfy.utils, "load_torch_file", spy)
    kept += [load(m2v, shot=m2v.shot(index=i, lora_strength=0.1 * i)) for i in range(1, 3)]
    assert reads == []
    assert len(kept) == 3


# --- an alpha that the file does not say, on the node ---------------------------------------------


class Told:
    """What a node outside of a loop, or in one, shows on the page."""

    def __init__(self, host, monkeypatch):
        self.events: list[tuple[str, dict, str]] = []
        server = SimpleNamespace(client_id="me", send_sync=lambda *event: self.events.append(event))
        module = host.pack("nodes.page.node_notice")
        monkeypatch.setattr(module, "find_server", lambda: server)

    def notices(self, m2v, monkeypatch, kinds=("UNETLoader",), **inputs) -> list[dict]:
        prompt = SimpleNamespace(
            all_node_ids=lambda: range(len(kinds)),
            get_node=lambda place: {"class_type": kinds[place]},
            get_display_node_id=lambda node_id: f"shown {node_id}",
        )
        hidden = SimpleNamespace(
            unique_id="7", dynprompt=prompt, extra_pnginfo={"workflow": {"id": "mine"}}
        )
        node = m2v.node("sampling.lora", "LoadLoRA")
        monkeypatch.setattr(node, "hidden", hidden, raising=False)
        self.events.clear()
        self.report = load(m2v, **inputs)[2]
        assert {(event, page) for event, _, page in self.events} <= {("storymem.notices", "me")}
        return [facts for _, facts, _ in self.events]


@pytest.fixture
def told(host, monkeypatch):
    return Told(host, monkeypatch)


def test_an_alpha_that_is_assumed_stands_on_the_node(m2v, adapters, told, monkeypatch, caplog):
    (facts,) = told.notices(m2v, monkeypatch)
    assert (facts["loop"], facts["workflow"]) == ("shown 7", "mine")
    text = facts["notices"].pop("shown 7")
    assert facts["notices"] == {}
    for noise, line in zip(("high", "low"), text.split("\n"), strict=True):
        file = f"backbone_{noise}_noise.safetensors"
        assert line.startswith(f"lora_{noise}: {file} does not say its alpha, which is taken")
        assert line in told.report
        assert line in caplog.text


def test_a_note_goes_when_there_is_nothing_to_say_any_more(m2v, adapters, told, monkeypatch):
    (facts,) = told.notices(m2v, monkeypatch, scale="standard")
    assert facts["notices"] == {}
    (facts,) = told.notices(m2v, monkeypatch, lora_high="none", lora_low="none")
    assert facts["notices"] == {}


@pytest.mark.parametrize("end", ["StoryMemShotLoopClose", "StoryMemFinishShot"])
def test_a_loop_tells_of_its_own_nodes(m2v, adapters, told, monkeypatch, end):
    assert told.notices(m2v, monkeypatch, kinds=("UNETLoader", end)) == []
    assert "does not say its alpha" in told.report


def test_without_a_page_nothing_is_sent(host, m2v, adapters, told, monkeypatch):
    server = SimpleNamespace(client_id=None, send_sync=None)
    for found in (None, server):
        monkeypatch.setattr(host.pack("nodes.page.node_notice"), "find_server", lambda f=found: f)
        assert told.notices(m2v, monkeypatch) == []


# --- Memento -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def memento(m2v, adapters, loras_folder):
    """Files with a keyframe query beside the LoRA, as its release and its training leave them."""
    for seed, expert in enumerate(("high", "low")):
        query = tiny_query(seed, width=256)
        state = {**adapters[expert][0], **{f"keyframe_query.{k}": v for k, v in query.items()}}
        state = {f"{expert}_noise_model.{key}": value for key, value in state.items()}
        folder = loras_folder / "Memento"
        folder.mkdir(exist_ok=True)
        torch.save({"trainable_state_dict": state}, folder / f"backbone_{expert}_noise.pth")
    names = {
        f"lora_{expert}": os.path.join("Memento", f"backbone_{expert}_noise.pth")
        for expert in ("high", "low")
    }
    return names, lambda **changes: load(m2v, **{**names, **changes})


def test_mementos_files_are_applied_alike_and_the_models_carry_their_queries(
    m2v, adapters, memento
):
    method = m2v.host.pack("nodes.sampling.memory_method")
    high, low, report = memento[1]()
    assert_equal_to_peft(effective(high), adapters["high"][1])
    assert report.splitlines()[-1] == "method: Memento; its licence: Apache-2.0 by its pages"
    for seed, model in enumerate((high, low)):
        assert method.method_of(model) == "memento"
        query = method.query_of(model.clone())
        assert torch.equal(query.weights["queries"], tiny_query(seed, width=256)["queries"])
        assert query.heads == 2
    assert method.require_same_method(high, low) == "memento"
    assert method.require_same_method(high) == "memento"


def test_storymems_files_tell_storymem(m2v, adapters):
    method = m2v.host.pack("nodes.sampling.memory_method")
    high, low, report = load(m2v)
    assert "method: StoryMem" in report.splitlines()
    for model in (high, low, m2v.high):
        assert method.method_of(model) == "storymem"
        assert method.query_of(model) is None
    assert method.require_same_method(high, low) == "storymem"


def test_one_expert_of_each_is_refused(m2v, adapters, memento):
    names, load_memento = memento
    with pytest.raises(ValueError, match=r"two memory models \(model_high: Memento, model_low: St"):
        load(m2v, lora_high=names["lora_high"])
    high, _, _ = load_memento(lora_low="none")
    _, low, _ = load(m2v, lora_high="none")
    with pytest.raises(ValueError, match="load both files of StoryMem, or both of Memento"):
        m2v.host.pack("nodes.sampling.memory_method").require_same_method(high, low)
    with pytest.raises(ValueError, match=r"model_high would get two memory models, Memento's"):
        load(m2v, model_high=high, lora_low="none")


def test_an_expert_without_a_lora_goes_with_either(m2v, adapters, memento):
    high, low, _ = memento[1](lora_low="none")
    assert low is m2v.low
    assert m2v.host.pack("nodes.sampling.memory_method").require_same_method(high, low) == "memento"


def test_strength_0_takes_the_lora_away_and_not_the_method(m2v, adapters, memento):
    method = m2v.host.pack("nodes.sampling.memory_method")
    high, low, report = memento[1](strength=0.0)
    assert high.patches == {}
    assert method.method_of(high) == method.method_of(low) == "memento"
    assert "not applied, strength 0" in report
    again, _, _ = memento[1](model_high=high, lora_low="none")  # and may be applied after it
    assert_equal_to_peft(effective(again), adapters["high"][1])
    plain, _, _ = load(m2v, strength=0.0)
    assert plain is m2v.high


def test_a_query_for_another_width_is_refused(m2v, adapters, loras_folder):
    state = {f"keyframe_query.{k}": v for k, v in tiny_query(width=128).items()}
    save_file({**adapters["high"][0], **state}, loras_folder / "narrow_high.safetensors")
    with pytest.raises(ValueError, match="keyframe query was made for another model"):
        load(m2v, lora_high="narrow_high.safetensors", lora_low="none")
