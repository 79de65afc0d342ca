"""What a loop must know of the scale of its StoryMem LoRAs before any is loaded."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...storymem.loop.changed_inputs import SCALE_OF
from ...storymem.sampling.lora import SCALES, LoraModule
from ...storymem.sampling.lora_file import assumed, load_lora, scale_change
from ..sampling.lora import NONE, file_versions, find_path

LORA = "StoryMemLoadLoRA"
INPUTS = ("lora_high", "lora_low")
MOST_FILES = 64  # whose outlines are kept


def scale_inputs(values: Mapping[str, object]) -> dict[str, str]:
    """For a shot's key: the scale of files that earlier versions applied at another one.

    Args:
        values: inputs of a Load Story LoRA.
    """
    found = ((name, scale_change(modules, scale)) for name, modules, scale in _files(values))
    return {f"{SCALE_OF}{name}": change for name, change in found if change}


def assumptions(values: Mapping[str, object]) -> list[str]:
    """What is taken for the alpha of files that do not say it, in words."""
    return [
        f"{name}: {told}"
        for name, modules, scale in _files(values)
        if (told := assumed(modules, scale, os.path.basename(str(values[name]))))
    ]


def _files(values: Mapping[str, object]) -> Iterator[tuple[str, dict[str, LoraModule], str]]:
    """Input, content and choice of scale of each file that is chosen and can be read."""
    scale = values.get("scale")
    scale = scale if scale in SCALES else SCALES[0]  # a linked one is not known yet
    for name in INPUTS:
        file = values.get(name, NONE)
        path = isinstance(file, str) and find_path(file)
        if path and (modules := _outline(path, file_versions(path))):
            yield name, modules, scale


@functools.lru_cache(MOST_FILES)
def _outline(path: str, versions: tuple) -> dict[str, LoraModule]:
    """A file without its numbers; empty for one that the node will refuse."""
    try:
        return load_lora(Path(path), is_outline=True)
    except ValueError:
        return {}
