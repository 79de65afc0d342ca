"""Writes a lost or damaged ``story.json`` anew from what lies beside it, so that an artist's locks
and takes outlive it.

A visible film is a copy of a record's, so its checksum says which record it came from; the copy of
the script says whose folder it is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from .disk import checksum
from .edited_shots import Written, written_from
from .json_text import parse_json
from .latest_results import is_held
from .shot_files import as_changes
from .shot_record import Record
from .shot_store import ShotStore
from .story import Story, load_story
from .story_folder import MANIFEST, existing_folders, update_manifest

FILM = re.compile(r"shot_([0-9]{1,7}_[0-9]{1,7})\.mp4")
logger = logging.getLogger(__name__)


def repair_folders(output: str | Path, prefix: str, story: Story, store: ShotStore) -> None:
    """Repair the manifest of every folder of ``story`` that lost it; others are left alone."""
    for folder in existing_folders(output, prefix, story):
        if _is_whole(folder / MANIFEST):
            continue
        found = _results(folder, story, store)
        results = {label: result for label, (result, _) in found.items()}
        if any(_is_of(entry, story) for entry in results.values()) or _has_script_of(folder, story):
            files = {f"shot_{label}.mp4": file for label, (_, file) in found.items()}
            update_manifest(folder, story, shots=results, **as_changes(files))
            logger.warning(
                "StoryMem: %s was lost or damaged and is written anew, with %d of its shots",
                folder / MANIFEST,
                len(results),
            )
        elif (folder / MANIFEST).exists():
            logger.warning(
                "StoryMem: %s is damaged, and nothing beside it tells whose it is: '%s' gets "
                "another folder, and locks that only it knew are lost",
                folder / MANIFEST,
                story.name,
            )


def _is_plain(path: Path) -> bool:
    try:
        return path.is_file() and not path.is_symlink()
    except OSError:
        return False


def _is_whole(path: Path) -> bool:
    try:
        return isinstance(parse_json(path.read_bytes()), dict)
    except (OSError, ValueError):
        return False


def _results(folder: Path, story: Story, store: ShotStore) -> dict[str, tuple[dict, Written]]:
    """By label, the result that each visible film came from, and what was written there.

    A film that shows none is taken for an edit of the last one made for that place when it is newer
    than that one's record.
    """
    films = {m[1]: p for p in folder.glob("shot_*.mp4") if (m := FILM.fullmatch(p.name))}
    films = {label: path for label, path in films.items() if _is_plain(path)}
    if not films:
        return {}
    records = list(store.records_of(story.name))
    by_content = {checksum(record.video): record for record in records}
    results = {}
    for label, path in films.items():
        record = by_content.get(checksum(path)) or _newest(records, label, story)
        if record is not None:
            facts = record.facts
            names = ("own", "prompt", "shot_prompt", "seed")
            kept = {name: facts[name] for name in names if name in facts}
            written = written_from(path, record.video, record.video.stat().st_mtime_ns)
            results[label] = {"key": record.key, **kept}, replace(written, key=record.key)
    return results


def _newest(records: Iterable[Record], label: str, story: Story) -> Record | None:
    """Of films with another frame rate than their record: the last one made for that place."""
    fitting = (r for r in records if r.facts.get("label") == label and _is_of(r.facts, story))
    return max(fitting, key=lambda record: record.video.stat().st_mtime, default=None)


def _is_of(facts, story: Story) -> bool:
    return any(not is_held(facts, shot) for shot in story.shots)


def _has_script_of(folder: Path, story: Story) -> bool:
    for path in (folder / "script.json", folder / "script.txt"):
        try:
            before = load_story(path.read_text(encoding="utf-8"), quiet=True)
        except (OSError, ValueError):
            continue
        if {s.prompt.strip() for s in before.shots} & {s.prompt.strip() for s in story.shots}:
            return True
    return False
