"""Tiny seeded keyframe queries, cases for them, and what they compute, written plainly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

WIDTH, HEADS, CHANNELS = 32, 2, 16
CASES = {  # memory frames, queries, global queries, positions in latent frames from the shot
    "nine": (9, 4, 2, range(-45, 0, 5)),
    "two shots": (16, 8, 2, [*range(-41, -20, 3), -20, *range(-21, -2, 3), 0]),
    "far and near": (12, 3, 2, [-900, -700, -513, -512, -400, -300, -200, -100, -50, -9, -1, 3]),
    "one global": (10, 5, 1, range(-20, 0, 2)),
    "no global": (11, 8, 0, range(-33, 0, 3)),
}


def tiny_query(
    seed: int = 0, *, width: int = WIDTH, queries: int = 4, global_queries: int = 2
) -> dict[str, torch.Tensor]:
    """Weights by their names in the module, of a size at which scores differ well."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int, size: float = 1.0) -> torch.Tensor:
        return size * torch.randn(*shape, generator=generator)

    state = {
        "memory_patcher.weight": numbers(width, CHANNELS, 1, 2, 2, size=0.2),
        "memory_patcher.bias": numbers(width, size=0.1),
        "queries": numbers(queries, width),
    }
    if global_queries:
        state["queries_global"] = numbers(global_queries, width)
    for attention in ("query_to_text", "query_to_visual"):
        for part in "qkvo":
            state[f"{attention}.{part}.weight"] = numbers(width, width, size=1.5 * width**-0.5)
            state[f"{attention}.{part}.bias"] = numbers(width, size=0.1)
        for part in ("norm_q", "norm_k"):
            state[f"{attention}.{part}.weight"] = 1 + numbers(width, size=0.2)
    return state


def write_memento_lora(path: Path, *, seed: int = 0) -> Path:
    """A LoRA file as Memento's training leaves it, for the tiny DiT of 256."""
    from helpers.tiny_models import write_lora

    plain = write_lora(path.with_suffix(".plain.safetensors"), seed=seed)
    state = load_file(plain)
    plain.unlink()
    query = tiny_query(seed, width=256, queries=6)
    state |= {f"base_model.model.keyframe_query.{name}": value for name, value in query.items()}
    torch.save({"trainable_state_dict": state, "global_step": 1}, path)
    return path


def case_inputs(name: str) -> dict:
    """Weights, latents [M, 16, 6, 8], positions and texts [L, D] of one case."""
    frames, queries, global_queries, positions = CASES[name]
    seed = sorted(CASES).index(name)
    generator = torch.Generator().manual_seed(100 + seed)
    prompt = torch.randn(7, WIDTH, generator=generator)
    return {
        "weights": tiny_query(seed, queries=queries, global_queries=global_queries),
        "memory": torch.randn(frames, CHANNELS, 6, 8, generator=generator),
        "positions": [max(-512, min(511, position)) for position in positions],
        "prompt": prompt,
        "global_prompt": torch.randn(5, WIDTH, generator=generator) if global_queries else None,
    }


def plain_scores(
    weights, memory, positions, prompt, global_prompt=None, *, heads: int = HEADS, mutant: str = ""
) -> tuple[np.ndarray, np.ndarray | None]:
    """Local and global scores in float64, token by token, from the equations of the paper.

    Args:
        mutant: one thing that is done wrong, to see that a test would notice.
    """
    w = {name: value.double().numpy() for name, value in weights.items()}
    width = w["queries"].shape[1]
    size = width // heads

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w[f"{name}.weight"]

    def turn(x, place):
        """One token's numbers, turned in pairs: first those of time, then rows, then columns."""
        if mutant == "keys not turned":
            return x
        pairs = size // 2
        each = pairs // 3
        rates = []
        for at, count in zip(place, (pairs - 2 * each, each, each), strict=True):
            rates += [at * 10_000 ** (-i / count) for i in range(count)]
        out = x.copy()
        for head in range(heads):
            for i, angle in enumerate(rates):
                a, b = head * size + 2 * i, head * size + 2 * i + 1
                out[a] = x[a] * math.cos(angle) - x[b] * math.sin(angle)
                out[b] = x[a] * math.sin(angle) + x[b] * math.cos(angle)
        return out

    def attend(name, queries, tokens, places=None):
        asked = norm(f"{name}.norm_q", linear(f"{name}.q", queries))
        keys = norm(f"{name}.norm_k", linear(f"{name}.k", tokens))
        if places:
            keys = np.stack([turn(k, place) for k, place in zip(keys, places, strict=True)])
        values = linear(f"{name}.v", tokens)
        out = np.zeros_like(asked)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            logits = asked[:, part] @ keys[:, part].T / math.sqrt(size)
            share = np.exp(logits - logits.max(-1, keepdims=True))
            out[:, part] = share / share.sum(-1, keepdims=True) @ values[:, part]
        return linear(f"{name}.o", out)

    pixels = memory.double().numpy()
    kernel = w["memory_patcher.weight"][:, :, 0]
    tokens, places, owner = [], [], []
    for frame, at in enumerate(positions):
        at = max(0, at + 512) - 512 if mutant != "kept below 0" else min(-1, at)
        for row in range(pixels.shape[2] // 2):
            for column in range(pixels.shape[3] // 2):
                patch = pixels[frame, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                tokens.append((kernel * patch).sum((1, 2, 3)) + w["memory_patcher.bias"])
                flat = mutant == "rows and columns not turned"
                places.append((at, 0 if flat else row, 0 if flat else column))
                owner.append(frame)
    tokens, owner = np.stack(tokens), np.array(owner)

    queries = w["queries"] + attend("query_to_text", w["queries"], prompt.double().numpy())
    if "queries_global" in w:
        text = (prompt if mutant == "one text" else global_prompt).double().numpy()
        others = w["queries_global"] + attend("query_to_text", w["queries_global"], text)
        queries = np.concatenate([queries, others])
    queries = queries + attend("query_to_visual", queries, tokens, places)
    asked = linear("query_to_visual.q", queries)
    if mutant == "query normalised":
        asked = norm("query_to_visual.norm_q", asked)
    keys = linear("query_to_visual.k", tokens)
    if mutant == "keys normalised":
        keys = norm("query_to_visual.norm_k", keys)
    keys = np.stack([turn(k, place) for k, place in zip(keys, places, strict=True)])
    met = asked @ keys.T / math.sqrt(size)  # over all heads: their sum
    met = met if mutant == "sum of heads" else met / heads
    by_frame = np.stack([met[:, owner == m].mean(-1) for m in range(len(memory))], axis=-1)
    count = len(w["queries"])
    if mutant == "rows swapped":
        by_frame = np.roll(by_frame, len(by_frame) - count, axis=0)
    has_global = len(by_frame) > count
    return by_frame[:count].mean(0), by_frame[count:].mean(0) if has_global else None
