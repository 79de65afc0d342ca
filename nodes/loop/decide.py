"""Which shots a loop makes and which are finished: decided here, for a run and for a look ahead."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import folder_paths
import torch

from ...storymem.files.codecs import CODECS, H264
from ...storymem.files.video import FRAME_RATE
from ...storymem.film.earlier_films import FoundFilm, find_film
from ...storymem.film.folder import story_folder
from ...storymem.film.promote import Promotions, with_promotions
from ...storymem.film.repair import repair_folder
from ...storymem.film.shot_files import find_edits
from ...storymem.loop.disk_space import estimate_bytes
from ...storymem.loop.opening import with_opening
from ...storymem.loop.opening_clip import OpeningClip
from ...storymem.loop.peek_store import PeekStore
from ...storymem.loop.plan import Loop, LoopSettings, Step
from ...storymem.loop.shot_store import ShotStore
from ...storymem.loop.shots import list_steps
from ...storymem.memory.bank import MemoryBank
from ...storymem.sampling.draft import Draft
from ...storymem.sampling.start_images import pictures_of
from ...storymem.script.story import Story
from ..host.store import STORE_FOLDER
from ..memory.known_embedders import KNOWN
from .graph import LoopGraph
from .references import read_end_images, read_references, read_start_images
from .script_sounds import sound_frames
from .shot_loras import read_loras

# Width, height, frames: for the estimate when no node of the body says.
USUAL_SIZE = (832, 480, 81)


@dataclass(frozen=True)
class Flow:
    """What Shot Loop Open hands to its Close."""

    story: Story
    bank: MemoryBank
    settings: LoopSettings
    start_images: dict[int, torch.Tensor] = field(default_factory=dict)  # uint8, by shot index
    rehearsals: int = 0  # drafts that are made before the film
    draft: Draft | None = None  # settings of theirs
    fps: float = FRAME_RATE  # of the film, as Shot Loop Close says
    end_images: dict[int, torch.Tensor] = field(default_factory=dict)  # as start_images
    opening: OpeningClip | None = None  # the clip that the story begins from


@dataclass(frozen=True)
class Decision:
    """What a run of a loop begins with."""

    loop: Loop
    film: FoundFilm
    place: Path  # the story's folder, whether it is there or not
    steps: list[Step]
    promoted: Promotions = field(default_factory=Promotions)  # from a pass before the film


def decide(flow: Flow, body: str, lora_place: str = "", *, writes: bool = True) -> Decision:
    """Find out which shots are finished; nothing is computed.

    Args:
        body: everything that makes a shot, as a text.
        lora_place: where LoRAs of single shots are applied in it.
        writes: whether the story's folder is put right first, as before a run.

    Raises:
        ValueError: when the story cannot run as it is set up.
    """
    story, settings = flow.story, flow.settings
    output = folder_paths.get_output_directory()
    references = read_references(story)
    store = (ShotStore if writes else PeekStore)(Path(output) / STORE_FOLDER)
    start_images = {**flow.start_images, **read_start_images(story)}  # the script's own wins
    loop = Loop(
        story, settings, flow.bank, body, store, references, start_images,
        KNOWN.of(flow.bank), reads_weights=True, sound_frames=sound_frames(story, flow.fps),
        end_images=pictures_of({**flow.end_images, **read_end_images(story)}),
        loras=read_loras(story, lora_place), opening=flow.opening,
    )  # fmt: skip
    place = story_folder(output, settings.prefix, story, settings.pass_name)
    if writes:
        repair_folder(place, story, store)
    loop, promoted = with_promotions(loop, place)
    loop = with_opening(loop)
    film = find_film(place, story)
    loop = replace(loop, edits=find_edits(place, story, store, writes=writes))
    return Decision(loop, film, place, list_steps(loop, film.known), promoted)


def disk_needed(graph: LoopGraph, steps: list[Step]) -> int:
    """Bytes that the shots to be made will take, generously."""
    found = (graph.largest("width"), graph.largest("height"), graph.largest("length"))
    sizes = (size or usual for size, usual in zip(found, USUAL_SIZE, strict=True))
    codec = graph.node(graph.close_id)["inputs"].get("codec", H264)
    return estimate_bytes(
        steps, *sizes, codec if isinstance(codec, str) and codec in CODECS else H264
    )
