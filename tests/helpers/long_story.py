"""Long stories with a result for every shot, without making a single one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.loop_graphs import story
from storymem.files.hashing import digest_of
from storymem.files.video import write_video
from storymem.film.manifest import update_manifest
from storymem.film.shot_status import describe_made
from storymem.loop.plan import LoopSettings, Step, plan_shot
from storymem.loop.shot_record import write_record
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.script.reader import load_story

WORDS = (
    "she walks on along the shore, the lighthouse behind her, rain on the lens, in evening light"
)


def long_script(shots: int, *, edited: bool = False) -> str:
    """A story of so many cuts; ``edited``: with another first shot."""
    prompts = [f"shot number {i + 1}: {WORDS}" for i in range(shots)]
    prompts[0] += ", edited" * edited
    return story(prompts=prompts, name=f"Long {shots}", cuts=[True] * shots)


def write_results(output: Path, prefix: str, shots: int, *, frames=None, missing=()) -> Path:
    """The folder that a run of ``long_script(shots)`` would leave, with one film for all shots.

    Args:
        frames: ``uint8 [H, W, 3]`` each, of that film.
        missing: numbers of shots without a result.
    """
    tale = load_story(long_script(shots), quiet=True)
    folder = output / prefix / tale.name
    folder.mkdir(parents=True)
    film = folder / "film.mp4"
    write_video(film, frames or [np.full((48, 64, 3), 90, np.uint8)] * 5)
    step, entries = None, {}
    for shot in tale.shots:
        plan = plan_shot(tale, LoopSettings(), shot, has_previous=step is not None)
        step = Step(plan, "own", step, f"{shot.index:064x}")
        if shot.index + 1 in missing:
            continue
        name = f"shot_{shot.label}.mp4"
        (folder / name).hardlink_to(film)
        entries[shot.label] = {
            "key": step.key,
            "own": step.own,
            "prompt": plan.prompt,
            "file": name,
        }
        entries[shot.label] |= {"shot_prompt": shot.prompt, **describe_made(tale, step)}
    update_manifest(folder, tale, shots=entries)
    return folder


def write_takes(store: ShotStore, shots: int, takes: int) -> None:
    """So many takes of every shot of ``long_script(shots)``; they share the film of one."""
    tale = load_story(long_script(shots), quiet=True)
    store.root.mkdir(parents=True, exist_ok=True)
    film = store.root / f"film_{shots}.mp4"
    write_video(film, [np.full((48, 64, 3), 90, np.uint8)] * 13)
    for shot in tale.shots:
        for take in range(takes):
            key = digest_of([shots, shot.index, take])
            facts = {"story": tale.name, "label": shot.label, "shot": shot.index, "seed": take}
            facts |= {"prompt": shot.prompt, "shot_prompt": shot.prompt, "length": 13}
            folder = store.folder_of(key)
            folder.mkdir(parents=True)
            (folder / "shot.mp4").hardlink_to(film)
            write_record(folder, key, 13, facts, MemoryBank())
