"""Who is in a story: the names of its cast, and which of them a prompt speaks of.

Names come from the script's ``cast``, from ``@Name`` in prompts, and from the character block,
where a line that begins ``Mara is ...``, ``Mara, ...`` or ``Mara: ...`` tells of Mara. A handle in
small letters (``@home``) names nobody, unless it is somebody of the cast. Memento writes somebody
as ``[Person A]``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

WORD = r"[^\W\d_][\w'’-]*"
MENTION = re.compile(rf"(?<![\w@.])@({WORD})")
POSSESSIVES = ("'s", "’s")  # @Mara's lamp is Mara's
MAX_NAMES = 200  # of a story: each is looked for in every prompt
# One or more capitalised words, then what a description goes on with.
NAME = r"[^\W\d_a-z][\w'’-]*"
DESCRIBED = re.compile(
    rf"^\W*(?P<name>{NAME}(?: {NAME}){{0,3}})\s*"
    r"(?:,|:|：|，| is | are | was | wears | has |\s[-–—]\s)"
)
DESCRIBED_CHINESE = re.compile(r"^\W*(?P<name>[\u4e00-\u9fff·]{2,6}?)\s*(?:是|：|:|，|,)")
PERSON = re.compile(r"\[([A-Z][a-z]{2,19} [A-Z])\]")  # Memento's [Person A], [Animal B]
LABEL_SIGNS = re.compile(r"[,;，；、/\n]|\s(?:and|&|\+)\s|\s和\s")  # between names in a label
NO_NAMES = frozenset(  # a line may begin with these and speak of nobody by name
    word
    for line in (
        "A An The This That These Those He She It They We I You His Her Its Their Our My Your",
        "There Here In On At By With From When While Both All Each Every One Two Three Style",
        "Wide Close Medium Shot Character Characters Scene",
    )
    for word in line.split()
)


def names_of(story_cast: Iterable[str], character: str, prompts: Iterable[str]) -> tuple[str, ...]:
    """Every name of a story, in the order in which it is first given; none twice in any case."""
    found = [name.strip().removeprefix("@") for name in story_cast]
    for line in character.splitlines():
        described = DESCRIBED.match(line)
        if described and described["name"].split()[0] not in NO_NAMES:
            found.append(described["name"])
        elif chinese := DESCRIBED_CHINESE.match(line):
            found.append(chinese["name"])
        found += PERSON.findall(line)
    for prompt in prompts:
        names = map(_without_possessive, MENTION.findall(prompt))
        found += [name for name in names if not name[:1].islower()]
        found += PERSON.findall(prompt)
    once: dict[str, str] = {}
    for name in filter(None, found):
        once.setdefault(name.casefold(), name)
    return tuple(once.values())


def _without_possessive(name: str) -> str:
    return name[:-2] if name.endswith(POSSESSIVES) else name.rstrip("'’-")


def names_in_label(label: str) -> tuple[str, ...]:
    """The names that an artist wrote about a picture: ``Mara, Pip``."""
    parts = (part.strip().removeprefix("@") for part in LABEL_SIGNS.split(label))
    return tuple(part for part in parts if any(map(str.isalpha, part)))


@lru_cache(maxsize=4096)  # every frame of every shot asks for its prompt's
def named_in(prompt: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` that a prompt speaks of, in order of their first mention.

    A name counts as a whole word in any case (``Mara's`` is Mara, ``Marathon`` is not); where words
    are not separated, as in Chinese, anywhere.
    """
    places: list[tuple[int, str]] = []
    for name in names:
        bound = r"(?<!\w)" if name[:1].isascii() else ""
        end = r"(?!\w)" if name[-1:].isascii() else ""
        if match := re.search(bound + re.escape(name) + end, prompt, re.IGNORECASE):
            places.append((match.start(), name))
    return tuple(name for _, name in sorted(places))


def strip_mentions(prompt: str) -> str:
    """The prompt without the sign of any handle: what results are found again by."""
    return MENTION.sub(r"\1", prompt)


def handles_of(names: Iterable[str]) -> frozenset[str]:
    """What may stand behind an ``@`` that means one of ``names``: a name, or a word of it."""
    names = [name.casefold() for name in names]
    return frozenset((*names, *(word for name in names for word in name.split())))


def speak_names(prompt: str, handles: frozenset[str]) -> str:
    """The prompt for the text encoder: ``@Mara`` is written ``Mara``, and a handle that is none of
    ``handles`` stays as typed."""

    def said(match: re.Match) -> str:
        known = _without_possessive(match[1]).casefold() in handles
        return match[1] if known else match[0]

    return MENTION.sub(said, prompt)


def unknown_handles(prompts: Iterable[str], handles: frozenset[str]) -> tuple[str, ...]:
    """Handles that stay as typed although several prompts have them: somebody, perhaps."""
    counts: Counter[str] = Counter()
    for prompt in prompts:
        counts.update(tuple(dict.fromkeys(map(_without_possessive, MENTION.findall(prompt)))))
    return tuple(n for n, count in counts.items() if count > 1 and n.casefold() not in handles)
