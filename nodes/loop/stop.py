"""What is told when a run of a loop stops before its end."""

from __future__ import annotations

import logging

from ...storymem.files.disk import StoreError
from ...storymem.film.manifest import update_manifest
from ..host import executor as host_cache
from .history import finished_shots
from .progress import send_progress

UNKNOWN_CAUSE = "it failed or was cancelled; see ComfyUI's own message"
logger = logging.getLogger(__name__)


def report_stop(run) -> None:
    """Say why a run stopped before its end, and where: in the log, the folder, and on the page.

    Args:
        run: a ``LoopRun``.
    """
    stop = host_cache.what_stopped(run.executor)
    is_own = stop is not None and stop.node_id in run.graph.shown_ids()
    cause = UNKNOWN_CAUSE if stop is None else stop.message
    if stop is not None and cause and not is_own:
        cause = f"another node of the workflow failed ({stop.node_type})"
    where, failed = "before its first shot", ""
    step = None if run.current is None else run.steps[run.current]
    if step is not None and step.record is None:
        where = f"in {step.plan.shot}"
        cause = cause.removeprefix(f"{step.plan.shot} ")
        failed = step.label if is_own and stop.message else ""
    elif step is not None:
        where = f"after {step.plan.shot}" if run.todo else "while its shots were joined"
    finished = sum(step.record is not None for step in run.steps)
    line = (
        f"the story '{run.loop.story.name}' stopped {where}: {cause or 'cancelled'}\n"
        f"{finished} of {len(run.steps)} shots are finished and kept; queue again to "
        f"continue there."
    )
    logger.warning("StoryMem: %s", line)
    if is_own and cause not in ("", line):
        stop.retell(line[0].upper() + line[1:] + "\n")
    try:
        update_manifest(run.folder, run.loop.story, stopped=line, failed=failed)
    except (OSError, StoreError) as trouble:
        logger.warning("StoryMem: %s could not be updated: %s", run.folder, trouble)
    run.history.finished = finished_shots(run.folder, run.steps)
    # Last: the page reads the folder when it hears of the end.
    at_fault = stop.node_id if is_own and stop.message else ""
    send_progress(run, "stopped", run.current, failed=bool(failed), message=line, at_fault=at_fault)
