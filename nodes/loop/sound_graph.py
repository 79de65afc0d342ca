"""The nodes that make a shot's sound: found from shot_audio, described and cloned.

They run when the shot is finished, on its frames from the disk, whether its pictures were made a
moment ago or in another run: the same sound either way, and no picture is made for it.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from comfy_execution.graph_utils import is_link

import nodes

from ...storymem.files.hashing import digest_of
from ...storymem.loop.neutral_inputs import inputs_that_count
from ..host import executor as host_cache
from .graph import CLOSE, FLOW_SLOT, OPEN, LoopGraph, is_nan
from .host_loops import END, START, as_digest
from .named_files import files_of
from .wires import links_of, name_of

SOUND = "shot_audio"  # input of Close and of Finish Shot
TRACK = "audio"
FRAMES, BANK = "frames", "bank"
SHOT_SLOT, PROMPT_SLOT, NEGATIVE_SLOT, NUMBER_SLOT, SAID_SLOT = 1, 4, 5, 6, 8  # of Open
logger = logging.getLogger(__name__)


@dataclass
class SoundGraph:
    """What makes the sound of a shot, in one loop of a prompt."""

    graph: LoopGraph
    source: list  # the link that comes to shot_audio
    inside: list[str]  # nodes that run once per shot; users before sources
    dependencies: list[str]  # they, and what they use from outside; users before sources

    @property
    def uses_frames(self) -> bool:
        """Whether the sound is made from the shot's pictures, and so begins with them."""
        return self._is_used(FRAMES)

    @property
    def uses_bank(self) -> bool:
        return self._is_used(BANK)

    @property
    def slots(self) -> list[int]:
        """Outputs of Open that the sound is made from."""
        links = [link for n in self.inside for link in _links(self.graph.node(n))]
        return sorted({slot for source, slot in [*links, self.source] if source == self._open})

    def clone(self, shot: int, begin: str, slots: Mapping[str, int]) -> tuple[dict, list]:
        """Copies of the nodes for one shot, and the link that its sound comes from.

        Args:
            begin: id of the node that stands in for Open and for the shot's pictures.
            slots: its outputs for the shot's frames and its memory, by name.
        """
        ids = {n: self.graph.child_id(f"{shot}.s{i}") for i, n in enumerate(self.inside)}
        ids[self._open] = begin

        def moved(value):
            if not is_link(value):
                return value
            for name, slot in slots.items():
                if value == self._cut(name):
                    return [begin, slot]
            return [ids.get(value[0], value[0]), value[1]]

        copies = {}
        for n in self.inside:
            node = self.graph.dynprompt.get_node(n)
            copies[ids[n]] = {
                "class_type": node["class_type"],
                "inputs": {name: moved(value) for name, value in node["inputs"].items()},
                "override_display_id": self.graph.dynprompt.get_display_node_id(n),
            }
        return copies, moved(self.source)

    async def describe(self) -> str:
        """Everything that decides the sound except the shot itself, as a digest.

        Node numbers are replaced by positions, so that the same graph drawn again is the same.
        """
        fingerprint_of = host_cache.fingerprints(self.graph.dynprompt)
        numbers = {node_id: i for i, node_id in enumerate(self.dependencies)}
        numbers[self._open] = "open"

        def named(value):
            if not is_link(value):
                return value
            for name in (FRAMES, BANK):
                if value == self._cut(name):
                    return ["#", name]
            return ["#", numbers[value[0]], value[1]]

        lines, files = [], {}
        for node_id in self.dependencies:
            node = self.graph.node(node_id)
            is_asked = node["class_type"] not in (CLOSE, START, END)
            told = await fingerprint_of(node_id) if is_asked else False
            if is_nan(told):
                logger.warning(
                    "StoryMem: %s reports a change on every run, so every shot's sound is made "
                    "again; fix its seed",
                    name_of(self.graph.dynprompt, node_id),
                )
                told = uuid.uuid4().hex
            counted = inputs_that_count(node["class_type"], node["inputs"])
            inputs = {name: named(value) for name, value in counted.items()}
            lines.append([node["class_type"], repr(told), inputs])
            files |= {path: _mark(path) for path in files_of(node)}
        of_files = sorted([os.path.basename(path), mark] for path, mark in files.items())
        text = json.dumps(
            [named(self.graph.turn.value(self.source)), lines, of_files],
            sort_keys=True,
            ensure_ascii=False,
            default=as_digest,
        )
        return digest_of(text)

    @property
    def _open(self) -> str:
        return self.graph.open_id

    def _cut(self, name: str) -> list | None:
        return self.graph.node(self.graph.close_id)["inputs"].get(name)

    def _is_used(self, name: str) -> bool:
        cut = self._cut(name)
        links = [list(link) for n in self.inside for link in _links(self.graph.node(n))]
        return cut in [*links, self.source]


def read_sound_graph(graph: LoopGraph) -> SoundGraph | None:
    """What makes the sound of a loop's shots; ``None`` when nothing is connected to shot_audio.

    Raises:
        ValueError: when a picture would have to be made for it, and for crossed loops.
    """
    dynprompt, close = graph.dynprompt, graph.node(graph.close_id)["inputs"]
    source = dynprompt.get_node(graph.close_id)["inputs"].get(SOUND)
    named = name_of(dynprompt, graph.close_id)
    if not is_link(source):
        return None
    cuts = [close.get(FRAMES), close.get(BANK)]
    for node_id in _walk(graph, list(source), cuts, is_into_loops=False)[0]:
        if dynprompt.get_node(node_id)["class_type"] == OPEN:
            raise ValueError(
                f"{SOUND} of {named} comes from {name_of(dynprompt, node_id)}, which is another "
                "loop: loops must not cross"
            )
    order, inside = _walk(graph, list(source), cuts)
    makes = {n for n in graph.dependencies if n in order and n in inside}
    pictures = close[FRAMES][0] if is_link(close.get(FRAMES)) else ""
    for node_id in order:
        kind = dynprompt.get_node(node_id)["class_type"]
        if node_id in makes and (node_id == pictures or _gives_latents(kind)):
            raise ValueError(
                f"{SOUND} of {named} comes from {name_of(dynprompt, node_id)}, which makes the "
                "pictures of the shot: they would be made again for every new sound; connect the "
                f"nodes of the sound to the output that goes to frames of {named}, or to outputs "
                "of Shot Loop Open (or Next Shot)"
            )
    return SoundGraph(graph, list(source), [n for n in order if n in inside], order)


def check_track(graph: LoopGraph) -> None:
    """Raise ValueError when the film's own track comes from inside of the loop."""
    dynprompt, close = graph.dynprompt, graph.node(graph.close_id)["inputs"]
    source = close.get(TRACK)
    if not is_link(source):
        return
    order, inside = _walk(graph, list(source), [])
    if source[0] == graph.open_id or any(n in inside for n in order):
        raise ValueError(
            f"{TRACK} of {name_of(dynprompt, graph.close_id)} comes from inside the loop, where "
            f"each shot has another; connect it to {SOUND}, or take it from before the loop"
        )


# --- inside ----------------------------------------------------------------------------------


def _walk(
    graph: LoopGraph, source: list, cuts: list, *, is_into_loops: bool = True
) -> tuple[list[str], set[str]]:
    """What a link depends on without going through ``cuts`` or Open, users before sources; and
    which of these nodes change from shot to shot.

    Args:
        is_into_loops: whether also what other loops depend on, whose film or memory is used.
    """
    order: list[str] = []
    inside: set[str] = set()
    seen: set[str] = set()

    def is_inside(link: list) -> bool:
        is_open = link[0] == graph.open_id and link[1] != FLOW_SLOT
        return is_open or link in cuts or link[0] in inside

    stack: list[tuple[str, bool]] = []
    source = graph.turn.value(source)  # of a turn of the host's own loop there is no node
    if is_link(source) and source not in cuts and source[0] != graph.open_id:
        stack.append((source[0], False))
    while stack:  # depth first, without recursion
        node_id, is_done = stack.pop()
        links = [list(link) for link in _links(graph.node(node_id))]
        if is_done:
            order.append(node_id)
            if any(map(is_inside, links)):
                inside.add(node_id)
        elif node_id not in seen:
            seen.add(node_id)
            stack.append((node_id, True))
            if not is_into_loops and graph.node(node_id)["class_type"] == CLOSE:
                continue
            for link in reversed(links):
                if link not in cuts and link[0] != graph.open_id:
                    stack.append((link[0], False))
    return order[::-1], inside


def _links(node: dict) -> list[tuple[str, int]]:
    return [(source, slot) for _, source, slot in links_of(node)]


def _mark(path: str) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def _gives_latents(kind: str) -> bool:
    return "LATENT" in (getattr(nodes.NODE_CLASS_MAPPINGS[kind], "RETURN_TYPES", None) or ())
