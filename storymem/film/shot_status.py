"""Where each shot of a script stands, from the story's folder alone: for the page, before a run.

Only the script is looked at: another model or size in the graph regenerates shots as well, and only
the run itself can tell. Nor is it known yet whether a shot sees something else once the shot before
it is made: such a shot depends on that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..files.hashing import digest_of
from ..files.names import is_plain_name
from ..loop.passes import FILM
from ..loop.plan import Step
from ..loop.shot_record import VIDEO_FILE
from ..loop.shot_store import ShotStore
from ..loop.shots import CHOSEN
from ..loop.take_names import find_key
from ..loop.time_left import FACT, Timed, read_timed
from ..script.story import LENGTH_OF_AUDIO, Shot, Story
from .earlier_films import find_film
from .passes import PASS

DONE, LOCKED, WAITING, FAILED, DEPENDS = "done", "locked", "waiting", "failed", "depends"
KEPT = (LOCKED, CHOSEN)
FINISHED = (DONE, *KEPT)


@dataclass(frozen=True)
class ShotState:
    """Where one shot stands. ``state`` is DONE, LOCKED, CHOSEN, WAITING, FAILED or DEPENDS."""

    state: str
    video: Path | None = None  # the latest result, also when the shot will be regenerated
    depends_on: int = 0  # number of the shot (from 1) that decides whether this one is regenerated
    timed: Timed | None = None  # how long the latest result took

    @property
    def word(self) -> str:
        """The state as the page is told it: ``done``, ``depends 2``."""
        return f"{self.state} {self.depends_on}" if self.state == DEPENDS else self.state


def shot_states(
    story: Story, folder: Path | None, store: ShotStore | None = None
) -> list[ShotState]:
    """The state of every shot of ``story``.

    Args:
        folder: the story's folder, if there is one.
        store: where takes are looked up that the script names.
    """
    film = find_film(folder, story)
    manifest, pass_ = film.manifest, film.manifest.get(PASS, FILM)
    failed = manifest.get("failed") if manifest.get("stopped") else None
    found: list[ShotState] = []
    previous: str | None = ""  # key of the shot before; None: it may be another one
    undecided_by = 0  # number of the shot before that is to be made; 0: none
    for shot, entry in zip(story.shots, film.results(story), strict=True):
        video = _video(folder, entry)
        key = find_key(store, shot.take, pass_) if store and shot.take else ""
        if key:
            shown_key, state, entry = entry.get("key"), CHOSEN, {**entry, "key": key}
            if not video or shown_key != key:  # the folder shows another one until the next run
                video = store.folder_of(key) / VIDEO_FILE
                entry[FACT] = (store.find_facts(key) or {}).get(FACT)
        elif video and shot.lock:
            state = LOCKED
        elif failed == shot.label:
            state = FAILED  # whatever is there, the run was about to replace it
        elif not video or not _is_of_script(entry, story, shot):
            state = WAITING
        elif previous is not None and entry.get("previous", previous) == previous:
            state = DONE
        elif shot.index == 0:
            state = WAITING
        else:
            state = DEPENDS
            undecided_by = undecided_by or shot.index  # the one before it was regenerated since
        previous = entry["key"] if state in FINISHED else None
        if state != DEPENDS:
            undecided_by = shot.index + 1 if state in (WAITING, FAILED) else 0
        timed = read_timed(entry.get(FACT)) if video else None
        found.append(ShotState(state, video, undecided_by if state == DEPENDS else 0, timed))
    return found


def find_present_film(folder: Path | None, story: Story) -> Path | None:
    """The story video that the folder shows, if it is of ``story`` and no run stopped since."""
    found = find_film(folder, story)
    name = found.manifest.get("video", "")
    if folder is None or found.is_other or found.manifest.get("stopped") or not is_plain_name(name):
        return None
    path = folder / name
    return path if name.endswith(".mp4") and path.is_file() and not path.is_symlink() else None


def script_mark(story: Story) -> str:
    """The same for the same shots: whether a run is of the script that the page shows."""
    shots = [[_describe(story, shot), shot.label] for shot in story.shots]
    return digest_of([story.name, *shots])[:16]


def describe_made(story: Story, step: Step) -> dict:
    """What the manifest keeps about the script that a result was made from."""
    # An older result that was kept is of another script, nobody knows which, unless it is what the
    # script would give by itself.
    shot = story.shots[step.plan.shot.index]
    is_of_script = not step.reason
    if step.reason == CHOSEN and step.record is not None:
        facts = step.record.facts
        is_of_script = facts.get("own") == step.own and facts.get("previous") == step.previous
    return {"script": _describe(story, shot) if is_of_script else "", "previous": step.previous}


def _is_of_script(entry: Mapping, story: Story, shot: Shot) -> bool:
    if "script" not in entry:  # a folder of an earlier version
        return entry.get("prompt") == story.prompt_of(shot)
    return entry["script"] == _describe(story, shot)


def _describe(story: Story, shot: Shot) -> str:
    """What of a shot's script its pixels depend on."""
    described = dict(vars(shot))  # asdict copies each value, which takes longer than all the rest
    for name in ("lock", "row", "take", "scene", "number", "first_frame_prompt", "remember"):
        del described[name]
    del described["dialogue"], described["subtitle"]
    if shot.length != LENGTH_OF_AUDIO:
        del described["audio"]
    if not shot.promote:
        del described["promote"]
    if not shot.start_image:
        del described["start_image"]  # of results that were made before scripts had one
    if not shot.end_image:
        del described["end_image"]
    if shot.cut:
        del described["continuity"]
    return digest_of([story.name, story.prompt_of(shot), described])


def _video(folder: Path | None, entry: Mapping) -> Path | None:
    # A shot's own names: see read_manifest.
    names = [entry[name] for name in ("beside", "file") if entry.get(name)]
    paths = [folder / name for name in names] if folder else []
    return next((path for path in paths if path.is_file()), None)
