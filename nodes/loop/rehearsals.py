"""Rehearse, then film: drafts of the whole story one after the other, each from the frames of the
one before, and then the film from those of the last. One prompt makes all of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ...storymem.files.hashing import digest_of
from ...storymem.files.messages import count_shots, counted
from ...storymem.film.folder import story_folder
from ...storymem.film.manifest import MANIFEST
from ...storymem.film.output import VideoOptions
from ...storymem.film.passes import pass_folder_name
from ...storymem.film.rehearsal import rehearse, source_of
from ...storymem.loop.passes import ALL_PASSES, MOST_REHEARSALS, rehearsal_draft
from ...storymem.loop.shot_memory import describe_settings
from ...storymem.loop.shot_store import ShotStore
from ...storymem.memory.bank import MemoryBank
from ..host.store import STORE_FOLDER
from ..page import bank_ui
from . import run as loop_run
from .cards import describe_body
from .decide import Flow, decide
from .expansion import expand
from .graph import LoopGraph
from .notices import RefusedError
from .opening_choice import ClipChoice
from .shot_parts import find_parts
from .sound_inputs import SoundSettings
from .sound_run import give_sound

logger = logging.getLogger(__name__)
_BANKS: dict[str, MemoryBank] = {}  # of drafts that are as they were: the latest few


def rehearsals_input():
    """How many drafts come before the film."""
    return io.Int.Input(
        "rehearsals",
        optional=True,
        default=0,
        min=0,
        max=MOST_REHEARSALS,
        advanced=True,
        tooltip="Make this many drafts of the whole story before the film, each with the sharpest "
        "frame of every cast member from the one before as its first memory. The film begins with "
        "those of the last. Needs a cast in the script.",
    )


def check_opening(bank: MemoryBank, rehearsals: int, folder: Path) -> None:
    """Raise ValueError where Rehearsal Memory and rehearsals would both choose the first memory.

    Its frames are of a draft that is made anew in the same run.

    Args:
        folder: the film's own.
    """
    drafts = [folder.with_name(pass_folder_name(folder.name, name)) for name in ALL_PASSES[1:]]
    own = {source_of(draft) for draft in drafts}
    if rehearsals and (bank.lacks or any(frame.story in own for frame in bank.frames)):
        raise ValueError(
            f"rehearsals is {rehearsals}, but bank comes from Rehearsal Memory: both choose the "
            "film's first memory from its draft; set rehearsals to 0 for the choice of Rehearsal "
            "Memory, or connect bank without it"
        )


def stage_of(flow: Flow, number: int) -> Flow:
    """What is made as the ``number``-th, from 1: a rehearsal of the whole story, then the film.

    Raises:
        ValueError: when nobody is found in the rehearsal before it.
    """
    settings = flow.settings
    if number <= flow.rehearsals:
        settings = replace(
            settings, start_shot=1, end_shot=0, preview=False, redo=(), keep_later=False,
            draft=rehearsal_draft(number, flow.draft),
        )  # fmt: skip
    return replace(flow, settings=settings, bank=_opening_bank(flow, number))


async def after_rehearsals(
    flow: Flow, graph: LoopGraph, *, is_known: bool
) -> tuple[Flow, list[str]]:
    """A look ahead: the film as it is made after its rehearsals, when these are finished; else the
    film without what it takes from them, and lines that tell what is made first.

    Args:
        is_known: whether the memory that the story begins with is known.
    """
    count, of_each = counted(flow.rehearsals, "rehearsal"), count_shots(len(flow.story.shots))
    for number in range(1, flow.rehearsals + 1):
        draft_name = rehearsal_draft(number, flow.draft).name
        if not is_known:
            return flow, [
                f"{count} of {of_each} before the film: what of the {draft_name} is to be "
                "made is known only when it runs"
            ]
        stage = stage_of(flow, number)
        part = replace(graph, draft=stage.settings.draft)
        body = await describe_body(part)
        decided = decide(stage, body, part.lora_place, writes=False)
        if missing := sum(step.record is None for step in decided.steps):
            return flow, [
                f"{count} of {of_each} before the film: {missing} of {of_each} of the "
                f"{draft_name} are to be made"
            ]
    return stage_of(flow, flow.rehearsals + 1), []


def choice_of(flow: Flow, graph: LoopGraph) -> ClipChoice | None:
    """What chooses the keyframes of a clip that a story begins from; ``None`` for no such clip."""
    clip = flow.opening
    if clip is None or not clip.is_remembered:
        return None
    return ClipChoice(graph.dynprompt, graph.open_id, clip, flow.bank)


def _opening_bank(flow: Flow, number: int) -> MemoryBank:
    """The artist's pictures, and the frames of the rehearsal before."""
    if number == 1:
        return flow.bank
    output = Path(folder_paths.get_output_directory())
    before = rehearsal_draft(number - 1, flow.draft).name
    folder = story_folder(output, flow.settings.prefix, flow.story, before)
    known = digest_of([
        str(folder), (folder / MANIFEST).stat().st_mtime_ns, flow.story.source,
        describe_settings(flow.bank), [frame.name for frame in flow.bank.frames],
    ])  # fmt: skip
    if known not in _BANKS:
        store = ShotStore(output / STORE_FOLDER)
        found = rehearse(folder, flow.story, store=store, bank=flow.bank)
        for note in found.notes:
            logger.warning("StoryMem: %s: %s", folder.name, note)
        while len(_BANKS) >= MOST_REHEARSALS:
            _BANKS.pop(next(iter(_BANKS)))
        _BANKS[known] = found.bank
    return _BANKS[known]


@dataclass
class Stages:
    """The passes that one Shot Loop Close makes, in their order."""

    flow: Flow
    graph: LoopGraph
    options: VideoOptions
    metadata: dict
    sound: SoundSettings = field(default_factory=SoundSettings)
    number: int = 1  # of the next one, from 1; the last is the film, or the one pass that is made
    replaced: dict = field(default_factory=dict)  # files that the host holds older versions of
    is_opened: bool = False  # whether the memory has the keyframes of the story's clip

    def _of_clip(self) -> ClipChoice | None:
        """The choice that is open, of keyframes of the clip that the story begins from."""
        return None if self.is_opened else choice_of(self.flow, self.graph)

    async def go_on(self, hidden) -> io.NodeOutput:
        """The next pass with shots to be made, as an expansion that goes on with those after it;
        what Close gives when none has any.

        Args:
            hidden: of the node that gives the film.
        """
        opening = self._of_clip()
        if opening is not None:
            bank = opening.known_bank()
            if bank is None:
                return opening.ask(self.graph.child_id, "StoryMemLoopOpened", 3, self.go_on)
            self.flow, self.is_opened = replace(self.flow, bank=bank), True
        while True:
            is_last = self.number > self.flow.rehearsals
            flow = stage_of(self.flow, self.number)
            part = "" if is_last else flow.settings.pass_name
            graph = replace(self.graph, part=part, _clones={})
            self.number += 1
            try:
                run = await loop_run.start(flow, graph, self.options, self.metadata)
            except RefusedError as refused:  # told on the node at fault, which is in the loop
                expansion, end = graph.refuse(refused.node_id, str(refused))
                return io.NodeOutput(*end, expand=expansion)
            run.replaced = self.replaced = {**self.replaced, **run.replaced}
            run.then = None if is_last else self
            if run.todo:
                run.parts = await find_parts(run)
            if is_last:
                await give_sound(run, self.sound)
            if run.todo or (run.sounds and run.sounds.missing()):
                expansion, end = expand(run)
                return io.NodeOutput(*end, expand=expansion)
            output = run.assemble()
            if is_last:
                output = bank_ui.with_bank(output, hidden)
                run.watch_files()
                return output
