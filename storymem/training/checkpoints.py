"""Checkpoints: LoRA files that Load LoRA and the headless runner read, and the state to resume."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from ..files.messages import reason_of
from ..files.weights_file import WeightsError, load_pickled
from ..headless.adapters import (
    CHECKPOINT_NAMES,
    DIFFUSERS_NAMES,
    LORA_FILES,
    STORYMEM_ADAPTER,
    to_checkpoint_name,
    to_diffusers_name,
)
from ..sampling.lora import TARGETS, target_modules
from ..sampling.lora_scale import LORA_ALPHA

STATE_FILE = "training_state.pt"
STATE_PARTS = {"step": int, "settings": dict, "weights": dict, "optimizer": dict}
FOLDER = re.compile(r"checkpoint-(\d+)$")
KEY_PREFIX = "base_model.model."  # as the release has it


def lora_config(rank: int, alpha: float, use_rslora: bool, targets: tuple[str, ...]):
    """peft's configuration; targets by the checkpoint's names (``self_attn.q``)."""
    from peft import LoraConfig

    unknown = [target for target in targets if target not in TARGETS]
    if unknown or not targets:
        raise ValueError(
            f"target modules must be some of {', '.join(TARGETS)}, but {unknown or 'none'} were "
            "given"
        )
    if rank < 1 or not 0 < alpha < math.inf:
        raise ValueError(
            f"rank must be 1 or more and alpha above 0 and finite, not {rank} and {alpha}"
        )
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        use_rslora=use_rslora,
        init_lora_weights=True,
        target_modules=[DIFFUSERS_NAMES[target] for target in targets],
    )


def lora_file(transformer: torch.nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The adapter as a state dict in the release's layout, for every target of the model.

    Alpha is written unless rank and scale are those of the released files, which every reader
    knows; it is the alpha that gives the same scale as alpha/rank. Targets that were not trained
    are zero, because readers want all of them.
    """
    from peft.tuners.lora import LoraLayer

    state: dict[str, torch.Tensor] = {}
    layers = {
        to_checkpoint_name(name): layer
        for name, layer in transformer.named_modules()
        if isinstance(layer, LoraLayer) and name.split(".", 2)[2] in CHECKPOINT_NAMES
    }
    first = next(iter(layers.values()))
    rank, scale = first.r[STORYMEM_ADAPTER], first.scaling[STORYMEM_ADAPTER]
    is_as_released = rank == LORA_ALPHA and math.isclose(scale, LORA_ALPHA / math.sqrt(rank))
    for module in target_modules(len(transformer.blocks)):
        key, layer = KEY_PREFIX + module, layers.get(module)
        if layer is None:
            out, into = transformer.get_submodule(to_diffusers_name(module)).weight.shape
            down, up = torch.zeros(rank, into), torch.zeros(out, rank)
        else:
            down = layer.lora_A[STORYMEM_ADAPTER].weight.detach()
            up = layer.lora_B[STORYMEM_ADAPTER].weight.detach()
        state[f"{key}.lora_A.weight"] = down.to("cpu", dtype).contiguous()
        state[f"{key}.lora_B.weight"] = up.to("cpu", dtype).contiguous()
        if not is_as_released:
            state[f"{key}.alpha"] = torch.tensor(float(scale * rank))
    return state


def save(
    out: Path,
    step: int,
    transformer: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    expert: str,
    settings: Mapping,
    dtype: torch.dtype = torch.float32,
    keep: int = 0,
) -> Path:
    """Write ``out/checkpoint-<step>``, whole or not at all; the newest ``keep`` stay, 0: all."""
    from safetensors.torch import save_file

    folder = out / f"checkpoint-{step:06d}"
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    metadata = {"format": "pt", "storymem": json.dumps({**settings, "step": step})}
    if getattr(transformer, "peft_config", None):
        target = partial / f"{LORA_FILES[expert]}.safetensors"
        save_file(lora_file(transformer, dtype), str(target), metadata)
    else:
        name = "transformer" if expert == "high" else "transformer_2"
        transformer.save_pretrained(partial / name)
    state = {
        "step": step,
        "settings": dict(settings),
        "weights": {n: p.detach().cpu() for n, p in trainable(transformer)},
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, partial / STATE_FILE)
    if folder.exists():
        shutil.rmtree(folder)
    os.rename(partial, folder)
    if keep > 0:
        for _, old in list_checkpoints(out)[:-keep]:
            shutil.rmtree(old)
    return folder


def trainable(transformer: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters that training changes, each with its name."""
    return [(name, p) for name, p in transformer.named_parameters() if p.requires_grad]


def list_checkpoints(out: Path) -> list[tuple[int, Path]]:
    """``(step, folder)``, oldest first."""
    found = [(FOLDER.match(path.name), path) for path in out.glob("checkpoint-*")]
    return sorted((int(match[1]), path) for match, path in found if match)


def resume(
    out: Path, transformer: torch.nn.Module, optimizer: torch.optim.Optimizer, settings: Mapping
) -> int:
    """Load the newest checkpoint below ``out``; the step to go on with.

    Raises:
        ValueError: when there is none, it is damaged, or it was trained in another way.
    """
    checkpoints = list_checkpoints(out)
    if not checkpoints:
        raise ValueError(f"there is no checkpoint in {out} to resume from; leave --resume out")
    folder = checkpoints[-1][1]
    state = read_state(folder)
    trained = state["settings"]
    changed = {
        key: (trained.get(key), value)
        for key, value in settings.items()
        if trained.get(key) != value
    }
    if changed:
        words = "; ".join(f"{key} was {old}, now {new}" for key, (old, new) in changed.items())
        raise ValueError(f"{folder} was trained with other settings: {words}; use the same ones")
    parameters = dict(trainable(transformer))
    sizes = {name: getattr(value, "shape", None) for name, value in state["weights"].items()}
    if sizes != {name: value.shape for name, value in parameters.items()}:
        raise ValueError(f"{folder} holds other weights than this model has; use the same model")
    try:
        optimizer.load_state_dict(state["optimizer"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error
    with torch.no_grad():
        for name, value in state["weights"].items():
            parameters[name].copy_(value)
    return state["step"]


def read_state(folder: Path, *, is_mapped: bool = False) -> dict:
    """What a training is resumed from; ``is_mapped`` leaves the weights on the disk.

    Raises:
        ValueError: when the file is missing or damaged.
    """
    file = folder / STATE_FILE
    try:
        state = load_pickled(file, is_mapped=is_mapped)
    except WeightsError as error:
        raise _damaged(folder, error.reason) from error
    if not isinstance(state, dict):
        raise _damaged(folder, "it holds no parts")
    for name, kind in STATE_PARTS.items():
        if not isinstance(state.get(name), kind):
            raise _damaged(folder, f"its {name} is missing")
    return state


def _damaged(folder: Path, reason: object) -> ValueError:
    words = reason_of(reason) if isinstance(reason, Exception) else str(reason)
    return ValueError(
        f"{folder / STATE_FILE} is missing or damaged ({words.split('; ')[0]}); take "
        f"{folder.name} out of {folder.parent} to go on from the checkpoint before it, or start "
        "over in another --out"
    )
