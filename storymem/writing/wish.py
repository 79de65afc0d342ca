"""What an artist wants written: the idea, how long, in which style, with whom."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..files.images import is_picture
from ..files.messages import shown
from ..script.fields import LONGEST_NAME, ScriptError

SECONDS_PER_SHOT = 5  # 81 frames at 16 a second
MOST_SHOTS = 200
MOST_ROLES = 20
LONGEST_IDEA = 20_000  # characters
LANGUAGES = {"english": "English", "chinese": "Chinese (中文)", "idea": "the language of the idea"}
_ROLE = re.compile(
    r"\s*(?:[-*•]\s*)?@?(?P<name>[^:：\[\]]+?)\s*"
    r"(?:\[(?P<picture>[^\]]*)\]\s*)?(?:[:：]\s*(?P<look>.*))?"
)


@dataclass(frozen=True)
class Role:
    """Somebody of the cast; ``picture`` is an image file of the input folder."""

    name: str
    look: str = ""
    picture: str = ""


@dataclass(frozen=True)
class Wish:
    """What is to be written. ``language`` is one of ``LANGUAGES``."""

    idea: str
    shots: int
    style: str = ""
    cast: tuple[Role, ...] = ()
    language: str = "english"
    dialogue: bool = False


def make_wish(
    idea: str,
    *,
    shots: int = 0,
    minutes: float = 0.0,
    style: str = "",
    cast: str = "",
    language: str = "english",
    dialogue: bool = False,
) -> Wish:
    """A wish as it is typed.

    Args:
        shots: how many; ``minutes`` counts instead when it is more than 0.
        minutes: of the film, at ``SECONDS_PER_SHOT`` for each shot.
        cast: a line for each, such as ``Mara [mara.png]: a woman of thirty in a yellow coat``.

    Raises:
        ScriptError: for a wish that nobody can write to, in the artist's words.
    """
    if not idea.strip():
        raise ScriptError("there is no idea yet: say in a sentence or more what happens")
    for name, text in (("the idea", idea), ("style", style), ("cast", cast)):
        if len(text) > LONGEST_IDEA:
            raise ScriptError(
                f"{name} has {len(text)} characters, but at most {LONGEST_IDEA} are allowed"
            )
    if not 0 <= minutes < MOST_SHOTS:
        raise ScriptError(f"minutes must be 0 or more, but it is {shown(minutes)}")
    if minutes > 0:
        shots = max(1, round(minutes * 60 / SECONDS_PER_SHOT))
    if not 1 <= shots <= MOST_SHOTS:
        raise ScriptError(
            f"a story is written with 1 to {MOST_SHOTS} shots at once, but {shots} are wanted; "
            "write it in parts"
        )
    if language not in LANGUAGES:
        raise ScriptError(
            f"language must be one of {', '.join(LANGUAGES)}, but it is {shown(language)}"
        )
    return Wish(idea.strip(), shots, style.strip(), read_cast(cast), language, dialogue)


def read_cast(text: str) -> tuple[Role, ...]:
    """The lines of a cast; blank ones say nothing.

    Raises:
        ScriptError: naming the line.
    """
    roles: dict[str, Role] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _ROLE.fullmatch(line.strip())
        name = match["name"].strip() if match else ""
        if not 0 < len(name) <= LONGEST_NAME:
            raise ScriptError(
                f"line {number} of the cast must be a name, or a name and its look, such as "
                f"'Mara [mara.png]: a woman of thirty', but it is {shown(line.strip())}"
            )
        picture = (match["picture"] or "").strip().replace("\\", "/")
        if picture and not is_picture(picture):
            raise ScriptError(
                f"line {number} of the cast has [{picture}], which is no picture file; write the "
                "name of one in the input folder, or nothing"
            )
        roles.setdefault(name.casefold(), Role(name, (match["look"] or "").strip(), picture))
    if len(roles) > MOST_ROLES:
        raise ScriptError(f"the cast has {len(roles)} names, but at most {MOST_ROLES} are allowed")
    return tuple(roles.values())
