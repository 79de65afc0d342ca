"""The loop over a story's shots: which are finished, and what is left to do.

A finished shot is found on disk by its key alone (see :mod:`storymem.loop.cache_keys`), which holds
what the shot sees of those before it. So the key of a shot is unknown while the shot before it is
to be made, and such a shot depends on that: it is looked for when its turn comes, and regenerated
only when it sees something else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import groupby

import torch

from ..files.hashing import digest_of
from ..files.images import on_white
from ..files.messages import count_shots, counted, listed
from ..memory.bank import MemoryBank
from ..memory.edits_from import edits_at, lost_edits
from ..script.story import Shot
from .begin import load_result
from .cache_keys import own_key, shot_key, telling_facts
from .draft_memory import hold_still, remember_still
from .given_edits import check_edits, given_digests
from .moments import with_moments
from .plan import Loop, Step, plan_in
from .reuse import is_held, latest_results
from .run_memory import bank_of_run, begin_memory, pin_facts
from .seen import SAW
from .shot_master import describe_master
from .shot_memory import ShotMemory, describe_settings, with_prompt
from .shot_record import DamagedError, Record
from .shot_store import ShotResult
from .take_names import find_take, missing_takes
from .time_left import FACT

USUAL_LENGTH = 81  # frames of a shot, where nothing says how many
LOCKED = "locked"  # why an older result is kept
CHOSEN = "chosen"  # the script names this take
logger = logging.getLogger(__name__)


def way_of(loop: Loop, steps: Sequence[Step]) -> tuple:
    """In which way a run makes its story: the same for runs that make the same shots."""
    settings = describe_settings(loop.bank)
    if loop.story.remembers:
        settings.append([list(shot.remember) for shot in loop.story.shots])
    return loop.body, [step.own for step in steps], settings


def list_steps(loop: Loop, manifest: Mapping) -> list[Step]:
    """Every shot of the range and before it: finished, or to be computed.

    Shots before the range are never computed; one that has no finished result is left out, and the
    shot after it begins with a cut.

    Args:
        manifest: what is known of the film in the story's folder: ``shots`` with the latest result
            of each label, ``locks`` with the keys that locks hold.

    Raises:
        ValueError: when a shot to be made continues from an edited one that is too short.
    """
    wanted = loop.settings.range(loop.story)
    damaged: set[int] = set()
    while True:
        steps = _list_steps(loop, manifest, wanted, damaged)
        found = _unreadable(loop, steps)
        if found is None:
            check_edits(loop, steps)
            return steps
        damaged.add(found)


def replaced_result(manifest: Mapping, latest: Sequence[Mapping], shot: Shot) -> Mapping:
    """The result in a shot's place when it is of no other shot: its prompt was edited.

    Args:
        manifest: as for ``list_steps``.
        latest: what ``latest_results`` gives of it.
    """
    entry = manifest.get("shots", {}).get(shot.label)
    if not isinstance(entry, Mapping) or entry.get("key") in (e.get("key") for e in latest):
        return {}
    return entry


def finish_shot(
    loop: Loop,
    step: Step,
    frames: torch.Tensor,
    bank: MemoryBank,
    *,
    crf: int,
    metadata: Mapping[str, str] | None = None,
    work: Mapping | None = None,
    length: int = 0,
    master: str = "",
) -> tuple[Record, ShotResult]:
    """Take the repeated frames off and put the shot on disk.

    Args:
        master: codec of its master for editing programs; empty for none.
        work: how long it took (see :mod:`storymem.loop.time_left`), where that is known.
        length: frames for which a still stands in the film, where its script says none.

    Raises:
        ValueError: naming the shot, when nothing is left or the frames are no pictures.
    """
    given = step.plan.overlap_frames
    if frames.shape[0] <= given:
        raise ValueError(
            f"{step.plan.shot} has {counted(frames.shape[0], 'frame')}, of which {given} repeat "
            "the shot before it: nothing is left; connect the loop's decoded frames to Shot Loop "
            "Close, or make the shot longer"
        )
    shot = step.plan.shot
    facts = {
        "story": loop.story.name,
        "label": shot.label,
        "shot": shot.index,
        "prompt": step.plan.prompt,
        "shot_prompt": shot.prompt,
        **({"row": shot.row} if shot.row else {}),
        "negative": shot.negative,
        "mode": step.plan.mode,
        "seed": shot.seed,
        "own": step.own,
        "previous": step.previous,
        "body": digest_of(loop.body),
        **telling_facts(loop, step.plan),
        **pin_facts(loop, bank),
        **({SAW: list(step.saw)} if step.saw is not None else {}),
        **({FACT: dict(work)} if work else {}),
        **describe_master(master if step.plan.draft is None else "", given),
    }
    loop.store.keep_body(loop.body)
    bank = bank.with_edits(edits_at(loop.bank.edits, loop.story, shot.index))
    bank = with_prompt(bank, loop.story, shot)
    if step.plan.draft and step.plan.draft.is_stills:
        bank = remember_still(bank, frames, loop.story.name, shot)
        frames = hold_still(frames, shot.length or length or USUAL_LENGTH)
    bank = with_moments(bank, loop, step, after=frames.shape[0])
    options = {"crf": crf, "metadata": metadata, "head": frames[:given]}
    return loop.store.commit(step.key, frames[given:], bank, facts, **options)


def join_parts(parts: Sequence[torch.Tensor], shot: Shot) -> torch.Tensor:
    """The frames of a shot that came as a list, in order; what is transparent shows white.

    Raises:
        ValueError: naming the shot, when the parts do not fit together.
    """
    for part in parts:
        if not isinstance(part, torch.Tensor) or part.ndim != 4 or part.shape[-1] not in (3, 4):
            shape = list(part.shape) if isinstance(part, torch.Tensor) else type(part).__name__
            raise ValueError(
                f"{shot} came as {shape}, but Shot Loop Close needs frames as an IMAGE [frames, "
                "height, width, 3]; connect VAE Decode, or convert them to RGB before"
            )
    parts = [on_white(part) for part in parts]
    if len({part.shape[1:] for part in parts}) > 1:
        sizes = ", ".join(f"{part.shape[2]}x{part.shape[1]}" for part in parts)
        raise ValueError(
            f"{shot} came as a list of {len(parts)} parts of different sizes ({sizes}); give Shot "
            "Loop Close frames of one size"
        )
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def only_bank(banks: Sequence[MemoryBank], shot: Shot) -> MemoryBank:
    """The bank of a shot, which may be one only.

    Raises:
        ValueError: naming the shot, when a list split the memory.
    """
    if any(bank is not banks[0] for bank in banks):
        raise ValueError(
            f"{shot} came with a list of {len(banks)} memory banks, which cannot be joined; choose "
            "keyframes before the node that splits the frames into a list (such as Rebatch "
            "Images), or join them again before Keyframe Select"
        )
    return banks[0]


def summarise_steps(steps: Sequence[Step]) -> str:
    """How many shots a run makes, and how many are finished already, in one line."""
    todo = [step for step in steps if step.record is None]
    open_ones = [step for step in todo if step.is_undecided]
    if not todo:
        return f"nothing to make, {count_shots(len(steps))} finished"
    parts = [f"{count_shots(len(todo) - len(open_ones))} to make"]
    for number, group in groupby(open_ones, lambda step: step.depends_on.plan.shot.index + 1):
        count = len(list(group))
        depend = "depends" if count == 1 else "depend"
        parts.append(f"{count_shots(count)} that {depend} on shot {number}")
    if finished := len(steps) - len(todo):
        parts.append(f"{count_shots(finished)} finished")
    return ", ".join(parts)


def lock_warnings(loop: Loop, steps: Sequence[Step]) -> list[str]:
    """What the artist should know of locked shots before the first shot is made, and of changes to
    the memory that hold from a shot on which is gone.

    A locked shot hands on the memory that it was made with. What has changed before it since then,
    such as a portrait or a keyframe, is not seen by the shots after it.
    """
    open_ones = [s.plan.shot for s in steps if s.reason != CHOSEN]
    shots = [shot for shot in open_ones if shot.index not in loop.settings.redo]
    missing = list(loop.notes) + missing_takes(loop.store, shots, loop.settings.pass_name)
    missing += lost_edits(loop.bank.edits, loop.story)
    held = (LOCKED, CHOSEN)
    last = max((i for i, step in enumerate(steps) if step.reason not in held), default=0)
    stale = [s for s in steps[:last] if s.reason in held and _remembers_otherwise(loop, s)]
    if not stale:
        return missing
    numbers = listed((str(step.plan.shot.index + 1) for step in stale), 5)
    are = f"shots {numbers} are" if len(stale) > 1 else f"shot {numbers} is"
    they, them = ("they were", "them") if len(stale) > 1 else ("it was", "it")
    words = {
        (LOCKED,): ("locked", f"unlock {them}"),
        (CHOSEN,): ("a chosen take", "choose none in Takes"),
    }.get(tuple({s.reason for s in stale}), ("locked or a chosen take", f"let go of {them}"))
    if len(stale) > 1:
        words = words[0].replace("a chosen take", "chosen takes"), words[1]
    return [
        *missing,
        f"{are} {words[0]}, and the shots after {them} see the memory as it was when {they} made: "
        "reference pictures and keyframes that have changed since then are not seen; "
        f"{words[1]} to bring those in",
    ]


# --- inside ----------------------------------------------------------------------------------


def _remembers_otherwise(loop: Loop, step: Step) -> bool:
    """Whether a finished shot would see frames that the memory it was made with does not have."""
    try:
        left = loop.store.outline(step.record)
        kept = {frame.digest for frame in left.frames} | set(left.scored)
    except DamagedError:  # told when its pictures are read
        return False
    if not kept:
        return False
    if step.before is not None and step.before.record is None:
        return True
    memory = _known_memory(loop, step)
    return memory is not None and not {frame.digest for frame in memory.frames} <= kept


def _list_steps(loop: Loop, manifest: Mapping, wanted: range, damaged: set[int]) -> list[Step]:
    latest = latest_results(manifest.get("shots", {}), loop.story, manifest.get("locks", {}))
    steps: list[Step] = []
    for shot in loop.story.shots[: wanted.stop]:
        before = steps[-1] if steps else None
        has_previous = before is not None and before.plan.shot.index == shot.index - 1
        plan = plan_in(loop, shot, has_previous=has_previous)
        entry = latest[shot.index]
        step = Step(plan, own_key(loop, plan), before)
        step.has_earlier = entry.get("own") == step.own
        step.earlier = entry or replaced_result(manifest, latest, shot)
        is_damaged = shot.index in damaged
        is_kept = not is_damaged and (_keep_chosen(loop, step) or _keep_locked(loop, step, entry))
        if not is_kept:
            step.key, step.seen = _known_key(loop, step)
            if not is_damaged:
                _find_finished(loop, step, entry, is_before=shot.index < wanted.start)
        if step.record is None and shot.index < wanted.start:
            continue
        if step.record is not None:
            step.key = step.record.key
        steps.append(step)
    return steps


def _keep_chosen(loop: Loop, step: Step) -> bool:
    """Whether the script names a take of a shot that is there, which is then taken."""
    shot = step.plan.shot
    record = None
    if shot.take and shot.index not in loop.settings.redo:
        record = find_take(loop.store, shot.take, loop.settings.pass_name)
    if record is not None:
        step.record, step.reason = record, CHOSEN
    return record is not None


def _keep_locked(loop: Loop, step: Step, entry: Mapping) -> bool:
    """Whether a shot is locked and has a result, which is then taken whatever changed."""
    shot = step.plan.shot
    is_locked = shot.lock and shot.index not in loop.settings.redo
    record = loop.store.find(entry["key"]) if is_locked and entry else None
    if record is None:
        if is_locked and entry:
            logger.warning(
                "StoryMem: %s is locked, but its finished result is missing from %s: it is "
                "regenerated unless an identical shot is in the store",
                shot,
                loop.store.root,
            )
        return False
    step.record, step.reason = record, LOCKED
    if is_held(entry, shot):
        logger.warning(
            "StoryMem: %s is locked and stays as it is, although its prompt has changed; unlock it "
            "to regenerate it",
            shot,
        )
    return True


def _find_finished(loop: Loop, step: Step, entry: Mapping, *, is_before: bool) -> None:
    """Take the record of a step's key, else an older one where the settings say so."""
    if step.key and (record := loop.store.find(step.key)):
        step.record = record
        return
    if loop.settings.keep_later and step.before and entry.get("own") == step.own:
        reason = "kept: only shots before it changed"
    elif is_before and entry:
        reason = "kept: it is before start_shot"
    else:
        return
    if record := loop.store.find(entry["key"]):
        step.record, step.reason = record, reason


def _known_key(loop: Loop, step: Step) -> tuple[str, Mapping[str, str] | None]:
    """The key of a step and what it sees, when that can be said before anything is made."""
    memory = _known_memory(loop, step)
    if memory is None:
        return "", None
    try:
        given = given_digests(loop, step)
    except DamagedError:  # told when its pictures are read
        return "", None
    return shot_key(step.own, memory, given), memory.bank.seen


def _known_memory(loop: Loop, step: Step) -> ShotMemory | None:
    """What a step sees, when that can be said before anything is made."""
    shot, before = step.plan.shot, step.before
    if before is None:
        return begin_memory(loop, shot, loop.bank)
    if before.record is None:
        return None
    try:
        bank = bank_of_run(loop, loop.store.outline(before.record), before.record.facts)
        return begin_memory(loop, shot, bank)
    except DamagedError:  # told when its pictures are read
        return None


def _unreadable(loop: Loop, steps: list[Step]) -> int | None:
    """The first finished shot that must be regenerated, because what follows needs its pictures."""
    for i, step in enumerate(steps):
        following = steps[i + 1].record is None if i + 1 < len(steps) else True
        if step.record is None or not following:
            continue
        try:
            step.result = load_result(loop, step.record)
        except DamagedError as error:
            missing = _first_with_damage(loop, steps[: i + 1])
            logger.warning(
                "StoryMem: %s is regenerated, its pictures are damaged: %s",
                steps[missing].plan.shot,
                error,
            )
            return steps[missing].plan.shot.index
    return None


def _first_with_damage(loop: Loop, steps: list[Step]) -> int:
    for i, step in enumerate(steps):
        if step.record is None:
            continue
        try:
            loop.store.load(step.record)
        except DamagedError:
            return i
    return len(steps) - 1
