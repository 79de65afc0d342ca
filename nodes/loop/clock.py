"""How long the shots of a graph take (see :mod:`storymem.loop.time_left`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from ...storymem.files.harmless import harmless
from ...storymem.loop.plan import Loop, Step
from ...storymem.loop.run_clock import RunClock
from ...storymem.loop.state import LoopState
from ...storymem.loop.time_left import LARGEST, Timed, Work, pace_of
from ..host.machine import machine
from .read_graph import read_one_wire
from .wires import SAMPLERS, Wires

# When the shots of a prompt that is being executed were begun, by the node that finishes them.
_BEGAN: WeakKeyDictionary = WeakKeyDictionary()


def start_clock(wires: Wires, loop: Loop, steps: Sequence[Step], shots: Mapping) -> RunClock:
    """The clock of a run.

    Args:
        shots: what the story's folder knows of its results, by label.
    """
    asked = asked_work(wires)
    return RunClock(loop, steps, asked, machine(), shots, sees_memory=sees_memory(wires))


@harmless(Work())
def asked_work(wires: Wires) -> Work:
    """What the loop's samplers are set to; 0 where a wire says it, or a node of somebody else."""
    samplers = wires.of_kind(*SAMPLERS)

    def largest(node_ids: Sequence[str], name: str) -> int:
        values = [wires.inputs(node_id).get(name) for node_id in node_ids]
        return max((v for v in values if type(v) is int and 0 < v <= LARGEST), default=0)

    size = {name: largest(samplers, name) for name in ("width", "height")}
    frames, steps = largest(samplers, "length"), largest(wires.used, "steps")
    return Work(frames, size["width"], size["height"], steps=steps)


@harmless(False)
def sees_memory(wires: Wires) -> bool:
    """Whether the size of the memory is felt; nobody knows of a node of somebody else."""
    return any(map(wires.uses_memory, wires.of_kind(*SAMPLERS)))


@harmless(None)
def begin_one_wire(hidden) -> None:
    """A shot between Next Shot and Finish Shot is being made from now on."""
    _BEGAN.setdefault(hidden.dynprompt, {})[hidden.unique_id] = time.monotonic()


@harmless(None)
def finish_one_wire(hidden, state: LoopState, body: str, frames: Sequence[int]) -> dict | None:
    """What the record of such a shot keeps of its time; ``None`` for one that was not begun in
    this prompt.

    Args:
        state: before the shot.
        frames: shape ``[T, H, W, C]`` of the shot as sampled.
    """
    began = _BEGAN.get(hidden.dynprompt, {})
    if hidden.unique_id not in began:
        return None
    graph, draft = read_one_wire(hidden.dynprompt, hidden.unique_id), state.loop.settings.draft
    graph.draft = draft
    wires = graph.wires()
    asked = asked_work(wires)
    length = state.next_step().plan.shot.length or asked.frames
    work = Work(
        draft.length_of(length) if draft else length,
        asked.width,
        asked.height,
        state.memory_frames() if sees_memory(wires) else 0,
        asked.steps,
    ).sized(Work(frames[0], frames[2], frames[1]))
    seconds = max(time.monotonic() - began[hidden.unique_id], 0.001)
    is_first = next(iter(began)) == hidden.unique_id
    return Timed(
        work, seconds, machine(), pace_of(body, draft), is_first, int(time.time())
    ).as_fact()
