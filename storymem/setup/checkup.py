"""Everything about a setup in one report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .machine import HostFacts, Places, look_at_machine
from .model_files import FileKind, look_at_folders
from .report import Finding, Report, Section


@dataclass(frozen=True)
class CheckupInputs:
    """What is looked at; all of it may be left out.

    Args:
        folders: model folders by their kind (``diffusion_models``, ``loras``, ``vae`` ...), each
            with all its places.
        host: what the host says of itself.
        output: folder of finished stories: its disk, and the shots' times.
        temp: folder of unfinished things.
        workflow: in the page's form or the API's.
        node_types: classes that the host has, with their inputs as ``/object_info`` gives them;
            None when nobody knows.
        known: kinds of files by ``(path, size, date)``, filled and used again by the caller.
        tell: called with files looked at and their number; what it raises ends the checkup.
        machine: the mark of this machine in records (``loop.time_left.machine_of``); empty when
            nobody knows.
    """

    folders: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    host: HostFacts | None = None
    output: Path | None = None
    temp: Path | None = None
    workflow: Mapping | None = None
    node_types: Mapping[str, Mapping] | None = None
    known: dict[tuple, FileKind] | None = None
    tell: Callable[[int, int], None] | None = None
    machine: str = ""


def check(inputs: CheckupInputs) -> Report:
    """Look at all of it. Nothing is loaded, sent, changed or run; a part that fails is told as an
    error and hides no other."""
    places = {"output": inputs.output, "temp": inputs.temp}
    parts: tuple[tuple[str, str, Callable[[], Section]], ...] = (
        ("machine", "Machine", lambda: look_at_machine(
            inputs.host, Places({name: p for name, p in places.items() if p}))),
        ("files", "Model files", lambda: look_at_folders(
            inputs.folders, known=inputs.known, tell=inputs.tell)),
    )  # fmt: skip
    return Report(tuple(_guarded(*part) for part in parts))


def _guarded(key: str, title: str, look: Callable[[], Section]) -> Section:
    try:
        return look()
    except Exception as error:
        text = "this part could not be looked at ({error}); please report it"
        return Section(key, title, (Finding("error", text, {"error": type(error).__name__}),))
