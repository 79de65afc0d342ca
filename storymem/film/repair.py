"""Rebuilds a lost or damaged ``story.json`` from what lies beside it, so that an artist's locks
and takes outlive it.

A visible film is a copy of a record's, so its checksum says which record it came from; the copy of
the script says whose folder it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..files.disk import explain_write_errors
from ..files.hashing import checksum
from ..files.names import folder_name
from ..loop.passes import FILM, pass_of_facts
from ..loop.reuse import is_held
from ..loop.shot_record import Record
from ..loop.shot_store import ShotStore
from ..script.reader import load_story
from ..script.story import Story
from .edited_shots import Written, written_from
from .folder import SHOT_FILE, has_manifest
from .folder_lock import changing
from .manifest import MANIFEST, mark_of, read_script_copy, write_manifest
from .passes import PASS, pass_of
from .shot_files import as_changes

logger = logging.getLogger(__name__)


def repair_folder(folder: Path, story: Story, store: ShotStore) -> None:
    """Repair the manifest of a story's folder that lost it; a whole one is left alone.

    What it held may be another film of that title, and is written down as such.
    """
    if has_manifest(folder):
        return
    with explain_write_errors("story.json", folder):
        _repair(folder, story, store)


def _repair(folder: Path, story: Story, store: ShotStore) -> None:
    prompts = _prompts_in(folder)
    found = _results(folder, story, store, prompts)
    results = {label: result for label, (result, _) in found.items()}
    if results or prompts & {shot.prompt.strip() for shot in story.shots}:
        prompts |= {str(entry.get("shot_prompt", "")).strip() for entry in results.values()}
        marks = sorted(mark_of(prompt) for prompt in prompts if prompt)
        files = as_changes({f"shot_{label}.mp4": file for label, (_, file) in found.items()})
        manifest = {"name": story.name, "prompts": marks, "shots": results, **files}
        if (found := _pass_of(folder, story)) != FILM:
            manifest[PASS] = found
        with changing(folder):
            write_manifest(folder, manifest)
        logger.warning(
            "StoryMem: %s was lost or damaged and is rebuilt, with %d of its shots",
            folder / MANIFEST,
            len(results),
        )
        if aside := sorted(path.name for path in folder.glob("shot_* edited *.mp4")):
            logger.warning(
                "StoryMem: it is no longer known which take these edited files belong to; to use "
                "one, put it in place of its shot's file: %s",
                ", ".join(aside),
            )
    elif (folder / MANIFEST).exists():
        logger.warning(
            "StoryMem: %s is damaged, and nothing beside it shows which story it belongs to: locks "
            "recorded only there are lost",
            folder / MANIFEST,
        )


def _pass_of(folder: Path, story: Story) -> str:
    """Which pass a folder without a manifest is of: a film's title may end like a pass."""
    return FILM if folder_name(story.name) == folder.name else pass_of(folder)


def _is_plain(path: Path) -> bool:
    try:
        return path.is_file() and not path.is_symlink()
    except OSError:
        return False


def _results(
    folder: Path, story: Story, store: ShotStore, prompts: set[str]
) -> dict[str, tuple[dict, Written]]:
    """By label, the result that each visible film came from, and what was written there.

    A film that shows none is taken for an edit of the last one made for that place when it is newer
    than that one's record.
    """
    films = {m[1]: p for p in folder.glob("shot_*.mp4") if (m := SHOT_FILE.fullmatch(p.name))}
    films = {label: path for label, path in films.items() if _is_plain(path)}
    if not films:
        return {}
    pass_ = _pass_of(folder, story)
    records = [r for r in store.records_of(story.name) if pass_of_facts(r.facts) == pass_]
    by_content = {checksum(record.video): record for record in records}
    results = {}
    for label, path in films.items():
        record = by_content.get(checksum(path)) or _newest(records, label, story, prompts)
        if record is not None:
            facts = record.facts
            names = ("own", "prompt", "shot_prompt", "seed")
            kept = {name: facts[name] for name in names if name in facts}
            written = written_from(path, record.video, record.video.stat().st_mtime_ns)
            results[label] = {"key": record.key, **kept}, replace(written, key=record.key)
    return results


def _newest(
    records: Iterable[Record], label: str, story: Story, prompts: set[str]
) -> Record | None:
    """Of films with another frame rate than their record: the last one made for that place."""
    fitting = (
        r
        for r in records
        if r.facts.get("label") == label
        and (r.facts.get("shot_prompt", "").strip() in prompts or _is_of(r.facts, story))
    )
    return max(fitting, key=lambda record: record.video.stat().st_mtime, default=None)


def _is_of(facts, story: Story) -> bool:
    return any(not is_held(facts, shot) for shot in story.shots)


def _prompts_in(folder: Path) -> set[str]:
    """The prompts of the script that lies in ``folder``."""
    text = read_script_copy(folder)
    with suppress(ValueError):
        if text is not None:
            return {shot.prompt.strip() for shot in load_story(text, quiet=True).shots}
    return set()
