"""Choose Memory in a real loop: what each expert sees of every shot, against the equations."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.keyframe_graphs import record
from helpers.keyframe_queries import plain_scores, tiny_query, write_memento_lora
from helpers.pass_graphs import sampled
from helpers.stock_graphs import loaders
from helpers.tiny_models import write_lora
from helpers.told_notices import told

SHOTS, CANDIDATES, LENGTH = 4, 8, 29
FILES = {f"lora_{noise}": f"Memento{os.sep}backbone_{noise}_noise.pth" for noise in ("high", "low")}


@pytest.fixture(scope="module", autouse=True)
def files(host):
    folder = host.base / "models" / "loras"
    (folder / "Memento").mkdir(parents=True, exist_ok=True)
    for seed, noise in enumerate(("high", "low")):
        write_memento_lora(folder / FILES[f"lora_{noise}"], seed=seed)
    write_lora(folder / "plain_storymem.safetensors")


@pytest.fixture
def output(host, tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    return tmp_path / "output"


def script(count: int = SHOTS) -> str:
    scene = {"scene_num": 1, "video_prompts": [f"shot {i}" for i in range(count)]}
    scene["cut"] = [i % 2 == 0 for i in range(count)]
    return json.dumps({"story_name": "Tale", "scenes": [scene]})


def chosen(graph: dict, **lora) -> dict:
    """``graph`` with Memento's LoRA on both models and Choose Memory after Open."""
    names = {**FILES, **lora}
    graph["lora"] = {"class_type": "StoryMemLoadLoRA", "inputs": {
        "model_high": ["high", 0], "model_low": ["low", 0], "strength": 1.0, "scale": "auto",
        **names,
    }}  # fmt: skip
    graph["choose"] = {"class_type": "StoryMemChooseMemory", "inputs": {
        "model_high": ["lora", 0], "model_low": ["lora", 1], "bank": ["open", 2],
        "shot": ["open", 1], "vae": ["vae", 0], "positive": ["pos", 0],
        "global_positive": ["neg", 0], "width": 64, "height": 48,
    }}  # fmt: skip
    graph["sampler"]["inputs"] |= {"model_high": ["lora", 0], "model_low": ["lora", 1]}
    for name in ("sampler", "remember"):
        graph[name]["inputs"]["bank"] = ["choose", 0]
    graph["select"]["inputs"] |= {"selection": "even", "max_keyframes": CANDIDATES}
    return graph


def memento(**changes) -> dict:
    graph = sampled(script(), length=LENGTH, steps=2, cfg=1.0, **changes)
    graph["open"]["inputs"]["continuity"] = "last_frame"
    return chosen(graph)


def seen_by_shots(host, output: Path, bank) -> list[tuple]:
    """The frames that each expert saw of every shot, as their records tell it."""
    root = Path(output) / host.pack("nodes.host.store").STORE_FOLDER
    store = host.pack("storymem.loop.shot_store").ShotStore(root)
    seen_by, found = host.pack("storymem.loop.seen").seen_by, {}
    for path in root.rglob("record.json"):
        one = store.find(path.parent.name)
        found[one.facts["shot"]] = seen_by(store, one).bank.memories()
    return [found[i] for i in sorted(found)]


class Reference:
    """What the release does, from the equations in float64: pools, scores, who stays."""

    def __init__(self, host, out: dict):
        self.host, self.out = host, out
        self.cond = host.pack("nodes.sampling.conditioning")

    def text(self, model, name: str) -> torch.Tensor:
        state = model.get_model_object("diffusion_model").text_embedding.state_dict()
        text = self.out[name][0][0][0].double()
        text = torch.cat([text, text.new_zeros(512 - len(text), text.shape[1])])
        for layer in ("0", "2"):
            text = text @ state[f"{layer}.weight"].double().T + state[f"{layer}.bias"].double()
            text = torch.nn.functional.gelu(text, approximate="tanh") if layer == "0" else text
        return text

    def latents(self, frames) -> torch.Tensor:
        raw = [self.out["vae"].encode(frame.pixels()[None]) for frame in frames]
        return self.out["high"].model.process_latent_in(torch.cat(raw, 2))[0].transpose(0, 1)

    @torch.inference_mode()
    def choose(self, pool, begin: int, expert: str):
        if len(pool) <= 8:
            return pool
        model, seed = self.out[expert], ("high", "low").index(expert)
        now = begin // 4
        positions = [max(-512, min(511, moment // 4 - now)) for _, moment in pool]
        local, whole = plain_scores(
            tiny_query(seed, width=256, queries=6), self.latents([f for f, _ in pool]), positions,
            self.text(model, "pos"), self.text(model, "neg"),
        )  # fmt: skip
        first = np.argsort(-local, kind="stable")[:6].tolist()
        rest = [i for i in np.argsort(-whole, kind="stable").tolist() if i not in first][:2]
        return [pool[i] for i in sorted([*first, *rest])]


def test_every_expert_of_every_shot_sees_what_the_equations_choose(host, output, monkeypatch):
    encoded = []
    encoder = host.pack("storymem.sampling.conditioning").ShotEncoder
    original = encoder._video

    def counted(self, pixels):
        encoded.extend([hash(pixels.numpy().tobytes())] if len(pixels) == 1 else [])
        return original(self, pixels)

    monkeypatch.setattr(encoder, "_video", counted)
    graph = memento()
    names = {"pos": "pos", "neg": "neg", "vae": "vae", "high": "lora"}
    for name, source in names.items():
        graph[f"told {name}"] = record([source, 0], name)
    graph["told low"] = record(["lora", 1], "low")
    graph["report"] = record(["choose", 1], "report")
    out = host.run(graph)
    assert len(encoded) == len(set(encoded)), "a frame was encoded twice"

    memories = seen_by_shots(host, output, out["bank"])
    assert [tuple(map(len, pair)) for pair in memories] == [(0, 0), (8, 8), (8, 8), (8, 8)]
    assert memories[2] != memories[3]
    frames = {(f.shot, f.frame): f for pair in memories for part in pair for f in part}
    bank = out["bank"]
    frames |= {(f.shot, f.frame): f for f in (*bank.frames, *bank.dropped)}
    reference, begin = Reference(host, out), 0
    pools = {"high": [], "low": []}
    differ = False
    for index, pair in enumerate(memories):
        for expert, got in zip(pools, pair, strict=True):
            pools[expert] = reference.choose(pools[expert], begin, expert)
            wanted = [(f.shot, f.frame) for f, _ in pools[expert]]
            assert [(f.shot, f.frame) for f in got] == wanted, (index, expert)
        differ |= pools["high"] != pools["low"]
        own = [frames[key] for key in sorted(frames) if key[0] == index]
        assert len(own) == CANDIDATES
        for i, frame in enumerate(own):
            moment = begin + round(i * (LENGTH - 1) / (CANDIDATES - 1))
            assert frame.moment in (None, moment)
            for expert in pools:
                pools[expert] = [*pools[expert], (frame, moment)]
        begin += LENGTH
    assert differ, "both experts chose alike: nothing was told apart"

    before = set(output.rglob("record.json"))
    again = host.run(graph)
    assert set(output.rglob("record.json")) == before
    assert [f.digest for f in again["bank"].frames] == [f.digest for f in bank.frames]
    assert [f.pool for f in again["bank"].frames] == [f.pool for f in bank.frames]
    assert {f.pool for f in bank.frames} == {"", "high", "low"}
    view = host.pack("storymem.views.bank").view_bank(bank)
    assert view["policy"] == "learned"
    assert [one["role"] for one in view["frames"]][-CANDIDATES:] == ["open"] * CANDIDATES
    seen = {one["pool"]: one["seen"] for one in view["frames"] if one.get("pool")}
    assert seen.keys() == {"high", "low"}
    assert all(f"{pool}: " in why for pool, why in seen.items())


def single(host, *, lora=None, low=True, bank=None, **inputs) -> dict:
    """Choose Memory by itself, over a bank of references."""
    graph = {**loaders(), **chosen({"sampler": {"inputs": {}}, "remember": {"inputs": {}},
                                    "select": {"inputs": {}}}, **(lora or {}))}  # fmt: skip
    for name in ("sampler", "remember", "select"):
        del graph[name]
    graph["bank"] = {"class_type": "StoryMemMemoryBank", "inputs": {
        "max_frames": 10, "sink": 3, "pin_references": False, **(bank or {}),
    }}  # fmt: skip
    values = graph["choose"]["inputs"]
    values.pop("shot")
    values |= {"bank": ["bank", 0], **inputs}
    if not low:
        del values["model_low"]
    graph["chosen"], graph["report"] = (
        record(["choose", 0], "chosen"),
        record(["choose", 1], "told"),
    )
    return host.run(graph)


def test_a_model_without_a_query_is_refused_and_an_empty_bank_passes(host):
    out = single(host)
    assert out["told"].startswith("0 of 0 frames of the pool stay")
    assert out["chosen"].frames == ()
    plain = {"lora_high": "plain_storymem.safetensors", "lora_low": "none"}
    with pytest.raises(RuntimeError, match="model_high has no keyframe query, by which Memento"):
        single(host, lora=plain, low=False)
    with pytest.raises(RuntimeError, match="two memory models"):
        single(host, lora={"lora_low": "plain_storymem.safetensors"})
    with pytest.raises(RuntimeError, match="model_low has no keyframe query"):
        single(host, lora={"lora_low": "none"})


def notices(host, tmp_path, **changes) -> dict[str, str]:
    graph = memento()
    for name, (key, value) in changes.items():
        inputs = graph[name]["inputs"]
        inputs.pop(key) if value is None else inputs.update({key: value})
    found, refused = told(host, tmp_path, graph, script())
    assert refused is None
    return {graph[n.node_id]["class_type"].removeprefix("StoryMem"): n.text for n in found}


def test_what_wires_of_it_cost_is_told_on_the_nodes(host, tmp_path):
    expected = {"CLIPTextEncode"}  # the tests' one prompt for all shots
    assert set(notices(host, tmp_path)) == expected
    for name, change, kind, text in (
        ("sampler", ("bank", ["open", 2]), "M2VSampler", "the shot sees other frames than those"),
        ("remember", ("bank", ["open", 2]), "Remember", "were not chosen come back"),
        ("choose", ("shot", None), "ChooseMemory", "shot is not connected"),
        ("choose", ("global_positive", ["pos", 0]), "ChooseMemory", "are the same"),
    ):
        found = notices(host, tmp_path, **{name: change})
        assert set(found) == {*expected, kind}, found
        assert text in found[kind]
