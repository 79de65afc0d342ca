"""What is odd about the models of a loop, by the names of their files: told before any is loaded.

Only what a name says for certain is told. Files that say nothing, such as merged models of one's
own, are left alone when their name has "storymem" or the LoRA's name in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from comfy_execution.graph_utils import is_link

from ...storymem.files.messages import shown
from ...storymem.loop.plan import Loop, Step
from ...storymem.sampling.noise_names import misplaced, noise_of
from .lora_scales import LORA, NONE, assumptions
from .wires import SAMPLERS, Notice, Wires

MODEL_INPUTS = {  # of what runs the model, by kind
    "StoryMemM2VSampler": ("model_high", "model_low"),
    "StoryMemM2VModelPatch": ("model",),
}
FILE_WIDGETS = ("unet_name", "ckpt_name", "gguf_name", "model_name", "model")
STRONG = 5.0  # a strength that makes up for the scale which a stock loader does not know
TRAINED = re.compile(r"story[\W_]*mem|memento|(?<![a-z\d])m[im]?2v(?![a-z\d])", re.IGNORECASE)
RELEASED_FILE = re.compile(  # under its own name, or the one that the README gives it
    r"backbone_(?:high|low)_noise"
    r"|(?:^|[\\/])(?:storymem_m[im]2v|memento)_(?:high|low)_noise\.safetensors$",
    re.IGNORECASE,
)
MODES = {
    "mi2v": re.compile(r"(?<![a-z\d])mi2v(?![a-z\d])", re.IGNORECASE),
    "mm2v": re.compile(r"(?<![a-z\d])mm2v(?![a-z\d])", re.IGNORECASE),
}
WAYS = {"mi2v": "last_frame", "mm2v": "last_five_frames"}


def expert_notices(wires: Wires, loop: Loop, steps: Sequence[Step]) -> list[Notice]:
    """What an artist should know of the models and LoRAs that a loop's frames depend on."""
    return [
        *_pairs(wires),
        *_chosen(wires),
        *_weak(wires),
        *_missing(wires, loop),
        *_of_other_mode(wires, steps),
    ]


# --- inside ----------------------------------------------------------------------------------


def _loader(wires: Wires, node_id: str, name: str) -> tuple[str, str] | None:
    """The node that loads the model of an input, and the file that it names."""
    for here in models_before(wires, node_id, name):
        values = wires.inputs(here)
        files = [values[w] for w in FILE_WIDGETS if isinstance(values.get(w), str)]
        if files and not any(is_link(v) for k, v in values.items() if k.startswith("model")):
            return here, files[0]
    return None


def models_before(wires: Wires, node_id: str, name: str) -> Iterator[str]:
    """The nodes that a model goes through, nearest first: of a node with several models (a pair)
    the one that belongs to the output that is taken."""
    seen = set()
    while (found := wires.source(node_id, name)) and found not in seen:
        seen.add(found)
        node_id, slot = found
        yield node_id
        linked = [n for n in wires.inputs(node_id) if n.startswith("model")]
        linked = [n for n in linked if wires.source(node_id, n)]
        if not linked:
            return
        if wires.kind(node_id) == LORA:
            name = ("model_high", "model_low")[min(slot, 1)]
        else:
            name = linked[0]


def _pairs(wires: Wires) -> Iterator[Notice]:
    """Experts in the other one's place, one file twice, and one of two alone."""
    for node_id in wires.of_kind("StoryMemM2VSampler", "StoryMemM2VGuider"):
        for kind in ("model", "t2v"):
            names = {noise: f"{kind}_{noise}" for noise in ("high", "low")}
            loaders = {noise: _loader(wires, node_id, name) for noise, name in names.items()}
            files = {noise: found[1] if found else "" for noise, found in loaders.items()}
            if files["high"] and files["high"] == files["low"]:
                if noise_of(files["high"]):  # else it may be one model for all noise
                    yield wires.notice(
                        node_id,
                        f"{names['high']} and {names['low']} are the same file, "
                        f"{shown(files['high'])}; choose the high-noise and the low-noise file",
                    )
                continue
            yield from _misplaced(wires, node_id, kind, files, "is", "models")
            is_alone = not wires.source(node_id, names["low"])
            if is_alone and noise_of(files["high"]) == "high":
                yield wires.notice(
                    node_id,
                    f"{names['low']} is not connected, so {shown(files['high'])} does every step, "
                    "which by its name is made for the first ones; connect the low-noise expert to "
                    f"{names['low']}",
                )


def _chosen(wires: Wires) -> Iterator[Notice]:
    """Load Story LoRA with nothing chosen, or with the files in each other's place."""
    for node_id in wires.of_kind(LORA):
        values = wires.inputs(node_id)
        files = {noise: values.get(f"lora_{noise}", NONE) for noise in ("high", "low")}
        linked = {noise: wires.source(node_id, f"model_{noise}") for noise in files}
        empty = [noise for noise in files if linked[noise] and files[noise] == NONE]
        if len(empty) == sum(map(bool, linked.values())):
            yield wires.notice(
                node_id,
                "no LoRA is chosen, so the models know nothing of memory; choose the two files of "
                "Wan2.2-MI2V-A14B or Wan2.2-MM2V-A14B, or of Memento",
            )
        for noise in empty if len(empty) == 1 and all(linked.values()) else ():
            yield wires.notice(
                node_id,
                f"lora_{noise} is none, so the {noise}-noise expert knows nothing of memory; "
                f"choose backbone_{noise}_noise of the same folder",
            )
        if values.get("strength") == 0 and not wires.source(node_id, "shot"):
            yield wires.notice(
                node_id,
                "strength is 0, so the models know nothing of memory; set it to 1",
            )
        for told in assumptions(values):
            yield wires.notice(node_id, told)
        names = {noise: name if isinstance(name, str) else "" for noise, name in files.items()}
        yield from _misplaced(wires, node_id, "lora", names, "belongs to", "files")


def _misplaced(
    wires: Wires, node_id: str, inputs: str, files: dict[str, str], verb: str, what: str
) -> Iterator[Notice]:
    """Of the pair of inputs ``<inputs>_high`` and ``<inputs>_low``: files for the other one."""
    wrong = misplaced(**files)
    for noise in wrong:
        other = "low" if noise == "high" else "high"
        todo = f"swap the two {what}" if len(wrong) > 1 else f"choose the {noise}-noise file"
        yield wires.notice(
            node_id,
            f"{inputs}_{noise} is {shown(files[noise])}, which by its name {verb} the "
            f"{other}-noise expert; {todo}",
        )


def _weak(wires: Wires) -> Iterator[Notice]:
    """The released files in a stock loader, which does not know their scale."""
    for node_id in wires.used:
        for name, strength in _stock_loras(wires.inputs(node_id)):
            if RELEASED_FILE.search(name) and abs(strength) < STRONG:
                yield wires.notice(
                    node_id,
                    f"{shown(name)} looks like a released StoryMem or Memento LoRA, which this "
                    "loader applies eleven times too weak; use Load Story LoRA",
                )


def _stock_loras(inputs: dict) -> Iterator[tuple[str, float]]:
    """Files and strengths of a LoRA loader that is not this pack's, of a list of them too."""
    for one in (inputs, *(v for v in inputs.values() if isinstance(v, dict))):
        name = one.get("lora_name") or one.get("lora")
        strength = one.get("strength_model", one.get("strength", 1.0))
        if isinstance(name, str) and one.get("on") is not False:
            yield name, strength if isinstance(strength, int | float) else STRONG


def _has_lora(wires: Wires, node_id: str, name: str) -> bool:
    """Whether a LoRA may be on the way to a model input, also through merges and stacks."""
    return any(
        "lora" in wires.kind(n).lower() or any("lora" in one.lower() for one in wires.inputs(n))
        for n in wires.before(node_id, name)
    )


def _missing(wires: Wires, loop: Loop) -> Iterator[Notice]:
    """Models that are given memory without a LoRA that teaches them what it is."""
    if loop.bank.max_frames == 0:
        return
    sees = any(wires.uses_memory(n) for n in wires.of_kind(*SAMPLERS))
    for kind, names in MODEL_INPUTS.items() if sees else ():
        for node_id in wires.of_kind(kind):
            if kind in SAMPLERS and not wires.uses_memory(node_id):
                continue
            for name in names:
                loader = _loader(wires, node_id, name)
                if loader is None or TRAINED.search(loader[1]):
                    continue  # of a loader that nothing is known of, or with the LoRA in it
                if not _has_lora(wires, node_id, name):
                    yield wires.notice(
                        node_id,
                        f"no LoRA is on the way from {wires.name(loader[0])} to {name}, and "
                        "without the StoryMem LoRA Wan knows nothing of memory; put Load Story "
                        "LoRA between them",
                    )


def _of_other_mode(wires: Wires, steps: Sequence[Step]) -> Iterator[Notice]:
    """The LoRA for the last frame where the last five are given, and the reverse."""
    planned = {step.plan.mode for step in steps if step.record is None}
    for node_id in wires.of_kind(LORA):
        values = wires.inputs(node_id)
        names = [v for n in ("lora_high", "lora_low") if isinstance(v := values.get(n), str)]
        for mode, other in (("mi2v", "mm2v"), ("mm2v", "mi2v")):
            says = [{one for one, word in MODES.items() if word.search(name)} for name in names]
            if other in planned and {mode} in says:
                yield wires.notice(
                    node_id,
                    f"this is the {mode.upper()} LoRA, made for continuity {WAYS[mode]}, but shots "
                    f"of this story continue by {WAYS[other]}; choose Wan2.2-{other.upper()}-A14B, "
                    "or change continuity on Shot Loop Open",
                )
