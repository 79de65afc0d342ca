"""A hash of the code that decides how a shot looks, so that a new version makes its shots anew.

Not every change of that code changes a pixel. ``code_as_before.json`` lists files that were changed
since finished shots were made with them, and look the same: as long as such a file is as it was
when that was said, its earlier digest stands in the hash. ``tests/make_code_as_before.py`` writes
the list.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent
# These read scripts, keep files and show things. What they put into a shot is part of its key as a
# value, so a change in their code alone does not change a shot.
NO_INFLUENCE = {
    f"{folder}/{name}.py"
    for folder, names in {
        "storymem": "__init__ bank_edits bank_store bank_view code_version disk folder_lock "
        "json_text latest_results locks loop_state messages names number_lists pictures "
        "plain_script script_fields shot_keys shot_loop shot_record shot_store story story_folder "
        "story_output story_repair thumbnails video",
        "nodes": "__init__ file_watch folders host_cache loop_graph loop_nodes loop_progress "
        "loop_run one_wire page shot_loop story types",
    }.items()
    for name in names.split()
}
AS_BEFORE = Path(__file__).with_name("code_as_before.json")
ALWAYS = ("storymem/continuity.py", "storymem/memory_bank.py")  # what the loop itself decides with


def code_version(modules: Iterable[str] = ()) -> str:
    """SHA-256 of the pack's own code behind ``modules``, without blank lines and comment lines.

    Args:
        modules: files of the pack, relative to it (``nodes/sampling.py``); what they import from
            the pack counts too.
    """
    waiting, seen = [*ALWAYS, *modules], set()
    while waiting:
        name = waiting.pop()
        if name not in seen and name not in NO_INFLUENCE:
            seen.add(name)
            waiting += _read(name)[1]
    digests = [(name, _read(name)[0]) for name in sorted(seen)]
    known = [pair for pair in digests if pair[1] is not None]
    return hashlib.sha256(repr(known).encode()).hexdigest()


def module_of(path: str | None) -> str | None:
    """A source file as a name for ``code_version``; ``None`` when it is not the pack's."""
    if not path:
        return None
    try:
        return Path(path).resolve().relative_to(PACK).as_posix()
    except ValueError:
        return None


@cache
def _read(name: str) -> tuple[str | None, tuple[str, ...]]:
    """Digest of a file and the pack's files that it imports, both as they were before changes that
    show in no pixel; no digest for a file that was not there then. Read once: running code does not
    change."""
    text = (PACK / name).read_text(encoding="utf-8")
    digest, imports = digest_of_code(text), imports_of(name, text, PACK)
    before = _as_before().get(name)
    if not before or before["now"] != digest:
        return digest, imports
    # Files that are new since then count as soon as they change.
    new = (n for n in imports if n in _as_before() and _as_before()[n]["then"] is None)
    return before["then"], (*before["imports"], *new)


def digest_of_code(text: str) -> str:
    lines = (line.rstrip() for line in text.splitlines())
    code = "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
    return hashlib.sha256(code.encode()).hexdigest()


def imports_of(name: str, text: str, pack: Path) -> tuple[str, ...]:
    """The pack's files that the file ``name`` with this text imports."""
    imported = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = (pack / name).parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for file in (folder.with_suffix(".py"), *(folder / f"{a.name}.py" for a in node.names)):
                if file.is_file() and file.is_relative_to(pack):
                    imported.append(file.relative_to(pack).as_posix())
    return tuple(imported)


@cache
def _as_before() -> dict[str, dict]:
    return json.loads(AS_BEFORE.read_text(encoding="utf-8"))
