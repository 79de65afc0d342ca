"""A language model that gives recorded answers, and a script as one writes it."""

from __future__ import annotations

import json

LOOK = "a woman of thirty with copper hair and a yellow raincoat"
PROMPTS = (
    f"Wide shot, slow push-in: Mara, {LOOK}, walks along a wet pier at dawn, cold blue light.",
    f"Close-up, static: Mara, {LOOK}, lifts a lantern over the wet pier, cold blue dawn light.",
)


def script_of(count: int = 2) -> str:
    shots = [{"cut": True, "prompt": prompt} for prompt in PROMPTS[:count]]
    shots[0]["remember"] = [{"who": "Mara", "weight": 3}]
    scenes = [{"scene_num": 1, "shots": shots}]
    return json.dumps({"story_name": "Lamp", "cast": ["Mara"], "scenes": scenes})


class Writer:
    """A language model as the host holds one: gives recorded answers, one after the other."""

    def __init__(self, *answers: str):
        self.answers, self.asked, self.sampled = list(answers), [], []

    def tokenize(self, text, **options):
        self.asked.append(text)
        self.options = options
        return text

    def generate(self, tokens, **sampling):
        self.sampled.append(sampling)
        return self.answers[len(self.sampled) - 1]

    def decode(self, ids, **_):
        return ids
