"""Prompts as the DiT gets them, and whether it can tell their words apart."""

from __future__ import annotations

import torch

from .. import text, world


class Words:
    """Token numbers to text embeddings on a device."""

    def __init__(self, device):
        words, slots = text.vectors()
        self.words, self.slots = words.to(device), slots.to(device)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        return text.embed(tokens, self.words, self.slots)


@torch.no_grad()
def heard(model, words: Words) -> dict[str, float]:
    """How far apart a slot's words are after the text embedder, by the slot and its words: the
    least distance of two of them over their mean length. 0: the model cannot tell them apart.
    """
    device = words.words.device
    spoken = {
        "left name": [f"{names[0]} hops" for names in world.NAMES],
        "right name": [f"Bomo hops, {names[0]} hops" for names in world.NAMES],
        "left action": [f"Bomo {action}" for action in world.ACTIONS],
        "right action": [f"Bomo hops, Fipi {action}" for action in world.ACTIONS],
        "place": list(world.PLACES),
        "camera": list(world.CAMERAS),
        "framing": ["", *world.SAID_FRAMINGS],
    }
    found = {}
    for name, prompts in spoken.items():
        slot = text.SLOTS.index(name.split()[0])
        rows = torch.tensor([text.tokens(prompt) for prompt in prompts], device=device)
        embedded = model.condition_embedder.text_embedder(words(rows)[:, slot])
        apart = torch.cdist(embedded, embedded) + torch.eye(len(rows), device=device) * 1e9
        found[name] = (apart.min() / embedded.norm(dim=-1).mean()).item()
    return found
