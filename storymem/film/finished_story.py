"""A finished story on disk: its shots as videos, and the script they were made from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files.messages import reason_of
from ..files.video import open_video, read_info, to_pixels
from ..loop.reuse import is_held
from ..script.file import read_script_text
from ..script.reader import load_story
from ..script.story import Story
from .manifest import SCRIPTS, find_script, read_manifest

PATTERNS = ("shot_{}.mp4", "{}.mp4")  # ours, and the released code's
NUMBERED = re.compile(r"(?:shot_)?[0-9]{1,7}_[0-9]{1,7}\.mp4$")


@dataclass(frozen=True)
class ShotFilm:
    """One shot: what it should show, and the file that shows it."""

    label: str  # scene_shot, such as 01_02
    prompt: str  # the shot's own, without the character description, as the text encoder reads it
    path: Path
    frames: int
    width: int
    height: int


@dataclass(frozen=True)
class StoryFilm:
    """The shots of one story in order."""

    name: str
    overview: str
    folder: Path
    shots: tuple[ShotFilm, ...]

    @property
    def frames(self) -> int:
        """How many frames all shots have together."""
        return sum(shot.frames for shot in self.shots)


def is_story_folder(folder: Path) -> bool:
    """Whether a folder holds shots, going by the names of its files (see ``PATTERNS``)."""
    return folder.is_dir() and any(NUMBERED.match(path.name) for path in folder.iterdir())


def open_film(folder: Path, script: Path | None = None, *, partial: bool = False) -> StoryFilm:
    """The story in ``folder``; nothing is decoded yet.

    Args:
        script: the script, where ``folder`` does not hold it.
        partial: measure what is there when shots are missing, or made from older prompts.

    Raises:
        ValueError: without a script, when shots are missing or made from older prompts, or a video
            cannot be read.
    """
    if not is_story_folder(folder):
        raise ValueError(
            f"{folder} holds no shots (shot_01_01.mp4 and so on); choose the folder that Shot Loop "
            "Close or 'storymem run' wrote"
        )
    # A script without a title is called as its folder: its own file is called as all others.
    story = read_script(script) if script else read_script(_script_in(folder), folder.name)
    made = read_manifest(folder)["shots"]
    files = {s.label: _file_of(folder, s.label, made.get(s.label, {})) for s in story.shots}
    shown = {label for label, path in files.items() if path}
    if not script and (outdated := sorted(shown & _outdated(folder, story))):
        if not partial:
            raise ValueError(
                f"{_some(outdated)} of '{story.name}' in {folder} were made from older prompts, as "
                "after a run that stopped; finish the story, or measure the others (partial)"
            )
        files.update(dict.fromkeys(outdated))
    missing = [label for label, path in files.items() if path is None]
    if len(missing) == len(files) or (missing and not partial):
        raise ValueError(
            f"{folder} lacks {len(missing)} of the {len(files)} shots of '{story.name}': "
            f"{_some(missing)}; finish the story, or "
            "measure what is there (partial)"
        )
    shots = []
    for shot in story.shots:
        if path := files[shot.label]:
            info = read_info(path)
            if info.frames < 1:
                raise ValueError(f"{path} has no frame; generate the shot again")
            size = (info.frames, info.width, info.height)
            shots.append(ShotFilm(shot.label, story.spoken(shot.prompt), path, *size))
    return StoryFilm(story.name, story.spoken(story.overview), folder, tuple(shots))


def find_stories(folder: Path) -> list[Path]:
    """``folder`` when it is a story's, else the story folders right below it, by name.

    Raises:
        ValueError: when there are none.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; check the path")
    if is_story_folder(folder):
        return [folder]
    below = sorted(path for path in folder.iterdir() if is_story_folder(path))
    if not below:
        raise ValueError(
            f"neither {folder} nor a folder in it holds shots (shot_01_01.mp4 and so on); choose a "
            "story's folder, or a folder of stories"
        )
    return below


def read_script(path: Path, default_name: str = "") -> Story:
    """A script file; without a title it is called ``default_name``, else as its file.

    Raises:
        ValueError: when it cannot be read, naming it.
    """
    try:
        return load_story(read_script_text(path), default_name=default_name or path.stem)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} cannot be read as a script: {words}") from error


def frame_counts(film: StoryFilm) -> list[int]:
    """The number of frames of each shot, in order."""
    return [shot.frames for shot in film.shots]


def place_in_shots(counts: Sequence[int], wanted: Sequence[int]) -> list[tuple[int, int]]:
    """Frames of the whole story, counted through its shots, as (shot, frame of the shot)."""
    ends = np.cumsum(counts)
    shots = np.searchsorted(ends, wanted, side="right").tolist()
    return [(s, int(w - (ends[s] - counts[s]))) for s, w in zip(shots, wanted, strict=True)]


def watch(
    path: Path, is_wanted: Callable[[int], bool], last: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Frames ``uint8 [H, W, 3]`` that are wanted, with their numbers, up to frame ``last``.

    One frame is in memory at a time.

    Raises:
        ValueError: when the file ends earlier, or cannot be decoded.
    """
    import av

    count = 0
    try:
        with open_video(path) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number > last:
                    return
                count = number + 1
                if is_wanted(number):
                    yield number, to_pixels(frame)
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as a video: {reason_of(error)}") from error
    if count <= last:
        raise ValueError(
            f"{path} is damaged: {count} of {last + 1} frames could be read; generate the shot "
            "again"
        )


def _script_in(folder: Path) -> Path:
    if path := find_script(folder):
        return path
    raise ValueError(
        f"{folder} holds no script ({' or '.join(SCRIPTS)}); put the story's script there under "
        "that name"
    )


def _outdated(folder: Path, story: Story) -> set[str]:
    """Shots whose films show another prompt than the script has now; locked ones are meant to."""
    manifest = read_manifest(folder)
    made = manifest["shots"]
    outdated = {
        shot.label
        for shot in story.shots
        if isinstance(entry := made.get(shot.label), Mapping)
        and "shot_prompt" in entry
        and not shot.lock
        and is_held(entry, shot)
    }
    if manifest["earlier"]:  # a file that the present film has not made is that other film's
        outdated |= {shot.label for shot in story.shots if "file" not in made.get(shot.label, {})}
    return outdated


def _some(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:8])}{' ...' if len(labels) > 8 else ''}"


def _file_of(folder: Path, label: str, entry: Mapping) -> Path | None:
    beside = [entry["beside"]] if "beside" in entry else []  # it could not be put in its place
    paths = (folder / name for name in [*beside, *(p.format(label) for p in PATTERNS)])
    return next((path for path in paths if path.is_file()), None)


def name_apart(systems: Mapping[str, Sequence[StoryFilm]]) -> dict[str, dict[str, StoryFilm]]:
    """Every system's films by the names of their stories, which tell what belongs together; a name
    that some system has twice stands with the folder's name in all of them.

    Raises:
        ValueError: when the folders of one system have the same name, too.
    """
    shared = set()
    for films in systems.values():
        names = [film.name for film in films]
        shared |= {name for name in names if names.count(name) > 1}
    named = {
        system: {
            f"{film.name} ({film.folder.name})" if film.name in shared else film.name: film
            for film in films
        }
        for system, films in systems.items()
    }
    if any(len(named[system]) != len(films) for system, films in systems.items()):
        raise ValueError("two stories of one system have the same name and the same folder name")
    return named
