"""The folders of a film's passes: they stand beside the film's own, each a film by itself.

The film lies in ``<prefix>/<story>``, its draft in ``<story>.draft``, further drafts of a
rehearsal in ``<story>.draft2`` and ``<story>.draft3``, stills in ``<story>.stills``. The manifest
of each says which pass it is of; a film's own says nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..files.json_text import parse_json
from ..files.names import composed
from ..loop.passes import ALL_PASSES, FILM

PASS = "pass"  # in story.json
_NAMED = re.compile(rf"(?P<film>.+)\.(?P<name>{'|'.join(ALL_PASSES[1:])})", re.DOTALL)
_MANIFEST = "story.json"


def pass_folder_name(name: str, pass_: str) -> str:
    """The name of a pass's folder, by that of the film's.

    Raises:
        ValueError: for a pass that there is not.
    """
    if pass_ not in ALL_PASSES:
        raise ValueError(f"a pass is one of {', '.join(ALL_PASSES)}, but not {pass_!r}")
    return name if pass_ == FILM else f"{name}.{pass_}"


def split_pass(name: str) -> tuple[str, str]:
    """A folder's name as that of a film's folder and a pass: ``Tale.draft`` -> ``Tale, draft``.

    By its name alone: a film whose title ends in this way has such a folder as well.
    """
    match = _NAMED.fullmatch(name)
    return (match["film"], match["name"]) if match else (name, FILM)


def pass_of(folder: Path) -> str:
    """Which pass a folder is of, as its manifest says; by its name when it has none to read."""
    try:
        manifest = parse_json((folder / _MANIFEST).read_bytes())
    except (OSError, ValueError):
        return split_pass(folder.name)[1]
    said = manifest.get(PASS, FILM) if isinstance(manifest, dict) else FILM
    return said if said in ALL_PASSES else FILM


def film_folder(folder: Path) -> Path:
    """The film's own folder, by that of any of its passes, whether it is there or not."""
    if pass_of(folder) == FILM:
        return folder
    return folder.with_name(split_pass(folder.name)[0])


def passes_of(folder: Path) -> dict[str, Path]:
    """The passes of a film that are there, in the order of ``ALL_PASSES``, with their folders.

    Args:
        folder: of any of them; none of them need be there.
    """
    film = film_folder(folder)
    found = {}
    try:
        names = {composed(entry.name): entry for entry in film.parent.iterdir()}
    except OSError:
        return {}
    for name in ALL_PASSES:
        there = names.get(composed(pass_folder_name(film.name, name)))
        if there is None or there.is_symlink() or not (there / _MANIFEST).is_file():
            continue
        if pass_of(there) == name:
            found[name] = there
    return found
