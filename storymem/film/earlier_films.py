"""Several films of one title share a folder: which of them a script goes on with, and what becomes
of the others.

The manifest's ``shots`` are those of the film that is shown. A run of a script that shares no
prompt with it moves them to ``earlier``, and takes up an earlier film's own when the script belongs
to one. Nothing of a film is lost: its records are in the store, and ``earlier`` says which they
are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..files.messages import count_shots
from ..files.names import composed
from ..loop.reuse import latest_results, locks_of, moved_results, texts_that_fit
from ..script.cast import strip_mentions
from ..script.story import DEFAULT_NAME, Story
from .folder import STORES
from .folder_lock import changing
from .manifest import (
    MOST_EARLIER,
    prompt_marks,
    read_manifest,
    write_manifest,
    write_script_copy,
)
from .passes import PASS
from .versions import is_numbered

OF_FILE = ("file", "fps", "size", "sha256", "beside")  # what an entry says of the visible file


@dataclass(frozen=True)
class FoundFilm:
    """What a script goes on with in its folder."""

    manifest: dict  # as the folder has it
    shots: Mapping[str, dict]  # results that may be the script's own, by label
    locks: Mapping[str, str]
    is_other: bool = False  # the folder shows another film
    taken_up: Mapping | None = None  # the film of ``earlier`` that the script belongs to
    old_folder: Path | None = None  # or the folder of an earlier version that holds it

    @property
    def known(self) -> dict:
        """For ``list_steps``, in the form of a manifest."""
        return {"shots": self.shots, "locks": self.locks}

    def results(self, story: Story) -> list[Mapping]:
        """What is known of each shot of ``story``, empty for nothing."""
        return latest_results(self.shots, story, self.locks)


def find_film(folder: Path | None, story: Story) -> FoundFilm:
    """Which film in ``folder`` the script is of. Writes nothing.

    The one that is shown, when they share a prompt; else an earlier one, or one in a folder
    ``<story>_2`` as earlier versions made them; else none, and then locks hold on to the shots that
    are shown.
    """
    manifest = read_manifest(folder)
    if folder is None or shares_prompt(manifest, story):
        return FoundFilm(manifest, manifest["shots"], manifest["locks"])
    is_other = bool(manifest["shots"])
    for film in reversed(manifest["earlier"]):
        if shares_prompt(film, story):
            return FoundFilm(manifest, _unseen(film["shots"]), film["locks"], is_other, film)
    for old in _numbered_beside(folder):
        film = read_manifest(old)
        if (
            composed(film.get("name") or "") == story.name
            and film["shots"]
            and shares_prompt(film, story)
        ):
            return FoundFilm(manifest, _unseen(film["shots"]), {}, is_other, old_folder=old)
    return FoundFilm(manifest, manifest["shots"], manifest["locks"], is_other)


def shares_prompt(film: Mapping, story: Story) -> bool:
    """Whether a film, as a manifest describes it, was made for a prompt of ``story``."""
    if set(film["prompts"]) & set(prompt_marks(story)):
        return True
    texts = [strip_mentions(shot.prompt) for shot in story.shots]
    shots = {  # what a lock holds was made for another film, perhaps
        label: {"shot_prompt": entry["held_for"]} if "held_for" in entry else entry
        for label, entry in film["shots"].items()
    }
    return any(texts_that_fit(shots, texts).values())


def keep_earlier(manifest: Mapping) -> dict:
    """A folder's manifest with its shots moved to the list ``earlier``, together with the
    film's name and prompts: all that taking it up again needs. Writes nothing."""
    film = {name: manifest[name] for name in ("name", "video") if name in manifest}
    film |= {name: manifest[name] for name in ("prompts", "shots", "locks")}
    earlier = [*manifest["earlier"], film][-MOST_EARLIER:]
    return {**manifest, "prompts": [], "shots": {}, "locks": {}, "earlier": earlier}


def begin_film(folder: Path, story: Story, steps: Sequence) -> None:
    """Write down which film the folder shows from now on, before a shot of it is put there.

    Args:
        steps: the run's shots, finished or to be made (:class:`storymem.loop.plan.Step`).
    """
    with changing(folder):
        found = find_film(folder, story)
        results, manifest, locks = found.results(story), found.manifest, dict(found.locks)
        if found.is_other:
            manifest = keep_earlier(manifest)
            manifest["video"] = (found.taken_up or {}).get("video", "")
            locks = locks if found.taken_up is not None else {}
        elif not manifest["shots"]:
            manifest["prompts"] = []  # of a script that was never made
        prompts = {*manifest["prompts"], *prompt_marks(story)}
        if found.taken_up is not None:
            manifest["earlier"] = [f for f in manifest["earlier"] if f is not found.taken_up]
            prompts |= set(found.taken_up["prompts"])
        if found.taken_up is not None or found.old_folder is not None:
            manifest["shots"] = dict(found.shots)
        there = manifest["shots"]
        moved = moved_results(there, story, steps, results)
        shown = found.manifest["shots"]
        for label, entry in moved.items():
            if shown.get(label, {}).get("key") == entry["key"]:
                moved[label] = {**shown[label], **entry}  # its file is there already
        manifest.update(
            name=story.name,
            prompts=sorted(prompts),
            shots={**there, **moved},
            locks=locks_of(story, steps, results, locks),
            stopped="",
            failed="",
        )
        if steps and (draft := steps[0].plan.draft):
            manifest[PASS] = draft.name
        write_manifest(folder, manifest)
        write_script_copy(folder, story)  # a run that stops has films of it, too


def notices_of(
    found: FoundFilm, folder: Path, story: Story, *, has_title_folder: bool = True
) -> list[str]:
    """What the artist is told about the folder before the first shot.

    Args:
        has_title_folder: the story's title decides the folder, as in ComfyUI.
    """
    notices = []
    if found.is_other:
        count = count_shots(len(found.manifest["shots"]))
        title = " of that title" if has_title_folder else ""
        notices.append(
            f"{folder} holds another film{title} ({count}, none with a prompt of this script); "
            f"{_what_stays(found.manifest)}its shots are kept, and python -m storymem films "
            "--restore brings it back"
        )
        results = found.results(story)
        held = [shot for shot in story.shots if shot.lock and results[shot.index]]
        if held and found.taken_up is None and found.old_folder is None:
            labels = ", ".join(shot.label for shot in held[:5]) + ", ..." * (len(held) > 5)
            notices.append(f"locked and kept from that film: {labels}")
    if found.taken_up is not None:
        notices.append(
            f"this script's own film was made in {folder} before: its finished shots and locks are "
            "used again"
        )
    if found.old_folder is not None:
        notices.append(
            f"an earlier version put this story's {count_shots(len(found.shots))} into "
            f"{found.old_folder}; they go to {folder} now, with their locks, and the old folder "
            "stays as it is"
        )
    if has_title_folder and story.name.casefold() == DEFAULT_NAME:
        notices.append(
            f"this script has no title of its own: all such stories share {folder}, and each "
            "replaces what is shown there; give it one with [title: ...] or story_name"
        )
    return notices


def _what_stays(manifest: Mapping) -> str:
    video = manifest.get("video", "")
    return f"its film stays as {video}, " if is_numbered(video) else ""


def _unseen(shots: Mapping[str, dict]) -> dict[str, dict]:
    """Entries without the visible files, which are another film's by now."""
    return {
        label: {name: value for name, value in entry.items() if name not in OF_FILE}
        for label, entry in shots.items()
    }


def _numbered_beside(folder: Path) -> list[Path]:
    """Folders ``<story>_2`` and so on, where earlier versions put other stories of one title."""
    found = []
    pattern = re.compile(rf"{re.escape(folder.name)}_([0-9]{{1,3}})")
    with suppress(OSError):
        for path in folder.parent.iterdir():
            if (match := pattern.fullmatch(path.name)) and path.is_dir():
                if (path / STORES[1]).is_dir():
                    continue  # the --out of a headless run, with a store of its own
                found.append((int(match[1]), path))
    return [path for _, path in sorted(found)]
