"""A look ahead at a story that goes around on one wire (Begin Story, Next Shot, Finish Shot).

A state goes through the shots as it will in the run, by the run's own functions, up to the first
shot that is to be made. What the shots after it see is not known before that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...storymem.film.earlier_films import notices_of
from ...storymem.loop.begin import bank_after
from ...storymem.loop.cache_keys import own_key
from ...storymem.loop.plan import LoopSettings, Step, plan_in
from ...storymem.loop.regeneration import find_regenerations
from ...storymem.loop.shots import CHOSEN, LOCKED, replaced_result, summarise_steps
from ...storymem.loop.state import LoopState
from ...storymem.loop.take_names import find_key, missing_takes
from ...storymem.memory.bank import MemoryBank
from ...storymem.memory.edits_from import lost_edits
from . import graph as loop_graph
from .begin_state import begin_state
from .body_names import body_names
from .clock import start_clock
from .draft_settings import chosen_pass
from .known_values import KnownValues, NotKnownError
from .look_facts import ANY_CLIP, BANK, Looked, RefusedPlanError, answer_of, not_chosen
from .opening_choice import ClipChoice
from .opening_inputs import CLIP, chosen_clip
from .script_sounds import joined_rate, joins_of
from .state_nodes import with_loras
from .wires import links_of
from .wiring import impossible_shot, loop_notices

FINISH_SHOT = "StoryMemFinishShot"


def finishes_of(dynprompt, begin_id: str) -> list[str]:
    """The Finish Shot nodes that a story goes through, nearest first; of one inside of a loop of
    the host there is one for all shots."""
    users: dict[str, list[str]] = {}
    for node_id in sorted(dynprompt.all_node_ids()):
        for name, source, _ in links_of(dynprompt.get_node(node_id)):
            # Frames and bank come to a Finish Shot as well, but the state goes through it.
            if name == "state" or dynprompt.get_node(node_id)["class_type"] != FINISH_SHOT:
                users.setdefault(source, []).append(node_id)
    found, waiting, seen = [], [begin_id], {begin_id}
    while waiting:
        here = waiting.pop(0)
        if dynprompt.get_node(here)["class_type"] == FINISH_SHOT:
            found.append(here)
        for user in users.get(here, []):
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return found


async def look_at_wire(dynprompt, begin_id: str, workflow: object) -> dict:
    """The answer for a Begin Story; see ``look_ahead``.

    Raises:
        NotKnownError: for what nothing can be said without.
        ValueError: when the story cannot run as it is set up.
    """
    known, unknown = KnownValues(dynprompt), []
    inputs = await known.inputs(begin_id, BANK, CLIP)
    for name in (BANK, CLIP):
        try:
            inputs[name] = await known.value(dynprompt.get_node(begin_id)["inputs"].get(name))
        except NotKnownError as error:
            error.input = name
            unknown.append(error)
            inputs[name] = ANY_CLIP if name == CLIP else None
    bank, clip = inputs[BANK] or MemoryBank(), chosen_clip(inputs)
    if clip is not None and clip.is_remembered and not unknown:
        opening = ClipChoice(dynprompt, begin_id, clip, bank)
        if (found := opening.known_bank()) is None:
            unknown.append(not_chosen(opening))
        bank = found or bank
    settings = LoopSettings(
        inputs["continuity"], inputs["filename_prefix"], inputs.get("negative", ""),
        draft=chosen_pass(inputs, inputs.get("draft")),
    )  # fmt: skip
    fps = joined_rate(joins_of(dynprompt, begin_id), inputs["story"])
    state, film, folder = begin_state(inputs["story"], settings, bank, clip, fps=fps, writes=False)
    finishes = finishes_of(dynprompt, begin_id)
    if not finishes:
        raise RefusedPlanError("no Finish Shot takes up the story, so no shot is made", begin_id)
    graphs = [loop_graph.read_one_wire(dynprompt, n) for n in finishes]
    for graph in graphs:
        graph.draft = settings.draft
    bodies = [json.dumps([g.render_versions(), await g.describe()]) for g in graphs]
    state = with_loras(state, graphs[0])
    count = len(state.loop.story.shots)
    if len(graphs) == 1 and not _is_direct(dynprompt, graphs[0], begin_id):
        graphs, bodies = graphs * count, bodies * count  # a loop of the host goes around it
    graphs, bodies = graphs[:count], bodies[:count]
    results = film.results(state.loop.story)
    earlier = [
        results[s.index] or replaced_result(film.known, results, s) for s in state.loop.story.shots
    ]
    steps = walk(state, bodies, earlier)
    found = []
    for step, graph, body in zip(steps, graphs, bodies, strict=True):
        names = body_names(graph, _metadata(workflow))
        loop = replace(state.loop, body=body)
        found += find_regenerations(loop, [step], names) if step.record is None else []
    looked = Looked(state.loop, steps, unknown, found)
    wires, shown = graphs[0].wires(), dynprompt.get_display_node_id
    notices = loop_notices(wires, graphs[0].close_id, state.loop, steps)
    story = state.loop.story
    warnings = [
        *notices_of(film, folder, story),
        *state.loop.notes,
        *missing_takes(state.loop.store, story.shots, settings.pass_name),
    ]
    if not unknown:
        warnings += lost_edits(state.loop.bank.edits, story)
    answer = answer_of(looked, notices, warnings)
    answer["loop"] = {"open": shown(begin_id), "close": shown(finishes[-1])}
    if not unknown and (refused := impossible_shot(wires, steps)):
        answer |= {"at_fault": shown(refused[0]), "error": refused[1]}
    if unknown:
        return answer
    loop = replace(state.loop, body=bodies[0]) if bodies else state.loop
    left = start_clock(wires, loop, steps, film.shots).left(None)
    time = left.as_figures() if left else None
    return answer | {"summary": summarise_steps(steps), "time": time}


def walk(state: LoopState, bodies: Sequence[str], earlier: Sequence[Mapping]) -> list[Step]:
    """The shots that these bodies are for, each finished or to be made, as a run finds them.

    Args:
        earlier: what the folder knows of the latest result of each shot.
    """
    steps: list[Step] = []
    for body in bodies:
        if len(steps) == len(state.steps):  # all before it are finished
            step = state.next_step(body)
            step.record = state.find(body)
            if step.record is not None:
                state = state.reuse(body, step.record)
                before = earlier[step.plan.shot.index]
                steps.append(replace(state.steps[-1], reason=step.reason, earlier=before))
                continue
        else:
            step = _later(state, steps, body)
            if step.record is not None:  # locked: what it left is known
                steps.append(step)
                loop = replace(state.loop, body=body)
                state = replace(state, bank=bank_after(loop, step), steps=tuple(steps))
                continue
        step.earlier = earlier[step.plan.shot.index]
        step.has_earlier = step.earlier.get("own") == step.own
        steps.append(step)
    return steps


def _later(state: LoopState, steps: Sequence[Step], body: str) -> Step:
    """A shot after one that is to be made: what it is by itself, but not what it sees."""
    loop = replace(state.loop, body=body)
    shot = loop.story.shots[len(steps)]
    plan = plan_in(loop, shot, has_previous=True)
    step = Step(plan, own_key(loop, plan), steps[-1])
    held = state.locked.get(shot.index, "") if shot.lock else ""
    chosen = find_key(loop.store, shot.take, loop.settings.pass_name)
    for key, reason in ((chosen, CHOSEN), (held, LOCKED)):
        if key and (record := loop.store.find(key)):
            step.key, step.record, step.reason = key, record, reason
            break
    return step


def _is_direct(dynprompt, graph, begin_id: str) -> bool:
    """Whether the first shot gets its state from Begin Story itself."""
    state = dynprompt.get_node(graph.open_id)["inputs"].get("state")
    return isinstance(state, list) and state[0] == begin_id


def _metadata(workflow: object) -> dict[str, str]:
    return {"workflow": json.dumps(workflow)} if isinstance(workflow, dict) else {}
