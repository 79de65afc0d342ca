"""Tells the page how far a story is."""

from __future__ import annotations

import json
import os

import folder_paths

from ...storymem.loop.shots import CHOSEN, LOCKED
from ..host import executor as host_cache
from ..host.server import find_server
from ..page.running import forget_time_left, note_time_left

EVENT = "storymem.progress"
PROMPT_CHARACTERS = 60
ENDED = ("stopped", "done")


def send_progress(
    run,
    state: str,
    place: int | None = None,
    *,
    failed: bool = False,
    message: str = "",
    at_fault: str = "",
):
    """Send where a run is to the page that queued it; without a page nothing happens.

    Args:
        run: a ``LoopRun``.
        state: started, shot, finished, stopped or done.
        place: in the run's list of shots, from 0; ``None`` means no shot in particular.
        failed: the shot could not be made.
        at_fault: id of the node that stopped it, when it is one of the loop.
    """
    folder = os.path.relpath(run.folder, folder_paths.get_output_directory())
    folder = folder.replace(os.sep, "/")
    left = _time_left(run, state, place, folder)
    server = find_server()
    asking = host_cache.asking_page(server)
    if asking is None:
        return
    dynprompt, graph, steps = run.graph.dynprompt, run.graph, run.steps
    # The host may still know how a shot began that failed in the last run, and not begin it again.
    word = {"started": "running", "shot": "running", "stopped": failed and "failed"}.get(state)
    facts = {
        "prompt_id": run.prompt_id,
        "node": dynprompt.get_display_node_id(graph.close_id),
        "open": dynprompt.get_display_node_id(graph.open_id),
        "story": run.loop.story.name,
        "folder": folder,
        "pass": run.loop.settings.pass_name,
        "of": len(steps),
        "finished": sum(step.record is not None for step in steps),
        "shot": 0,
        "label": "",
        "position": 0,
        "prompt": "",
        "state": state,
        "workflow": workflow_id(run.metadata),
        "script": run.script_mark,
        "states": _states(steps, place, word),
        "message": message,
        "at_fault": at_fault,
        "notice": run.notice_now(state),
        "time_left": left,
    }
    if place is not None:
        shot = steps[place].plan.shot
        prompt = " ".join(shot.prompt.split())[:PROMPT_CHARACTERS]
        facts |= {"shot": shot.index + 1, "label": shot.label, "position": place + 1}
        facts["prompt"] = prompt
    server.send_sync(EVENT, facts, asking)


def _time_left(run, state: str, place: int | None, folder: str) -> dict[str, float] | None:
    """Seconds left, as figures; ``None`` while they are unknown, and at the end."""
    if state in ENDED:
        forget_time_left(folder, run.script_mark)
        return None
    left = run.clock.left(place if state in ("started", "shot") else None)
    note_time_left(folder, run.script_mark, left)
    return left.as_figures() if left else None


def _states(steps, current: int | None, word: str | None) -> dict[str, str]:
    """One word for each shot by its label; ``word`` is that of the current one, if it has any."""
    states = {}
    for i, step in enumerate(steps):
        if step.record is not None:
            states[step.label] = step.reason if step.reason in (LOCKED, CHOSEN) else "done"
        elif i == current:
            states[step.label] = word or "waiting"
        elif (other := step.depends_on) is not None:
            states[step.label] = f"depends {other.plan.shot.index + 1}"
        else:
            states[step.label] = "waiting"
    return states


def workflow_id(metadata) -> str:
    """The id of the workflow that was queued: a page may show another one by now, whose nodes have
    the same numbers. Empty when the host embeds no workflows."""
    try:
        return str(json.loads(metadata["workflow"]).get("id") or "")
    except (KeyError, ValueError, AttributeError):
        return ""
