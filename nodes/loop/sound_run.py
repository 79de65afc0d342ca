"""The sounds of a loop's shots while its prompt runs: which are there, and making the others."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import io

from ...storymem.files.hashing import digest_of
from ...storymem.files.video import read_frames
from ...storymem.loop.begin import begin_shot, load_result
from ...storymem.loop.plan import Loop, Step
from ...storymem.loop.sound_store import SoundStore
from ...storymem.loop.state import LoopState
from ...storymem.memory.bank import MemoryBank
from ...storymem.sampling.continuity import OVERLAP_FRAMES
from ...storymem.sound.shot_sound import ShotSound
from ..host import executor as host_cache
from ..host.sounds import join_sound_parts
from . import run as loop_run
from .expansion import body_outputs, body_values
from .graph import LoopGraph
from .references import start_image_of
from .sound_graph import (
    NEGATIVE_SLOT,
    NUMBER_SLOT,
    PROMPT_SLOT,
    SAID_SLOT,
    SHOT_SLOT,
    SOUND,
    SoundGraph,
    read_sound_graph,
)
from .sound_inputs import SoundSettings, film_sound
from .text_wires import GLOBAL_SLOT, RECONSTRUCT_SLOT

logger = logging.getLogger(__name__)
KEY_FORMAT = 1
POLL_SECONDS = 0.1  # between looks at whether somebody cancelled the prompt
FRAMES_SLOT = 1 + len(body_outputs())  # of the node that stands in for Open
BANK_SLOT = FRAMES_SLOT + 1
# Sounds of the prompts that are being executed; they end with them.
_MAKERS: WeakKeyDictionary = WeakKeyDictionary()


@dataclass
class SoundMaker:
    """Makes the sounds of finished shots, one after another."""

    graph: SoundGraph
    body: str  # what makes them, as a digest
    loop: Loop
    steps: Sequence[Step]
    wanted: Sequence[int]  # places in ``steps`` of shots that the film shows
    executor: object
    made: dict[str, ShotSound | None] = field(default_factory=dict)  # by key of the record
    clones: dict[int, list[str]] = field(default_factory=dict)
    done: dict[int, asyncio.Event] = field(default_factory=dict)
    after: LoopState | None = None  # of Finish Shot: what it gives, before it knows the sound

    def __post_init__(self):
        self.store = SoundStore(self.loop.store)

    def missing(self) -> list[int]:
        """Places of finished shots whose sound is not there; the others' are known from then on."""
        missing = []
        for i in self.wanted:
            record = self.steps[i].record
            if record is None:
                continue
            key = self.key(i)
            if self.store.has(record, key):
                self.made[record.key] = self.store.find(record, key)
            else:
                self.made.pop(record.key, None)
                missing.append(i)
        return missing

    def key(self, i: int) -> str:
        """Who the sound of a finished shot is: the pictures, what makes it, and what it is told."""
        step, plan = self.steps[i], self.steps[i].plan
        shot, story = plan.shot, self.loop.story
        told = {
            SHOT_SLOT: lambda: [
                plan.prompt,
                shot.negative,
                shot.seed,
                plan.mode,
                shot.length,
                shot.label,
                story.said(shot),
            ],
            PROMPT_SLOT: lambda: [plan.prompt, bool(story.prompt_weights)],
            NEGATIVE_SLOT: lambda: [shot.negative, bool(story.prompt_weights)],
            NUMBER_SLOT: lambda: shot.index,
            SAID_SLOT: lambda: story.said(shot),
            GLOBAL_SLOT: lambda: [plan.prompt, bool(story.prompt_weights)],
            RECONSTRUCT_SLOT: lambda: [story.reconstruct, bool(story.prompt_weights)],
        }
        values = [[slot, told[slot]()] for slot in self.graph.slots if slot in told]
        return digest_of([KEY_FORMAT, step.record.key, self.body, values, self._overlap(i)])

    def expand(self, name: str, run_id: str, missing: Sequence[int]) -> dict:
        """Nodes that make the missing sounds.

        Args:
            name: by which those find this (see ``find_maker``).
            run_id: different in every run.
        """
        _MAKERS.setdefault(self.graph.graph.dynprompt, {})[name] = self
        self.done = {i: asyncio.Event() for i in missing}
        expansion, of_graph = {}, self.graph.graph
        for i in missing:
            number = self.steps[i].plan.shot.index + 1
            begin, keep, after = (
                of_graph.child_id(f"{number}.{part}") for part in ("hear", "keep", "heard")
            )
            place = {"loop": name, "step": i, "run": run_id}
            slots = {"frames": FRAMES_SLOT, "bank": BANK_SLOT}
            copies, source = self.graph.clone(number, begin, slots)
            expansion[begin] = {
                "class_type": "StoryMemLoopHear",
                "inputs": place,
                "override_display_id": of_graph.dynprompt.get_display_node_id(of_graph.open_id),
            }
            expansion.update(copies)
            audio = {**place, "audio": source, "begin": [begin, 0]}
            expansion[keep] = {"class_type": "StoryMemLoopKeepSound", "inputs": audio}
            kept = {**place, "sound": [keep, 0]}
            expansion[after] = {"class_type": "StoryMemLoopAfterSound", "inputs": kept}
            self.clones[i] = [begin, *copies]
        return expansion

    def after_ids(self, missing: Sequence[int]) -> dict[str, list]:
        """Links that come when all sounds are there, by a name for each."""
        numbers = {i: self.steps[i].plan.shot.index + 1 for i in missing}
        return {f"sound_{i}": [self.graph.graph.child_id(f"{n}.heard"), 0]
                for i, n in numbers.items()}  # fmt: skip

    async def begin(self, i: int) -> tuple:
        """What the sound of shot ``i`` is made from, once those before it are there: the outputs of
        Open without the flow, and the shot's frames and memory."""
        for before in (n for n in self.done if n < i):
            while not self.done[before].is_set():
                # The host looks for an interrupt only between nodes; here none may be left to run.
                throw_exception_if_processing_interrupted()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.done[before].wait(), POLL_SECONDS)
        step = self.steps[i]
        bank, given = self._beginning(i)
        start = start_image_of(self.loop, step.plan.shot.index)
        values = body_values(self.loop.story, step.plan, bank, given, start)
        frames = self._frames(step, given) if self.graph.uses_frames else None
        after = self.loop.store.load(step.record).bank if self.graph.uses_bank else None
        return *values, frames, after

    def keep(self, i: int, audio: Sequence[object]) -> None:
        """Put the sound of shot ``i`` beside its pictures; parts follow on each other."""
        record, name = self.steps[i].record, f"{SOUND} of {self.steps[i].plan.shot}"
        sound = join_sound_parts(audio, name)
        self.store.keep(record, self.key(i), sound, self._overlap(i))
        self.made[record.key] = self.store.find(record, self.key(i))

    def end(self, i: int) -> None:
        """Let the next sound begin. One for which nothing came is silence."""
        record = self.steps[i].record
        if record.key not in self.made:
            self.store.keep(record, self.key(i), None, self._overlap(i))
            self.made[record.key] = None
        host_cache.forget(self.executor, self.clones.pop(i, []))
        self.done[i].set()

    def state(self) -> LoopState:
        """What Finish Shot gives once its shot's sound is there."""
        return replace(self.after, sounds={**(self.after.sounds or {}), **self.made})

    # --- inside ---

    def _overlap(self, i: int) -> int:
        """Frames at a sound's beginning that the film drops: only what is made from the shot's
        frames begins with them. A voice that is not begins with the first frame that is shown."""
        return _repeated(self.steps[i]) if self.graph.uses_frames else 0

    def _beginning(self, i: int) -> tuple[MemoryBank, torch.Tensor | None]:
        step = self.steps[i]
        try:
            before = load_result(self.loop, step.before.record) if step.before else None
            begun = begin_shot(self.loop, step, before)
        except ValueError as error:  # of a shot that is kept although what it follows changed
            logger.info("StoryMem: %s is heard without what it began from: %s", step.label, error)
            return self.loop.bank, None
        return begun.bank, begun.given

    def _frames(self, step: Step, given: torch.Tensor | None) -> torch.Tensor:
        """A shot's frames ``[T, H, W, 3]`` as the loop's frames are, with those that repeat the
        shot before."""
        shown = np.stack(list(read_frames(step.record.video)))
        frames = torch.from_numpy(shown) / np.float32(255)
        count = _repeated(step)
        if not count:
            return frames
        if given is None or given.shape[1:] != frames.shape[1:] or len(given) < count:
            return torch.cat([frames[:1].expand(count, -1, -1, -1), frames])
        return torch.cat([given[-count:], frames])


async def give_sound(run: loop_run.LoopRun, settings: SoundSettings) -> None:
    """Tell a run what is heard of its film.

    Raises:
        ValueError: for sound that cannot be used, or that would need pictures made again.
    """
    graph = read_sound_graph(run.graph)
    if graph is not None:
        wanted = run.loop.settings.range(run.loop.story)
        places = [i for i, step in enumerate(run.steps) if step.plan.shot.index in wanted]
        body = await graph.describe()
        run.sounds = SoundMaker(graph, body, run.loop, run.steps, places, run.executor)
    made = run.sounds.made if run.sounds else None
    run.sound = film_sound(run.loop.story, settings, settings.track(), made)


async def finish_with_sound(graph: LoopGraph, after: LoopState) -> io.NodeOutput:
    """What Finish Shot gives: the state, with the sound of its shot where shot_audio is
    connected."""
    sounds = read_sound_graph(graph)
    if sounds is None:
        return io.NodeOutput(after, after.is_done)
    place = len(after.steps) - 1
    maker = SoundMaker(
        sounds, await sounds.describe(), after.loop, after.steps, [place],
        host_cache.find_executor(), after=after,
    )  # fmt: skip
    missing = maker.missing()
    if not missing:
        state = maker.state()
        return io.NodeOutput(state, state.is_done)
    host_cache.blame_shown_nodes(graph.dynprompt, graph.child_id(""))
    name, run_id = graph.run_name, uuid.uuid4().hex
    expansion = maker.expand(name, run_id, missing)
    end = graph.child_id("sounds")
    after_sound = next(iter(maker.after_ids(missing).values()))
    inputs = {"loop": name, "step": place, "run": run_id, "sound": after_sound}
    expansion[end] = {"class_type": "StoryMemStateAfterSound", "inputs": inputs}
    return io.NodeOutput([end, 0], [end, 1], expand=expansion)


def _repeated(step: Step) -> int:
    """Frames of the shot before it that a finished shot was made with."""
    mode = step.record.facts.get("mode")
    return OVERLAP_FRAMES.get(mode, step.plan.overlap_frames)


def find_maker(dynprompt, name: str) -> SoundMaker:
    """What makes the sounds of a loop in the prompt that is being executed."""
    makers: Mapping[str, SoundMaker] = _MAKERS.get(dynprompt, {})
    if name not in makers:
        raise ValueError(
            "this node belongs to Shot Loop Close or Finish Shot, which adds it automatically; "
            "remove it from the workflow"
        )
    return makers[name]
