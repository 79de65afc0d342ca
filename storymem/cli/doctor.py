"""``python -m storymem doctor``: what a setup has, lacks and can do, to read or to paste."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

from ..files.json_text import parse_json
from ..files.messages import reason_of
from ..files.packages import IN_COMFYUI, PACK, explain_missing, missing
from ..files.small_file import read_small_file
from ..setup.host_folders import EXTRA, HostFolders, folders_of, host_of
from ..setup.machine import Places, look_at_machine
from ..setup.report import Finding, Report, Section
from ..setup.workflow import read_nodes
from ..tiny.files import FILES, SHIPPED
from .exit_codes import DONE, LACKING, REFUSED

TINY = {kind: SHIPPED / kind for kind in FILES}  # which the nodes add to the host's folders
LARGEST_WORKFLOW = 1 << 26  # bytes
logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``python -m storymem doctor`` to its parser."""
    parser.epilog = (
        "Only headers of files are read; nothing is loaded, sent or changed. Exit code: 0 when "
        "nothing lacks, 1 when something does, 2 for a wrong option."
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--comfyui", type=Path, metavar="DIR", help="folder of a ComfyUI")
    where.add_argument(
        "--models", type=Path, metavar="DIR", help="folder of models, with loras, vae ... in it"
    )
    parser.add_argument(
        "--workflow", type=Path, metavar="FILE", help="a workflow: what it needs is looked for"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where stories go: its disk, and how long its shots took (default: ComfyUI's output)",
    )
    parser.add_argument(
        "--names",
        action="store_true",
        help="show names of files and paths, too: for you, not for a bug report",
    )
    parser.add_argument("--json", action="store_true", help="write the report as JSON")


def run(options: argparse.Namespace) -> int:
    """The command: 0 when nothing lacks, 1 when something does, 2 for a wrong option."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.WARNING)
    try:
        report = _report(options)
    except ValueError as error:
        logger.error("error: %s", error)
        return REFUSED
    if options.json:
        said = json.dumps(report.as_dict(names=options.names), ensure_ascii=True, indent=1) + "\n"
    else:
        said = report.as_text(names=options.names)
    sys.stdout.write(said.encode(sys.stdout.encoding or "utf-8", "backslashreplace").decode(
        sys.stdout.encoding or "utf-8"))  # fmt: skip
    return LACKING if report.level == "error" else DONE


def _report(options: argparse.Namespace) -> Report:
    home, models = options.comfyui, options.models
    for name, folder in (("--comfyui", home), ("--models", models), ("--output", options.output)):
        if folder is not None and not folder.is_dir():
            raise ValueError(f"{name} must be a folder, but there is none at {folder}")
    found = HostFolders()
    if home is None and models is None and (PACK.parent.parent / "models").is_dir():
        home = PACK.parent.parent  # this pack is among a ComfyUI's custom nodes
    if options.workflow and home is None and models is None:
        raise ValueError("--workflow needs --comfyui or --models, to look for its files")
    if home is not None:
        if not (home / "models").is_dir():
            raise ValueError(f"--comfyui must be ComfyUI's own folder, but {home} has no models")
        found = folders_of(home / "models", home / EXTRA)
    elif models is not None:
        found = folders_of(models)
    else:
        text = (
            "no model folder was named, so only the tiny model is seen: give --comfyui or --models"
        )
        found.findings.append(Finding("note", text))
    for kind, place in TINY.items():
        found.folders.setdefault(kind, []).append(place)
    output = options.output or (home / "output" if home else None)
    host, workflow = host_of(home) if home else None, None
    if options.workflow:
        workflow = _workflow(options.workflow)
    try:
        from ..setup.checkup import CheckupInputs, check
    except (ImportError, OSError) as error:  # a package that is not there, or does not start
        places = Places({"output": output} if output else {})
        return Report((_unread(error), look_at_machine(host, places)))
    inputs = CheckupInputs(
        folders=found.folders,
        host=host,
        output=output,
        custom_nodes=[home / "custom_nodes"] if home else (),
        workflow=workflow,
    )
    report = check(inputs)
    if not found.findings:
        return report
    sections = [replace(one, findings=(*found.findings, *one.findings)) if one.key == "files"
                else one for one in report.sections]  # fmt: skip
    return Report(tuple(sections))


def _unread(error: ImportError | OSError) -> Section:
    """That most of the check rests on a package which this Python cannot import."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if lacking := missing(IN_COMFYUI):
        logger.error("error: %s", explain_missing(lacking))
    text = (
        "models and workflows were not looked at, as a package that this needs cannot be imported "
        "({error}): {package}"
    )
    values = {"error": type(error).__name__, "package": package or "its name is not known"}
    return Section("files", "Model files", (Finding("error", text, values),))


def _workflow(path: Path) -> object:
    try:
        workflow = parse_json(read_small_file(path, LARGEST_WORKFLOW))
        read_nodes(workflow)
        return workflow
    except (OSError, ValueError) as error:
        raise ValueError(f"--workflow {path} cannot be read: {reason_of(error)}") from None
