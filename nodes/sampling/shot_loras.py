"""Apply Shot LoRAs: what the script's ``loras`` says of a shot, on both experts."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import NamedTuple

import folder_paths
from comfy_api.latest import io

import nodes

from ...storymem.files.messages import listed, shown
from ...storymem.files.weights_file import SAFETENSORS, read_outline
from ...storymem.sampling.lora_kinds import fault_of_wan_lora
from ...storymem.sampling.lora_names import FoundLora, check_once, find_lora
from ...storymem.sampling.lora_release import released
from ...storymem.script.loras import ShotLora
from ..host.folders import shortens_host_paths
from ..host.models import told_as
from ..host.wan_models import I2V_CHANNELS, T2V_CHANNELS, require_wan
from ..types import Shot
from .host_loras import reads_lora
from .lora import file_versions
from .patched_models import PatchedModels

NODE_ID = "StoryMemApplyShotLoRAs"  # the same in its schema
HOST_LOADER = "LoraLoaderModelOnly"  # of the host, which knows all kinds of LoRA files
MOST_FILES = 64  # whose kind is kept
_PATCHED = PatchedModels()


class Applied(NamedTuple):
    """A file of the host's loras folder, as that lists it, on one expert."""

    file: str
    strength: float


def find_files(entry: ShotLora) -> FoundLora:
    """The files of the host's loras folder that a LoRA of a script means.

    Raises:
        ValueError: when there is none, or when there are several.
    """
    return find_lora(entry, folder_paths.get_filename_list("loras"))


def path_of(file: str) -> str:
    """Where a file of the host's loras folder is."""
    return folder_paths.get_full_path_or_raise("loras", file)


def mark_of(file: str) -> str:
    """Name, size and time of a file, as a loop's other files are known."""
    status = os.stat(path_of(file))
    return f"{os.path.basename(path_of(file))} {status.st_size} {status.st_mtime_ns}"


def check_file(file: str) -> None:
    """Raise ValueError for a file that is no LoRA for Wan A14B; of large ones only the header is
    read."""
    path = path_of(file)
    if fault := _fault(path, file, file_versions(path)):
        raise ValueError(fault)


@functools.lru_cache(MOST_FILES)
def _fault(path: str, file: str, versions: tuple) -> str:
    name = shown(file, 100)
    if released(file) or Path(file).stem in ("backbone_high_noise", "backbone_low_noise"):
        return (
            f"{name} is the LoRA of a memory model, which has a scale of its own: choose it on "
            "Load Story LoRA, and set lora_strength of the shot"
        )
    if not path.lower().endswith(SAFETENSORS):
        return ""  # read whole, or not at all: told when it is applied
    try:
        with told_as(path, file):
            outline = read_outline(path)
    except ValueError as error:
        return str(error)
    if kind := fault_of_wan_lora({key: tuple(part.shape) for key, part in outline.items()}):
        return f"{name} cannot be used: it is {kind}; choose a LoRA made for Wan 2.2"
    if not reads_lora(outline):
        return (
            f"{name} cannot be used: ComfyUI's LoRA loader does not know the names of its weights; "
            "choose the file that is made for ComfyUI"
        )
    return ""


def files_of(loras: tuple[ShotLora, ...]) -> dict[str, list[Applied]]:
    """What each expert gets, in the script's order.

    Raises:
        ValueError: for a name that means no file, or several, and a file that is no Wan LoRA.
    """
    found: dict[str, list[Applied]] = {"high": [], "low": []}
    meant = {entry: find_files(entry) for entry in loras}
    check_once(meant)
    for entry, files in meant.items():
        for expert, file, strength in (
            ("high", files.high, entry.high),
            ("low", files.low, entry.low),
        ):
            if file:
                check_file(file)
                found[expert].append(Applied(file, strength))
    return found


def apply_files(model, files: list[Applied], prompt: object, name: str):
    """A clone of ``model`` with these LoRAs, by the host's own loader.

    Raises:
        ValueError: for a file that fits nowhere in the model.
    """
    versions = [file_versions(path_of(file)) for file, _ in files]

    def patch(model):
        for file, strength in files:
            before = _entries(model)
            loader = nodes.NODE_CLASS_MAPPINGS[HOST_LOADER]()
            patched = loader.load_lora_model_only(model, file, strength)[0]
            _check_patches(patched, before, file, name)
            model = patched
        return model

    key = tuple(zip(map(tuple, files), versions, strict=True))
    return _PATCHED.of(prompt, model, key, patch)


def _entries(model) -> dict[str, int]:
    return {key: len(entries) for key, entries in model.patches.items()}


def _check_patches(patched, before: dict[str, int], file: str, name: str) -> None:
    """Raise ValueError where a LoRA changes nothing, or has weights of another size: the host
    would pass over it."""
    new = {k: v[-1] for k, v in patched.patches.items() if len(v) > before.get(k, 0)}
    if not new:
        raise ValueError(
            f"{shown(file, 100)} changes nothing in {name}: none of its weights has a place in the "
            "model; choose a LoRA made for Wan 2.2 A14B"
        )
    wrong = []
    for key, entry in new.items():
        pair = getattr(entry[1], "weights", None)
        if getattr(entry[1], "name", "") != "lora" or len(pair) < 2 or entry[3] is not None:
            continue
        weight = _weight(patched, key)
        up, down = pair[0], pair[1]
        if weight is None or weight.ndim != 2 or not weight.is_floating_point():
            continue  # of other kinds, and quantised ones, nothing is known by their shape
        size = (up.shape[0], down.flatten(1).shape[1])
        if tuple(weight.shape) != size:
            wrong.append(f"{key.removeprefix('diffusion_model.')} {list(size)} (model: "
                         f"{list(weight.shape)})")  # fmt: skip
    if wrong:
        raise ValueError(
            f"{shown(file, 100)} was made for another model than {name}: {listed(wrong, 3, 120)}; "
            "choose a LoRA made for Wan 2.2 A14B"
        )


def _weight(model, key: str):
    """A weight of the model by its key; ``None`` where it is kept in another way."""
    part = model.model
    for name in key.split("."):
        part = getattr(part, name, None)
    return part if hasattr(part, "is_floating_point") else None


class ApplyShotLoRAs(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemApplyShotLoRAs",
            display_name="Apply Shot LoRAs",
            category="StoryMem/story",
            search_aliases=["per-shot LoRA", "scene LoRA", "style per shot", "分镜 LoRA", "风格"],
            description="Puts the LoRAs that the script names for a shot (its loras field) on both "
            "experts, as copies: after the model loaders and Load Story LoRA, before M2V "
            "Sampler or M2V Model Patch. A shot without any gets the models as they are. Changing "
            "a shot's list regenerates that shot, and later ones only as far as they see it.",
            inputs=[
                io.Model.Input("model_high", tooltip="Wan 2.2 A14B, high noise, with its LoRAs."),
                io.Model.Input(
                    "model_low", optional=True, tooltip="Wan 2.2 A14B, low noise, with its LoRAs."
                ),
                Shot.Input(
                    "shot",
                    tooltip="From Shot Loop Open or Next Shot. Its loras are files of models/loras "
                    "by name, with or without folder and ending; the name that a high_noise and a "
                    "low_noise file share means both, each on its expert.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    "high", display_name="model_high", tooltip="With the shot's LoRAs, if any."
                ),
                io.Model.Output(
                    "low", display_name="model_low", tooltip="With the shot's LoRAs, if any."
                ),
            ],
            hidden=[io.Hidden.dynprompt],
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, model_high, shot, model_low=None):
        models = {"high": model_high, "low": model_low}
        if shot.shot.loras:
            prompt = getattr(getattr(cls, "hidden", None), "dynprompt", None)
            for expert, files in files_of(shot.shot.loras).items():
                if files and models[expert] is not None:
                    name = f"model_{expert}"
                    require_wan(models[expert], name, I2V_CHANNELS, T2V_CHANNELS)
                    models[expert] = apply_files(models[expert], files, prompt, name)
        return io.NodeOutput(models["high"], models["low"])


NODES = [ApplyShotLoRAs]
