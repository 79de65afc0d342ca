"""What is said in a shot, and by whom.

``dialogue`` of a shot is a list of ``{"who": "Mara", "says": "Hello."}``. As text, as a tag of
plain text and in the editor, the same is a line for each: ``Mara: Hello.``
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..files.json_text import JsonError, parse_json
from ..files.messages import shown

MOST_LINES = 100
LONGEST_LINE = 2000  # characters
LONGEST_NAME = 100  # characters
LONGEST_LABEL = 40  # of the name before a colon: what is longer is a sentence with a colon
_WHO = ("who", "speaker", "character", "name", "role", "person", "voice")
_SAYS = ("says", "text", "line", "dialogue", "dialog", "speech", "words", "content", "said", "say")
_DELIVERY = re.compile(r"(?P<who>.*?\S)\s*(?P<how>[(（][^()（）]*[)）])")  # Mara (whispering)
_QUOTES = (('"', '"'), ("“", "”"), ("„", "“"), ("«", "»"), ("「", "」"), ("『", "』"))
_MARKS = re.compile(r"(?:[-*•–—][ \t]+)?(?P<bold>\*\*)?")  # of a list, or bold
_TITLE = re.compile(r"\b\w{1,4}\.")  # Dr. Smith
_NO_NAME = re.compile(r"[\n\"“”„«»!?….,;，。；！？、/\\<>=]")
_BLANK_OR_QUOTE = ("", " ", "\t", "\u3000", *(begin for begin, _ in _QUOTES))
MOST_WORDS = 5  # of a name before a colon
NOBODY = frozenset(  # a sentence with a colon may begin with these
    word
    for line in ("he she it they we i you this that these those", "there here and but so then when")
    for word in line.split()
)


class Line(NamedTuple):
    """Something that is said. ``who`` is empty when the script does not say who says it."""

    who: str
    says: str
    more: str = ""  # fields that nothing reads, as JSON: the emotion, say

    def as_json(self) -> dict:
        named = {"who": self.who} if self.who else {}
        return {**named, "says": self.says, **(parse_json(self.more) if self.more else {})}

    def __str__(self) -> str:
        return f"{self.who}: {self.says}" if self.who else self.says


class DialogueError(ValueError):
    """A dialogue that cannot be read: what is wrong, and with which value."""


def read_dialogue(value: object) -> tuple[Line, ...]:
    """A value of a script: a list of lines, one of them, ``{"Mara": "Hello."}``, or text with a
    line for each.

    Raises:
        DialogueError: naming the line.
    """
    if isinstance(value, str):
        value = _of_json(value)
    if isinstance(value, str):
        value = [_read_text(line) for line in value.splitlines() if line.strip()]
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence):
        raise DialogueError(
            'must be a list such as [{"who": "Mara", "says": "Hello."}], or text such as '
            f"Mara: Hello., but it is {shown(value)}"
        )
    lines = [line for entry in value for line in _read_entry(entry) if line.says]
    if len(lines) > MOST_LINES:
        raise DialogueError(f"holds {len(lines)} lines, but at most {MOST_LINES} are allowed")
    return tuple(lines)


def written(lines: Iterable[Line]) -> str:
    """Lines as text, which ``read_dialogue`` reads as they are; empty where no text does."""
    lines = tuple(lines)
    text = "\n".join(map(str, lines))
    try:
        return text if read_dialogue(text) == lines else ""
    except DialogueError:
        return ""


def with_names(lines: Iterable[Line], names: Iterable[str]) -> tuple[Line, ...]:
    """Lines with each speaker as the story writes the name: ``MARA`` is Mara. How somebody says it,
    in brackets behind the name, goes before what is said."""
    known = {name.casefold(): name for name in names}

    def named(line: Line) -> Line:
        who = known.get(line.who.casefold())
        if who is None and (parts := _DELIVERY.fullmatch(line.who)):
            who = known.get(parts["who"].casefold())
            if who is not None:
                return Line(who, f"{parts['how']} {line.says}", line.more)
        return line if who is None else line._replace(who=who)

    return tuple(map(named, lines))


def spoken(lines: Iterable[Line]) -> str:
    """What is said, without who says it: a line for each."""
    return "\n".join(line.says for line in lines)


def _of_json(text: str) -> object:
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return parse_json(text)
    except JsonError:
        return text  # [laughs] Hello.


def _read_text(line: str) -> Line:
    """One line of text: ``Mara: Hello.``, or only what is said."""
    line = line.strip()
    mark = _MARKS.match(line)
    rest = line[mark.end() :]
    if mark["bold"]:
        rest = rest.replace("**", "", 1)
    places = [at for sign in ":：" if (at := rest.find(sign)) > 0]
    if places and _is_name(rest[: min(places)], rest[min(places) :]):
        who, says = rest[: min(places)].strip(), rest[min(places) + 1 :]
        return Line(who.removeprefix("@"), _bare(says))
    return Line("", _bare(line[mark.start("bold") :] if mark["bold"] else rest))


def _is_name(who: str, rest: str) -> bool:
    """Whether what stands before a colon names a speaker; ``rest`` begins with the colon."""
    who = who.strip().removeprefix("@")
    if not 0 < len(who) <= LONGEST_LABEL or not who[0].isalpha():
        return False
    delivery = _DELIVERY.fullmatch(who)
    words = (delivery["who"] if delivery else who).split()
    if len(words) > MOST_WORDS:
        return False
    if _NO_NAME.search(_TITLE.sub("", " ".join(words))) or words[0].lower() in NOBODY:
        return False
    if rest.startswith("://"):
        return False
    if rest[0] == ":" and rest[1:2] not in _BLANK_OR_QUOTE and who[0].islower():
        return False
    if who[-1].isdigit() and rest[1:2].isdigit():
        return False  # at 5:00
    return len(words) == 1 or not who[0].islower()


def _on_one_line(text: str) -> str:
    return " ".join(filter(None, map(str.strip, text.split("\n"))))


def _bare(text: str) -> str:
    """What is said, without the quotes around all of it, on one line."""
    text = _on_one_line(text)
    for begin, end in _QUOTES:
        inside = text[1:-1]
        if len(text) > 2 and text[0] == begin and text[-1] == end and begin not in inside:
            return inside.strip() if end not in inside else text
    return text


def _read_entry(entry: object) -> list[Line]:
    if isinstance(entry, str):
        found = [_read_text(_on_one_line(entry))]
    elif isinstance(entry, Line):
        found = [entry]
    elif isinstance(entry, Mapping):
        found = _read_object(entry)
    else:
        raise DialogueError(
            f'holds {shown(entry)}; write {{"who": "Mara", "says": "Hello."}} for each line'
        )
    for line in found:
        for name, text, longest in (("name", line.who, LONGEST_NAME), ("line", line.says,
                                    LONGEST_LINE)):  # fmt: skip
            if len(text) > longest:
                raise DialogueError(
                    f"holds a {name} of {len(text)} characters, {shown(text)}, but at most "
                    f"{longest} are allowed; shorten it"
                )
    return found


def _read_object(entry: Mapping) -> list[Line]:
    says = [name for name in _SAYS if isinstance(entry.get(name), str)]
    if len(says) == 1:
        given = [name for name in _WHO if isinstance(entry.get(name), str)][:1]
        name = entry[given[0]].strip().removeprefix("@") if given else ""
        more = {key: value for key, value in entry.items() if key not in (*says, *given)}
        if more.get("who", "") is None:  # nobody is named
            del more["who"]
        extra = json.dumps(more, ensure_ascii=False) if more else ""
        return [Line(_on_one_line(name), _bare(entry[says[0]]), extra)]
    is_short = not says and not {*_WHO, *_SAYS}.intersection(entry)
    if is_short and entry and all(isinstance(text, str) for text in entry.values()):
        return [
            Line(str(name).strip().removeprefix("@"), _bare(text)) for name, text in entry.items()
        ]
    raise DialogueError(
        f"has a line that says {'several things' if says else 'nothing'}: {shown(dict(entry))}; "
        'write who and says, such as {"who": "Mara", "says": "Hello."}'
    )
