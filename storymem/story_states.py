"""Where each shot of a script stands, from the story's folder alone: for the page, before a run.

Only the script is looked at: another model or size in the graph makes shots anew as well, and only
the run itself can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .earlier_films import find_film
from .shot_loop import Step
from .shot_store import digest_of
from .story import Shot, Story

DONE, LOCKED, WAITING, FAILED = "done", "locked", "waiting", "failed"


@dataclass(frozen=True)
class ShotState:
    state: str
    video: Path | None = None  # the latest result, also when the shot will be made again


def shot_states(story: Story, folder: Path | None) -> list[ShotState]:
    """The state of every shot of ``story``; ``folder`` is its folder, if there is one."""
    film = find_film(folder, story)
    manifest = film.manifest
    failed = manifest.get("failed") if manifest.get("stopped") else None
    found: list[ShotState] = []
    previous: str | None = ""  # key of the shot before; None: it will be another one
    for shot, entry in zip(story.shots, film.results(story), strict=True):
        video = _video(folder, entry)
        if video and shot.lock:
            state = LOCKED
        elif failed == shot.label:
            state = FAILED  # whatever is there, the run was about to replace it
        elif video and previous is not None and _is_made_from(entry, story, shot, previous):
            state = DONE
        else:
            state = WAITING
        previous = entry["key"] if state in (DONE, LOCKED) else None
        found.append(ShotState(state, video))
    return found


def script_mark(story: Story) -> str:
    """The same for the same shots: whether a run is of the script that the page shows."""
    return digest_of([story.name, *(_describe(story, shot) for shot in story.shots)])[:16]


def describe_made(story: Story, step: Step) -> dict:
    """What the manifest keeps about the script that a result was made from."""
    # An older result that was kept is of another script, nobody knows which.
    shot = story.shots[step.plan.shot.index]
    return {"script": "" if step.reason else _describe(story, shot), "previous": step.previous}


def _is_made_from(entry: Mapping, story: Story, shot: Shot, previous: str) -> bool:
    if "script" not in entry:  # a folder of an earlier version
        return entry.get("prompt") == story.prompt_of(shot)
    return entry["script"] == _describe(story, shot) and entry.get("previous") == previous


def _describe(story: Story, shot: Shot) -> str:
    described = dict(vars(shot))  # asdict copies each value, which takes longer than all the rest
    for name in ("lock", "row"):
        described.pop(name)
    return digest_of([story.name, story.prompt_of(shot), described])


def _video(folder: Path | None, entry: Mapping) -> Path | None:
    name = entry.get("file")  # a shot's own name: see read_manifest
    return folder / name if folder and name and (folder / name).is_file() else None
