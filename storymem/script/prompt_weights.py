"""Parentheses in prompts: prose in a script, weights to ComfyUI's text encoders.

Those read ``(aspect ratio 16:9)`` as "aspect ratio 16" at weight 9, ``(text)`` at weight 1.1, and
``\\(`` as a parenthesis that is meant. They read no other escape: a backslash elsewhere is text.
"""

from __future__ import annotations


def escape_weights(text: str) -> str:
    """``text`` for an encoder that reads weights, so that it encodes the text as it stands."""
    return text.replace("(", "\\(").replace(")", "\\)")


def has_weights(text: str) -> bool:
    """Whether such an encoder reads something else in ``text`` than the text as it stands: a
    weight, an escape, or a part that it takes by itself. It passes over the likes of ``:)``."""
    if "\\(" in text or "\\)" in text:
        return True
    depth = 0
    for i, char in enumerate(text):
        if char == "(":
            if depth == 0 and i > 0:
                return True
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return True
    return len(text) > 1 and text[0] == "(" and text[-1] == ")"
