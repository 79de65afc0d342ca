"""Load Story LoRA: a pair of StoryMem or Memento on both experts, at its trained scale."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from weakref import WeakValueDictionary

import comfy.lora
import folder_paths
import torch
from comfy_api.latest import io

from ...storymem.sampling.lora import SCALES, describe_scale, target_modules
from ...storymem.sampling.lora_file import (
    TITLES,
    assumed,
    describe_method,
    load_memory_lora,
)
from ...storymem.sampling.lora_release import find_released
from ...storymem.sampling.lora_scale import PEFT_CONFIG
from ..host.folders import shortens_host_paths
from ..host.models import told_as
from ..host.wan_models import I2V_CHANNELS, require_pair, require_wan
from ..page.node_notice import tell_node
from ..types import Shot
from .memory_method import ATTACHMENT, UNUSED, LoraFile, require_same_method

log = logging.getLogger(__name__)

NONE = "none"


_FILES: WeakValueDictionary[tuple, LoraFile] = WeakValueDictionary()


def find_name(name: str) -> str | None:
    """The file of the host's loras folder that a name means, as the host lists it."""
    if folder_paths.get_full_path("loras", name):
        return name
    return find_released(name, folder_paths.get_filename_list("loras"))


def find_path(name: str) -> str | None:
    """Where the file is that a name means."""
    found = find_name(name)
    return folder_paths.get_full_path("loras", found) if found else None


def load_file(name: str) -> LoraFile:
    """The LoRA file of that name in the host's loras folder."""
    path = folder_paths.get_full_path_or_raise("loras", find_name(name) or name)
    key = (path, *file_versions(path))
    file = _FILES.get(key)
    if file is None:
        with told_as(path, name):
            file = LoraFile(name, load_memory_lora(Path(path), name))
        _FILES[key] = file
    return file


def file_versions(path: str) -> tuple[tuple[int, int] | None, ...]:
    """Change time and size of a file, and of the config beside it that may state its scale."""
    found = []
    for one in (path, os.path.join(os.path.dirname(path), PEFT_CONFIG)):
        try:
            status = os.stat(one)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size))
    return tuple(found)


def apply_lora(model, file: LoraFile, strength: float, scale: str, model_name: str):
    """A clone of ``model`` with the LoRA added once; and what was done, in words."""
    applied = model.get_attachment(ATTACHMENT) or ()
    twin = next((other.name for other in applied if other.digest == file.digest), None)
    if twin is not None:
        alias = "" if twin == file.name else f" (as {twin}, which holds the same weights)"
        raise ValueError(
            f"{file.name} is already in {model_name}{alias}; remove one Load Story LoRA, or it "
            "would be applied twice"
        )
    for other in applied:
        if other.content.method != file.content.method:
            kinds = [f"{TITLES[one.content.method]}'s {one.name}" for one in (other, file)]
            raise ValueError(
                f"{model_name} would get two memory models, {kinds[0]} and {kinds[1]}; remove one "
                "Load Story LoRA"
            )
    diffusion_model = model.get_model_object("diffusion_model")
    targets = target_modules(len(diffusion_model.blocks))
    shapes = {target: _weight_shape(diffusion_model, target) for target in targets}
    file.content.check(shapes, diffusion_model.dim, file.name)
    state = {}
    for target, pair in file.modules.items():
        state[f"{target}.lora_down.weight"] = pair.down
        state[f"{target}.lora_up.weight"] = pair.up
        alpha = pair.scale(scale) * pair.rank  # the host divides by the rank
        state[f"{target}.alpha"] = torch.tensor(alpha, dtype=torch.float64)
    keys = {target: f"diffusion_model.{target}.weight" for target in targets}
    patched = model.clone()
    done = patched.add_patches(comfy.lora.load_lora(state, keys), strength)
    if len(done) != len(targets):
        raise ValueError(
            f"only {len(done)} of {len(targets)} modules of {model_name} could take {file.name}; "
            "load the model with a loader that supports LoRAs"
        )
    patched.set_attachments(ATTACHMENT, (*applied, file))
    return patched, (
        f"{model_name}: {file.name}: {len(done)} of {len(targets)} modules, "
        f"{describe_scale(file.modules, scale)}, strength {strength:g}"
    )


def _weight_shape(diffusion_model, target: str) -> tuple[int, ...] | None:
    weight = diffusion_model.get_submodule(target).weight
    return tuple(weight.shape) if len(weight.shape) == 2 else None


def warn_if_swapped(name: str, expert: str) -> str:
    """A warning when the file's name says the other expert, else an empty string."""
    other = "low" if expert == "high" else "high"
    base = os.path.basename(name).lower()
    if other not in base or expert in base:
        return ""
    warning = f"lora_{expert} is {name}, which by its name is for the {other}-noise model"
    log.warning("%s: are the two files swapped?", warning)
    return f"warning: {warning}"


def load_pair(model_high, model_low, names: dict[str, str], strength: float, scale: str):
    """Both experts with their files, and in words what was done and what is doubtful; a model
    without a file goes through as it is.

    At strength 0 nothing is applied, but Memento's file still tells the method and chooses frames.

    Raises:
        ValueError: for a file that cannot be read or does not fit, and for experts of two methods.
    """
    models, report, doubts = {"high": model_high, "low": model_low}, [], []
    for expert, name in names.items():
        if name == NONE:
            continue
        if models[expert] is None:
            raise ValueError(f"lora_{expert} is {name}, but model_{expert} is not connected")
        if strength == 0:
            report.append(f"model_{expert}: {name} not applied, strength 0")
            models[expert] = _unused(models[expert], find_name(name) or name, f"model_{expert}")
            continue
        name = find_name(name) or name
        models[expert], line = apply_lora(
            models[expert], load_file(name), strength, scale, f"model_{expert}"
        )
        told = list(filter(None, [warn_if_swapped(name, expert)]))
        if guess := assumed(load_file(name).modules, scale, name):
            log.warning("StoryMem: lora_%s: %s", expert, guess)
            told.append(f"lora_{expert}: {guess}")
        report += [line, *told]
        doubts += told
    method = require_same_method(models["high"], models["low"])
    report.append(describe_method(method) if report else "no LoRA chosen")
    return models["high"], models["low"], "\n".join(report), "\n".join(doubts)


def _unused(model, name: str, model_name: str):
    """``model``, told of a file of Memento that stays out of its weights; itself for all others.

    Of a file that is not read for anything else, an error would be about nothing.
    """
    try:
        path = Path(folder_paths.get_full_path_or_raise("loras", name))
        if load_memory_lora(path, name, is_outline=True).query is None:
            return model
        file = load_file(name)
    except (OSError, ValueError) as error:
        log.warning("StoryMem: %s: %s was not read: %s", model_name, name, error)
        return model
    told = model.clone()
    told.set_attachments(UNUSED, (file,))
    return told


class LoadLoRA(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        files = [NONE, *folder_paths.get_filename_list("loras")]
        return io.Schema(
            node_id="StoryMemLoadLoRA",
            display_name="Load Story LoRA",
            category="StoryMem",
            search_aliases=[
                "Load StoryMem LoRA",
                "StoryMem LoRA",
                "Memento",
                "M2V LoRA",
                "MI2V",
                "MM2V",
                "backbone_high_noise",
                "rslora",
            ],
            description=(
                "Puts a LoRA pair of StoryMem or Memento on both experts at the scale it was "
                "trained with (11.3 for the released files; stock loaders apply them eleven times "
                "too weak). The files tell which of the two memory models it is. Other LoRAs go "
                "before or after with the stock loaders."
            ),
            inputs=[
                io.Model.Input("model_high", tooltip="Wan 2.2 I2V A14B, high noise."),
                io.Model.Input("model_low", optional=True, tooltip="Wan 2.2 I2V A14B, low noise."),
                io.Combo.Input(
                    "lora_high",
                    options=files,
                    default=NONE,
                    tooltip="backbone_high_noise of Wan2.2-MI2V-A14B or Wan2.2-MM2V-A14B "
                    "(StoryMem), or of Memento.",
                ),
                io.Combo.Input(
                    "lora_low",
                    options=files,
                    default=NONE,
                    tooltip="backbone_low_noise of the same folder.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="1 is the trained strength; 0 leaves the models unchanged. A strength "
                    "set on the shot takes precedence.",
                ),
                io.Combo.Input(
                    "scale",
                    options=list(SCALES),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="auto: alpha/sqrt(rank) for the released files, alpha/rank for "
                    "repacked ones that carry alpha or use lora_up/lora_down keys. A file that "
                    "says no alpha has its rank as alpha, as in the release's training. rslora and "
                    "standard force one; standard is 1 for a file with the factor folded in.",
                ),
                Shot.Input(
                    "shot",
                    optional=True,
                    tooltip="The shot: its own LoRA strength, if set, takes precedence.",
                ),
            ],
            outputs=[
                io.Model.Output("high", display_name="model_high", tooltip="A copy with the LoRA."),
                io.Model.Output("low", display_name="model_low", tooltip="A copy with the LoRA."),
                io.String.Output(
                    "report", tooltip="What was applied: modules, rank, scale, strength and method."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def fingerprint_inputs(cls, lora_high=NONE, lora_low=NONE, **_):
        names = [name for name in (lora_high, lora_low) if name and name != NONE]
        return str([file_versions(path) for n in names if (path := find_path(n))])

    @classmethod
    def validate_inputs(cls, lora_high=NONE, lora_low=NONE):
        # In the place of the host's look into its list, which knows a file by one name only.
        for input_name, name in (("lora_high", lora_high), ("lora_low", lora_low)):
            if name not in (None, NONE) and not find_name(name):
                return (
                    f"{input_name}: {name} is not in models/loras; the released files are found "
                    "there under their own names (Wan2.2-MI2V-A14B/backbone_high_noise.safetensors "
                    "or Memento/backbone_high_noise.pth)"
                )
        return True

    @classmethod
    @shortens_host_paths
    def execute(
        cls, model_high, lora_high, lora_low, strength, scale="auto", model_low=None, shot=None
    ):
        for name, model in (("model_high", model_high), ("model_low", model_low)):
            if model is not None:
                require_wan(model, name, I2V_CHANNELS)
        require_pair(model_high, model_low, "model_high", "model_low")
        if shot is not None and shot.shot.lora_strength is not None:
            strength = shot.shot.lora_strength
        names = {"high": lora_high, "low": lora_low}
        high, low, report, doubts = load_pair(model_high, model_low, names, strength, scale)
        tell_node(getattr(cls, "hidden", None), doubts)
        return io.NodeOutput(high, low, report)


NODES = [LoadLoRA]
