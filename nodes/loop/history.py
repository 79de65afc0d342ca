"""What ComfyUI's history tells of a loop: its shots and its film, under the id of its Close.

The host keeps what each node gave under that node's id, and the film is given by a node that Close
adds. When a prompt is over, the host cancels what still waits, and only then reads what goes into
its history.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import folder_paths

from ...storymem.film.manifest import read_manifest
from ...storymem.loop.plan import Step
from ..host import executor as host_cache

SHOTS = "storymem_shots"  # in the output of a Close


class HistoryEntry:
    """The entry of one loop; made while its Close runs."""

    def __init__(self, executor, close_id: str, end_id: str):
        """``end_id``: of the node that gives the film in the place of Close."""
        self.executor, self.close_id, self.end_id = executor, close_id, end_id
        self.finished: dict = {}  # what is told of a story that stopped
        self._earlier = host_cache.history_of(executor)
        self._waits = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # what watches the run is cancelled too, and says what is there
            now = host_cache.history_of(self.executor)
            if self.executor is not None and now is not self._earlier:
                await host_cache.tell_in_history(
                    self.executor, self.close_id, self.end_id, self.finished
                )


def finished_shots(folder: Path, steps: Sequence[Step]) -> dict[str, list[dict]]:
    """The finished shots of a loop as files of the output folder, for the output of a Close."""
    subfolder = os.path.relpath(folder, folder_paths.get_output_directory())
    made = read_manifest(folder)["shots"]
    shots = []
    for step in steps:
        entry = made.get(step.label, {})
        name = entry.get("beside") or f"shot_{step.label}.mp4"
        if step.record is not None and (folder / name).is_file():
            place = {"filename": name, "subfolder": subfolder, "type": "output"}
            shots.append({"number": step.plan.shot.index + 1, "label": step.label, **place})
    return {SHOTS: shots} if shots else {}
