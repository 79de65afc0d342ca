"""A finished film as a timeline: which frames of which file stand where, and what each shot is.

Times are whole frames of the film. A clip's file has frames before and after those that the film
shows: the ones that repeat the shot before, and the ones that a cross-fade is made of.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from ..files.hashing import checksum
from ..files.messages import short
from ..files.names import is_plain_name
from ..files.video import as_rate, clip_fades, open_video, read_info
from ..loop.seen import seen_by
from ..loop.shot_record import VIDEO_FILE, DamagedError
from ..loop.shot_store import ShotStore, picture_path
from ..loop.take_names import take_name
from ..script.captions import words_of
from ..script.reader import load_story
from ..script.story import Shot, Story
from .edited_shots import Edit
from .film_track import find_track
from .finished_story import read_script
from .folder import STORES
from .manifest import MANIFEST, find_script, read_manifest
from .masters import FOLDER, OPENING, find_master, read_masters
from .openings import Opening, find_opening
from .shot_files import ShotFiles
from .versions import FilmVersion, kept_script, read_history

NAME_LENGTH = 60  # characters of a clip's name
TELLING = ("mode", "seed", "negative")  # facts of a record that say how a shot was made


@dataclass(frozen=True)
class TimelineClip:
    """One shot on the timeline."""

    label: str
    name: str  # what an editing program shows
    path: str  # of its file, relative to the timeline's, with forward slashes
    start: int  # in the film, with no fade counted twice: where the cut before it is
    head: int  # frames of the file before those of the shot
    frames: int  # of the shot
    fade: int  # frames that the shot shares with the one before
    next_fade: int  # and with the one after
    width: int
    height: int
    has_audio: bool
    audio_path: str = ""  # of a file that only has its sound; empty: the sound is in ``path``
    info: Mapping = field(default_factory=dict)  # prompt, seed, take, cast, memory

    @property
    def available(self) -> int:
        """Frames of its file."""
        return self.head + self.frames

    @property
    def fade_in(self) -> tuple[int, int]:
        """Frames of the cross-fade before and after the cut that begins the clip."""
        return split_fade(self.fade)

    @property
    def first(self) -> int:
        """The file's frame at the cut that begins the clip."""
        return self.head + self.fade_in[0]

    @property
    def duration(self) -> int:
        """Frames between its two cuts."""
        return self.frames - self.fade_in[0] - split_fade(self.next_fade)[1]


@dataclass(frozen=True)
class Timeline:
    """A film."""

    name: str
    rate: Fraction  # frames per second
    clips: tuple[TimelineClip, ...]
    film: str = ""  # name of the story video
    track: str = ""  # a sound file under the whole film, relative; empty for none
    info: Mapping = field(default_factory=dict)

    @property
    def is_mixed(self) -> bool:
        """Whether ``track`` has the sounds of the shots as well, which have tracks of their own."""
        return self.track == self.film and any(clip.has_audio for clip in self.clips)

    @property
    def duration(self) -> int:
        """Frames of the film."""
        return sum(clip.duration for clip in self.clips)


def nominal_rate(fps: float) -> Fraction:
    """Frames per second as editing programs count them: 23.976 is 24000/1001."""
    ntsc = Fraction(round(fps) * 1000, 1001)
    return ntsc if fps != round(fps) and abs(fps - ntsc) < 0.002 else as_rate(fps)


def split_fade(frames: int) -> tuple[int, int]:
    """How much of a cross-fade lies before its cut and after it."""
    return frames // 2, frames - frames // 2


def read_timeline(folder: Path, film: str = "", *, with_memory: bool = True) -> Timeline:
    """The timeline of the film that a story's folder shows.

    Args:
        film: name of its file, where several parts of the story have films; empty for the last.
        with_memory: whether the clips tell which frames their shots saw, for which every record is
            checked.

    Raises:
        ValueError: when there is no such film, or a file cannot be read.
    """
    manifest = read_manifest(folder)
    version = _present(folder, manifest, film)
    story = _story_of(folder, version)
    store = _store_of(folder)
    edits = ShotFiles(folder, story, {}).edits()
    shots = [shot for shot in story.shots if shot.label in _shots_of(version, story)]
    found = [_read_clip(folder, manifest, shot, version, edits, store) for shot in shots]
    opening = find_opening(folder, manifest, version.file, store and store.root)
    head = [_opening_clip(folder, manifest, opening)] if opening else []
    wanted = [0] * len(head) + [version.fade_frames if shot.cut else 0 for shot in shots]
    fades = clip_fades([clip.frames for clip in (*head, *found)], wanted)
    clips = [replace(clip, next_fade=fades[1]) for clip in head if len(fades) > 1]
    start = sum(clip.duration for clip in clips)
    for i, (shot, clip) in enumerate(zip(shots, found, strict=True), len(head)):
        facts = store.find_facts(version.shots[shot.label]) if store else None
        key = version.shots[shot.label]
        info = _describe(story, shot, key, facts or {})
        if with_memory:
            info["memory"] = _memory(key, folder, store)
        if key in edits:
            info["edited"] = take_name(edits[key].sha256)
        after = fades[i + 1] if i + 1 < len(fades) else 0
        placed = {**clip.__dict__, "start": start, "fade": fades[i], "next_fade": after}
        clips.append(TimelineClip(**{**placed, "info": info, "name": _name(shot, info)}))
        start += clips[-1].duration
    about = {"story": story.name, "overview": story.overview, "cast": list(story.names)}
    return Timeline(
        story.name,
        nominal_rate(version.fps),
        tuple(clips),
        version.file,
        _track(folder, version),
        about,
    )


def film_story(folder: Path, film: str = "") -> Story:
    """The script of the film that a story's folder shows, as it was when the film was made.

    Raises:
        ValueError: when there is no such film.
    """
    return _story_of(folder, _present(folder, read_manifest(folder), film))


# --- inside ----------------------------------------------------------------------------------


def _present(folder: Path, manifest: Mapping, film: str) -> FilmVersion:
    if not (folder / MANIFEST).is_file():
        raise ValueError(
            f"{folder} holds no {MANIFEST}; pass a story's own folder, the one with shot_01_01.mp4"
        )
    versions = [version for version in read_history(manifest) if version.shots and version.sha256]
    name = film or manifest.get("video") or (versions[-1].file if versions else "")
    found = next((version for version in versions if version.file == name), None)
    if found is None:
        there = "" if not name else f" (it shows {name})"
        raise ValueError(
            f"{folder} has no finished film{there}; finish the story once with this version of "
            "StoryMem, which joins the film anew and generates no shot"
        )
    return found


def _story_of(folder: Path, version: FilmVersion) -> Story:
    text = kept_script(folder, version.script)
    if text is not None:
        return load_story(text, default_name=folder.name)
    script = find_script(folder)
    if script is None:
        raise ValueError(f"{folder} holds no script; queue the story once more, which writes it")
    return read_script(script, folder.name)


def _shots_of(version: FilmVersion, story: Story) -> set[str]:
    """Labels of the shots that a film shows; one that was made of a part begins later."""
    labels = [shot.label for shot in story.shots]
    if "_shots_" in version.stem:
        span = version.stem.rpartition("_shots_")[2].split("-")
        if len(span) == 2 and all(part.isdigit() for part in span):
            labels = labels[int(span[0]) - 1 : int(span[1])]
    return set(labels) & set(version.shots)


def _store_of(folder: Path) -> ShotStore | None:
    """Where the records of its shots lie; nothing where they were left behind."""
    nodes, headless = STORES
    places = (folder / headless, folder.resolve().parent.parent / nodes)
    return next((ShotStore(place) for place in places if place.is_dir()), None)


def _read_clip(
    folder: Path,
    manifest: Mapping,
    shot: Shot,
    version: FilmVersion,
    edits: Mapping[str, Edit],
    store: ShotStore | None,
) -> TimelineClip:
    """The file of a shot, and how many frames of the film it has."""
    key = version.shots[shot.label]
    path, edit = folder / f"shot_{shot.label}.mp4", edits.get(key)
    digest, head = "", 0
    if edit:
        path, digest = edit.path, edit.sha256
    elif store and read_masters(manifest):
        video = store.folder_of(key) / VIDEO_FILE
        digest = checksum(video) if video.is_file() else ""
    if not path.is_file():
        raise ValueError(f"{path} is missing; queue the story once more, which puts it back")
    frames = edit.frames if edit else read_info(path).frames
    audio_path, has_audio = "", _has_audio(path)
    if master := find_master(folder, manifest, f"shot_{shot.label}", digest):
        audio_path = "" if _has_audio(master.path) or not has_audio else _relative(path, folder)
        path, head = master.path, master.head
    info = read_info(path)
    return TimelineClip(
        shot.label, "", _relative(path, folder), 0, head, frames, 0, 0, info.width, info.height,
        has_audio, audio_path,
    )  # fmt: skip


def _opening_clip(folder: Path, manifest: Mapping, opening: Opening) -> TimelineClip:
    """The clip at the film's head, before it is known what fades."""
    master = find_master(folder, manifest, OPENING, opening.sha256)
    path = master.path if master else opening.path
    if not path.is_file():
        raise ValueError(
            f"the clip at the film's head is missing ({path}); queue the story once more, which "
            "puts it back"
        )
    info = read_info(path)
    place = f"{FOLDER}/{path.name}" if master else os.path.relpath(path, folder)
    about = {"prompt": "", "take": take_name(opening.sha256), "cut": True, "memory": []}
    return TimelineClip(
        OPENING, "Opening", place.replace(os.sep, "/"), 0, 0, info.frames, 0, 0, info.width,
        info.height, _has_audio(path), info=about,
    )  # fmt: skip


def _has_audio(path: Path) -> bool:
    with open_video(path) as container:
        return bool(container.streams.audio)


def _track(folder: Path, version: FilmVersion) -> str:
    """The film's own track; where no file has it, the sound of the story video, which is all that
    is heard."""
    path = folder / version.file
    if is_plain_name(version.file) and (own := find_track(folder, version.file)):
        return own
    is_there = is_plain_name(version.file) and path.is_file()
    return version.file if is_there and _has_audio(path) else ""


def _relative(path: Path, folder: Path) -> str:
    return path.name if path.parent == folder else f"{FOLDER}/{path.name}"


def _name(shot: Shot, info: Mapping) -> str:
    words = short(words_of(info["prompt"]), NAME_LENGTH)
    return f"Scene {shot.scene} Shot {shot.number}: {words}"


def _describe(story: Story, shot: Shot, key: str, facts: Mapping) -> dict:
    """What an editor may want to know of a shot: plain values only."""
    said = facts.get("shot_prompt")
    known = {name: facts[name] for name in TELLING if isinstance(facts.get(name), (str, int))}
    return {
        "scene": shot.scene,
        "shot": shot.number,
        "label": shot.label,
        "prompt": said if isinstance(said, str) else shot.prompt,
        "cut": shot.cut,
        **({"seed": shot.seed} if shot.seed is not None else {}),
        **known,
        "take": take_name(key),
        "cast": list(story.who(shot)),
    }


def _memory(key: str, folder: Path, store: ShotStore | None) -> list[dict]:
    """Which frames a shot saw, and why; nothing when its record does not tell."""
    record = store.find(key) if store else None
    if record is None:
        return []
    try:
        bank = seen_by(store, record).bank
        choice = bank.choice
        frames: Sequence = [(bank.frames[i], choice.reasons.get(i, "")) for i in choice.indices]
    except (DamagedError, AttributeError, IndexError):
        return []
    return [
        {
            "from": frame.place,
            "why": why,
            "picture": os.path.relpath(picture_path(store.root, frame.digest), folder).replace(
                os.sep, "/"
            ),
        }
        for frame, why in frames
    ]
