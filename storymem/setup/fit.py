"""What will fit: a workflow's shots on this card, in this memory, on this disk.

Where the figures are from: working memory was measured for Wan2.2 A14B on one NVIDIA H200, 2.98 GiB
for 32 760 tokens and 4.40 GiB for 48 360 (docs/performance.md, "Memory-to-video"): 95 KiB for each
token. What a card must have free beside it was measured with ComfyUI 0.33, its dynamic memory and
fp8_scaled files ("On a card with less memory"): 832x480x81 with 10 memory frames ran with 11 GiB
free and not with 7; 640x368x65 with 5 ran with 5. So it is more than 2.6 GiB and less than 3.2 for
what stays of the weights, and the rest streams in from main memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files.codecs import H264
from ..files.messages import count_shots
from ..loop.disk_space import MASTER_BYTES_PER_PIXEL, SPARE_BYTES, bytes_of_shots
from ..loop.time_left import PATCH
from ..sampling.conditioning import VAE_STRIDE, latent_frames
from .machine import said_gb
from .memory import Card, free_space, main_memory
from .model_files import ModelFile, said_bytes
from .needs import SAMPLERS, find_wanted, wanted_files
from .report import Finding, Section
from .script import story_of
from .workflow import Node, Wire, WorkflowError, read_nodes

GIB = 2**30
BYTES_PER_TOKEN = 4.40 * GIB / 48_360  # of working memory, see above
LEAST_BESIDE, ENOUGH_BESIDE = 2.65 * GIB, 3.2 * GIB  # free on the card beside it, see above
BESIDE_EXPERTS = 9.4 * GIB  # of main memory: 36 GiB that the measured process held, less its files
LARGEST_SIDE, LARGEST_LENGTH, MOST_MEMORY = 8192, 10_000, 1000
KEY, TITLE = "fit", "What will fit"


@dataclass(frozen=True)
class Asked:
    """What a workflow's sampler is set to; 0 where a wire says it."""

    width: int
    height: int
    length: int
    steps: int
    memory: int  # frames that a shot sees at most

    @property
    def tokens(self) -> int:
        """Of one forward pass."""
        side = VAE_STRIDE * PATCH
        of_frame = (self.width // side) * (self.height // side)
        return (latent_frames(max(1, self.length)) + self.memory) * of_frame

    @property
    def working_bytes(self) -> int:
        """Memory on the card beside the weights."""
        return int(self.tokens * BYTES_PER_TOKEN)


def asked_of(nodes: Mapping[str, Node]) -> Asked | None:
    """What the largest of a workflow's samplers is set to; None without one that says its size."""
    memory = max((_whole(n.inputs.get("max_frames"), MOST_MEMORY) for n in nodes.values()
                  if n.kind == "StoryMemMemoryBank"), default=0)  # fmt: skip
    found = [
        Asked(
            _whole(node.inputs.get("width"), LARGEST_SIDE),
            _whole(node.inputs.get("height"), LARGEST_SIDE),
            _whole(node.inputs.get("length"), LARGEST_LENGTH),
            _whole(node.inputs.get("steps"), LARGEST_LENGTH),
            memory if isinstance(node.inputs.get("bank"), Wire) else 0,
        )
        for node in nodes.values()
        if node.kind in SAMPLERS
    ]
    found = [one for one in found if one.width and one.height and one.length]
    return max(found, key=lambda one: one.tokens, default=None)


def _whole(value: object, most: int) -> int:
    return value if type(value) is int and 0 < value <= most else 0


def look_at_fit(
    workflow: object, files: Sequence[ModelFile], cards: Sequence[Card], output: Path | None
) -> Section:
    """What of a workflow fits on the card, in main memory and on the disk of the output folder."""
    try:
        nodes = read_nodes(workflow)
    except WorkflowError:  # told where its needs are
        return Section(KEY, TITLE)
    asked = asked_of(nodes)
    if asked is None:
        text = "no sampler of this pack says its size in the workflow, so nothing is estimated"
        return Section(KEY, TITLE, (Finding("note", text),))
    findings = [*_on_card(asked, cards), *_in_memory(nodes, files), *_on_disk(asked, nodes, output)]
    return Section(KEY, TITLE, tuple(findings))


def _on_card(asked: Asked, cards: Sequence[Card]) -> Iterator[Finding]:
    card = next(iter(cards), None)  # the host samples on the first one
    if card is None or card.free is None:
        yield Finding("note", "without a card, nothing is said of its memory")
        return
    free, working = min(card.free + card.held, card.total), asked.working_bytes
    values = {
        "width": asked.width, "height": asked.height, "length": asked.length,
        "memory": asked.memory, "working": said_gb(working), "free": said_gb(free),
        "least": said_gb(int(working + ENOUGH_BESIDE)),
    }  # fmt: skip
    size = "{width}x{height}, {length} frames, {memory} memory frames"
    basis = "(from measurements with fp8 files and dynamic memory; see docs/performance.md)"
    if free >= working + ENOUGH_BESIDE:
        text = (
            f"{size}: {{working}} of working memory, about {{least}} in all, of {{free}} free for "
            f"it: it should fit {basis}"
        )
        yield Finding("ok", text, values)
    elif free >= working + LEAST_BESIDE:
        text = (
            f"{size}: about {{least}} are needed on the card and {{free}} are free for it: it may "
            f"fit {basis}"
        )
        yield Finding("warning", text, values)
    else:
        text = (
            f"{size}: about {{least}} are needed on the card and {{free}} are free for it: it will "
            "run out of memory. Close other programs, or take a smaller size, fewer frames, or "
            f"fewer memory frames {basis}"
        )
        yield Finding("warning", text, values)


def _in_memory(nodes: Mapping[str, Node], files: Sequence[ModelFile]) -> Iterator[Finding]:
    used = {f.path: f for one in wanted_files(nodes) if (f := find_wanted(one, files))}
    experts = [f for f in used.values() if f.folder in ("diffusion_models", "unet", "unet_gguf")]
    loras = [f for f in used.values() if f.folder == "loras"]
    weights = sum(file.kind.size for file in (*experts, *loras))
    memory = main_memory()
    if not experts or memory is None:
        return
    needed = int(weights + BESIDE_EXPERTS)
    values = {"weights": said_bytes(weights), "needed": said_gb(needed),
              "total": said_gb(memory.total), "free": said_gb(memory.free)}  # fmt: skip
    if memory.total >= needed:
        text = (
            "models and LoRAs of {weights}: about {needed} of memory (RAM) in all, of {total}: it "
            "should fit (estimated from one measured run)"
        )
        yield Finding("ok", text, values)
    else:
        text = (
            "models and LoRAs of {weights}: about {needed} of memory (RAM) in all, but there are "
            "{total}: files are read from the disk again for every shot, or the system runs out; "
            "smaller files (fp8, GGUF) help (estimated from one measured run)"
        )
        yield Finding("warning", text, values)


def _on_disk(asked: Asked, nodes: Mapping[str, Node], output: Path | None) -> Iterator[Finding]:
    free = free_space(output) if output else None
    if free is None:
        return
    codecs = (node.inputs.get("codec") for node in nodes.values())
    codec = next(
        (one for one in codecs if isinstance(one, str) and one in MASTER_BYTES_PER_PIXEL), H264
    )
    story = story_of(nodes)
    lengths = [shot.length or asked.length for shot in story.shots] if story else [asked.length]
    needed = bytes_of_shots(len(lengths), sum(lengths), asked.width, asked.height, codec)
    values = {"shots": count_shots(len(lengths)), "needed": said_bytes(needed),
              "free": said_bytes(free)}  # fmt: skip
    is_full = free < needed + SPARE_BYTES
    if story is None:
        text = "how many shots the script has is not known here; each takes about {needed} of disk"
        yield Finding("warning" if is_full else "ok", f"{text}, and {{free}} are free", values)
    elif is_full:
        text = (
            "disk for {shots}, all made anew: about {needed}, and {free} are free: unless "
            "enough of them are finished, the run stops before its first shot"
        )
        yield Finding("warning", text, values)
    else:
        text = "disk for {shots}, all made anew: about {needed}, and {free} are free"
        yield Finding("ok", text, values)
