"""Mistakes that a new user makes in the shipped story workflow, and what should be told of each.

Each is made in the host's own page, on stand-ins for the large models, and queued there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

SCRIPT = "[title: Tale]\nCat {0} sits.\n---\n[continue]\nIt runs.\n---\nDog {0} comes.\n"
SAMPLER, CLOSE, OPEN = "StoryMemM2VSampler", "StoryMemShotLoopClose", "StoryMemShotLoopOpen"
STORY, LORA, BANK = "StoryMemLoadStory", "StoryMemLoadLoRA", "StoryMemMemoryBank"
REMEMBER, SELECT = "StoryMemRemember", "StoryMemKeyframeSelect"
T2V = "wan2.2_t2v_{}_noise_14B_fp8_scaled.safetensors"
I2V = "wan2.2_i2v_{}_noise_14B_fp8_scaled.safetensors"
DISTILLED = "wan2.2_i2v_lightx2v_4steps_lora_v1_{}_noise.safetensors"


class Graph:
    """An API prompt that a mistake is made in."""

    def __init__(self, prompt: dict):
        self.prompt = prompt

    def id(self, kind: str, nth: int = 0) -> str:
        return [i for i, n in self.prompt.items() if n["class_type"] == kind][nth]

    def inputs(self, kind: str, nth: int = 0) -> dict:
        return self.prompt[self.id(kind, nth)]["inputs"]

    def set(self, kind: str, **values) -> None:
        self.inputs(kind).update(values)

    def drop(self, kind: str, name: str) -> None:
        del self.inputs(kind)[name]

    def add(self, kind: str, **values) -> list:
        number = str(max(map(int, self.prompt)) + 1)
        info = {"class_type": kind, "inputs": values, "_meta": {"title": kind}}
        self.prompt[number] = info
        return [number, 0]


@dataclass(frozen=True)
class Mistake:
    """One mistake, and where and how it is told."""

    name: str
    make: Callable[[Graph], None]
    on: str  # kind of the node that it is told on
    words: str  # some that are told
    is_error: bool = True  # nothing runs, or the run stops; else it is told and goes on


TYPED = [  # sizes that the page's own widgets do not let through, such as of a program that queues
    Mistake("a width of 100", lambda g: g.set(SAMPLER, width=100), SAMPLER, "multiple of 16"),
    Mistake("a width of 0", lambda g: g.set(SAMPLER, width=0), SAMPLER, "multiple of 16"),
    Mistake("a width of 8", lambda g: g.set(SAMPLER, width=8), SAMPLER, "multiple of 16"),
    Mistake("a height of 20000", lambda g: g.set(SAMPLER, height=20000), SAMPLER, "at most 16384"),
    Mistake("a length of 18", lambda g: g.set(SAMPLER, length=18), SAMPLER, "must be 4n+1"),
]


def _swap(graph: Graph, kind: str, one: str, other: str) -> None:
    values = graph.inputs(kind)
    values[one], values[other] = values[other], values[one]


def _typed_prompt(graph: Graph) -> None:
    encoder = graph.inputs(SAMPLER)["positive"][0]
    graph.prompt[encoder]["inputs"]["text"] = "A cat sits on a chair."


def _trim(graph: Graph) -> None:
    frames = graph.inputs(CLOSE)["frames"]
    graph.set(CLOSE, frames=graph.add("ImageFromBatch", image=frames, batch_index=1, length=16))


def _no_lora_node(graph: Graph) -> None:
    loaded = graph.inputs(LORA)
    graph.set(SAMPLER, model_high=loaded["model_high"], model_low=loaded["model_low"])


def _t2v(graph: Graph) -> None:
    for noise in ("high", "low"):
        node = graph.prompt[graph.inputs(LORA)[f"model_{noise}"][0]]
        node["inputs"]["unet_name"] = T2V.format(noise)


def _one_file(graph: Graph) -> None:
    node = graph.prompt[graph.inputs(LORA)["model_low"][0]]
    node["inputs"]["unet_name"] = I2V.format("high")


def _second_loop(graph: Graph) -> None:
    """A copy of the whole loop with another seed, into the same folder."""
    ids = {i: str(1000 + int(i)) for i in graph.prompt}
    copy = json.loads(json.dumps(graph.prompt))
    for node in copy.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][name] = [ids[value[0]], value[1]]
    graph.prompt.update({ids[i]: node for i, node in copy.items()})
    graph.prompt[ids[graph.id(SAMPLER)]]["inputs"]["seed"] = 99


MISTAKES = [
    Mistake("a T2V model", _t2v, LORA, "must be a Wan 2.2 I2V"),
    Mistake(
        "the experts in each other's place",
        lambda g: _swap(g, LORA, "model_high", "model_low"),
        SAMPLER, "swap the two models", False,
    ),
    Mistake("one expert twice", _one_file, SAMPLER, "are the same file", False),
    Mistake(
        "no LoRA chosen", lambda g: g.set(LORA, lora_high="none", lora_low="none"),
        LORA, "no LoRA is chosen", False,
    ),
    Mistake(
        "the LoRAs in each other's place", lambda g: _swap(g, LORA, "lora_high", "lora_low"),
        LORA, "swap the two files", False,
    ),
    Mistake("no Load Story LoRA", _no_lora_node, SAMPLER, "put Load Story LoRA", False),
    Mistake(
        "LoRAs of another method",
        lambda g: g.set(
            LORA, lora_high=DISTILLED.format("high"), lora_low=DISTILLED.format("low")
        ),
        LORA, "does not fit this model",
    ),
    Mistake("UniPC of one step", lambda g: g.set(SAMPLER, steps=1, sampler_name="uni_pc"), SAMPLER,
            "needs at least 2 steps"),
    Mistake("no memory in the sampler", lambda g: g.drop(SAMPLER, "bank"), SAMPLER,
            "no shot sees the memory", False),
    Mistake("no shot in the sampler", lambda g: g.drop(SAMPLER, "shot"), SAMPLER,
            "every shot gets the same seed", False),
    Mistake("no previous frames", lambda g: g.drop(SAMPLER, "previous_frames"), SAMPLER,
            "connect the previous_frames of"),
    Mistake("memory past Remember", lambda g: g.set(CLOSE, bank=[g.id(OPEN), 2]), CLOSE,
            "nothing of a shot is remembered", False),
    Mistake("a Remember that forgets", lambda g: g.drop(REMEMBER, "bank"), REMEMBER,
            "each shot forgets", False),
    Mistake("a typed prompt", _typed_prompt, "CLIPTextEncode",
            "every shot is generated from this prompt", False),
    Mistake("trimmed frames", _trim, "ImageFromBatch", "takes frames off", False),
    Mistake("a start after shots never made", lambda g: g.set(OPEN, start_shot=3), OPEN,
            "have never been made", False),
    Mistake("a start after the end", lambda g: g.set(OPEN, start_shot=9), OPEN,
            "start_shot"),
    Mistake("a shot to redo that is not there", lambda g: g.set(OPEN, redo_shots="7"), OPEN,
            "redo_shots"),
    Mistake("an empty script", lambda g: g.set(STORY, script=""), STORY, "the script is empty"),
    Mistake("a typo in a tag", lambda g: g.set(STORY, script="A cat.\n---\n[contine]\nIt runs."),
            STORY, "contine", False),
    Mistake("a broken script", lambda g: g.set(STORY, script='{"scenes": [{"video_prompts": ['),
            STORY, "JSON"),
    Mistake("a script file that is gone", lambda g: g.set(STORY, script="", file="gone.txt"),
            STORY, "gone.txt"),
    Mistake("a model file that is gone",
            lambda g: g.set("UNETLoader", unet_name="gone.safetensors"), "UNETLoader",
            "gone.safetensors"),
    Mistake("a VAE of another model", lambda g: g.set("VAELoader", vae_name="pixel_space"),
            SAMPLER, "must be the Wan 2.1 VAE"),
    Mistake("two loops of one name", _second_loop, CLOSE, "filename_prefix of its own"),
    Mistake("a preview that was left on", lambda g: g.set(OPEN, preview=True), OPEN,
            "preview is on", False),
]  # fmt: skip
