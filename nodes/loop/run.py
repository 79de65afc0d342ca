"""One run of a shot loop: from finished shots on disk to the story video."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from weakref import WeakKeyDictionary

import folder_paths
import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import InputImpl, io, ui

from ...storymem.files.disk import StoreError, explain_write_errors, remove_unfinished
from ...storymem.files.hashing import digest_of
from ...storymem.files.messages import counted
from ...storymem.film.earlier_films import begin_film, notices_of
from ...storymem.film.film_sound import FilmSound
from ...storymem.film.folder import claim_folder
from ...storymem.film.folder_lock import StoryClaim
from ...storymem.film.head import head_of
from ...storymem.film.held_files import held_notes
from ...storymem.film.manifest import prompt_marks
from ...storymem.film.masters import FOLDER as MASTERS
from ...storymem.film.output import StoryExport, VideoOptions
from ...storymem.film.restore import keep_other
from ...storymem.film.shot_files import find_edits
from ...storymem.film.shot_status import script_mark
from ...storymem.loop.begin import bank_after, begin_shot, load_result
from ...storymem.loop.disk_space import check_disk
from ...storymem.loop.plan import Loop, Step
from ...storymem.loop.regeneration import find_regenerations, regeneration_lines
from ...storymem.loop.run_clock import RunClock
from ...storymem.loop.shot_store import ShotResult
from ...storymem.loop.shots import (
    finish_shot,
    join_parts,
    lock_warnings,
    only_bank,
    summarise_steps,
    way_of,
)
from ...storymem.memory.policies import memory_warnings
from ...storymem.script.story import Shot
from ..host import executor as host_cache
from ..host.folders import short_places
from .body_names import body_names
from .cards import describe_body
from .clock import start_clock
from .decide import Flow, decide, disk_needed
from .file_watch import VERSIONS, WATCH
from .graph import LoopGraph
from .history import HistoryEntry, finished_shots
from .notices import RefusedError, tell
from .pixel_file import Parts
from .progress import send_progress, workflow_id
from .references import LARGEST_GRAPH_IN_A_SHOT, start_image_of
from .shot_loras import lora_files
from .stop import report_stop
from .wires import Notice
from .wiring import held_length, impossible_shot, loop_notices, sampled_length

FILES_OF_A_SHOT = ("start_image", "end_image", "audio")  # in the input folder
POLL_SECONDS = 0.1  # between looks at whether somebody cancelled the prompt
logger = logging.getLogger(__name__)

# Runs of the prompt that is being executed; they end with it.
_RUNS: WeakKeyDictionary = WeakKeyDictionary()


@dataclass
class LoopRun:
    """The state of one loop while its prompt runs."""

    loop: Loop
    graph: LoopGraph
    steps: list[Step]
    options: VideoOptions
    folder: Path
    metadata: dict[str, str]
    executor: object
    replaced: dict[str, list[int]]
    prompt_id: str
    clock: RunClock
    notice: str = ""  # about the folder, told before the first shot
    clones: dict[int, list[str]] = field(default_factory=dict)
    current: int | None = None
    done: dict[int, asyncio.Event] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    watcher: asyncio.Task | None = None
    notes: dict[str, str] = field(default_factory=dict)  # of files that were changed, for the node
    film: Path | None = None  # the story video, once it is there
    notices: list[Notice] = field(default_factory=list)  # of single nodes
    tells_of_length: bool = False
    history: HistoryEntry | None = None
    parts: Parts = field(default_factory=Parts)  # of shots that are too big to be made at once
    then: object = None  # what is made after a rehearsal; None after the film
    sound: FilmSound | None = None  # what is heard of the film
    sounds: object = None  # makes those of its shots, where shot_audio is connected

    @cached_property
    def script_mark(self) -> str:
        return script_mark(self.loop.story)

    @property
    def result(self) -> str:
        """The same for runs that leave the same files; known when all shots are finished."""
        shots = [step.record.key for step in self.steps]
        ways = [asdict(self.options), asdict(self.loop.settings), self.loop.body, self.script_mark]
        if self.sound:
            ways.append(self.sound.describe([self.sound.of(step) for step in self.steps]))
        if head := head_of(self.loop):
            ways.append(["head", head.clip.digest])
        return digest_of([str(self.folder), shots, *ways])

    @property
    def todo(self) -> list[int]:
        return [i for i, step in enumerate(self.steps) if step.record is None]

    async def begin(self, i: int):
        """Wait for the shots before, then say what shot ``i`` starts from."""
        earlier = [n for n in self.done if n < i]
        for n in earlier[:-1]:
            await self.done[n].wait()
        if earlier:
            await self._wait_for(earlier[-1])
        self.current = i
        step = self.steps[i]
        begun = begin_shot(self.loop, step, self._before(i))
        step.begin(begun)
        if step.record is None:
            self.clock.begin(step, begun.memory.sampled_frames)
            send_progress(self, "shot", i)
        else:
            self._show(i)
            self.done[i].set()
        return step.plan, begun.bank, begun.given

    def start_image(self, i: int) -> torch.Tensor | None:
        """The picture that shot ``i`` begins with, as an IMAGE of one."""
        return start_image_of(self.loop, self.steps[i].plan.shot.index)

    async def _wait_for(self, i: int) -> None:
        """Wait for shot ``i``, but not past an interrupt."""
        while not self.done[i].is_set():
            # The host looks for an interrupt only between nodes; here none may be left to run.
            throw_exception_if_processing_interrupted()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.done[i].wait(), POLL_SECONDS)

    def check_finished(self, i: int) -> None:
        """Tell of a shot that the host is done with, but that it passed over: a node of its body
        gave nothing.

        Raises:
            ValueError: naming the shot.
        """
        if self.steps[i].record is None:
            raise ValueError(
                f"{self.steps[i].plan.shot} could not be finished: a node inside the loop output "
                "nothing, so no frames or no bank reached Shot Loop Close (an Aesthetic Filter "
                "that rejects every picture does this); lower its threshold, or connect Keyframe "
                "Select directly to Remember"
            )

    def finish(self, i: int, frames, bank) -> None:
        """Put shot ``i`` on disk; ``frames`` and ``bank`` are lists, as the host hands them on."""
        self.current = i
        step = self.steps[i]
        self._check_length(sum(part.shape[0] for part in frames), step.plan.shot)
        metadata = self.metadata
        if sum(map(len, metadata.values())) > LARGEST_GRAPH_IN_A_SHOT:
            metadata = {}
        made = join_parts(frames, step.plan.shot)
        step.record, step.result = finish_shot(
            self.loop,
            step,
            made,
            only_bank(bank, step.plan.shot),
            crf=self.options.crf,
            metadata=metadata,
            work=self.clock.finish(step, made.shape),
            length=held_length(self.graph),
            master=self.options.master,
        )
        logger.info("StoryMem: finished %s%s", step.plan.shot, self.clock.tell())
        self._show(i)

    def _check_length(self, count: int, shot: Shot) -> None:
        """Tell, once a run, of a shot that came shorter than it was sampled."""
        length = shot.length or sampled_length(self.graph.wires())
        if self.graph.draft:
            length = self.graph.draft.length_of(length)
        if count >= length or self.tells_of_length:
            return
        self.tells_of_length = True
        self.notices.append(
            self.graph.wires().notice(
                self.graph.close_id,
                f"{counted(count, 'frame')} of {shot} came to frames, but {length} were asked for: "
                "a node before Shot Loop Close takes frames off, and with them the start of shots "
                "that continue; connect the whole decoded shot",
            )
        )
        self.tell()

    def tell(self) -> None:
        """Show what an artist should know of single nodes."""
        tell(self.graph.wires(), self.graph.close_id, self.notices, workflow_id(self.metadata))

    def notice_now(self, state: str) -> str:
        """What the page is told beside the progress; at the end it has the notes of all files."""
        held = [] if state == "done" else held_notes(self.notes)
        return "\n".join([line for line in (self.notice, *held) if line])

    def _show(self, i: int) -> None:
        self.shown().show_shot(self.steps[i])
        for earlier in range(i):
            self.steps[earlier].result = None  # nothing follows on it any more
        send_progress(self, "finished", i)

    def release(self, i: int) -> None:
        """Let the host forget shot ``i``, and the next one begin."""
        for earlier in (n for n in self.clones if n <= i):
            host_cache.forget(self.executor, self.clones[earlier])
        for earlier in [n for n in self.clones if n < i]:
            del self.clones[earlier]
        self.done[i].set()

    def assemble(self) -> io.NodeOutput:
        """The story video and what lies beside it."""
        bank = bank_after(self.loop, self.steps[-1])
        self.film = video = self.shown().finish(self.steps, self.metadata, bank)
        self.ended.set()
        notes = "\n".join(self.notes.values())
        state = "done" if self.then is None else "finished"  # after a rehearsal it goes on
        send_progress(self, state, len(self.steps) - 1, message=notes)
        subfolder = os.path.relpath(self.folder, folder_paths.get_output_directory())
        preview = ui.PreviewVideo([ui.SavedResult(video.name, subfolder, io.FolderType.output)])
        shown = preview.as_dict() | (ui.PreviewText(notes).as_dict() if notes else {})
        if self.notice:
            shown["storymem_notice"] = [self.notice]
        shown |= finished_shots(self.folder, self.steps)
        return io.NodeOutput(InputImpl.VideoFromFile(str(video)), bank, str(self.folder), ui=shown)

    def shown(self) -> StoryExport:
        story, settings = self.loop.story, self.loop.settings
        how = {"notes": self.notes, "head": head_of(self.loop), "sound": self.sound}
        return StoryExport(self.folder, story, settings, self.options, **how)

    async def watch(self) -> None:
        """Say which shot stopped the story: the host cancels this task when a node raised."""
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            report_stop(self)
            raise

    def watched_files(self) -> list[str]:
        """Files that must stay as they are for the result to stand."""
        inputs = Path(folder_paths.get_input_directory())
        shots = self.loop.story.shots
        own = (getattr(shot, field) for shot in shots for field in FILES_OF_A_SHOT)
        names = (*self.loop.references, *filter(None, own))
        files = [*self.graph.files(), *(str(inputs / name) for name in names)]
        files += lora_files(self.loop.story) if self.loop.loras.place else []
        for step in self.steps:
            files += map(str, step.record.folder.iterdir())
        return files + [str(path) for path in self.shown().files(self.steps, self.film)]

    def watch_files(self) -> None:
        """Have the host run Close again once a file changed that the result rests on."""
        WATCH.remember(self.graph.close_id, self.result, self.watched_files())
        edits = None
        with suppress(StoreError):  # the story is finished; the next run tells
            edits = find_edits(self.folder, self.loop.story, self.loop.store)
        if edits != self.loop.edits:  # an artist edited a shot since the run began
            WATCH.expire(self.graph.close_id)

    def _before(self, i: int) -> ShotResult | None:
        if i == 0:
            return None
        step = self.steps[i - 1]
        if step.result is None:
            step.result = load_result(self.loop, step.record)
        return step.result


async def start(flow: Flow, graph: LoopGraph, options: VideoOptions, metadata: dict) -> LoopRun:
    """Find out which shots are finished; nothing is computed yet.

    Raises:
        RefusedError: when it cannot because of one of its nodes.
        ValueError: when the story cannot run as it is set up.
    """
    output, settings = folder_paths.get_output_directory(), flow.settings
    graph.draft = settings.draft
    body = await describe_body(graph)
    decided = decide(flow, body, graph.lora_place)
    loop, film, steps, store = decided.loop, decided.film, decided.steps, decided.loop.store
    wires = graph.wires()
    of_nodes = loop_notices(wires, graph.close_id, loop, steps)
    tell(wires, graph.close_id, of_nodes, workflow_id(metadata))
    if refused := impossible_shot(wires, steps):
        raise RefusedError(*refused)
    needed = disk_needed(graph, steps)
    undecided = sum(step.is_undecided for step in steps)
    disk = check_disk(store, needed, undecided=undecided)
    clock = start_clock(wires, loop, steps, film.shots)
    folder = claim_folder(output, settings.prefix, flow.story, settings.pass_name)
    check_apart(graph.dynprompt, folder, loop, steps)
    claim = StoryClaim(folder, digest_of([way_of(loop, steps), options.fps]))
    try:
        _prepare(folder, loop, steps)
        decided.promoted.keep(folder, flow.story, store)
        replaced = VERSIONS.replaced(graph.files())
        executor = host_cache.find_executor()
        prompt_id = host_cache.running_prompt_id()
        notices = notices_of(film, folder, flow.story)
        notices += lock_warnings(loop, steps)
        found = find_regenerations(loop, steps, body_names(graph, metadata))
        for line in regeneration_lines([one for one in found if one.is_edited], steps):
            logger.info("StoryMem: %s", line)
        notices += regeneration_lines([one for one in found if not one.is_edited], steps)
        if notices:
            logger.warning("StoryMem: %s", short_places("\n".join(notices)))
        bank = loop.bank
        notices += memory_warnings(bank.max_frames, bank.sink, bank.policy)  # logged by its node
        notice = short_places("\n".join(notices))
        run = LoopRun(
            loop, graph, steps, options, folder, metadata, executor, replaced, prompt_id, clock,
            notice, notices=of_nodes,
        )  # fmt: skip
    except BaseException:
        claim.release()
        raise
    run.done = {i: asyncio.Event() for i in run.todo}
    run.watcher = asyncio.get_running_loop().create_task(run.watch())
    run.history = HistoryEntry(executor, graph.close_id, graph.child_id("end"))
    run.watcher.add_done_callback(lambda _: claim.release())  # however the run ends
    if run.todo:
        store.keep_pictures([*flow.bank.frames, *flow.bank.dropped])
    logger.info(
        "StoryMem: '%s' goes to %s: %s%s%s",
        flow.story.name, folder, summarise_steps(steps), disk, clock.tell(),
    )  # fmt: skip
    send_progress(run, "started", run.todo[0] if run.todo else None)
    _RUNS.setdefault(graph.dynprompt, []).append(run)
    return run


def _prepare(folder: Path, loop: Loop, steps: list[Step]) -> None:
    """Make the story's folder ready for a run: no leftovers, the script, what moved."""
    loop.store.remove_unfinished()
    for place in (folder.parent, folder, folder / MASTERS):
        remove_unfinished(place)
    with explain_write_errors("the script", folder):
        keep_other(folder, loop.story)
        begin_film(folder, loop.story, steps)


def check_apart(dynprompt, folder: Path, loop: Loop, steps: list[Step]) -> None:
    """Raise ValueError when another loop of the prompt writes other shots over this one's."""

    wanted = set(loop.settings.range(loop.story))
    prompts = set(prompt_marks(loop.story))
    for run in _RUNS.get(dynprompt, ()):
        shared = wanted & set(run.loop.settings.range(run.loop.story))
        shared = shared or not prompts & set(prompt_marks(run.loop.story))
        if run.folder == folder and shared and way_of(run.loop, run.steps) != way_of(loop, steps):
            raise ValueError(
                f"two loops of this workflow make the story '{loop.story.name}' in different ways, "
                f"and both write to {folder.name}; give each Shot Loop Open a filename_prefix of "
                "its own"
            )


def find_run(dynprompt, name: str) -> LoopRun:
    """The run of a Close in the prompt that is being executed, by its loop's ``run_name``."""
    for run in _RUNS.get(dynprompt, ()):
        if run.graph.run_name == name:
            return run
    raise ValueError(
        "this node belongs to Shot Loop Close, which adds it automatically; remove it from the "
        "workflow"
    )
