"""What only the host knows of a setup, for its check: looked up, and nothing of it changed."""

from __future__ import annotations

import argparse
import enum
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import comfy.cli_args
import comfy.ldm.modules.attention as host_attention
import comfy.model_management as devices
import folder_paths
import torch
from comfyui_version import __version__

import nodes as host_nodes

from ...storymem.files.harmless import harmless
from ...storymem.setup.machine import Card, HostFacts

NO_MODELS = {"custom_nodes", "configs", "datasets"}  # kinds of folders that hold no models
ATTENTION = "attention_"  # what the names of the host's functions begin with


def host_facts(front_end: str = "") -> HostFacts:
    """What the host says of itself.

    Args:
        front_end: the version of the page that asks.
    """
    failed = failed_packs()
    return HostFacts(
        version=str(__version__),
        front_end=front_end,
        attention=host_attention.optimized_attention.__name__.removeprefix(ATTENTION),
        options=launch_options(comfy.cli_args.parser, comfy.cli_args.args, sys.argv[1:]),
        cards=cards(),
        packs=tuple(sorted(set(host_nodes.LOADED_MODULE_DIRS) - set(failed))),
        failed_packs=failed,
    )


def launch_options(
    parser: argparse.ArgumentParser, given: argparse.Namespace, typed: Sequence[str]
) -> tuple[str, ...]:
    """The options that the host was started with, ``--lowvram`` or ``--reserve-vram 1.5``.

    Of what can be typed freely, as folders, addresses and names, only the option is told.

    Args:
        given: what became of them; the host sets some itself.
        typed: the words behind the program's name.
    """
    names = {word.partition("=")[0] for word in typed if word.startswith("--")}
    found = []
    for action in parser._actions:
        value = getattr(given, action.dest, action.default)
        is_typed = any(option.startswith(tuple(names)) for option in action.option_strings)
        if not is_typed or value == action.default:
            continue
        name = max(action.option_strings, key=len)
        value = value.value if isinstance(value, enum.Enum) else value
        is_plain = isinstance(value, int | float) or bool(action.choices and value is not None)
        found.append(f"{name} {value}" if is_plain and not isinstance(value, bool) else name)
    return tuple(sorted(found))


def cards() -> tuple[Card, ...]:
    """The card that the host samples on, then the others that it sees; none where it uses the
    processor.

    What is free on the others is not asked: that takes some memory of a card that nothing runs on.
    """
    device = devices.get_torch_device()
    if device.type == "cpu":
        return ()
    name = devices.get_torch_device_name(device).partition(" : ")[0]  # then its allocator
    total, free = devices.get_total_memory(device), devices.get_free_memory(device)
    first = Card(
        name=name.removeprefix(f"{device} "), total=int(total), free=int(free), held=_held(device)
    )
    return (first, *_others(device))


@harmless(0)
def _held(device: torch.device) -> int:
    """Bytes of a card that the host's own models and runs hold now, beside what counts as free."""
    models = getattr(devices, "loaded_models", list)()
    sizes = [model.loaded_size() for model in models
             if model is not None and getattr(model, "load_device", None) == device
             and hasattr(model, "loaded_size")]  # fmt: skip
    torch_has = getattr(getattr(torch, device.type, None), "memory_allocated", None)
    allocated = torch_has(device) if torch_has else 0
    return int(max(sum(sizes), allocated))  # models are among the latter, or in pages of their own


@harmless(())
def _others(device: torch.device) -> tuple[Card, ...]:
    ask = getattr(getattr(torch, device.type, None), "get_device_properties", None)
    seen = getattr(devices, "get_all_torch_devices", list)()
    told = [ask(other) for other in seen if ask and other != device]
    return tuple(Card(name=str(one.name), total=int(one.total_memory), free=None) for one in told)


def failed_packs() -> tuple[str, ...]:
    """Names of the custom node packs that the host tried to load, and of which it has no node."""
    mappings = host_nodes.NODE_CLASS_MAPPINGS.values()
    giving = {getattr(one, "RELATIVE_PYTHON_MODULE", None) for one in mappings}
    found = set()
    for place in _packs():
        module = sys.modules.get(_module_of(place))
        if module is None:  # switched off, or put there since
            continue
        is_loaded = _key_of(place) in host_nodes.LOADED_MODULE_DIRS
        gives = f"custom_nodes.{place.name}" in giving
        gives |= f"custom_nodes.{place.stem}" in giving
        if not is_loaded or (hasattr(module, "comfy_entrypoint") and not gives):
            found.add(place.name)
    return tuple(sorted(found))


def _packs() -> Iterator[Path]:
    for root in pack_folders():
        try:
            names = sorted(os.listdir(root))
        except OSError:  # a folder that is set and not there
            continue
        for name in names:
            place = root / name
            if name != "__pycache__" and (place.is_dir() or place.suffix == ".py"):
                yield place


def _module_of(place: Path) -> str:
    """What the host calls a pack's module in ``sys.modules``."""
    return str(place.with_suffix("")) if place.is_file() else str(place).replace(".", "_x_")


def _key_of(place: Path) -> str:
    return str(place.with_suffix("")) if place.is_file() else place.name


def model_folders() -> dict[str, list[Path]]:
    """All folders of models by their kind, those of ``extra_model_paths.yaml`` too."""
    kinds = [kind for kind in folder_paths.folder_names_and_paths if kind not in NO_MODELS]
    return {kind: [Path(root) for root in folder_paths.get_folder_paths(kind)] for kind in kinds}


def pack_folders() -> list[Path]:
    """The folders that packs of custom nodes are in."""
    return [Path(root) for root in folder_paths.get_folder_paths("custom_nodes")]


def node_types() -> frozenset[str]:
    """Classes of all nodes that the host has."""
    return frozenset(host_nodes.NODE_CLASS_MAPPINGS)
