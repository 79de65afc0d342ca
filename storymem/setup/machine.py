"""The machine: Python, packages, cards, memory, disks, and the host where there is one."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..files.packages import OLDEST, PACK, python_too_old
from .memory import (
    Card,
    free_space,
    is_on_network,
    is_writable,
    main_memory,
    nvidia_cards,
    other_cards,
)
from .report import Finding, Section

OLDEST_HOST = (0, 18)  # as pyproject.toml says
WAN_DECODER_MENDED = (0, 18, 1)
TORCH_READS_SAFELY = (2, 6)  # before, torch.load ran some archives that it was asked not to
LITTLE_SPACE = 10 * 10**9  # bytes: a story of ten shots with its films is below 1 GB
LITTLE_MEMORY = 30 * 10**9  # bytes of main memory: less than any setup that is described
GB = 10**9
PACKAGES = (  # distribution, its oldest version, what it is for; empty: the host brings it
    ("torch", (), ""), ("transformers", (), ""), ("safetensors", (), ""), ("av", (14,), ""),
    ("ftfy", (6, 1), "keyframes by CLIP"), ("open_clip_torch", (2, 24), "keyframes by CLIP"),
    ("opentimelineio", (0, 17), "timelines for editing programs"),
)  # fmt: skip
ONLY_OUTSIDE = "open_clip_torch"  # the host makes CLIP of its own classes
NO_TIMELINES = (3, 14)  # Python for which OpenTimelineIO has no release


@dataclass(frozen=True)
class HostFacts:
    """What only the host knows of itself.

    Args:
        version: ComfyUI's, as ``0.33.0``.
        front_end: version of its page.
        attention: what computes attention, as ``pytorch`` or ``sage``.
        options: launch options by name, without values that are paths.
        cards: those that it sees, the one that it samples on first; None to ask the driver.
        packs: names of the folders of custom node packs that were loaded.
        failed_packs: of those that were not.
    """

    version: str = ""
    front_end: str = ""
    attention: str = ""
    options: Sequence[str] = ()
    cards: Sequence[Card] | None = None
    packs: Sequence[str] = ()
    failed_packs: Sequence[str] = ()


@dataclass(frozen=True)
class Places:
    """Folders that a run writes to, by what they are: ``output``, ``temp``, ``input``."""

    folders: Mapping[str, Path] = field(default_factory=dict)


def look_at_machine(host: HostFacts | None = None, places: Places | None = None) -> Section:
    """Versions, cards, memory and disks.

    Args:
        host: what the host says of itself; None for a run without it.
        places: folders whose disk and permissions are looked at.
    """
    findings = [
        Finding("ok", "StoryMem {version}", {"version": pack_version() or "of no known version"}),
        *_python(),
        *(_host(host) if host else ()),
        *_packages(sys.version_info[:2], in_host=host is not None),
        *_cards(cards_of(host)),
        *_memory(),
        *(one for name, path in (places.folders if places else {}).items()
          for one in _place(name, path)),
    ]  # fmt: skip
    return Section("machine", "Machine", tuple(findings))


def pack_version() -> str:
    """This package's version, as ``pyproject.toml`` says it; empty without that file."""
    try:
        told = re.search(r'(?m)^version = "([\w.]+)"', (PACK / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    return told[1] if told else ""


def cards_of(host: HostFacts | None) -> list[Card]:
    """The cards that the host uses, else those that the driver knows."""
    if host is not None and host.cards is not None:
        return list(host.cards)
    try:
        return nvidia_cards() or other_cards()
    except (ImportError, OSError):  # no torch, or one that does not start
        return []


def said_gb(count: int) -> str:
    """``23.4 GiB``, as cards and memory are counted."""
    return f"{count / 2**30:.1f} GiB"


# --- inside ----------------------------------------------------------------------------------


def _python() -> Iterator[Finding]:
    values = {"version": platform.python_version(), "system": platform.system(),
              "machine": platform.machine()}  # fmt: skip
    if python_too_old():
        values["oldest"] = ".".join(map(str, OLDEST))
        text = "Python {version} on {system} {machine} is too old: StoryMem needs {oldest} or newer"
        yield Finding("error", text, values)
        return
    yield Finding("ok", "Python {version} on {system} {machine}", values)


def _host(host: HostFacts) -> Iterator[Finding]:
    numbers = version_numbers(host.version)
    if not numbers:
        yield Finding("note", "the version of ComfyUI is not known")
    elif numbers[:2] < OLDEST_HOST:
        yield Finding(
            "error",
            "ComfyUI {version} is too old: StoryMem needs 0.18.0 or newer; update ComfyUI",
            {"version": host.version},
        )
    elif numbers < WAN_DECODER_MENDED:
        yield Finding(
            "warning",
            "ComfyUI {version}: its Wan decoder changes light or colour after the fifth frame of "
            "every shot; 0.18.1 mended it: update ComfyUI",
            {"version": host.version},
        )
    else:
        yield Finding("ok", "ComfyUI {version}", {"version": host.version})
    if host.front_end:
        yield Finding("ok", "front end {version}", {"version": host.front_end})
    if host.attention:
        yield Finding("ok", "attention: {attention}", {"attention": host.attention})
    if host.options:
        options = ", ".join(sorted(host.options))
        yield Finding("ok", "launch options: {options}", {"options": options})


def installed_version(package: str) -> str:
    """A package's version, without importing it; empty when it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def version_numbers(text: str) -> tuple[int, ...]:
    """``(2, 11, 0)`` of ``2.11.0+cu130``; empty for what does not begin with a number."""
    found = re.match(r"\d+(?:\.\d+)*", text.strip().removeprefix("v"))
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _packages(python: tuple[int, ...], *, in_host: bool = False) -> Iterator[Finding]:
    for name, oldest, use in PACKAGES:
        if in_host and name == ONLY_OUTSIDE:
            continue
        found = installed_version(name)
        values = {"package": name, "version": found, "use": use,
                  "oldest": ".".join(map(str, oldest))}  # fmt: skip
        if not found and name == "opentimelineio" and python >= NO_TIMELINES:
            text = "{package} has no release for this Python; only {use} need it"
            yield Finding("note", text, values)
        elif not found:
            text = "{package} is not installed" + ("; {use} need it" if use else "")
            level = "warning" if use else "note" if name == "transformers" else "error"
            yield Finding(level, text, values)
        elif oldest and version_numbers(found) < oldest:
            text = "{package} {version} is too old: {oldest} or newer is needed"
            yield Finding("warning", text, values)
        else:
            yield Finding("ok", "{package} {version}", values)
        if name == "torch" and found and version_numbers(found)[:2] < TORCH_READS_SAFELY:
            text = (
                "torch {version} could run code in some weights files; this package reads them "
                "with care, other programs may not: torch 2.6 or newer is safer"
            )
            yield Finding("note", text, values)


def _cards(cards: Sequence[Card]) -> Iterator[Finding]:
    for number, card in enumerate(cards, 1):
        values = {"number": number, "name": card.name, "total": said_gb(card.total),
                  "free": said_gb(card.free or 0), "held": said_gb(card.held)}  # fmt: skip
        text = "card {number}: {name}, {total}"
        if card.free is not None:
            text += ", {free} free now"
        if card.held:
            text += ", and {held} that ComfyUI holds and frees for a run"
        yield Finding("ok", text, values)
    try:
        import torch
    except (ImportError, OSError):  # told among the packages
        return
    build = "CUDA" if torch.version.cuda else "ROCm" if torch.version.hip else ""
    if nvidia_cards() and not build:
        yield Finding(
            "error",
            "this torch is built without CUDA, so the NVIDIA card is not used and a shot would "
            "take days: install torch for CUDA, as ComfyUI's page says",
        )
    elif not cards and not _has_metal(torch):
        yield Finding(
            "warning",
            "no graphics card was found: only the tiny model runs in a useful time without one",
        )


def _has_metal(torch) -> bool:
    return bool(torch.backends.mps.is_available())


def _memory() -> Iterator[Finding]:
    memory = main_memory()
    if memory is None:
        yield Finding("note", "how much memory (RAM) there is could not be found out")
        return
    values = {"total": said_gb(memory.total), "free": said_gb(memory.free)}
    if memory.total < LITTLE_MEMORY:
        text = (
            "memory (RAM): {total}, {free} free now; 32 GB are the least that Wan 2.2 A14B in fp8 "
            "is expected to run with, and 64 GB are better"
        )
        yield Finding("warning", text, values)
    else:
        yield Finding("ok", "memory (RAM): {total}, {free} free now", values)


def _place(name: str, path: Path) -> Iterator[Finding]:
    values, private = {"folder": name}, {"path": str(path)}
    if not path.is_dir():
        yield Finding("error", "the {folder} folder is not there", values, private)
        return
    if not is_writable(path):
        text = "nothing can be written to the {folder} folder: check its permissions and its disk"
        yield Finding("error", text, values, private)
    free = free_space(path)
    if free is None:
        yield Finding("note", "the disk of the {folder} folder does not say what is free", values)
    else:
        text = "the disk of the {folder} folder has {free} GB free"
        values["free"] = f"{free / GB:.0f}"
        if free < LITTLE_SPACE:
            yield Finding("warning", f"{text}, which is little", values, private)
        else:
            yield Finding("ok", text, values, private)
    if is_on_network(path):
        text = (
            "the {folder} folder is on a network disk: films are written more slowly there, and "
            "two machines must not make the same story in it at once"
        )
        yield Finding("warning", text, {"folder": name}, private)
