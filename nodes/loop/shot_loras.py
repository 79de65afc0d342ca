"""Apply Shot LoRAs in a loop: what its shots' keys say of it, and what is told beforehand.

A loop is described as if the node were not there: it changes no model for a shot without LoRAs. So
it may come into the workflow of a finished film, and only shots that have LoRAs are made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from comfy_execution.graph_utils import is_link

from ...storymem.loop.plan import Step
from ...storymem.loop.shot_loras import LoraFiles, LoraMark, of_shots
from ...storymem.script.loras import ShotLora
from ...storymem.script.story import Story
from ..sampling import shot_loras as host_loras
from .wires import OPEN_SHOT, SAMPLERS, Notice, Wires

APPLY = host_loras.NODE_ID
MODELS = ("model_high", "model_low")  # inputs of the node, and its outputs in their order


class WithoutShotLoras:
    """A prompt in which models go past Apply Shot LoRAs of one loop.

    Args:
        dynprompt: the host's.
        open_id: where the loop's shots begin.
    """

    def __init__(self, dynprompt, open_id: str):
        self._dynprompt, self._open_id = dynprompt, open_id
        self._applying: dict[str, bool] = {}  # asked of every node and wire, in graphs of thousands

    def __getattr__(self, name: str):
        return getattr(self._dynprompt, name)

    def applies(self, node_id: str) -> bool:
        """Whether a node applies the LoRAs of this loop's shots."""
        if node_id not in self._applying:
            node = self._dynprompt.get_node(node_id)
            is_of_loop = node["inputs"].get("shot") == [self._open_id, OPEN_SHOT]
            self._applying[node_id] = node["class_type"] == APPLY and is_of_loop
        return self._applying[node_id]

    def get_node(self, node_id: str) -> dict:
        """A node, with what feeds such a node in the place of that."""
        node = self._dynprompt.get_node(node_id)
        passed = {n: self.passed(v)[0] for n, v in node["inputs"].items() if self._is_after(v)}
        if not passed:
            return node
        inputs = {name: passed.get(name, value) for name, value in node["inputs"].items()}
        return {**node, "inputs": {name: v for name, v in inputs.items() if v is not None}}

    def written(self, node_id: str) -> dict:
        """The inputs of a node as the prompt has them."""
        return self._dynprompt.get_node(node_id)["inputs"]

    def passed(self, value: object) -> tuple[object, list[int]]:
        """What an input's value comes from, and the outputs of such nodes that it goes past."""
        slots = []
        while self._is_after(value):
            slots.append(value[1])
            value = self.written(value[0]).get(MODELS[min(value[1], 1)])
        return value, slots

    def _is_after(self, value: object) -> bool:
        return is_link(value) and self.applies(value[0])


def lora_place(prompt: WithoutShotLoras, described: Sequence[str]) -> str:
    """Where in a loop's description LoRAs are applied; empty for nowhere.

    Args:
        described: ids of the nodes, in the order of the description.
    """
    places = [
        [position, name, slots]
        for position, node_id in enumerate(described)
        for name, value in sorted(prompt.written(node_id).items())
        if (slots := prompt.passed(value)[1])
    ]
    return json.dumps(places) if places else ""


def read_loras(story: Story, place: str) -> LoraFiles:
    """What a loop knows of its story's LoRAs; a name that means no file has no mark.

    Args:
        place: where they are applied.
    """
    if not place:
        return LoraFiles()
    entries = {entry for shot in story.shots for entry in shot.loras}
    return LoraFiles(place, {entry: mark for entry in entries if (mark := _mark(entry))})


def lora_files(story: Story) -> list[str]:
    """Paths of the files that a story's LoRAs mean, those that can be found."""
    return list(dict.fromkeys(
        path
        for shot in story.shots
        for entry in shot.loras
        for path in _paths(entry)
    ))  # fmt: skip


def impossible_loras(wires: Wires, steps: Sequence[Step]) -> tuple[str, str] | None:
    """The node that applies LoRAs, and why it cannot apply those of a shot that is planned."""
    if not wires.lora_nodes:
        return None
    shots = [s.plan.shot for s in steps if s.record is None and s.plan.shot.loras]
    single: dict[tuple, list[int]] = {}
    whole: dict[tuple, list[int]] = {}  # lists, whose LoRAs must not be one file
    for shot in shots:
        for entry in shot.loras:
            single.setdefault((entry,), []).append(shot.index + 1)
        whole.setdefault(shot.loras, []).append(shot.index + 1)
    lines = _faults(single) or _faults(whole)
    return (wires.lora_nodes[0], "\n".join(lines)) if lines else None


def lora_notices(wires: Wires, steps: Sequence[Step]) -> Iterator[Notice]:
    """What an artist should know of the LoRAs of shots that are planned."""
    shots = [s.plan.shot for s in steps if s.record is None and s.plan.shot.loras]
    if not shots:
        return
    numbers = [shot.index + 1 for shot in shots]
    if not wires.lora_nodes:
        yield wires.notice(
            wires.open_id,
            f"the script has LoRAs for {of_shots(numbers)}, but no Apply Shot LoRAs is in the "
            "loop, so they have no effect; put it between the models and M2V Sampler, and connect "
            "its shot to this node's",
        )
        return
    for entry in dict.fromkeys(entry for shot in shots for entry in shot.loras):
        try:
            note = host_loras.find_files(entry).note
        except ValueError:
            continue  # refused
        if note:
            yield wires.notice(wires.lora_nodes[0], note)
    for node_id in wires.of_kind(*SAMPLERS):
        names = [name for name in MODELS if wires.source(node_id, name)]
        reached = {name for name in names if _is_reached(wires, node_id, name)}
        for name in names if reached else ():
            expert = name.removeprefix("model_")
            if name not in reached and any(getattr(e, expert) for s in shots for e in s.loras):
                yield wires.notice(
                    node_id,
                    f"{name} does not come from Apply Shot LoRAs, so the {expert}-noise expert "
                    f"gets none of the LoRAs of {of_shots(numbers)}; connect it through that node",
                )


# --- inside --------------------------------------------------------------------------------------


def _faults(lists: dict[tuple[ShotLora, ...], list[int]]) -> list[str]:
    """Why LoRAs of some shots, by their numbers, cannot be applied."""
    lines = []
    for loras, numbers in lists.items():
        try:
            host_loras.files_of(loras)
        except ValueError as error:
            lines.append(f"the LoRAs of {of_shots(numbers)} cannot be applied: {error}")
    return lines


def _mark(entry: ShotLora) -> LoraMark | None:
    try:
        found = host_loras.find_files(entry)
        return LoraMark(*(host_loras.mark_of(f) if f else "" for f in (found.high, found.low)))
    except (ValueError, OSError):
        return None


def _paths(entry: ShotLora) -> list[str]:
    try:
        return [host_loras.path_of(file) for file in host_loras.find_files(entry).files]
    except (ValueError, OSError):
        return []


def _is_reached(wires: Wires, node_id: str, name: str) -> bool:
    """Whether LoRAs of single shots are applied on the way to an input."""
    prompt = wires.dynprompt
    values = [prompt.written(node_id).get(name)]
    for here in wires.before(node_id, name):
        values += prompt.written(here).values()
    return any(prompt.passed(value)[1] for value in values)
