"""Plain scripts that may mean something else than what is read: what was seen, and what else it
may be.

Nothing is guessed here: a text that has been one shot stays one. What is said about it stands
among the story's warnings, and the other reading is a text that may take the script's place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..files.messages import short
from .fields import ScriptError
from .list_lines import divide_list
from .plain_text import HEADINGS, SEPARATOR, divide, is_tag_line, parse_plain, split_tags

BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
PREFACE = re.compile(r"[^\n]{1,200}[:：]\Z")  # "Here is your story:"
GOODBYE = re.compile(
    r"(?:let me know|feel free|would you like|do you want|i hope|hope (?:this|you)|enjoy\b"
    r"|if you(?:'d|’d| would)? (?:like|want|need)|希望|如果你|如果您|请告诉我)[^\n]{0,300}\Z",
    re.IGNORECASE,
)
SCENE_HEADING = re.compile(
    r"[ \t]*(?:\*\*|#+[ \t]*)?\[?(?:scene|场景)[ \t]*#?[0-9]{1,4}\]?[ \t]*(?:\*\*)?[ \t]*"
    r"(?:[:：.–—-][ \t]*(?:\*\*)?|$)",
    re.IGNORECASE,
)
STORY_TAG = re.compile(r"\[(?:title|overview|cast|character)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Doubts:
    """``warnings`` about a plain script; ``other`` is its other reading as a script, ``kept``
    today's, so written that it leaves no doubt. Both are empty where there is none."""

    warnings: tuple[str, ...] = ()
    other: str = ""
    kept: str = ""


def find_doubts(text: str) -> Doubts:
    """What is doubtful about the way in which a plain script is divided."""
    division = divide(text)
    if division.sign and division.sign != "---":
        inside = SEPARATOR.sub("", text).strip()  # without the lines around the whole script
        return _other_sign(inside, division.parts, division.sign)
    if division.sign:
        return _within_blocks(list(division.parts))
    if not division.parts:
        return Doubts()
    return _in_one_piece(division.parts[0])


def _other_sign(text: str, parts: tuple[str, ...], sign: str) -> Doubts:
    by = "headings that count" if re.search(r"\w", sign) else f"lines of {sign}"
    warning = (
        f"the script has no lines of ---, and is divided by {by} into {_said(_shots(parts))}; if "
        "these belong into one prompt, end it with a line of ---"
    )
    return Doubts((warning,), _closed(text), _joined(parts))


def _in_one_piece(text: str) -> Doubts:
    warnings = []
    blocks = _by_headings(text)
    if blocks:
        seen = "headings or numbers at the beginning of lines"
    elif blocks := divide_list(text, is_tag_line, lambda line: bool(PREFACE.fullmatch(line))):
        seen = "lines that begin like those of a list"
    else:
        blocks = _by_blank_lines(text)
        seen = f"{len(blocks)} paragraphs with blank lines between them"
    if len(blocks) > 1:
        warnings.append(
            f"the script has {seen} and no line of ---, and is read as one shot; if it means "
            "several, put a line of --- between them, and if it is one, end it with a line of ---"
        )
    kept = _closed(text) if warnings else ""
    more, split = _tags_apart(blocks if len(blocks) > 1 else [text])
    if not split:
        return Doubts(tuple(warnings), _joined(blocks) if warnings else "", kept)
    if more:
        warnings += more
    return Doubts(tuple(warnings), _joined(split), "" if more else kept)


def _within_blocks(blocks: list[str]) -> Doubts:
    warnings = []
    if len(blocks) > 1 and PREFACE.fullmatch(blocks[0]):
        warnings.append(
            f"block 1 is only {short(blocks[0])} and is filmed as a shot; remove it if it "
            "speaks about the script"
        )
    if len(blocks) > 1 and GOODBYE.match(blocks[-1]):
        warnings.append(
            f"block {len(blocks)} is only {short(blocks[-1])} and is filmed as a shot; remove it "
            "if it speaks about the script"
        )
    left = blocks[1:] if warnings and PREFACE.fullmatch(blocks[0]) else blocks
    left = left[:-1] if left and GOODBYE.match(left[-1]) else left
    more, split = _tags_apart(left)
    if warnings and len(left) == 1:
        split = _by_headings(left[0]) or split
    warnings += more
    return Doubts(tuple(warnings), _joined(split or left) if warnings else "")


def _tags_apart(blocks: Sequence[str]) -> tuple[list[str], list[str]]:
    """Warnings about tags within prompts, and the blocks with a new one at each of them."""
    warnings, found, some = [], [], False
    for number, block in enumerate(blocks, start=1):
        pieces = _at_tags(block)
        if len(pieces) == 1:
            found.append(block)
            continue
        some = True
        tag = pieces[1].split("\n", 1)[0].strip()
        warnings.append(
            f"block {number}: the line {short(tag)} stands within the prompt and is filmed as "
            "text; a tag is read at the top of a block, after a line of ---"
        )
        is_preface = number == 1 and STORY_TAG.match(pieces[1]) and not split_tags(pieces[0])[0]
        found += pieces[1:] if is_preface else pieces
    return warnings, found if some else []


def _at_tags(block: str) -> list[str]:
    """A block, divided before each group of tags that is not at its top."""
    body = split_tags(block)[1]
    lines = block.split("\n")
    top = len(lines) - body.count("\n") - 1 if body else len(lines)
    starts, in_tags = [0], True
    for i in range(top, len(lines)):
        is_tag = is_tag_line(lines[i])
        if is_tag and not in_tags:
            starts.append(i)
        in_tags = is_tag or (in_tags and not lines[i].strip())
    ends = [*starts[1:], len(lines)]
    pieces = ["\n".join(lines[a:b]).strip() for a, b in zip(starts, ends, strict=True)]
    return [piece for piece in pieces if piece]


def _by_blank_lines(text: str) -> list[str]:
    """The paragraphs of a text, tags together with the paragraph below them."""
    blocks, tags = [], []
    for part in BLANK_LINES.split(text):
        if split_tags(part)[1]:
            blocks.append("\n".join([*tags, part.strip()]))
            tags = []
        else:
            tags.append(part.strip())
    return [*blocks, *filter(None, ["\n".join(tags)])]


def _by_headings(text: str) -> list[str]:
    """A text divided at its lines that begin with a number, or with "Shot 1:" or "Scene 1:"; empty
    when it has not two of them."""
    lines = text.split("\n")
    shots = [_end_of(line, *reversed(HEADINGS)) for line in lines]
    scenes = [_end_of(line, SCENE_HEADING) for line in lines]
    if sum(end > 0 for end in (*shots, *scenes)) < 2:
        return []
    both = any(shots) and any(scenes)
    blocks: list[list[str]] = [[]]
    for line, shot, scene in zip(lines, shots, scenes, strict=True):
        rest = line[max(shot, scene) :].strip(" \t*")
        if scene and not both:
            blocks.append([rest])
        elif scene:
            blocks.append([f"[scene: {rest}]" if rest and "]" not in rest else "[scene]"])
        elif shot and blocks[-1] and blocks[-1][-1].startswith("[scene"):
            blocks[-1].append(rest)  # the first shot of a scene
        elif shot:
            blocks.append([rest])
        else:
            blocks[-1].append(line)
    found = [part for block in blocks if (part := "\n".join(block).strip())]
    if "".join(blocks[0]).strip() and PREFACE.fullmatch(found[0]):
        del found[0]
    return found if len(found) > 1 else []


def _end_of(line: str, *headings: re.Pattern) -> int:
    """Where the heading ends with which a line begins; 0 for none."""
    return next((match.end() for heading in headings if (match := heading.match(line))), 0)


def _joined(blocks: Sequence[str]) -> str:
    """Blocks as a script that lines of ``---`` divide; empty when one of them holds such a line."""
    if any(SEPARATOR.search(block) for block in blocks):
        return ""
    return "\n---\n".join(blocks) + "\n" if len(blocks) > 1 else _closed("".join(blocks))


def _closed(text: str) -> str:
    """A text as one shot, whatever lines are in it."""
    return f"{text}\n---\n"


def _shots(blocks: Sequence[str]) -> int:
    try:
        return len(parse_plain(_joined(blocks)).blocks)
    except ScriptError:
        return len(blocks)


def _said(count: int) -> str:
    return "1 shot" if count == 1 else f"{count} shots"
