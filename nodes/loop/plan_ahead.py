"""Which shots the next run of a loop will make, and why, before it is queued.

The functions that decide a run decide here as well (:mod:`.decide`); what they need of the graph is
found by :mod:`.known_values`. Nothing is written and nothing is generated. What only a run can tell
is said to be unknown.
"""

from __future__ import annotations

import asyncio
import copy
import json
from dataclasses import replace

from comfy_execution.graph_utils import is_link

import nodes

from ...storymem.files.video import FRAME_RATE
from ...storymem.film.earlier_films import notices_of
from ...storymem.film.folder import has_manifest
from ...storymem.loop.audio_length import needs_sounds
from ...storymem.loop.disk_space import check_disk
from ...storymem.loop.regeneration import find_regenerations
from ...storymem.loop.shots import lock_warnings, summarise_steps
from ..host import executor as host_cache
from ..host.folders import short_places
from ..host.hush import hushed
from . import graph as loop_graph
from .body_names import body_names
from .cards import describe_body
from .clock import start_clock
from .decide import Decision, Flow, decide, disk_needed
from .host_loops import loops_around, untold
from .known_values import KnownValues, NotKnownError
from .look_facts import (
    ANY_CLIP,
    BANK,
    PICTURES,
    Looked,
    RefusedPlanError,
    answer_of,
    not_chosen,
    unknown_facts,
)
from .open_close import ShotLoopOpen
from .opening_inputs import CLIP, END_IMAGES
from .plan_one_wire import look_at_wire
from .read_graph import read_loop
from .rehearsals import after_rehearsals, choice_of
from .wires import name_of
from .wiring import impossible_shot, loop_notices

MOST_WARNINGS = 20
LONGEST_ERROR = 1000
NO_ANSWER = {
    "error": "",  # why the run would stop before its first shot
    "failed": "",  # why nothing can be said, where that is nobody's mistake
    "runs": True,  # False: the loop is bypassed, muted or never closed
    "at_fault": "",  # id of a node that is to blame
    "loop": {},  # ids: open, close
    "story": "",
    "pass": "film",  # which pass is made
    "shots": [],  # of each: number, label, words, state, and on, why, reasons
    "summary": "",  # how many are made, as the run will say it; empty while something is unknown
    "changes": [],  # of inputs since the last run: shots, reasons, edited
    "warnings": [],
    "notices": {},  # by node id, what the run will tell on it
    "disk": None,  # bytes: needed, free
    "unknown": [],  # what only a run can tell: node, name, input, why
    "time": None,  # seconds: shot, least, most; None while nothing tells
}


def look_ahead(prompt: object, node_id: object, workflow: object = None) -> dict:
    """What the next run will do; see ``NO_ANSWER`` for the fields. Never raises.

    Args:
        prompt: as the page would queue it, in API form.
        node_id: a Shot Loop Open or Close in it, or a Begin Story.
        workflow: the workflow that it was made of, for what becomes of seeds by themselves.
    """
    answer = copy.deepcopy(NO_ANSWER)
    with hushed() as heard:
        try:
            answer |= asyncio.run(_look(_checked(prompt), str(node_id), workflow))
        except NotKnownError as unknown:
            answer["unknown"] = [unknown_facts(unknown)]
        except ValueError as error:
            answer["error"] = str(error)
            answer["at_fault"] = getattr(error, "node_id", "")
        except Exception as error:  # anything: strangers' code, and prompts that are none
            answer["failed"] = short_places(f"{type(error).__name__}: {error}"[:LONGEST_ERROR])
    lines = [*answer["warnings"], *(line.removeprefix("StoryMem: ") for line in heard)]
    answer["warnings"] = [short_places(line) for line in dict.fromkeys(lines)][:MOST_WARNINGS]
    answer["error"] = short_places(answer["error"][:LONGEST_ERROR])
    return answer


# --- inside ----------------------------------------------------------------------------------


def _checked(prompt: object) -> dict:
    """A copy of a prompt that can be read.

    Raises:
        RefusedPlanError: for anything else.
    """
    if not isinstance(prompt, dict) or not prompt:
        raise RefusedPlanError("the workflow has no nodes that run")
    for node_id, node in prompt.items():
        is_node = isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        if not is_node or not isinstance(node.get("class_type"), str):
            raise RefusedPlanError(f"node {node_id} of the workflow cannot be read", node_id)
        if node["class_type"] not in nodes.NODE_CLASS_MAPPINGS:
            text = f"node {node_id} is a {node['class_type']}, which this ComfyUI does not have"
            raise RefusedPlanError(text, node_id)
        for name, value in node["inputs"].items():
            if is_link(value) and (value[0] not in prompt or not _is_slot(value[1])):
                text = f"{name} of node {node_id} is connected to a node that does not run"
                raise RefusedPlanError(text, node_id)
    return copy.deepcopy(prompt)


def _is_slot(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


async def _look(prompt: dict, node_id: str, workflow: object) -> dict:
    kind = prompt.get(node_id, {}).get("class_type")
    if kind == loop_graph.BEGIN_STORY:
        # The host checks what an output node depends on: any that the story comes to.
        dynprompt = await _read(prompt, _output_after(prompt, node_id))
        return await look_at_wire(dynprompt, node_id, workflow)
    closes = [node_id] if kind == loop_graph.CLOSE else []
    if kind == loop_graph.OPEN:
        flow = [node_id, loop_graph.FLOW_SLOT]
        closes = [
            n
            for n, node in prompt.items()
            if node["class_type"] == loop_graph.CLOSE and node["inputs"].get("flow") == flow
        ]
    if not closes:
        return {"runs": False}
    dynprompt = await _read(prompt, closes[0])
    turns = untold(loops_around(dynprompt, closes[0]))
    graph = read_loop(dynprompt, closes[0], turns)
    flow, unknown = await _read_flow(dynprompt, graph.open_id)
    if needs_sounds(flow.story):
        known = KnownValues(dynprompt)
        given = dynprompt.get_node(closes[0])["inputs"].get("fps", FRAME_RATE)
        flow = replace(flow, fps=await known.value(given))
    opening = choice_of(flow, graph) if not unknown else None
    if opening is not None:
        bank = opening.known_bank()
        flow = flow if bank is None else replace(flow, bank=bank)
        if bank is None:
            unknown.append(not_chosen(opening))
    flow, waiting = await after_rehearsals(flow, graph, is_known=not unknown)
    if waiting:
        shown = graph.dynprompt.get_display_node_id(graph.open_id)
        unknown.append(NotKnownError(shown, name_of(graph.dynprompt, graph.open_id)))
        unknown[-1].input = BANK
    graph.draft = flow.settings.draft
    body = await describe_body(graph)
    answer = _answer(graph, decide(flow, body, graph.lora_place, writes=False), unknown, workflow)
    return answer | {"warnings": [*waiting, *answer["warnings"]]}


def _output_after(prompt: dict, begin_id: str) -> str:
    """An output node that the last Finish Shot of a story leads to, else any after its beginning.

    Raises:
        RefusedPlanError: when there is none, so that nothing runs.
    """
    after = {begin_id}
    while more := {
        node_id
        for node_id, node in prompt.items()
        if node_id not in after
        and any(is_link(value) and value[0] in after for value in node["inputs"].values())
    }:
        after |= more
    kinds = nodes.NODE_CLASS_MAPPINGS
    ends = [
        n for n in prompt
        if n in after and getattr(kinds[prompt[n]["class_type"]], "OUTPUT_NODE", False) is True
    ]  # fmt: skip
    if not ends:
        raise RefusedPlanError("no output node takes up the story, so nothing runs", begin_id)
    joins = [n for n in ends if prompt[n]["class_type"] == "StoryMemJoinStory"]
    return (joins or ends)[0]


async def _read(prompt: dict, output: str):
    """The prompt as the host's nodes are given it.

    Raises:
        RefusedPlanError: when the host would not run it.
    """
    dynprompt, told = await host_cache.read_prompt(prompt, output)
    for at_fault, lines in told.items():
        raise RefusedPlanError(f"{name_of(dynprompt, at_fault)}: {'; '.join(lines)}", at_fault)
    return dynprompt


async def _read_flow(dynprompt, open_id: str) -> tuple[Flow, list[NotKnownError]]:
    """What Shot Loop Open would hand on, and what of it is not known.

    Raises:
        NotKnownError: for what nothing can be said without, the story above all.
        ValueError: when the story cannot run as it is set up.
    """
    known, unknown = KnownValues(dynprompt), []
    inputs = await known.inputs(open_id, BANK, PICTURES, END_IMAGES, CLIP)
    wired = dynprompt.get_node(open_id)["inputs"]
    pictures = {}
    for name in (BANK, PICTURES, END_IMAGES, CLIP):
        if name not in wired:
            continue
        try:
            found = None
            if name in (PICTURES, END_IMAGES):
                found = await known.start_images(wired[name], inputs["story"])
            if found is None:
                inputs[name] = await known.value(wired[name])
            else:
                pictures[name] = found
        except NotKnownError as error:
            error.input = name
            unknown.append(error)
            if name == CLIP:  # there is one; which does not matter, as its shots are unknown
                inputs[name] = ANY_CLIP
    flow = (await ShotLoopOpen.execute(**inputs)).args[0]
    return replace(flow, **pictures), unknown


def _answer(graph, decided: Decision, unknown: list[NotKnownError], workflow: object) -> dict:
    loop, steps, shown = decided.loop, decided.steps, graph.dynprompt.get_display_node_id
    wires = graph.wires()
    metadata = {"workflow": json.dumps(workflow)} if isinstance(workflow, dict) else {}
    found = find_regenerations(loop, steps, body_names(graph, metadata))
    warnings = notices_of(decided.film, decided.place, loop.story)
    if decided.place.is_dir() and not has_manifest(decided.place):
        warnings.append(
            f"{decided.place} has lost its story.json; the next run rebuilds it from what lies "
            "there, with the locks and takes that it finds, before it decides"
        )
    if not unknown:
        warnings += lock_warnings(loop, steps)
    notices = loop_notices(wires, graph.close_id, loop, steps)
    answer = answer_of(Looked(loop, steps, unknown, found), notices, warnings)
    answer["loop"] = {"open": shown(graph.open_id), "close": shown(graph.close_id)}
    if not unknown and (refused := impossible_shot(wires, steps)):
        answer |= {"at_fault": shown(refused[0]), "error": refused[1]}
    if unknown:
        return answer
    answer["summary"] = summarise_steps(steps)
    needed, free = disk_needed(graph, steps), loop.store.free_bytes()
    if needed:
        answer["disk"] = {"needed": needed, "free": free}
    try:
        check_disk(loop.store, needed, free, undecided=sum(step.is_undecided for step in steps))
    except ValueError as error:
        answer["error"] = answer.get("error") or str(error)
    left = start_clock(wires, loop, steps, decided.film.shots).left(None)
    return answer | {"time": left.as_figures() if left else None}
