"""Rehearsal Memory: the opening memory of a film, out of a finished pass."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ...storymem.files.images import read_picture
from ...storymem.files.messages import shown
from ...storymem.files.names import check_name
from ...storymem.film.folder import SHOT_FILE, story_folder
from ...storymem.film.manifest import MANIFEST
from ...storymem.film.passes import pass_folder_name
from ...storymem.film.rehearsal import (
    MOST_FRAMES_PER_NAME,
    RULES,
    Rehearsal,
    next_number,
    parse_places,
    rehearse,
    score_with,
)
from ...storymem.loop.passes import DRAFT
from ...storymem.loop.shot_store import ShotStore
from ...storymem.memory.bank import MemoryBank, start_bank
from ...storymem.memory.edits import BankEdits
from ...storymem.memory.edits_from import joined
from ..host.file_marks import mark_of
from ..host.folders import find_inside, short_places, shortens_host_paths
from ..host.models import released_after
from ..host.store import STORE_FOLDER
from ..page.bank_ui import HIDDEN, show_bank
from ..types import Bank, Scorer, Story
from .bank import BANK_TOOLTIP, edit_images

logger = logging.getLogger(__name__)


class RehearsalMemory(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemRehearsal",
            display_name="Rehearsal Memory",
            category="StoryMem/memory",
            search_aliases=[
                "consistent character",
                "draft",
                "rehearse",
                "same person",
                "first pass",
                "角色一致",
                "排练",
                "草稿",
            ],
            description="Gives a film its opening memory from a draft of the same story: for each "
            "of the cast the sharpest frame that shows them alone, pinned and named. So looks are "
            "kept from the first shot on, without any portrait.",
            inputs=[
                Story.Input("story", tooltip="From Load Story: who is in it, and in which shots."),
                io.String.Input(
                    "folder",
                    default="",
                    optional=True,
                    tooltip="The finished pass: a folder inside the output folder, or the folder "
                    "output of its Shot Loop Close, which then runs first. Empty: the story's own "
                    "draft, <prefix>/<story>.draft, which begins without these frames itself.",
                ),
                io.Int.Input(
                    "frames_per_name",
                    default=1,
                    min=1,
                    max=MOST_FRAMES_PER_NAME,
                    optional=True,
                    tooltip="How many frames of each name, from as many shots. Each takes one of "
                    "the memory's max_frames. Safe: 1 or 2.",
                ),
                io.Combo.Input(
                    "rule",
                    options=list(RULES),
                    default=RULES[0],
                    optional=True,
                    advanced=True,
                    tooltip="Which of the shots that show somebody alone: the one with the "
                    "sharpest middle frame, the sharpest of every fourth frame of all of them "
                    "(slower: each shot is decoded whole), or the first.",
                ),
                Bank.Input(
                    "bank",
                    optional=True,
                    tooltip="Portraits of your own from Memory Bank, which come first; its "
                    "settings hold for the film.",
                ),
                Scorer.Input(
                    "scorer",
                    optional=True,
                    tooltip="Chooses the frame by its score in place of sharpness (Load Scorer).",
                ),
                io.Boolean.Input(
                    "named_again",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Whether somebody of whom the bank has a portrait gets a frame of the "
                    "rehearsal as well.",
                ),
                io.String.Input(
                    "places",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="Places to remember too, as the prompts call them, separated by "
                    "commas, such as pier, kitchen. Being at a place counts as being alone.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="storymem",
                    optional=True,
                    advanced=True,
                    tooltip="Where the story's own draft is looked for when folder is empty: the "
                    "filename_prefix of its Shot Loop Open.",
                ),
                io.String.Input(
                    "edits",
                    optional=True,
                    default="",
                    advanced=True,
                    tooltip="Your changes in this node's memory gallery, as JSON, while no Memory "
                    "Bank is connected, which keeps them otherwise. Clear it to undo everything.",
                ),
            ],
            outputs=[Bank.Output(display_name="bank", tooltip=BANK_TOOLTIP)],
            hidden=HIDDEN,
        )

    @classmethod
    async def validate_inputs(cls, folder=None, filename_prefix=None, edits=None):
        try:
            if folder:
                pass_folder(folder)
            check_name(filename_prefix or "storymem", "filename_prefix")
            await asyncio.to_thread(lambda: edit_images(BankEdits.parse(edits or "")))
        except ValueError as error:
            return short_places(str(error))
        return True

    @classmethod
    def fingerprint_inputs(cls, folder="", filename_prefix="storymem", edits="", **_):
        try:
            pictures = edit_images(BankEdits.parse(edits or ""))
            files = [mark_of(name, path) for name, path in pictures]
            if folder:
                return [*files, *pass_marks(pass_folder(folder))]
            drafts = find_inside(folder_paths.get_output_directory(), filename_prefix or "")
            places = sorted(drafts.glob(pass_folder_name("*", DRAFT.name))) if drafts else []
            return [*files, *(mark for place in places for mark in pass_marks(place))]
        except (OSError, ValueError) as error:
            return str(error)

    @classmethod
    @shortens_host_paths
    def execute(
        cls, story, folder="", frames_per_name=1, rule=RULES[0], bank=None, scorer=None,
        named_again=False, places="", filename_prefix="storymem", edits="",
    ):  # fmt: skip
        with released_after(scorer):
            found = make_rehearsal(
                story, folder, frames_per_name, rule, bank, scorer, named_again, places,
                filename_prefix, edits,
            )  # fmt: skip
        for note in found.notes:
            logger.warning("StoryMem: %s", note)
        told = {"storymem_notice": ["\n".join(found.notes)]} if found.notes else {}
        return io.NodeOutput(found.bank, ui=told | show_bank(found.bank, cls.hidden))


def make_rehearsal(
    story, folder="", frames_per_name=1, rule=RULES[0], bank=None, scorer=None,
    named_again=False, places="", filename_prefix="storymem", edits="",
) -> Rehearsal:  # fmt: skip
    """What Rehearsal Memory gives for its inputs. Writes and shows nothing.

    Raises:
        ValueError: for a pass that is not there or not of the story, and inputs that are wrong.
    """
    output = folder_paths.get_output_directory()
    if folder.strip():
        place = pass_folder(folder)
    else:
        own = story_folder(output, filename_prefix, story)
        place = own.with_name(pass_folder_name(own.name, DRAFT.name))
    clicks = BankEdits.parse(edits or "")
    pictures = {name: read_picture(path) for name, path in edit_images(clicks)}
    bank = MemoryBank() if bank is None else bank
    if pictures:
        bank = _with_pictures(bank, pictures)
    if not folder.strip() and not place.is_dir():
        lacks = (
            f"there is no draft of {shown(story.name)} in {place}: choose draft as the pass of "
            "Shot Loop Open and queue it first; where it has another filename_prefix, give that to "
            "Rehearsal Memory too, or name the folder of a finished pass"
        )
        bank = replace(bank.with_edits(joined(bank.edits, clicks)), lacks=lacks)
        return Rehearsal(bank, (), (lacks,))
    how = {
        "frames_per_name": frames_per_name,
        "rule": rule,
        "places": parse_places(places),
        "again": named_again,
    }
    found = LATEST.recall(place, story, bank, how) if scorer is None else None
    if found is None:
        score = score_with(scorer) if scorer is not None else None
        store = ShotStore(Path(output) / STORE_FOLDER)
        found = rehearse(place, story, store=store, score=score, bank=bank, **how)
        if scorer is None:
            LATEST.keep(place, story, bank, how, found)
    return found.with_edits(joined(bank.edits, clicks))


class Latest:
    """The latest rehearsals, so that a page which asks what the next run will make need not have
    every shot of a draft decoded again."""

    MOST = 2  # each holds some dozen pictures in full size

    def __init__(self):
        self._known: dict[tuple, Rehearsal] = {}

    def recall(self, place: Path, story, bank: MemoryBank, how: dict) -> Rehearsal | None:
        """What the same gave before, while no file of the pass has changed."""
        found = self._known.get(self._key(place, story, bank, how))
        # Clicks are applied anew; the rest of a bank's settings is in the key.
        return replace(found, bank=replace(found.bank, edits=bank.edits)) if found else None

    def keep(self, place: Path, story, bank: MemoryBank, how: dict, found: Rehearsal) -> None:
        self._known[self._key(place, story, bank, how)] = found
        for key in list(self._known)[: -self.MOST]:
            del self._known[key]

    @staticmethod
    def _key(place: Path, story, bank: MemoryBank, how: dict) -> tuple:
        frames = [(f.digest, f.name, f.pinned, f.order) for f in (*bank.frames, *bank.dropped)]
        settings = (bank.max_frames, bank.sink, bank.policy, bank.embedder, repr(bank.edits))
        return str(place), tuple(pass_marks(place)), story, *settings, repr(how), tuple(frames)


LATEST = Latest()


def pass_folder(folder: str) -> Path:
    """A folder inside the host's output folder.

    Raises:
        ValueError: for any other place.
    """
    path = find_inside(folder_paths.get_output_directory(), folder.strip())
    if path is None:
        raise ValueError(
            "folder must be a story's folder inside the output folder, such as "
            f"storymem/story.draft, but it is {shown(folder)}"
        )
    return path


def pass_marks(folder: Path) -> list[str]:
    """Marks of the files that a rehearsal reads, so that one which changed is seen."""
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    wanted = [n for n in names if n == MANIFEST or SHOT_FILE.fullmatch(n)]
    return [mark_of(f"{folder.name}/{name}", folder / name) for name in wanted]


def _with_pictures(bank: MemoryBank, pictures: dict) -> MemoryBank:
    """``bank`` with the pictures that clicks added, behind its own."""
    added = start_bank(added=pictures, max_frames=max(bank.max_frames, len(pictures))).frames
    first = next_number(bank)
    return bank.remember(replace(frame, frame=first + i) for i, frame in enumerate(added))


NODES = [RehearsalMemory]
