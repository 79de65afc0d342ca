"""A memory model's LoRA on diffusers' Wan, through peft and with the scale of its training."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import torch

from ..files.messages import counted, listed
from ..sampling.lora import (
    LONGEST_KEY,
    LoraModule,
    check_lora,
    describe_scale,
    target_modules,
)
from ..sampling.lora_file import MemoryLora, assumed, load_lora, load_memory_lora, scale_change
from .extra_lora import load_extra_lora, put_on
from .lora_places import DIFFUSERS_NAMES, places_of, places_of_config

LORA_FILES = {"high": "backbone_high_noise", "low": "backbone_low_noise"}  # released names
SUFFIXES = (".safetensors", ".pth")
STORYMEM_ADAPTER = "storymem"
CHECKPOINT_NAMES = {new: old for old, new in DIFFUSERS_NAMES.items()}
logger = logging.getLogger(__name__)


def to_diffusers_name(module: str) -> str:
    """``blocks.3.self_attn.q`` -> ``blocks.3.attn1.to_q``."""
    _, block, target = module.split(".", 2)
    return f"blocks.{block}.{DIFFUSERS_NAMES[target]}"


def to_checkpoint_name(module: str) -> str:
    """``blocks.3.attn1.to_q`` -> ``blocks.3.self_attn.q``."""
    _, block, target = module.split(".", 2)
    return f"blocks.{block}.{CHECKPOINT_NAMES[target]}"


def find_lora_files(place: Path) -> tuple[Path, Path]:
    """The high- and low-noise file of a released LoRA folder.

    Raises:
        ValueError: naming what is missing.
    """
    if not place.is_dir():
        raise ValueError(f"there is no LoRA folder at {place}; check the path")
    found = []
    for name in LORA_FILES.values():
        files = [place / (name + suffix) for suffix in SUFFIXES]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise ValueError(
                f"{place} holds no {name}.safetensors; pass a folder such as Wan2.2-MI2V-A14B of "
                "the StoryMem release, one of Memento's, or both files with --lora-high and "
                "--lora-low"
            )
        found.append(file)
    return found[0], found[1]


def read_lora_file(path: Path) -> dict[str, LoraModule]:
    """LoRA modules of a ``.safetensors`` or ``.pth`` file, by the checkpoint's names.

    Raises:
        ValueError: when the file cannot be read, naming it.
    """
    return load_lora(path)


def outline_of(path: Path) -> MemoryLora:
    """The names and shapes of what a file holds. Of a ``.safetensors`` file only the header is
    read; others are read whole, which takes seconds, and once.

    Raises:
        ValueError: when the file cannot be read, naming it.
    """
    return _outline(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _outline(path: Path, _changed: int) -> MemoryLora:
    return load_memory_lora(path, is_outline=True)


def check_lora_file(path: Path, config: Mapping, scale: str = "auto") -> None:
    """Raise ValueError unless the file fits a transformer of this config.

    What must be assumed about the scale is told.
    """
    lora = outline_of(path)
    dim = config["num_attention_heads"] * config["attention_head_dim"]
    sizes = {"ffn.0": (config["ffn_dim"], dim), "ffn.2": (dim, config["ffn_dim"])}
    wanted = {
        module: sizes.get(module.split(".", 2)[2], (dim, dim))
        for module in target_modules(config["num_layers"])
    }
    lora.check(wanted, dim, path.name)
    if told := assumed(lora.modules, scale, path.name):
        logger.warning("%s", told)


def scale_changes(paths: Iterable[Path], scale: str) -> dict[str, str]:
    """What a shot's key says of LoRA files that earlier versions applied at another scale."""
    found = {path.name: scale_change(outline_of(path).modules, scale) for path in paths}
    return {name: change for name, change in found.items() if change}


def add_lora(
    transformer: torch.nn.Module,
    modules: Mapping[str, LoraModule],
    *,
    name: str = "the LoRA",
    scale: str = "auto",
    adapter: str = STORYMEM_ADAPTER,
) -> str:
    """Put a LoRA on ``transformer`` as a peft adapter; rank and scale in words.

    The scale goes in as peft's ``lora_alpha``, exactly: alpha = scale * rank, so that alpha / rank
    is the scale that the library read, whichever way peft's version rescales adapters later.

    Raises:
        ValueError: when it does not cover the target modules, or has other shapes.
    """
    from peft import LoraConfig, set_peft_model_state_dict

    named = dict(transformer.named_modules())
    wanted = {
        module: tuple(named[to_diffusers_name(module)].weight.shape)
        for module in target_modules(len(transformer.blocks))
    }
    check_lora(modules, wanted, name)
    ranks = {to_diffusers_name(module): pair.rank for module, pair in modules.items()}
    alphas = {
        to_diffusers_name(module): pair.scale(scale) * pair.rank for module, pair in modules.items()
    }
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=sorted(ranks),
        rank_pattern={k: v for k, v in ranks.items() if v != rank},
        alpha_pattern={k: v for k, v in alphas.items() if not math.isclose(v, alpha)},
    )
    transformer.add_adapter(config, adapter_name=adapter)
    state = {}
    for module, pair in modules.items():
        target = to_diffusers_name(module)
        state[f"{target}.lora_A.weight"] = pair.down
        state[f"{target}.lora_B.weight"] = pair.up
    result = set_peft_model_state_dict(transformer, state, adapter_name=adapter)
    if result is not None and result.unexpected_keys:
        raise ValueError(f"{name}: peft did not take {result.unexpected_keys[:3]}")
    for key, parameter in transformer.named_parameters():  # peft makes adapters in float32
        if f".{adapter}." in key:
            parameter.data = parameter.data.to(transformer.dtype)
    transformer.requires_grad_(False)
    return describe_scale(modules, scale)


def check_extra_lora(path: Path, config: Mapping) -> None:
    """Raise ValueError unless a transformer of this config has a place for what the file holds.

    Of a ``.safetensors`` file little more than the header is read. What belongs to a part that the
    model does not have is left out, with a warning.
    """
    if path.stem in LORA_FILES.values():
        raise ValueError(
            f"{path.name} is named as a StoryMem LoRA, which has a scale of its own; pass it with "
            "--lora-high or --lora-low"
        )
    found = load_extra_lora(path, places_of_config(config), is_outline=True)
    if found.left_out:
        some = listed(found.left_out, 3, LONGEST_KEY)
        logger.warning(
            "%s: left out, for this model has no such part: %s (%s), as of the image encoder of "
            "Wan 2.1 I2V; the rest is applied",
            path.name, counted(len(found.left_out), "weight"), some,
        )  # fmt: skip


def add_extra_lora(transformer: torch.nn.Module, path: Path) -> str:
    """Any other Wan LoRA at strength 1 (a 4-step distill LoRA, a style); what it is, in words.

    Raises:
        ValueError: when any of it has no place in the model.
    """
    found = load_extra_lora(path, places_of(transformer))
    count = len(getattr(transformer, "peft_config", {}))
    put_on(transformer, found, f"extra_{count}")
    set_lora_strength(transformer, 1.0)
    return found.describe()


def set_lora_strength(
    transformer: torch.nn.Module, strength: float, of_shot: Mapping[str, float] | None = None
) -> None:
    """The strength of the StoryMem LoRA for the next calls; 1.0 is as trained. No LoRA: nothing.

    Args:
        of_shot: strengths of adapters that the shot alone has, in their order.
    """
    of_shot = of_shot or {}
    lasting = [name for name in getattr(transformer, "peft_config", {}) if name not in of_shot]
    adapters = [*lasting, *of_shot]
    if adapters:
        weights = {name: strength if name == STORYMEM_ADAPTER else 1.0 for name in lasting}
        transformer.set_adapters(adapters, [*weights.values(), *of_shot.values()])
