"""The key of a shot: a hash of everything that its pixels depend on.

What the shot is, the loop's body (given as a text that describes it), the frames of the memory that
the sampler gets, the frames that it continues from, and all frames of the bank, since they decide
which of its own are remembered. The settings that led there (how many frames a shot may see, the
policy, clicks, names) are no part of it, nor is what came before the shot otherwise. So a key is
known as soon as the shot before is finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from ..files.hashing import digest_of
from ..memory.bank import MemoryBank
from ..memory.edits import BankEdits
from ..memory.edits_from import edits_at
from ..memory.frame import MemoryFrame
from ..sampling.continuity import ShotPlan
from ..script.dialogue import spoken
from ..script.prompt_weights import has_weights
from .given_edits import opening_digests
from .neutral_inputs import inputs_that_count
from .passes import DRAFT_FACT
from .plan import Loop
from .shot_memory import ShotMemory

# Of a shot, what is told otherwise or shows in no pixel: the mode says how it begins, its
# references, its start and its end image count by their pictures, its LoRAs by their files, scene
# and number name its file, and its sound is not in its pictures.
NO_PIXELS = (
    "scene", "number", "cut", "continuity", "references", "first_frame_prompt", "lock", "row",
    "take", "start_image", "end_image", "remember", "promote", "loras", "audio", "dialogue",
    "subtitle",
)  # fmt: skip
READS_DIALOGUE = "reads dialogue"  # in the text of a body whose pictures depend on what is said
READS_RECONSTRUCT = "reads reconstruct_target"  # likewise: on what everybody looks like
DIALOGUE_FACT, RECONSTRUCT_FACT = "dialogue", "reconstruct"  # these texts, in key and record
OPENING_FACT = "opening"  # digests of the clip's frames that the first shot continues from
END = "end "  # begins what ``shot_pictures`` says of a picture that a shot ends with


def own_key(loop: Loop, plan: ShotPlan) -> str:
    """Hash of what a shot is, without what came before it."""
    described = asdict(replace(plan, end=None))
    for name in NO_PIXELS:
        del described["shot"][name]
    for name in ("has_start", "end", "begin"):
        del described[name]
    described["shot"] = inputs_that_count("Shot", described["shot"])
    if plan.draft:  # how many frames it may see counts by those that it does see
        del described["draft"]["max_frames"]
    described = inputs_that_count("ShotPlan", described)
    if loras := loop.loras.key_of(plan.shot):
        described["loras"] = loras
    if is_plain_text(loop, plan):
        described["text"] = "plain"
    described |= _read_texts(loop, plan)
    return digest_of(["shot", described, shot_pictures(loop, plan), loop.body])


def _read_texts(loop: Loop, plan: ShotPlan) -> dict[str, str]:
    """What nodes read of the script beside prompts, by the fact's name."""
    read = {}
    if READS_DIALOGUE in loop.body:
        read[DIALOGUE_FACT] = spoken(plan.shot.dialogue)
    if READS_RECONSTRUCT in loop.body:
        read[RECONSTRUCT_FACT] = loop.story.reconstruct_prompt
    return read


def shot_pictures(loop: Loop, plan: ShotPlan) -> list[str]:
    """Who the pictures are that a shot brings: its reference images, what is promoted to its
    memory, then its start image and its end image."""
    pictures = [loop.reference_digests[name] for name in plan.shot.references]
    pictures += [f"promoted {frame.digest}" for frame in loop.promoted.get(plan.shot.index, ())]
    if plan.has_start:
        pictures.append(f"start {MemoryFrame(loop.start_images[plan.shot.index]).digest}")
    if plan.end is not None:
        pictures.append(f"{END}{plan.end.digest}")
    return pictures


def is_plain_text(loop: Loop, plan: ShotPlan) -> bool:
    """Whether a shot's texts go to their encoder with escapes, and would be read otherwise without:
    earlier versions handed all texts on as typed."""
    if not loop.reads_weights or loop.story.prompt_weights:
        return False
    return any(has_weights(text) for text in (plan.prompt, plan.shot.negative or ""))


def shot_key(own: str, memory: ShotMemory, given: Sequence[str]) -> str:
    """Hash of everything that a shot's pixels depend on.

    Args:
        own: what ``own_key`` says of it.
        given: digests of the frames of the shot before that it continues from, in order; none
            after a cut.
    """
    return digest_of(["seen", own, *memory.digests(), list(given)])


def telling_facts(loop: Loop, plan: ShotPlan) -> dict:
    """What a record keeps beside its key, so that people can be told which part of it changed (see
    :mod:`storymem.loop.regeneration`)."""
    shot = plan.shot
    facts = {
        "length": shot.length,
        "lora_strength": shot.lora_strength,
        "pictures": shot_pictures(loop, plan),
        "memory": _describe_memory(loop.bank, edits_at(loop.bank.edits, loop.story, shot.index)),
        "start": [frame.digest for frame in loop.start_frames],
    }
    facts |= {DRAFT_FACT: asdict(plan.draft)} if plan.draft else {}
    if given := opening_digests(loop, plan):
        facts[OPENING_FACT] = given
    facts |= loop.loras.facts_of(shot)
    facts |= _read_texts(loop, plan)
    if loop.story.remembers:
        facts["memory"]["remember"] = digest_of([shot.remember for shot in loop.story.shots])
    return facts | ({"text": "plain"} if is_plain_text(loop, plan) else {})


def _describe_memory(bank: MemoryBank, edits: BankEdits) -> dict:
    """Settings of a memory bank, as far as they decide what a shot sees that has these clicks."""
    kinds = ("pin", "unpin", "drop", "keep")
    return {
        "max_frames": bank.max_frames,
        "sink": bank.sink,
        "policy": bank.policy,
        "embedder": bank.embedder if bank.policy == "relevant" else "",
        "clicks": digest_of([sorted(getattr(edits, kind)) for kind in kinds]),
        "pins": digest_of([frame.digest for frame in bank.frames if frame.pinned]),
    }
