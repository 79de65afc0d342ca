"""The plain form of a script: prompts separated by lines of ``---``.

Lines in square brackets at the top of a block are tags::

    [title: The Lighthouse]
    [character]
    Mira, a woman of sixty in a yellow raincoat.
    ---
    She climbs the stairs of the lighthouse.
    ---
    [continue]
    She opens the door to the gallery.
    ---
    [scene]
    Morning. The sea is calm.

``[character]`` marks the first block as the text that is put before every prompt, ``[continue]``
a shot without a cut, ``[scene]`` a new scene. The fields of a JSON script may be given as ``[seed: 7]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .script_fields import SHOT_FIELDS, ScriptError

SEPARATOR = re.compile(r"^[ \t]*-{3,}[ \t]*$", re.MULTILINE)
TAG = re.compile(r"^\[\s*([A-Za-z_]+)\s*(?::\s*(.*?))?\s*\]$")
FLAGS = ("continue", "cut", "scene", "character", "lock")
NUMBERS = {"seed": int, "length": int, "lora_strength": float}


@dataclass
class Block:
    """One shot of a plain script."""

    scene: int
    prompt: str
    cut: bool
    values: dict = field(default_factory=dict)


def parse_plain(text: str) -> tuple[str, str, list[Block], list[str]]:
    """Title (empty if none), character description, shots, and warnings."""
    title, character, scene = "", "", 1
    blocks: list[Block] = []
    warnings: list[str] = []
    parts = [part.strip() for part in SEPARATOR.split(text.replace("\r\n", "\n"))]
    for position, part in enumerate(part for part in parts if part):
        tags, body, odd = _split_tags(part)
        warnings += [
            f"block {position + 1} begins with {tag}, which is no tag and was kept as text"
            for tag in odd
        ]
        title = tags.pop("title", title) or title
        if "character" in tags:
            if blocks or character:
                raise ScriptError(
                    f"block {position + 1} is marked [character], but only one block before the "
                    f"first shot can be"
                )
            character = "\n".join(filter(None, (tags["character"], body)))
            lost = [tag for tag in tags if tag != "character"]
            warnings += [
                f"block {position + 1} is marked [character], so its [{tag}] is not used; put it "
                "at a shot"
                for tag in lost
            ]
            continue
        if not body and not tags:
            continue  # a block that held only the title
        if "scene" in tags and blocks:
            scene += 1
        if "continue" in tags and "cut" in tags:
            raise ScriptError(f"block {position + 1} is marked both [continue] and [cut]; keep one")
        values = {
            key: _value(key, value, position) for key, value in tags.items() if key in SHOT_FIELDS
        }
        blocks.append(Block(scene, body, "continue" not in tags, values))
    return title, character, blocks, warnings


def _split_tags(part: str) -> tuple[dict[str, str], str, list[str]]:
    lines = part.split("\n")
    tags: dict[str, str] = {}
    odd: list[str] = []
    while lines:
        match = TAG.match(lines[0].strip())
        if not match:
            break
        name = match[1].lower()
        if name not in FLAGS and name != "title" and name not in SHOT_FIELDS:
            odd.append(lines[0].strip())
            break
        tags[name] = match[2] or ""
        lines.pop(0)
    return tags, "\n".join(lines).strip(), odd


def _value(key: str, text: str, position: int):
    if key == "lock":
        return text or True
    if key == "reference_images":
        return [name.strip() for name in text.split(",")]
    if key in NUMBERS:
        try:
            return NUMBERS[key](text)
        except ValueError:
            raise ScriptError(f"block {position + 1}: [{key}: {text}] needs a number") from None
    return text
