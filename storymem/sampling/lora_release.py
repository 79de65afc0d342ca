"""The names under which the released LoRA files are known, and which files they mean.

StoryMem's come as ``Wan2.2-MI2V-A14B/backbone_high_noise.safetensors``; a browser drops the
folder, and this pack's workflows say ``storymem_mi2v_high_noise.safetensors``. Memento's have the
same names in a folder of its own, ``Memento/backbone_high_noise.pth``, or, beside others, are
called ``memento_high_noise.safetensors``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .methods import MEMENTO

_FILE = r"\.(?:safetensors|pth)$"
_FOLDER = re.compile(rf"(?i)(?:^|/)Wan2\.2-(mi2v|mm2v)-A14B/backbone_(high|low)_noise{_FILE}")
_WORKFLOW = re.compile(rf"(?i)(?:^|/)storymem_(mi2v|mm2v)_(high|low)_noise{_FILE}")
_MEMENTO = re.compile(
    rf"(?i)(?:(?:^|/)[^/]*memento[^/]*/(?:[^/]+/)*backbone_(high|low)_noise{_FILE}"
    rf"|(?:^|/)memento_(?:backbone_)?(high|low)_noise{_FILE})"
)
_BARE = re.compile(rf"(?i)^(?:StoryMem/)?backbone_(high|low)_noise{_FILE}")


@dataclass(frozen=True)
class Released:
    """A released file: ``mi2v``, ``mm2v``, ``memento`` or, when its name does not tell, empty; high
    or low."""

    family: str
    noise: str


def released(name: str) -> Released | None:
    """What a file of the loras folder is by its name; ``None`` for all others.

    A ``backbone_high_noise`` in another folder is of somebody's own training.
    """
    name = name.replace("\\", "/")
    if told := _FOLDER.search(name) or _WORKFLOW.search(name):
        return Released(told[1].lower(), told[2].lower())
    if told := _MEMENTO.search(name):
        return Released(MEMENTO, (told[1] or told[2]).lower())
    bare = _BARE.search(name)
    return Released("", bare[1].lower()) if bare else None


def find_released(asked: str, names: Sequence[str]) -> str | None:
    """The file that ``asked`` means; ``None`` when there is none, or no telling which.

    Args:
        asked: a name that a workflow holds.
        names: the files that there are, as the host lists them, with its separators.
    """
    by_path = {name.replace("\\", "/"): name for name in names}
    if found := by_path.get(asked.replace("\\", "/")):
        return found
    wanted = released(asked)
    if wanted is None:
        return None
    known = {name: what for name in names if (what := released(name))}
    same = [name for name, what in known.items() if what == wanted]
    if not wanted.family:  # of one family only, or else nobody knows which is meant
        families = {what.family for what in known.values()} - {"", MEMENTO}
        if not same and len(families) == 1:
            wanted = Released(families.pop(), wanted.noise)
            same = [name for name, what in known.items() if what == wanted]
    elif not same:  # as a browser saves it
        same = [name for name, what in known.items() if what == Released("", wanted.noise)]
    return min(same, key=_plainness, default=None)


def _plainness(name: str) -> tuple[bool, int, str]:
    return not name.lower().endswith(".safetensors"), len(name), name
