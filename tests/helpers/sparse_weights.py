"""Weights files with real headers and no numbers: holes of any size, which take no disk."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "U8": 1, "I64": 8}


def write_safetensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    kind: str | Mapping[str, str] = "F16",
    notes: Mapping[str, str] | None = None,
) -> Path:
    """A ``.safetensors`` file of tensors full of zeros.

    Args:
        kind: of all tensors, or of each by its name.
    """
    header: dict = {"__metadata__": dict(notes)} if notes else {}
    end = 0
    for name, shape in shapes.items():
        one = kind if isinstance(kind, str) else kind[name]
        begin, end = end, end + math.prod(shape) * SIZES[one]
        header[name] = {"dtype": one, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


def lora_shapes(
    blocks: int = 40, rank: int = 128, prefix: str = "", down: str = "lora_A", up: str = "lora_B"
) -> dict[str, tuple[int, int]]:
    """Shapes of a LoRA on every layer that StoryMem's changes in Wan 14B."""
    found = {}
    for block in range(blocks):
        for part in (*(f"{a}.{p}" for a in ("self_attn", "cross_attn") for p in "qkvo"),
                     "ffn.0", "ffn.2"):  # fmt: skip
            out, into = {"ffn.0": (13824, 5120), "ffn.2": (5120, 13824)}.get(part, (5120, 5120))
            name = f"{prefix}blocks.{block}.{part}"
            found[f"{name}.{down}.weight"] = (rank, into)
            found[f"{name}.{up}.weight"] = (out, rank)
    return found


def memento_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of a LoRA of Memento: StoryMem's layers, and the keyframe query."""
    found: dict[str, tuple[int, ...]] = {
        "memory_patcher.weight": (5120, 16, 1, 2, 2), "memory_patcher.bias": (5120,),
        "queries": (8, 5120),
    }  # fmt: skip
    for attention in ("query_to_text", "query_to_visual"):
        for part in "qkvo":
            found[f"{attention}.{part}.weight"] = (5120, 5120)
            found[f"{attention}.{part}.bias"] = (5120,)
        for part in ("norm_q", "norm_k"):
            found[f"{attention}.{part}.weight"] = (5120,)
    return lora_shapes() | {f"keyframe_query.{name}": shape for name, shape in found.items()}


def write_gguf(
    path: Path,
    tensors: Mapping[str, tuple[tuple[int, ...], int, int]],
    notes: Mapping | None = None,
) -> Path:
    """A GGUF file, version 3, by the format's description.

    Args:
        tensors: shape in GGUF's order (innermost first), ggml type and bytes of each.
        notes: texts, whole numbers and lists of them.
    """

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(notes or {}))
    for name, value in (notes or {}).items():
        if isinstance(value, str):
            out += text(name) + struct.pack("<I", 8) + text(value)
        elif isinstance(value, int):
            out += text(name) + struct.pack("<II", 4, value)
        else:
            out += text(name) + struct.pack("<IIQ", 9, 5, len(value))
            out += struct.pack(f"<{len(value)}i", *value)
    offset = 0
    for name, (shape, kind, size) in tensors.items():
        out += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", kind, offset)
        offset += -(-size // 32) * 32
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(out)
        file.truncate(-(-len(out) // 32) * 32 + offset)
    return path
