"""The machine: Python, packages, cards, memory, disks, and the host where there is one."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .report import Finding, Section


@dataclass(frozen=True)
class Card:
    """A graphics card: its memory in bytes, ``free`` as it is now."""

    name: str
    total: int
    free: int


@dataclass(frozen=True)
class HostFacts:
    """What only the host knows of itself.

    Args:
        version: ComfyUI's, as ``0.33.0``.
        front_end: version of its page.
        attention: what computes attention, as ``pytorch`` or ``sage``.
        options: launch options by name, without values that are paths.
        cards: those that it uses; None to ask torch.
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
        Finding("ok", "Python {version} on {system}",
                {"version": platform.python_version(), "system": platform.system()}),
    ]  # fmt: skip
    if host and host.version:
        findings.append(Finding("ok", "ComfyUI {version}", {"version": host.version}))
    return Section("machine", "Machine", tuple(findings))
