"""The ViCLIP golden case, the same in both environments: sizes, weights, clips and texts.

Numbers come from numpy's frozen RandomState, so that they do not depend on a version of torch.
"""

from __future__ import annotations

import zlib

import numpy as np

VOCABULARY = 49408
CONTEXT = 32
TINY = {
    "vision": {"input_resolution": 56, "patch_size": 14, "width": 128, "layers": 3, "heads": 2},
    "text": {"transformer_width": 128, "transformer_heads": 2, "transformer_layers": 3},
    "features": 64,
}
FULL = {  # as published
    "vision": {"input_resolution": 224, "patch_size": 14, "width": 1024, "layers": 24, "heads": 16},
    "text": {"transformer_width": 768, "transformer_heads": 12, "transformer_layers": 12},
    "features": 768,
}

# (seed, frames, height, width, cell): wide, high, square, long and short clips
CLIPS = [
    (1, 81, 60, 104, 7),
    (2, 20, 104, 60, 13),
    (3, 8, 56, 56, 5),
    (4, 5, 70, 90, 30),
    (5, 1, 57, 200, 3),
    (6, 17, 480, 832, 40),
]
TEXTS = [
    "A fox crosses a frozen river at dawn, its breath a small cloud.",
    "a fox",
    "",
    "Wide shot. Mara walks along a pier; the wind's cold, she'd rather be home & warm.",
    "Eine Möwe über dem Hafen – 3 Boote, 12:45 Uhr",
    "老人在灯塔下读信",
    "  many\n\nspaces\tand &amp;amp; entities &lt;b&gt; in   one  ",
    "don't we'll I'm they've it's he'd you're 'tis",
    "émigré naïve façade Ångström ß ﬁre ½ ² ③",
    "🦊🌊 emoji, and a broken â€œquoteâ€\x9d",
    "x" * 300,
    "one two three four five six seven eight nine ten " * 8,
]
ALPHABET = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    "     .,;:!?'\"-()&#/%éüñøçžαβγдежש中日한🙂…—’“”\n\t"
)


def random_texts(count: int = 400) -> list[str]:
    random = np.random.RandomState(7)
    texts = []
    for _ in range(count):
        size = random.randint(0, 160)
        texts.append("".join(ALPHABET[i] for i in random.randint(0, len(ALPHABET), size)))
    return texts


def clip(seed: int, frames: int, height: int, width: int, cell: int) -> np.ndarray:
    """``uint8 [T, H, W, 3]``: random cells that drift and change."""
    random = np.random.RandomState(seed)
    rows, columns = -(-height // cell), -(-width // cell)
    first, last = random.randint(0, 256, (2, rows, columns, 3)).astype(np.float64)
    made = []
    for i in range(frames):
        mixed = first + (last - first) * (i / max(1, frames - 1))
        cells = mixed.astype(np.uint8).repeat(cell, 0).repeat(cell, 1)[:height, :width]
        made.append(np.roll(cells, i, axis=1))
    return np.stack(made)


def weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 weight for a key of the published file, large enough for every part to matter."""
    random = np.random.RandomState(zlib.crc32(key.encode()))
    whole = random.randint(0, 1 << 16, shape, dtype=np.uint16)
    values = whole.astype(np.float32) / np.float32(18918.6) - np.float32(1.7320508)  # deviation 1
    if len(shape) > 1 and not key.endswith("embedding") and "token_embedding" not in key:
        fan_in = shape[0] if key.endswith("proj") or "projection" in key else np.prod(shape[1:])
        return values * np.float32(1.3 / float(fan_in) ** 0.5)
    if "embedding" in key:
        return values * np.float32(0.5)
    return values * np.float32(0.1) + np.float32("bias" not in key and "ln_" in key)


def shapes(sizes: dict) -> dict[str, tuple[int, ...]]:
    """The keys of the published file and their shapes, written out."""
    vision, text, features = sizes["vision"], sizes["text"], sizes["features"]
    width, patch = vision["width"], vision["patch_size"]
    wide, layers = text["transformer_width"], text["transformer_layers"]
    v, t = "vision_encoder.", "text_encoder."
    found: dict[str, tuple[int, ...]] = {
        f"{v}conv1.weight": (width, 3, 1, patch, patch),
        f"{v}class_embedding": (width,),
        f"{v}positional_embedding": ((vision["input_resolution"] // patch) ** 2 + 1, width),
        f"{v}temporal_positional_embedding": (1, 8, width),
        f"{v}proj": (width, features),
        f"{t}token_embedding.weight": (VOCABULARY, wide),
        f"{t}positional_embedding": (CONTEXT, wide),
        f"{t}text_projection": (wide, features),
    }
    norms = [(f"{v}ln_pre", width), (f"{v}ln_post", width), (f"{t}ln_final", wide)]
    for head, count, size in ((v, vision["layers"], width), (t, layers, wide)):
        for i in range(count):
            block = f"{head}transformer.resblocks.{i}."
            norms += [(f"{block}ln_1", size), (f"{block}ln_2", size)]
            for name, rows, columns in (
                ("attn.out_proj", size, size),
                ("mlp.c_fc", 4 * size, size),
                ("mlp.c_proj", size, 4 * size),
            ):
                found[f"{block}{name}.weight"] = (rows, columns)
                found[f"{block}{name}.bias"] = (rows,)
            found[f"{block}attn.in_proj_weight"] = (3 * size, size)
            found[f"{block}attn.in_proj_bias"] = (3 * size,)
    for name, size in norms:
        found[f"{name}.weight"] = found[f"{name}.bias"] = (size,)
    return found


def weights(sizes: dict) -> dict:
    """The whole file in these sizes, as torch tensors."""
    import torch

    return {k: torch.from_numpy(weight(k, s)) for k, s in shapes(sizes).items()}
