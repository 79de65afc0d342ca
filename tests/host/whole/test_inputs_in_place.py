"""Tensors on wires belong to everybody who is wired to them: the pack changes none that it is
given, and what others change in theirs afterwards changes nothing that the pack gave or holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from helpers.fakes import noise_image
from helpers.keyframe_graphs import clip_of, detailed, node, record, scorer, select
from helpers.keyframe_queries import write_memento_lora
from helpers.m2v_helpers import DEFAULTS, M2V
from helpers.writer import Writer, script_of
from storymem.sampling.lora import target_modules

SCHEMAS = Path(__file__).resolve().parents[2] / "golden" / "schemas.json"
TENSORS = {"IMAGE", "LATENT", "CONDITIONING", "MODEL"}
LORA = "in_place.safetensors"
SIZES = {name: DEFAULTS[name] for name in ("width", "height", "length", "size_rule", "seed")}
SAMPLING = {name: DEFAULTS[name] for name in ("steps", "cfg", "sampler_name", "scheduler")}
EXPERTS = {
    "model_high": ["high", 0], "model_low": ["low", 0], "positive": ["pos", 0],
    "negative": ["neg", 0], "vae": ["vae", 0],
}  # fmt: skip
MEMORY = {"bank": ["bank", 0], "previous_frames": ["frames", 0], "continuity": "last_frame"}


@dataclass
class Case:
    """One node: its inputs as links to what ``given`` makes, and which outputs are looked at."""

    kind: str
    inputs: dict
    outputs: tuple[int, ...] = (0,)
    passed: tuple[int, ...] = ()  # outputs that may be the input itself, and why they are
    module: str = ""  # of a node that is called, as the test nodes hand on pictures only


CASES = {
    "Memory Bank": Case("StoryMemMemoryBank", {"images": ["frames", 0], "images_2": ["more", 0],
        "images_3": ["rgba", 0], "max_frames": 10, "sink": 3, "pin_references": False}),
    "Memory Bank of eight bits": Case("StoryMemMemoryBank", {"images": ["bytes", 0],
        "max_frames": 10, "sink": 3, "pin_references": False}),
    "Keyframe Select": Case("StoryMemKeyframeSelect", {"frames": ["frames", 0],
        "threshold": 0.9, "max_keyframes": 3}, (0, 1, 2)),
    "Keyframe Select of eight bits": Case("StoryMemKeyframeSelect", {"frames": ["bytes", 0],
        "threshold": 0.9, "max_keyframes": 3}, (0, 1, 2)),
    "Aesthetic Filter": Case("StoryMemAestheticFilter", {"scorer": ["scorer", 0],
        "images": ["bytes", 0], "own_threshold": False, "threshold": 0.0}, (0, 1)),
    "Match Color": Case("StoryMemMatchColor", {"frames": ["frames", 0],
        "previous_frames": ["more", 0], "strength": 1.0, "repeated_frames": 1}),
    # Nothing is to be matched: what came in goes on, as from the host's own Reroute.
    "Match Color after a cut": Case("StoryMemMatchColor", {"frames": ["frames", 0],
        "strength": 1.0, "repeated_frames": 0}, passed=(0,)),
    "M2V Sampler": Case("StoryMemM2VSampler", {**EXPERTS, **SIZES, **SAMPLING, **MEMORY},
        module="sampling.sampler"),
    "M2V Sampler, start image": Case("StoryMemM2VSampler", {**EXPERTS, **SIZES, **SAMPLING,
        "start_image": ["one", 0], "bank": ["bank", 0], "continuity": "cut"},
        module="sampling.sampler"),
    "M2V Sampler, from text": Case("StoryMemM2VSampler", {**EXPERTS, **SIZES, **SAMPLING,
        "t2v_high": ["t2v_high", 0], "t2v_low": ["t2v_low", 0], "continuity": "cut"},
        module="sampling.sampler"),
    "M2V Sampler, Memento": Case("StoryMemM2VSampler", {**EXPERTS, **SIZES, **SAMPLING, **MEMORY,
        "method": "memento", "identity_positive": ["pos", 0],
        "identity_negative": ["neg", 0]}, (0, 1),
        module="sampling.sampler"),
    "Choose Memory": Case("StoryMemChooseMemory", {"model_high": ["memento_high", 0],
        "model_low": ["memento_low", 0], "bank": ["pool", 0], "vae": ["vae", 0],
        "positive": ["pos", 0], "global_positive": ["neg", 0], "width": 48, "height": 32},
        module="sampling.choose_memory"),
    # The encoded prompts go on in the conditioning, as from the host's own conditioning nodes.
    "M2V Conditioning": Case("StoryMemM2VConditioning", {"positive": ["pos", 0],
        "negative": ["neg", 0], "vae": ["vae", 0], **SIZES, **MEMORY}, (0, 1, 2),
        passed=(0, 1), module="sampling.conditioning"),
    "M2V Model Patch": Case("StoryMemM2VModelPatch", {"model": ["high", 0], "memory_frames": 2},
        module="sampling.model_patch"),
    "StoryMem Sigmas": Case("StoryMemSigmas", {"model": ["high", 0], "steps": 4, "shift": 4.0,
        "denoise": 1.0}, module="sampling.parts"),
    # It holds what it is given, as the host's own guiders do.
    "M2V Guider": Case("StoryMemM2VGuider", {**{k: v for k, v in EXPERTS.items() if k != "vae"},
        "cfg": 3.5}, (), module="sampling.parts"),
    "Load Story LoRA": Case("StoryMemLoadLoRA", {"model_high": ["high", 0],
        "model_low": ["low", 0], "lora_high": LORA, "lora_low": LORA,
        "strength": 1.0, "scale": "rslora"}, (0, 1), module="sampling.lora"),
    "Apply Shot LoRAs": Case("StoryMemApplyShotLoRAs", {"model_high": ["high", 0],
        "model_low": ["low", 0], "shot": ["styled", 0]}, (0, 1), module="sampling.shot_loras"),
    "Write Story": Case("StoryMemWriteStory", {"idea": "A keeper leaves.", "shots": 2,
        "minutes": 0.0, "style": "", "cast": "Mara: a woman in a yellow coat",
        "language": "english", "dialogue": False, "seed": 0, "portraits": ["frames", 0],
        "clip": Writer(*[script_of()] * 2)}, (1, 2), module="write"),
}  # fmt: skip
UNKNOWN = SimpleNamespace(unique_id=None, dynprompt=None, extra_pnginfo=None)
# Loop nodes are covered below and by tests/loop/test_frames_in_place.py.
IN_LOOPS = {
    "StoryMemShotLoopOpen", "StoryMemShotLoopClose", "StoryMemFinishShot", "StoryMemBeginStory",
}  # fmt: skip


@pytest.fixture(scope="module")
def m2v(host):
    loaded = M2V(host)
    model = loaded.high.get_model_object("diffusion_model")
    generator, state = torch.Generator().manual_seed(0), {}
    for name in target_modules(len(model.blocks)):
        rows, columns = model.get_submodule(name).weight.shape
        state[f"{name}.lora_down.weight"] = torch.randn(4, columns, generator=generator)
        state[f"{name}.lora_up.weight"] = torch.randn(rows, 4, generator=generator) * 0.01
    (host.base / "models" / "loras").mkdir(exist_ok=True)
    save_file(state, host.base / "models" / "loras" / LORA)
    of_host = {f"diffusion_model.{name}": tensor for name, tensor in state.items()}
    save_file(of_host, host.base / "models" / "loras" / f"{Path(LORA).stem}_host.safetensors")
    names = [f"memento_in_place_{noise}_noise.pth" for noise in ("high", "low")]
    for seed, name in enumerate(names):
        write_memento_lora(host.base / "models" / "loras" / name, seed=seed)
    # At strength 0 the query counts, and the module that all share wears no patch.
    load = loaded.node("sampling.lora", "LoadLoRA").execute
    loaded.memento = load(loaded.high, *names, 0.0, model_low=loaded.low).result[:2]
    return loaded


def given(m2v) -> dict:
    rgba = torch.cat([m2v.images(2, seed=5), torch.full((2, 48, 64, 1), 0.5)], dim=-1)
    bank = m2v.host.pack("storymem.memory.bank").start_bank(list(m2v.images(2, seed=7)))
    read_loras = m2v.host.pack("storymem.script.loras").read_loras
    pool = m2v.host.pack("storymem.memory.bank").start_bank(m2v.images(10, seed=9), pinned=False)
    return {
        "pool": pool, "memento_high": m2v.memento[0], "memento_low": m2v.memento[1],
        "styled": m2v.shot(loras=read_loras("in_place_host:0.5")),
        "frames": detailed(1, 6, 48, 64), "more": m2v.images(3, seed=3, height=40), "rgba": rgba,
        "bytes": torch.stack([noise_image(i, 48, 64) for i in (1, 2, 3)]),
        "one": m2v.images(1), "bank": bank, "pos": m2v.pos, "neg": m2v.neg, "vae": m2v.vae,
        "high": m2v.high, "low": m2v.low, "t2v_high": m2v.t2v_high, "t2v_low": m2v.t2v_low,
    }  # fmt: skip


def look(value, seen=None):
    """Everything that a value holds, as plain values that no later change reaches."""
    seen = seen or ()
    if any(value is other for other in seen):
        return "again"
    deeper = (*seen, value)
    if isinstance(value, torch.Tensor):
        return ("tensor", str(value.dtype), value.detach().cpu().clone())
    if isinstance(value, dict):
        return {str(key): look(item, deeper) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [look(item, deeper) for item in value]
    if hasattr(value, "model_options") and hasattr(value, "patches"):
        names = ("model_options", "patches", "object_patches", "wrappers", "attachments")
        # The module below all clones wears the patches of the one that was loaded last.
        state = value.get_model_object("diffusion_model").state_dict()
        return look({"state": state, **{n: getattr(value, n) for n in names}}, deeper)
    if hasattr(value, "frames") and hasattr(value, "used_indices"):
        return look([value.frames, value.dropped, value.used_indices()], deeper)
    if hasattr(value, "rejected"):
        return look([value.frames, value.rejected], deeper)
    if hasattr(value, "digest") and hasattr(value, "picture"):
        return [look(value.image), value.digest, value.pinned, value.name]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(type(value))


def changed(a, b, where="") -> list[str]:
    """The places at which two looks differ."""
    if isinstance(a, tuple) and a[:1] == ("tensor",):
        return [] if a[1] == b[1] and torch.equal(a[2], b[2]) else [where]
    if isinstance(a, list):
        a, b = ({str(i): item for i, item in enumerate(items)} for items in (a, b))
    if isinstance(a, dict):
        inside = (changed(a[k], b[k], f"{where}/{k}") for k in a.keys() & b.keys())
        return sum(inside, [f"{where}/{key}" for key in a.keys() ^ b.keys()])
    return [] if a == b else [where]


def overwrite(value) -> None:
    """Garbage into every IMAGE, LATENT and CONDITIONING, in place."""
    if isinstance(value, torch.Tensor):
        with torch.inference_mode():
            value.fill_(77 if value.dtype == torch.uint8 else 0.123)
    elif isinstance(value, dict):
        for item in value.values():
            overwrite(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            overwrite(item)


def copied(values: dict) -> dict:
    """The tensors of the conditionings apart from those that other tests use."""
    cond = {
        name: [[values[name][0][0].clone(), dict(values[name][0][1])]] for name in ("pos", "neg")
    }
    return values | cond


def call(m2v, case: Case, values: dict) -> dict:
    inputs = {k: values[v[0]] if isinstance(v, list) else v for k, v in case.inputs.items()}
    module = m2v.host.pack(f"nodes.{case.module}")
    kind = next(n for n in module.NODES if n.define_schema().node_id == case.kind)
    with torch.inference_mode():
        kind = type(kind.__name__, (kind,), {"hidden": kind.hidden or UNKNOWN})
        return {f"out{i}": value for i, value in enumerate(kind.execute(**inputs).result)}


def queue(host, clips, case: Case, values: dict) -> dict:
    clips.update(values)
    graph = {key: clip_of(key) for key in values}
    graph["scorer"] = scorer()
    graph["node"] = node(case.kind, **case.inputs)
    for i in case.outputs:
        graph[f"r{i}"] = record(["node", i], f"out{i}")
    return host.run(graph)


@pytest.mark.parametrize("name", CASES)
def test_inputs_stay_and_outputs_are_their_own(host, clips, m2v, name):
    case, values = CASES[name], copied(given(m2v))
    before = look(values)
    made = call(m2v, case, values) if case.module else queue(host, clips, case, values)
    assert changed(before, look(values)) == [], "the inputs are as they were, bit for bit"
    outputs = {i: look(made[f"out{i}"]) for i in case.outputs if i not in case.passed}
    extras = {i: {key: look(value) for key, value in made[f"out{i}"][0][1].items()}
              for i in case.passed if "Conditioning" in name}  # fmt: skip
    overwrite({key: value for key, value in values.items() if key not in ("bank", "pool")})
    for i, kept in outputs.items():
        assert changed(kept, look(made[f"out{i}"])) == [], f"output {i} is its own"
    for i, kept in extras.items():
        now = {key: look(value) for key, value in made[f"out{i}"][0][1].items()}
        assert changed(kept, now) == [], "what was added to the conditioning"


def test_every_node_that_takes_tensors_is_looked_at():
    schemas = json.loads(SCHEMAS.read_text())
    takers = {
        name for name, schema in schemas.items()
        if any(i["type"] in TENSORS for i in schema["inputs"] if isinstance(i, dict))
    }  # fmt: skip
    assert takers == {case.kind for case in CASES.values()} | IN_LOOPS


def test_what_follows_an_output_does_not_reach_what_is_kept(host, clips, m2v):
    """Another node may change our outputs in place: neither the bank nor the next run sees it."""
    clips.update(given(m2v))
    graph = {
        "frames": clip_of("frames"),
        "select": select(["frames", 0]),
        "remember": node("StoryMemRemember", keyframes=["select", 0], pin=False),
        "sheet": node("StoryMemPreviewMemoryBank", bank=["remember", 0]),
        "r0": record(["select", 1], "images"),
        "r1": record(["remember", 0], "bank"),
        "r2": record(["sheet", 0], "sheet"),
    }
    made = host.run(graph)
    before = look(made["bank"])
    overwrite([made["images"], made["sheet"]])
    assert changed(before, look(made["bank"])) == []
    demo, world = (host.pack(f"storymem.tiny.{name}") for name in ("demo", "world"))
    look_of = dict(zip(world.ATTRIBUTES, demo.LOOKS[0].split(), strict=True))
    portrait = node("StoryMemTinyPortrait", character="big", **look_of)
    text = node("StoryMemTinyTextEncoder", prompt="the big one walks", negative_prompt="")
    graph = {"p": portrait, "t": text, "r0": record(["p", 0], "p"), "r1": record(["t", 0], "t")}
    first = host.run(graph)
    kept = look([first["p"], first["t"]])
    overwrite([first["p"], first["t"]])
    host.restart()
    again = host.run(graph)
    assert changed(kept, look([again["p"], again["t"]])) == []


def test_start_images_are_kept_apart_from_the_batch(host, m2v):
    """Open keeps them for the whole run, which may take a night."""
    story = host.pack("storymem.script.reader").load_story("a\n---\nb")
    from_batch = host.pack("storymem.sampling.start_images").from_batch
    for images in (m2v.images(2), torch.stack([noise_image(i, 8, 8) for i in (1, 2)])):
        kept = from_batch(images, story)
        before = look(kept)
        overwrite(images)
        assert changed(before, look(kept)) == []
    run = SimpleNamespace(loop=SimpleNamespace(start_images=kept), steps=[SimpleNamespace(
        plan=SimpleNamespace(shot=story.shots[0]))])  # fmt: skip
    start_image = host.pack("nodes.loop.run").LoopRun.start_image
    overwrite(start_image(run, 0))
    assert changed(before, look(kept)) == []
