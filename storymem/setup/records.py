"""How long shots take on this machine, by the records of those that were made on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..files.messages import counted
from ..loop.run_clock import newest_of_store
from ..loop.time_left import NEWEST, Timed, Work, find_rate, spoken
from .fit import asked_of
from .report import Finding, Section
from .workflow import WorkflowError, read_nodes

STORES = (".storymem", ".shots")  # in an output folder: finished shots of the host, of --out
KEY, TITLE = "records", "Minutes a shot"


def look_at_records(output: Path, machine: str = "", workflow: object = None) -> Section:
    """What the newest shots took, by pace (the same models and settings beside sizes and steps).

    Args:
        output: the host's output folder, a story's, or that of a headless run.
        machine: the mark of this machine; empty to take the records as they are.
        workflow: whose shots are estimated by them.
    """
    places = (output, *output.absolute().parents[:2])
    above = [place / store for place in places for store in STORES]
    stores = [place for place in (*above, output) if (place / "shots").is_dir()]
    timed = [one for place in stores[:1] for one in newest_of_store(place)]
    if not timed:
        text = "no finished shot here says how long it took, so nothing is known yet"
        return Section(KEY, TITLE, (Finding("note", text),))
    own = [one for one in timed if one.machine == machine] if machine else timed
    findings = list(_paces(own, is_known=bool(machine)))
    if not own:
        text = "the finished shots here are of another machine or card: {count} were looked at"
        findings.append(Finding("note", text, {"count": len(timed)}))
    elif workflow is not None:
        findings += _estimate(own, workflow)
    return Section(KEY, TITLE, tuple(findings))


def _paces(timed: Sequence[Timed], *, is_known: bool) -> Iterator[Finding]:
    groups: dict[tuple[str, str], list[Timed]] = {}
    for one in timed:
        groups.setdefault((one.machine, one.pace), []).append(one)
    for (machine, pace), group in groups.items():
        rate = find_rate(group, machine, pace)
        if rate is None:
            continue
        used = min(NEWEST, len([one for one in group if not one.first]) or len(group))
        values = _sizes(rate.like) | {
            "time": spoken(rate.seconds_of(rate.like)), "shots": counted(used, "shot"),
        }  # fmt: skip
        text = (
            "{width}x{height}, {frames} frames, {steps} steps, {memory} memory frames: {time} a "
            "shot, by {shots}"
        )
        if not is_known:
            text += "; on the machine that made them, which may be another one"
        yield Finding("ok", text, values)


def _estimate(timed: Sequence[Timed], workflow: object) -> Iterator[Finding]:
    try:
        asked = asked_of(read_nodes(workflow))
    except WorkflowError:  # told where its needs are
        return
    newest = timed[0]
    rate = find_rate(timed, newest.machine, newest.pace)
    if asked is None or not asked.steps or rate is None or not rate.like.steps:
        return
    work = Work(asked.length, asked.width, asked.height, asked.memory, asked.steps)
    values = {"time": spoken(rate.seconds_of(work)), "memory": asked.memory}
    text = (
        "this workflow: about {time} a shot once {memory} memory frames are full, if its models "
        "are those of the newest shot"
    )
    yield Finding("ok", text, values)


def _sizes(work: Work) -> dict[str, int]:
    return {"width": work.width, "height": work.height, "frames": work.frames,
            "steps": work.steps, "memory": work.memory}  # fmt: skip
