"""How long the shots of a headless run take (see :mod:`storymem.loop.time_left`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..files.harmless import harmless
from ..loop.plan import Loop, Step
from ..loop.run_clock import RunClock
from ..loop.time_left import Work, machine_of
from . import parallel
from .engine import Engine


def start_clock(
    loop: Loop, steps: Sequence[Step], settings, engine: Engine, shots: Mapping
) -> RunClock:
    """The clock of a run.

    Args:
        settings: a ``RunSettings``.
        shots: what the story's folder knows of its results, by label.
    """
    asked = Work(settings.length, settings.width, settings.height, 0, engine.recipe.steps)
    machine = _machine(engine)
    return RunClock(loop, steps, asked, machine, shots, sees_memory=settings.has_memory)


@harmless("")
def _machine(engine: Engine) -> str:
    placement = engine.placement
    device = placement.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return machine_of(name, placement.offload, parallel.world_size())
