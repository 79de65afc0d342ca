"""A look ahead at a story that goes around on one wire (Begin Story, Next Shot, Finish Shot).

A state goes through the shots as it will in the run, by the run's own functions, up to the first
shot that is to be made. What the shots after it see is not known before that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from .begin_state import begin_state
from .body_names import body_names
from .cards import describe_body
from .clock import start_clock
from .draft_settings import chosen_pass
from .known_values import KnownValues, NotKnownError
from .look_facts import ANY_CLIP, BANK, Looked, RefusedPlanError, answer_of, not_chosen
from .opening_choice import ClipChoice
from .opening_inputs import CLIP, chosen_clip
from .read_graph import read_one_wire
from .script_sounds import joined_rate, joins_of
from .state_nodes import with_loras
from .turns_ahead import TurnsAhead, finishes_of, number_wires
from .wiring import impossible_shot, loop_notices


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
    count = len(state.loop.story.shots)
    known.tell(begin_id, [state, count])
    ahead = await _turns_ahead(known, finishes, count)
    told = ahead.too_many() or (ahead.too_few() if not ahead.order else "")
    if told:
        raise RefusedPlanError(told, ahead.loop)
    graphs, bodies = await _bodies(dynprompt, ahead, settings.draft)
    state = with_loras(state, graphs[0])
    if len(graphs) == 1 and not ahead.loop and not _is_direct(dynprompt, graphs[0], begin_id):
        graphs, bodies = graphs * count, bodies * count  # a loop of another pack goes around it
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
        *filter(None, [ahead.too_few()]),
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


async def _turns_ahead(known: KnownValues, finishes: Sequence[str], count: int) -> TurnsAhead:
    numbers = {}
    for source, slot in number_wires(known.dynprompt, finishes):
        with suppress(NotKnownError):
            numbers[source, slot] = await known.value([source, slot])
    return TurnsAhead(known.dynprompt, finishes, count, numbers)


async def _bodies(dynprompt, ahead: TurnsAhead, draft) -> tuple[list, list[str]]:
    """The graph of each shot in its order, and what describes it."""
    graphs, bodies = [], []
    same: dict[str, tuple] = {}  # of those that take nothing of the loop but the state
    for finish, turns in ahead.order[: ahead.shots]:
        if finish in same:
            graph, body = same[finish]
        else:
            graph = read_one_wire(dynprompt, finish, turns)
            graph.draft = draft
            body = await describe_body(graph)
            if not graph.turn.is_used:
                same[finish] = graph, body
        graphs.append(graph)
        bodies.append(body)
    return graphs, bodies


def _is_direct(dynprompt, graph, begin_id: str) -> bool:
    """Whether the first shot gets its state from Begin Story itself."""
    state = dynprompt.get_node(graph.open_id)["inputs"].get("state")
    return isinstance(state, list) and state[0] == begin_id


def _metadata(workflow: object) -> dict[str, str]:
    return {"workflow": json.dumps(workflow)} if isinstance(workflow, dict) else {}
