"""The loop over a story's shots: which are finished, and what is left to do.

A finished shot is found on disk by its key alone (see :mod:`storymem.shot_keys`), which holds the
key of the shot before it: editing shot k changes the keys of shots k..N and of no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from .continuity import LOOP_CONTINUITY, ShotPlan, choose_mode
from .given_edits import check_edits, given_tail, key_of
from .latest_results import is_held, latest_results
from .listening import with_prompt
from .memory_bank import MemoryBank
from .messages import shown
from .shot_keys import bank_for_shot, needs_bank, own_key
from .shot_record import DamagedError, Record
from .shot_store import TAIL_FRAMES, ShotResult, ShotStore, digest_of
from .story import Shot, Story

BYTES_PER_PIXEL = 0.08  # of one frame in a crf 17 mp4, generous
PICTURE_BYTES_PER_PIXEL = 2.2  # of a lossless 8-bit PNG, generous
PICTURES_PER_SHOT = TAIL_FRAMES + 6  # last frames, keyframes kept and dropped
SPARE_BYTES = 200 * 2**20  # left free for everything else on the disk
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopSettings:
    """What the artist sets on Shot Loop Open."""

    continuity: str = "last_frame"
    prefix: str = "storymem"
    negative: str = ""  # for shots whose script says none
    start_shot: int = 1
    end_shot: int = 0  # 0: the last one
    preview: bool = False  # stop after the first shot of the range
    redo: tuple[int, ...] = ()  # shot indices, from 0
    take: int = 1  # another take, another seed
    keep_later: bool = False  # keep shots of which only what came before changed

    def range(self, story: Story) -> range:
        """Indices of the shots to work on.

        Raises:
            ValueError: for a range that the story does not have.
        """
        count = len(story.shots)
        end = self.end_shot or count
        if not 1 <= self.start_shot <= count:
            raise ValueError(
                f"start_shot is {self.start_shot}, but the story has shots 1 to {count}; choose "
                f"one of them"
            )
        if not self.start_shot <= end <= count:
            raise ValueError(
                f"end_shot is {self.end_shot}, but it must be between start_shot "
                f"({self.start_shot}) and the story's last shot ({count}), or 0 for the last one"
            )
        return range(self.start_shot - 1, self.start_shot if self.preview else end)


@dataclass
class Step:
    """One shot on the loop's list: finished (``record``) or to be computed."""

    plan: ShotPlan
    own: str  # hash of what the shot is, without what came before it
    before: Step | None = field(default=None, repr=False, compare=False)  # the shot it follows
    key: str = ""  # empty while nobody can say what clicks change in the shot before it
    record: Record | None = None
    reason: str = ""  # why an older result is kept
    result: ShotResult | None = None  # of a finished shot that something follows on

    @property
    def previous(self) -> str:
        """Key of the shot it follows; empty for the first."""
        return self.before.key if self.before else ""

    @property
    def label(self) -> str:
        return self.plan.shot.label


@dataclass(frozen=True)
class Loop:
    """A story with everything that decides its shots."""

    story: Story
    settings: LoopSettings
    bank: MemoryBank
    body: str  # describes the nodes that make a shot; any change in it makes another shot
    store: ShotStore
    # Pictures, uint8 [H, W, 3]: by file name; by index of the shot whose first frame they are.
    references: Mapping[str, torch.Tensor] = field(default_factory=dict)
    start_images: Mapping[int, torch.Tensor] = field(default_factory=dict)
    # Digests of an edited shot's last frames, by the key of the record (see ``shot_files``).
    edits: Mapping[str, Sequence[str]] = field(default_factory=dict)


def way_of(loop: Loop, steps: Sequence[Step]) -> tuple:
    """In which way a run makes its story: the same for runs that make the same shots."""
    return loop.body, [step.own for step in steps], steps[0].key


def plan_shot(
    story: Story,
    settings: LoopSettings,
    shot: Shot,
    *,
    has_previous: bool,
    has_start: bool = False,
) -> ShotPlan:
    """What the body is told about a shot: prompt, negative prompt, mode and seed are decided
    here. A shot that has a start image begins with that, and so with a cut."""
    if settings.continuity not in LOOP_CONTINUITY:
        raise ValueError(
            f"continuity must be one of {', '.join(LOOP_CONTINUITY)}, but it is "
            f"{shown(settings.continuity)}"
        )
    negative = settings.negative if shot.negative is None else shot.negative
    shot = replace(shot, negative=negative)
    if shot.index in settings.redo:
        seed = int(digest_of(["take", settings.take, shot.index, shot.seed])[:8], 16)
        shot = replace(shot, seed=seed)
    has_previous = has_previous and not has_start
    mode = choose_mode(shot, settings.continuity, has_previous=has_previous)
    return ShotPlan(shot, story.name, story.prompt_of(shot), mode, has_start)


def list_steps(loop: Loop, manifest: Mapping) -> list[Step]:
    """Every shot of the range and before it: finished, or to be computed.

    Shots before the range are never computed; one that has no finished result is left out, and the
    shot after it begins with a cut.

    Args:
        manifest: the story folder's ``story.json``, which knows the latest result of each shot.

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


def begin_shot(
    loop: Loop, step: Step, before: ShotResult | None
) -> tuple[MemoryBank, torch.Tensor | None]:
    """What a shot starts from: the bank, and the frames it continues from (float, ``None`` after
    a cut).

    A step whose key could not be known before gets it here, and with it the record of an earlier
    run, when there is one: such a shot must not be made again.

    Raises:
        ValueError: when the shot before it is too short to continue from, and for more pinned
            frames than a shot may see.
    """
    bank = before.bank if before else loop.bank
    if not step.key:
        step.key = key_of(loop, step, bank)
        _take_up(loop, step)
    shot = step.plan.shot
    bank = bank_for_shot(loop, shot, bank)
    bank.used_indices()
    given = step.plan.given_frames
    if not given or before is None:
        return bank, None
    tail = given_tail(loop, step, before.tail)
    if len(tail) < given:
        raise ValueError(
            f"{shot} continues from the last {given} frames of the shot before it, but that one "
            f"has only {len(tail)}; make it longer, or choose last_frame"
        )
    return bank, torch.from_numpy(tail[-given:].numpy() / np.float32(255))


def finish_shot(
    loop: Loop,
    step: Step,
    frames: torch.Tensor,
    bank: MemoryBank,
    *,
    crf: int,
    metadata: Mapping[str, str] | None = None,
) -> tuple[Record, ShotResult]:
    """Take the repeated frames off and put the shot on disk.

    Raises:
        ValueError: naming the shot, when nothing is left or the frames are no pictures.
    """
    given = step.plan.given_frames
    if frames.shape[0] <= given:
        raise ValueError(
            f"{step.plan.shot} has {frames.shape[0]} frames, of which {given} repeat the shot "
            "before it: nothing is left; give the body's decoded frames to Shot Loop Close, or "
            "make the shot longer"
        )
    shot = step.plan.shot
    facts = {
        "story": loop.story.name,
        "label": shot.label,
        "shot": shot.index,
        "prompt": step.plan.prompt,
        "shot_prompt": shot.prompt,
        "negative": shot.negative,
        "mode": step.plan.mode,
        "seed": shot.seed,
        "own": step.own,
        "previous": step.previous,
        "body": digest_of(loop.body),
    }
    bank = with_prompt(bank.with_edits(loop.bank.edits), loop.story, shot)
    return loop.store.commit(step.key, frames[given:], bank, facts, crf=crf, metadata=metadata)


def join_parts(parts: Sequence[torch.Tensor], shot: Shot) -> torch.Tensor:
    """The frames of a shot that came as a list, in order; colour only.

    Raises:
        ValueError: naming the shot, when the parts do not fit together.
    """
    parts = [part[..., :3] for part in parts]  # an alpha channel has no place in the video
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


def estimate_bytes(steps: list[Step], width: int, height: int, length: int) -> int:
    """Disk that the shots to be computed will take, the story video included; generous."""
    todo = [step for step in steps if step.record is None]
    if not todo:
        return 0
    frames = sum(step.plan.shot.length or length for step in todo)
    video = frames * width * height * BYTES_PER_PIXEL
    pictures = len(todo) * PICTURES_PER_SHOT * width * height * PICTURE_BYTES_PER_PIXEL
    return int(3 * video + pictures)  # the record, the visible copy, the story video


def check_disk(store: ShotStore, needed: int, free: int | None = None) -> str:
    """One line about the disk for the artist.

    Raises:
        ValueError: when the story does not fit.
    """
    free = store.free_bytes() if free is None else free
    line = f"about {needed / 2**20:.0f} MB needed, {free / 2**20:.0f} MB free"
    if needed and free < needed + SPARE_BYTES:
        raise ValueError(
            f"the disk of the output folder is too full for this story: {line} (and "
            f"{SPARE_BYTES / 2**20:.0f} MB stay in reserve); free some space, or work on a part "
            "with start_shot and end_shot"
        )
    return line


# --- inside ----------------------------------------------------------------------------------


def _list_steps(loop: Loop, manifest: Mapping, wanted: range, damaged: set[int]) -> list[Step]:
    find: Callable[[str], Record | None] = loop.store.find
    latest = latest_results(manifest.get("shots", {}), loop.story)
    steps: list[Step] = []
    for shot in loop.story.shots[: wanted.stop]:
        before = steps[-1] if steps else None
        has_previous = before is not None and before.plan.shot.index == shot.index - 1
        has_start = shot.index in loop.start_images
        plan = plan_shot(
            loop.story, loop.settings, shot, has_previous=has_previous, has_start=has_start
        )
        step = Step(plan, own_key(loop, plan), before)
        step.key = _known_key(loop, step)
        entry = latest[shot.index]
        if shot.index not in damaged:
            locked = shot.lock and shot.index not in loop.settings.redo
            if locked and entry and (record := find(entry["key"])):
                step.record, step.reason = record, "locked"
                if is_held(entry, shot):
                    logger.warning(
                        "StoryMem: %s is locked and stays as it is, though its prompt was changed "
                        "since; take the lock off to make it anew",
                        shot,
                    )
            elif step.key and (record := find(step.key)):
                step.record = record
            elif (
                loop.settings.keep_later
                and steps
                and entry.get("own") == step.own
                and (record := find(entry["key"]))
            ):
                step.record, step.reason = record, "kept: only shots before it changed"
            elif shot.index < wanted.start and entry and (record := find(entry["key"])):
                step.record, step.reason = record, "kept: it is before start_shot"
        if step.record is None and shot.index < wanted.start:
            continue
        if step.record is not None:
            step.key = step.record.key
        steps.append(step)
    return steps


def _known_key(loop: Loop, step: Step) -> str:
    """The key of a step, when it can be said before anything is made."""
    bank: MemoryBank | None = None
    if needs_bank(loop):
        if step.before is None:
            bank = loop.bank
        elif step.before.record is None:
            return ""
        else:
            try:
                bank = loop.store.outline(step.before.record)
            except DamagedError:  # told when its pictures are read
                return ""
    return key_of(loop, step, bank)


def _take_up(loop: Loop, step: Step) -> None:
    """Give a step the record of its key, when that is there with all its pictures."""
    record = loop.store.find(step.key)
    try:
        step.result = loop.store.load(record) if record else None
    except DamagedError as error:
        logger.warning("StoryMem: %s is made again: %s", step.plan.shot, error)
    else:
        step.record = record


def _unreadable(loop: Loop, steps: list[Step]) -> int | None:
    """The first finished shot that must be made again, because what follows needs its pictures."""
    for i, step in enumerate(steps):
        following = steps[i + 1].record is None if i + 1 < len(steps) else True
        if step.record is None or not following:
            continue
        try:
            step.result = loop.store.load(step.record)
        except DamagedError as error:
            missing = _first_with_damage(loop, steps[: i + 1])
            logger.warning(
                "StoryMem: %s is made again, its pictures are damaged: %s",
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
