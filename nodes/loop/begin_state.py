"""What a story on one wire begins with: the state that Begin Story hands on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import folder_paths

from ...storymem.files.names import check_name
from ...storymem.film.earlier_films import FoundFilm, find_film
from ...storymem.film.folder import claim_folder, story_folder
from ...storymem.film.promote import with_promotions
from ...storymem.film.rehearsal import opening_of
from ...storymem.film.repair import repair_folder
from ...storymem.film.shot_files import find_edits
from ...storymem.loop.opening import with_opening
from ...storymem.loop.opening_clip import OpeningClip
from ...storymem.loop.peek_store import PeekStore
from ...storymem.loop.plan import Loop, LoopSettings
from ...storymem.loop.shot_store import ShotStore
from ...storymem.loop.state import LoopState
from ...storymem.memory.bank import MemoryBank
from ...storymem.sampling.start_images import pictures_of
from ..host import store as host_store
from ..memory.known_embedders import KNOWN
from . import references as loop_references
from .script_sounds import check_sounds, sound_frames


def begin_state(
    story,
    settings: LoopSettings,
    bank: MemoryBank,
    clip: OpeningClip | None = None,
    *,
    fps: float,
    writes: bool = True,
) -> tuple[LoopState, FoundFilm, Path]:
    """What Begin Story hands on, the film that the story's folder has, and that folder.

    Args:
        clip: that the story begins from.
        fps: of the film, by which sounds last so many frames.
        writes: whether the folder is put right and pictures are kept first, as in a run.

    Raises:
        ValueError: when the story cannot run as it is set up.
    """
    check_name(settings.prefix, "filename_prefix")
    check_name(story.name, "the story's name")
    check_sounds(story)
    output = folder_paths.get_output_directory()
    folder = story_folder(output, settings.prefix, story, settings.pass_name)
    bank = opening_of(bank, folder, is_film=settings.draft is None)
    store = (ShotStore if writes else PeekStore)(Path(output) / host_store.STORE_FOLDER)
    store.keep_pictures([*bank.frames, *bank.dropped])
    references, embedder = loop_references.read_references(story), KNOWN.of(bank)
    loop = Loop(
        story, settings, bank, "", store, references, loop_references.read_start_images(story),
        embedder, reads_weights=True, sound_frames=sound_frames(story, fps),
        end_images=pictures_of(loop_references.read_end_images(story)), opening=clip,
    )  # fmt: skip
    if writes:
        repair_folder(folder, story, store)  # or its edits and locks are not known
    loop, promoted = with_promotions(loop, folder)
    loop = with_opening(loop)
    if writes and promoted.table:  # no later draft changes what its shots are made from
        claim_folder(output, settings.prefix, story)
        promoted.keep(folder, story, store)
    film = find_film(folder, story)
    locked = {i: entry["key"] for i, entry in enumerate(film.results(story)) if entry}
    loop = replace(loop, edits=find_edits(folder, story, store, writes=writes))
    return LoopState(loop, bank, locked=locked), film, folder
