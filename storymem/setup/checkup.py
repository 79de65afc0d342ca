"""Everything about a setup in one report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import fit, needs, packs, records
from .listing import Gap
from .machine import HostFacts, Places, cards_of, look_at_machine
from .model_files import Known, ModelFile, describe_files, find_beyond, find_files
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
        custom_nodes: folders that packs of custom nodes are in.
        workflow: in the page's form or the API's.
        node_types: classes that the host has; None when nobody knows.
        known: kinds of files (``model_files.find_files``), filled and used again by the caller.
        tell: called with files looked at and their number; what it raises ends the checkup.
        machine: the mark of this machine in records (``loop.time_left.machine_of``); empty when
            nobody knows.
    """

    folders: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    host: HostFacts | None = None
    output: Path | None = None
    temp: Path | None = None
    custom_nodes: Sequence[Path] = ()
    workflow: Mapping | None = None
    node_types: Collection[str] | None = None
    known: dict[str, Known] | None = None
    tell: Callable[[int, int], None] | None = None
    machine: str = ""


def check(inputs: CheckupInputs) -> Report:
    """Look at all of it. Nothing is loaded, sent, changed or run; a part that fails is told as an
    error and hides no other."""
    files: list[ModelFile] = []
    gaps: list[Gap] = []
    failed = [True]  # until all files are known

    def look_at_files() -> Section:
        found = find_files(inputs.folders, known=inputs.known, tell=inputs.tell, gaps=gaps)
        found += find_beyond(needs.names_of(inputs.workflow), found, gaps) if gaps else ()
        files[:], failed[:] = found, ()
        return describe_files(files, gaps)

    places = {name: path for name, path in
              (("output", inputs.output), ("temp", inputs.temp)) if path}  # fmt: skip
    parts: list[tuple[str, str, Callable[[], Section]]] = [
        ("machine", "Machine", lambda: look_at_machine(inputs.host, Places(places))),
        ("files", "Model files", look_at_files),
    ]
    if inputs.custom_nodes or inputs.host is not None:
        parts.append((packs.KEY, packs.TITLE, lambda: packs.look_at_packs(
            inputs.custom_nodes, inputs.host, files)))  # fmt: skip
    if inputs.workflow is not None:
        parts += [
            (needs.KEY, needs.TITLE,
             lambda: needs.look_at_needs(
                 inputs.workflow, inputs.node_types, None if failed else files, gaps)),
            (fit.KEY, fit.TITLE,
             lambda: fit.look_at_fit(
                 inputs.workflow, files, cards_of(inputs.host), inputs.output)),
        ]  # fmt: skip
    if inputs.output is not None:
        parts.append((records.KEY, records.TITLE, lambda: records.look_at_records(
            inputs.output, inputs.machine, inputs.workflow)))  # fmt: skip
    return Report(tuple(_guarded(*part) for part in parts))


def _guarded(key: str, title: str, look: Callable[[], Section]) -> Section:
    try:
        return look()
    except Exception as error:
        text = "this part could not be looked at ({error}); please report it"
        return Section(key, title, (Finding("error", text, {"error": type(error).__name__}),))
