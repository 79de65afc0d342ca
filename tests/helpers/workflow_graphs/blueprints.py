"""The subgraph blueprints: one shot, and a whole story, each as one node."""

from __future__ import annotations

from functools import partial

from helpers.workflow_blueprints import Blueprint

from .film import add_film
from .memento import SETTINGS, STORY, memento_note
from .parts import NEGATIVE, add_models, memento_lora, model_note, negative_note

SAMPLING = ("steps", "cfg", "shift")
METHOD = ("sampler_name", "scheduler")
SIZE = ("width", "height", "length")
T2V = ("t2v_high", "t2v_low")
REDO = ("redo_shots", "redo_take", "after_redo")
SHOT_NOTE = """# StoryMem Shot

One shot with memory: the prompt is encoded, the shot is sampled by both experts, decoded, and \
its best keyframes are put into the memory.

- **bank** in: what the story remembers so far (*Memory Bank*, or the bank of the shot before). \
**bank** out: the same with this shot's keyframes.
- **previous_frames**: the frames of the shot before, if this one goes on without a cut. Set \
*continuity* to `cut` for a cut.
- **shot**: only inside a *Shot Loop*; its length, seed and continuity then win.

The models come from outside: both experts with the StoryMem LoRA (*Load Story LoRA*). \
**t2v_high**, **t2v_low**: Wan2.2 T2V without that LoRA, for a shot with an empty memory.
"""
STORY_NOTE = """# StoryMem Story

The whole story in one node: write the script outside, queue, and the film is in \
`output/<filename_prefix>/<story>/`, shot by shot. Finished shots are kept: after a stop or a \
change only what is missing is made.

Everything is the workflow *storymem_story*; connect a portrait or two to **images** and the \
story begins from your own characters, or Wan2.2 T2V (**t2v_high**, **t2v_low**) for a first shot \
from text alone. The list of shots, how far the story is and its memory show on the outside.
"""


MEMENTO_NOTE = """# Memento Story

The whole story in one node, with Memento's memory: write the script outside, in Memento's form, \
queue, and the film is in `output/<filename_prefix>/<story>/`, shot by shot. Finished shots are \
kept: after a stop or a change only what is missing is made.

Everything is the workflow *memento_story*.
"""


def shot_blueprint(info: dict) -> dict:
    graph = Blueprint(
        info,
        "StoryMem Shot",
        description="One shot with memory: prompt and bank in, frames and the bank with this "
        "shot's keyframes out. Models with the StoryMem LoRA come from outside.",
        aliases=["storymem", "memory", "shot", "multi-shot", "m2v"],
    )
    column = graph.column(0)
    positive = column.add("CLIPTextEncode", title="Prompt of this shot", rows=8, text="")
    negative = column.add("CLIPTextEncode", title="Negative prompt", rows=8, text=NEGATIVE)
    column = graph.column(400, width=360)
    sampler = column.add(
        "StoryMemM2VSampler",
        positive=(positive, "CONDITIONING"),
        negative=(negative, "CONDITIONING"),
    )
    decode = column.add("VAEDecode", samples=(sampler, "samples"))
    graph.group("1  The shot", graph.nodes, "#3f789e")
    column = graph.column(840)
    embedder = column.add("StoryMemLoadEmbedder", embedder="no_weights")
    scorer = column.add("StoryMemLoadScorer", scorer="sharpness")
    keyframes = column.add(
        "StoryMemKeyframeSelect",
        frames=(decode, "IMAGE"),
        embedder=(embedder, "embedder"),
        scorer=(scorer, "scorer"),
    )
    remember = column.add("StoryMemRemember", keyframes=(keyframes, "keyframes"))
    graph.group("2  What is remembered", column.nodes, "#6b8e23")

    for name in ("model_high", "model_low", *T2V):
        graph.show(sampler, name)
    graph.show_all("clip", (positive, "clip"), (negative, "clip"))
    graph.show_all("vae", (sampler, "vae"), (decode, "vae"))
    graph.show_all("bank", (sampler, "bank"), (keyframes, "bank"), (remember, "bank"))
    graph.show_all("shot", (sampler, "shot"), (keyframes, "shot"))
    for name in ("previous_frames", "start_image"):
        graph.show(sampler, name)
    graph.show(positive, "text", "prompt")
    graph.show(negative, "text", "negative")
    for name in (*SIZE, "seed", *SAMPLING):
        graph.show(sampler, name)
    for name in ("threshold", "max_keyframes"):
        graph.show(keyframes, name)
    graph.lend(sampler, "continuity", *METHOD)
    graph.give(decode, "IMAGE", "frames")
    graph.give(remember, "bank")
    graph.give(keyframes, "images", "keyframes")
    graph.note((0, -420), (1180, 300), "StoryMem Shot", SHOT_NOTE)
    negative_note(graph, (1220, -420), 300)
    return graph.file()


def story_blueprint(info: dict, *, memento: bool = False) -> dict:
    about = (
        "A whole story with Memento's memory: a script in its form in, film out, shot by shot."
        if memento
        else "A whole story: script in, film out, shot by shot, with the same characters "
        "from the first shot to the last. Connect portraits to images to begin from your own."
    )
    graph = Blueprint(
        info,
        "Memento Story" if memento else "StoryMem Story",
        description=about,
        aliases=[
            *(["memento"] if memento else []),
            *("storymem", "story", "film", "multi-shot", "consistent characters"),
        ],
    )
    graph.displays = 340  # pixels: the story's summary, its progress and its memory
    if memento:
        parts = add_models(graph, lora=memento_lora)
        nodes = add_film(
            graph, parts, preview=False, memento=True, sampler=SETTINGS, story=STORY,
            prefix="memento_story",
        )  # fmt: skip
    else:
        parts = add_models(graph)
        nodes = add_film(graph, parts, preview=False)
    graph.show(nodes["memory"], "images")
    for name in T2V:
        graph.show(nodes["sampler"], name)
    for name in ("script", "character"):
        graph.show(nodes["script"], name)
    for name in ("negative", "filename_prefix", "continuity", *REDO):
        graph.show(nodes["open"], name)
    for name in (*SIZE, "seed", *SAMPLING, *(["cfg_cut"] if memento else [])):
        graph.show(nodes["sampler"], name)
    for name in ("max_frames",) if memento else ("max_frames", "policy"):
        graph.show(nodes["memory"], name)
    graph.lend(nodes["sampler"], *METHOD)
    high, low, lora = parts["nodes"]["high"], parts["nodes"]["low"], parts["nodes"]["lora"]
    graph.show(high, "unet_name", "unet_high")
    graph.show(low, "unet_name", "unet_low")
    graph.show(lora, "lora_high")
    graph.show(lora, "lora_low")
    graph.show(parts["clip"][0], "clip_name")
    graph.show(parts["vae"][0], "vae_name")
    for name in ("video", "bank", "folder"):
        graph.give(nodes["close"], name)
    title, note = ("Memento Story", MEMENTO_NOTE) if memento else ("StoryMem Story", STORY_NOTE)
    graph.note((0, -480), (900, 340), title, note)
    files = memento_note() if memento else model_note(t2v=True)
    graph.note((940, -480), (900, 340), "Model files", files)
    negative_note(graph, (1880, -480), 340)
    return graph.file()


BLUEPRINTS = {
    "Memento Story": partial(story_blueprint, memento=True),
    "StoryMem Shot": shot_blueprint,
    "StoryMem Story": story_blueprint,
}
