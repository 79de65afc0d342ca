"""Whether the host's LoRA loader reads a file for Wan, known before any model is loaded."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from types import SimpleNamespace

import comfy.lora
import comfy.lora_convert
import comfy.model_base
import torch

from ...storymem.headless.lora_places import DIFFUSERS_NAMES, OTHER_NAMES, TOP_NAMES

MOST_BLOCKS = 40  # of Wan A14B
logger = logging.getLogger(__name__)


class _NamesOfWan(comfy.model_base.WAN21):
    """A Wan model that has nothing but the names of its weights."""

    model_config = SimpleNamespace(unet_config={})

    def __init__(self):
        pass  # no weights

    def state_dict(self, *_, **__):
        names = [name for name in OTHER_NAMES if name != "modulation"]
        of_blocks = [*DIFFUSERS_NAMES, *names]
        parts = [f"blocks.{i}.{name}" for i in range(MOST_BLOCKS) for name in of_blocks]
        weights = [f"{part}.{kind}" for part in (*parts, *TOP_NAMES) for kind in ("weight", "bias")]
        tables = [f"blocks.{i}.modulation" for i in range(MOST_BLOCKS)]
        return dict.fromkeys(f"diffusion_model.{name}" for name in (*weights, *tables))


@functools.lru_cache(1)
def _keys() -> dict[str, str]:
    return comfy.lora.model_lora_keys_unet(_NamesOfWan(), {})


def reads_lora(outline: Mapping[str, torch.Tensor]) -> bool:
    """Whether any weight of a LoRA file finds its place in Wan; a host that cannot be asked says
    so of every file."""
    try:
        state = comfy.lora_convert.convert_lora(dict(outline))
        return bool(comfy.lora.load_lora(state, _keys(), log_missing=False))
    except Exception as error:  # a host of another version
        logger.debug("the host's LoRA loader cannot be asked beforehand: %s", error)
        return True
