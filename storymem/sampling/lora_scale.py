"""What is known of a LoRA's scale beside its weights: by a file's header, or a config with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..files.json_text import parse_json
from ..files.small_file import read_small_file

LORA_ALPHA = 128.0  # of the released adapters, which is their rank
LARGEST_ALPHA = 65_536.0  # of a file that can be meant
LARGEST_CONFIG = 1 << 20  # bytes
PEFT_CONFIG, PEFT_FILE = "adapter_config.json", "adapter_model"
DIFFUSERS_KEY, DIFFUSERS_PREFIX = "lora_adapter_metadata", "transformer."
TRAINED_KEY = "storymem"  # of files that this package trained


@dataclass(frozen=True)
class StatedScale:
    """The scale of all pairs of a file, as something beside the weights says."""

    alpha: float
    is_rooted: bool  # alpha / sqrt(rank), else alpha / rank
    place: str  # that says it, in words


def stated_scale(path: Path, metadata: Mapping[str, str]) -> StatedScale | None:
    """What diffusers keeps in a file's header, or peft beside its ``adapter_model`` file.

    Raises:
        ValueError: for an alpha that cannot be, and one for single layers.
    """
    if text := metadata.get(DIFFUSERS_KEY):
        return _read(path, _json(text), "its header", DIFFUSERS_PREFIX)
    if path.stem == PEFT_FILE:
        return _read(path, config_beside(path), PEFT_CONFIG)
    return None


def storymem_scale(path: Path, metadata: Mapping[str, str], rank: int) -> StatedScale | None:
    """``stated_scale`` of a StoryMem LoRA, whose training may also have written its settings.

    A config beside a file of another name than peft's counts when it is for that rank, unless that
    is the released one: a folder of many LoRAs may hold anybody's config.

    Raises:
        ValueError: as ``stated_scale`` does.
    """
    if text := metadata.get(TRAINED_KEY):
        settings = _json(text)
        found = {**settings, "lora_alpha": settings.get("alpha")}
        return _read(path, found, "its header")
    found = stated_scale(path, metadata)
    if found is not None or rank == LORA_ALPHA:
        return found
    config = config_beside(path)
    return _read(path, config, PEFT_CONFIG) if config.get("r") == rank else None


def config_beside(path: Path) -> dict:
    """peft's config in a file's folder; empty when there is none that can be read."""
    try:
        text = read_small_file(path.with_name(PEFT_CONFIG), LARGEST_CONFIG)
        return _json(text.decode("utf-8", "replace"))
    except OSError:
        return {}


def _read(path: Path, config: Mapping, place: str, prefix: str = "") -> StatedScale | None:
    alpha, patterns = config.get(f"{prefix}lora_alpha"), config.get(f"{prefix}alpha_pattern")
    if alpha is None:
        return None
    if patterns or isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
        raise ValueError(
            f"{path.name} has its own alpha for some layers ({place}), which cannot be read here; "
            "save it with alpha in the file (lora_up, lora_down and alpha keys)"
        )
    if not 0 < alpha <= LARGEST_ALPHA:
        raise ValueError(
            f"{path.name}: alpha in {place} must be above 0 and at most {LARGEST_ALPHA:.0f} (the "
            "rank and twice the rank are usual); download the file again, or write alpha there"
        )
    return StatedScale(float(alpha), bool(config.get(f"{prefix}use_rslora")), place)


def _json(text: str) -> dict:
    try:
        found = parse_json(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
