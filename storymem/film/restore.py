"""Puts an earlier film's state of a story back, and removes films that nobody needs any more.

Shots are never lost by either: their records stay in the store.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..files.disk import explain_write_errors, remove_link
from ..files.hashing import checksum
from ..files.messages import listed
from ..files.names import folder_name, is_digest
from ..loop.plan import LoopSettings, Step
from ..loop.reuse import is_held
from ..loop.shot_record import DamagedError, Record
from ..loop.shot_store import ShotStore
from ..memory.bank_folder import save_bank
from ..sampling.continuity import ShotPlan
from ..script.reader import load_story
from ..script.story import Story
from .earlier_films import begin_film, find_film
from .folder import STORES
from .folder_lock import FolderBusy, StoryClaim, changing
from .manifest import (
    MANIFEST,
    read_manifest,
    read_script_copy,
    update_manifest,
    write_manifest,
    write_script_copy,
)
from .masters import masters_of_film
from .output import BANK_FOLDER, StoryExport, VideoOptions
from .subtitle_files import VTT, is_own_vtt
from .versions import (
    FilmVersion,
    forget_scripts,
    is_unchanged,
    keep_script,
    kept_script,
    next_file,
    now,
    present_version,
    read_history,
    with_version,
    write_history,
)

HEADLESS_STEM = "story"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ListedFilm:
    """One version of a story's film as a list shows it."""

    version: FilmVersion
    state: str  # "whole", "changed" since it was written, "removed", "no film"
    is_present: bool  # what the folder shows now
    lost: tuple[str, ...]  # labels of shots whose records are gone

    @property
    def can_be_restored(self) -> bool:
        """Whether it still knows its shots, and none of their records is gone."""
        return bool(self.version.shots) and not self.lost


def find_store(folder: Path) -> ShotStore:
    """The store of finished shots that the story in ``folder`` was made in.

    Raises:
        ValueError: when there is none.
    """
    nodes, headless = STORES
    for place in (folder / headless, folder.resolve().parent.parent / nodes):
        if place.is_dir():
            return ShotStore(place)
    raise ValueError(
        f"{folder} has no finished shots: neither {headless} in it nor {nodes} two folders above; "
        "pass a story's own folder, where Shot Loop Close or 'storymem run' wrote it"
    )


def check_story_folder(folder: Path) -> None:
    """Raises ValueError for a folder that holds no story's ``story.json``."""
    if not (folder / MANIFEST).is_file():
        raise ValueError(
            f"{folder} holds no {MANIFEST}; pass a story's own folder, the one with shot_01_01.mp4"
        )


def list_films(folder: Path, store: ShotStore) -> list[ListedFilm]:
    """Every film in the history, by stem and number; no record's content is read."""
    versions = read_history(read_manifest(folder))
    keys = {key for version in versions for key in version.shots.values()}
    there = {key for key in keys if (store.folder_of(key) / "record.json").is_file()}
    return [
        ListedFilm(
            version,
            _state(folder, version),
            version is present_version(versions, version.stem),
            tuple(label for label, key in version.shots.items() if key not in there),
        )
        for version in sorted(versions, key=lambda version: (version.stem, version.number))
    ]


def find_version(versions: Iterable[FilmVersion], wanted: str) -> FilmVersion:
    """The version of a number, or of a film's name with or without ``.mp4``.

    A number that several films have is the whole story's, which has the shortest name.

    Raises:
        ValueError: when there is none.
    """
    versions = list(versions)
    if wanted.isdecimal() and wanted.isascii():
        fitting = [version for version in versions if version.number == int(wanted)]
    else:
        fitting = [v for v in versions if v.file in (wanted, f"{wanted}.mp4")]
    if not fitting:
        names = listed(version.file.removesuffix(".mp4") for version in versions)
        raise ValueError(
            f"there is no film {wanted!r} in the history; choose "
            f"{'one of: ' + names if names else 'another folder: this one has none'}"
        )
    return min(fitting, key=lambda version: len(version.stem))


# --- putting a state back ------------------------------------------------------------------------


def keep_present(folder: Path) -> FilmVersion | None:
    """Keep the present state of a story in its history, when no film has it yet; what was kept.

    A run that stopped leaves such a state, and so does one that is about to make another story in
    this folder.
    """
    with changing(folder):
        manifest = read_manifest(folder)
        versions, script = read_history(manifest), read_script_copy(folder)
        keys = {k: e["key"] for k, e in manifest["shots"].items() if is_digest(e.get("key"))}
        if story := _story_of(script, manifest):
            labels = {shot.label for shot in story.shots}
            keys = {label: key for label, key in keys.items() if label in labels}
        if not keys:
            return None
        if script is None:
            logger.warning("StoryMem: %s has no script: its state cannot be kept", folder)
            return None
        digest = hashlib.sha256(script.encode("utf-8", "surrogatepass")).hexdigest()
        if any(v.script == digest and keys.items() <= v.shots.items() for v in versions):
            return None
        last = versions[-1] if versions else FilmVersion()
        stem = last.stem or _stem_of(folder, manifest)
        rates = [e["fps"] for k, e in manifest["shots"].items() if k in keys and "fps" in e]
        state = FilmVersion(
            file=next_file(folder, stem, versions),
            when=now(),
            content=hashlib.sha256(b"").hexdigest(),
            shots=keys,
            script=keep_script(folder, script),
            fps=float(rates[0]) if rates and 1 <= rates[0] <= 240 else last.fps,
            crf=last.crf,
            fade_frames=last.fade_frames,
        )
        # Before the present film, which stays the present one.
        films = write_history([*versions[:-1], state, *versions[-1:]])
        # Not by update_manifest: the script there may be another film's by now, edited by hand.
        write_manifest(folder, {**manifest, "films": films})
        return state


def keep_other(folder: Path, story: Story) -> None:
    """Keep the film that a folder shows in its history, when ``story`` is about to be another."""
    with changing(folder):
        if find_film(folder, story).is_other:
            keep_present(folder)


def restore(folder: Path, store: ShotStore, wanted: FilmVersion) -> list[str]:
    """Put shots, script, memory and ``story.json`` back as they were when a film was joined.

    The present state is kept first. Shot files that an artist edited stay with their take: put
    aside when another one is shown (see :mod:`storymem.film.shot_files`).

    Returns:
        Lines on what else happened.

    Raises:
        ValueError: when the script or a record is gone; nothing is changed then.
        FolderBusy: while a run makes the story.
        StoreError: when the disk refuses.
    """
    text = kept_script(folder, wanted.script)
    records = {label: store.find(key) for label, key in wanted.shots.items()}
    gone = [label for label, record in records.items() if record is None]
    name = wanted.file.removesuffix(".mp4")
    if not records or text is None:
        raise ValueError(f"{name} cannot be restored: its script or its list of shots is gone")
    if gone:
        raise ValueError(
            f"{name} cannot be restored: the finished shots {listed(gone)} are gone from "
            f"{store.root}; its film, if it is still there, can be watched"
        )
    story = _story_of(text, read_manifest(folder))
    if story is None:
        raise ValueError(f"{name} cannot be restored: its script can no longer be read")
    try:
        claim = StoryClaim(folder, hashlib.sha256(os.urandom(16)).hexdigest())
    except FolderBusy as error:
        raise FolderBusy(
            f"a run is making the story in {folder}; wait until it is done, or stop it"
        ) from error
    try:
        with explain_write_errors("the restored story", folder), changing(folder):
            return _restore(folder, store, wanted, story, records)
    finally:
        claim.release()


def _restore(folder, store, wanted, story, records) -> list[str]:
    lines, steps = [], _steps_of(story, records)
    if not steps:
        raise ValueError("the film cannot be restored: its script has none of its shots")
    if kept := keep_present(folder):
        lines.append(f"the current state is kept as {kept.file.removesuffix('.mp4')}")
    options = VideoOptions(wanted.fps, wanted.crf, wanted.fade_frames, bool(wanted.subtitles))
    shown = StoryExport(folder, story, LoopSettings(), options)
    begin_film(folder, story, steps)  # as a run of this script does
    shown.show_only(steps)
    lines += shown.notes.values()
    write_script_copy(folder, story)
    try:
        bank = store.load(steps[-1].record).bank
        remove_link(folder / BANK_FOLDER)
        save_bank(folder / BANK_FOLDER, bank)
    except DamagedError as error:
        lines.append(f"the memory stays as it is: {error}")
    films = write_history(with_version(read_history(read_manifest(folder)), wanted))
    changes = {"films": films, "stopped": "", "failed": ""}
    if wanted.sha256:
        changes["video"] = wanted.file
    update_manifest(folder, story, **changes)
    if wanted.sha256 and not (folder / wanted.file).exists():
        lines.append(f"{wanted.file} was removed; run the story again to join it from its shots")
    return lines


def _steps_of(story: Story, records: Mapping[str, Record]) -> list[Step]:
    """The finished shots of a version, as the run had them that joined it."""
    steps: list[Step] = []
    for shot in story.shots:
        record = records.get(shot.label)
        if record is None:
            continue
        facts, before = record.facts, steps[-1] if steps else None
        prompt = facts.get("prompt", story.prompt_of(shot))
        plan = ShotPlan(replace(shot, seed=facts.get("seed")), story.name, prompt,
                        facts.get("mode", "m2v"))  # fmt: skip
        step = Step(plan, facts.get("own", ""), before, record.key, record)
        made_for = {"prompt": prompt, **{k: facts[k] for k in ("shot_prompt",) if k in facts}}
        if is_held(made_for, shot) or facts.get("previous", step.previous) != step.previous:
            step.reason = "restored"  # it was kept though it, or the shot before it, had changed
        steps.append(step)
    return steps


# --- removing films ------------------------------------------------------------------------------


def films_to_remove(
    films: Iterable[ListedFilm], keep: int, *, forgets: bool = False
) -> list[ListedFilm]:
    """Films that may go: whole ones beyond the ``keep`` newest of their stem, never a present one.

    Args:
        forgets: also those that were removed, and can still be restored.

    Raises:
        ValueError: for less than one film to keep.
    """
    if keep < 1:
        raise ValueError(f"--keep must be 1 or more, but it is {keep}")
    films, found = list(films), []
    by_stem: dict[str, list[ListedFilm]] = {}
    for film in films:
        if film.state in ("whole", "changed"):
            by_stem.setdefault(film.version.stem, []).append(film)
    for of_stem in by_stem.values():
        newest = sorted(of_stem, key=lambda film: film.version.number)[-keep:]
        found += [f for f in of_stem if f not in newest and not f.is_present]
    gone = [f for f in films if forgets and f.state == "removed" and f.version.shots]
    return [film for film in found if film.state == "whole"] + [f for f in gone if not f.is_present]


def remove_films(folder: Path, films: Iterable[ListedFilm], *, forgets: bool = False) -> int:
    """Remove film files and their subtitles; how many bytes that freed.

    Their history stays, so that they can be restored, and their shots are used; unless it
    ``forgets`` that.
    """
    freed, gone = 0, set()
    with explain_write_errors("the films", folder), changing(folder):
        versions = read_history(read_manifest(folder))
        for film in films:
            version = film.version
            present = present_version(versions, version.stem)
            if present is not None and present.file == version.file:
                continue  # a run has made it the present one meanwhile
            gone.add(version.file)
            for path in film_files(folder, version):
                size = path.stat().st_size
                path.unlink()
                freed += size
        if forgets and gone:
            left = [replace(v, shots={}, script="") if v.file in gone else v for v in versions]
            write_manifest(folder, {**read_manifest(folder), "films": write_history(left)})
            forget_scripts(folder, left)
    return freed


def film_files(folder: Path, version: FilmVersion) -> list[Path]:
    """The film of a version, its subtitles and masters, as far as they lie there as they were
    written."""
    film, files = folder / version.file, []
    if is_unchanged(folder, version):
        files.append(film)
    with suppress(OSError):
        subtitles = film.with_suffix(".srt")
        if version.subtitles and checksum(subtitles) == version.subtitles:
            files.append(subtitles)
    if is_own_vtt(film.with_suffix(VTT)):
        files.append(film.with_suffix(VTT))
    files += masters_of_film(folder, read_manifest(folder), version.file)
    return files


# --- inside --------------------------------------------------------------------------------------


def _state(folder: Path, version: FilmVersion) -> str:
    if not version.sha256:
        return "no film"
    if not (folder / version.file).is_file():
        return "removed"
    return "whole" if is_unchanged(folder, version) else "changed"


def _story_of(text: str | None, manifest: Mapping) -> Story | None:
    name = manifest.get("name")
    with suppress(ValueError):
        if text is not None:
            return load_story(text, quiet=True, default_name=name if isinstance(name, str) else "")
    return None


def _stem_of(folder: Path, manifest: Mapping) -> str:
    name = manifest.get("name")
    if (folder / STORES[1]).is_dir() or not isinstance(name, str):
        return HEADLESS_STEM
    return folder_name(name) or HEADLESS_STEM
