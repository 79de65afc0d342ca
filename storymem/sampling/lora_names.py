"""Which files of a folder a script's LoRA means: one for both experts, or a pair of them.

Files are named by the folder's own list alone, so that no name leads out of it.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..files.messages import listed, shown
from ..files.names import composed
from ..script.loras import ShotLora, plain_name

NEAR = 3  # names in an error
LISTED = 4
_STATED = re.compile(r"(high|(?<![bfgs])low)[\W_]*noise", re.IGNORECASE)
# A bare "high" says something only beside a "low" that is otherwise named the same.
_BARE = re.compile(r"(?<![a-z])(high|low|hn|ln)(?![a-z])", re.IGNORECASE)
_GAPS = re.compile(r"[\W_]+")


class LoraNameError(ValueError):
    """A name that means no file, or several."""


@dataclass(frozen=True)
class FoundLora:
    """Files of one LoRA, as the folder's list names them; empty where an expert gets none."""

    high: str = ""
    low: str = ""
    note: str = ""  # what an artist should know of it

    @property
    def files(self) -> tuple[str, ...]:
        """The files, each once."""
        return tuple(dict.fromkeys(filter(None, (self.high, self.low))))


def find_lora(entry: ShotLora, files: Sequence[str]) -> FoundLora:
    """The files of a LoRA that a script names, for the experts on which it has a strength.

    A whole path counts before a name that stands in any folder, and one file of the name before a
    pair (``name_high_noise``, ``name_low_noise``).

    Args:
        files: of the folder, each from there on, with slashes of either kind.

    Raises:
        LoraNameError: when there is none, naming those that are near, or when there are several.
    """
    name = entry.name.replace("\\", "/")
    for is_whole in (True, False):
        if found := _one(name, files, is_whole):
            return _of_one(entry, found)
        if found := _pair(name, files, is_whole):
            return _of_pair(entry, found)
    if near := near_names(name, files):
        raise LoraNameError(
            f"there is no LoRA {shown(name, 100)} in the loras folder; near it are "
            f"{listed(near, NEAR, 100)}"
        )
    raise LoraNameError(f"there is no LoRA {shown(name, 100)} in the loras folder")


def check_once(found: Mapping[ShotLora, FoundLora]) -> None:
    """Raise LoraNameError when two LoRAs of a shot are one file on an expert."""
    names: dict[tuple[str, str], str] = {}
    for entry, files in found.items():
        for expert, file in (("high", files.high), ("low", files.low)):
            other = names.setdefault((expert, file), entry.name) if file else entry.name
            if other != entry.name:
                raise LoraNameError(
                    f"{shown(other, 100)} and {shown(entry.name, 100)} are one file, "
                    f"{shown(file, 100)}, which would be applied twice; write one of them"
                )


def offered_names(files: Iterable[str]) -> list[str]:
    """Names that a script may use, a pair of files by what they share."""
    files = [_slashed(file) for file in files]
    plain = {file: plain_name(file) for file in files}
    count = Counter(plain.values())
    names: set[str] = set()
    by_stem: dict[str, list[str]] = {}
    for file in files:
        by_stem.setdefault(_stem(plain[file]), []).append(file)
    for group in by_stem.values():
        if sorted(_noise(plain[file]) for file in group) == ["high", "low"]:
            names.add(_without_noise(plain[min(group)]))
        else:
            names |= {plain[file] if count[plain[file]] == 1 else file for file in group}
    return sorted(names, key=str.casefold)


def near_names(name: str, files: Iterable[str]) -> list[str]:
    """Names like that one, the nearest first."""
    by_end = {}
    for one in offered_names(files):
        by_end.setdefault(one.rsplit("/", 1)[-1].casefold(), one)
    wanted = plain_name(name).rsplit("/", 1)[-1].casefold()
    found = difflib.get_close_matches(wanted, list(by_end), NEAR, 0.5)
    found += [end for end in by_end if end not in found and (wanted in end or end in wanted)]
    return [by_end[end] for end in found[:NEAR]]


# --- inside --------------------------------------------------------------------------------------


def _slashed(file: str) -> str:
    return file.replace("\\", "/")


def _folded(name: str) -> str:
    """A name however its case is, and however its accents are encoded."""
    return composed(name).casefold()


def _one(name: str, files: Iterable[str], is_whole: bool) -> str:
    """The file of a name; empty for none."""
    has_extension = plain_name(name) != name

    def written(file: str) -> str:
        return _slashed(file) if has_extension else plain_name(_slashed(file))

    for fold in (str, _folded):
        wanted = fold(name)
        found = [
            file
            for file in files
            if (one := fold(written(file))) == wanted
            or (not is_whole and one.endswith(f"/{wanted}"))
        ]
        if len(found) > 1:
            raise LoraNameError(_ambiguous(name, found))
        if found:
            return found[0]
    return ""


def _pair(name: str, files: Iterable[str], is_whole: bool) -> dict[str, str]:
    """Files by expert whose names are that one and the expert's; empty for none."""
    wanted = _key(plain_name(name))
    found: dict[str, list[str]] = {"high": [], "low": []}
    for file in files:
        plain = plain_name(_slashed(file))
        stem, noise = _stem(plain), _noise(plain)
        if noise and (stem == wanted or (not is_whole and stem.endswith(f"/{wanted}"))):
            found[noise].append(file)
    if max(map(len, found.values())) > 1:
        raise LoraNameError(_ambiguous(name, [*found["high"], *found["low"]]))
    pair = {noise: one[0] for noise, one in found.items() if one}
    is_certain = len(pair) == 2 or any(map(stated_noise, pair.values()))
    return pair if is_certain else {}


def _ambiguous(name: str, found: Sequence[str]) -> str:
    return (
        f"{shown(name, 100)} may be any of {listed(sorted(found), LISTED, 100)}; write which one, "
        "with its folder and its ending"
    )


def _of_one(entry: ShotLora, file: str) -> FoundLora:
    noise = stated_noise(file)
    is_for_both = bool(entry.high and entry.low)
    wants = {"high": bool(entry.high), "low": bool(entry.low)}
    if noise and is_for_both:  # named as made for one of them
        wants = {one: one == noise for one in wants}
    wrong = noise if noise and not wants[noise] else ""
    other = "low" if wrong == "high" else "high"
    note = (
        f"{shown(file, 100)} is by its name for the {wrong}-noise expert, but the script gives it "
        f"to the {other}-noise one"
    )
    return FoundLora(*(file if wants[n] else "" for n in ("high", "low")), note if wrong else "")


def _of_pair(entry: ShotLora, pair: dict[str, str]) -> FoundLora:
    wants = {"high": bool(entry.high), "low": bool(entry.low)}
    missing = [noise for noise in wants if wants[noise] and noise not in pair]
    note = ""
    if missing:
        there = next(iter(pair.values()))
        note = (
            f"of {shown(entry.name, 100)} there is only {shown(there, 100)}, so the "
            f"{missing[0]}-noise expert gets nothing of it"
        )
    return FoundLora(*(pair.get(n, "") if wants[n] else "" for n in ("high", "low")), note)


def stated_noise(file: str) -> str:
    """``high`` or ``low`` when a file's own name says one of them for certain, else empty."""
    found = {word.lower() for word in _STATED.findall(file.replace("\\", "/").rsplit("/", 1)[-1])}
    return found.pop() if len(found) == 1 else ""


def _noise(plain: str) -> str:
    """Which expert a file may be for, by a word in its name."""
    if stated := stated_noise(plain):
        return stated
    found = {word.lower() for word in _BARE.findall(plain.rsplit("/", 1)[-1])}
    found = {"high" if word in ("high", "hn") else "low" for word in found}
    return found.pop() if len(found) == 1 else ""


def _without_noise(plain: str) -> str:
    """A name without its expert's, as people would write it."""
    folder, _, end = plain.rpartition("/")
    pattern = _STATED if _STATED.search(end) else _BARE
    before, _, after = pattern.sub("\n", end, count=1).partition("\n")
    before, after = before.rstrip("_-. "), after.lstrip("_-. ")
    end = "_".join(filter(None, (before, after)))
    return "/".join(filter(None, (folder, end)))


def _stem(plain: str) -> str:
    return _key(_without_noise(plain))


def _key(name: str) -> str:
    """A name without case, and with one sign for all that stands between its words."""
    parts = (_GAPS.sub("_", part).strip("_") for part in _folded(name).split("/"))
    return "/".join(part for part in parts if part)
