"""What wires of a loop cost a night without any error: told on the node before the first shot.

Nothing here refuses to run. A wire from an empty Memory Bank says that no memory is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...storymem.files.messages import count_shots, listed
from ...storymem.loop.memory_choice import CHOOSES
from ...storymem.loop.plan import Loop, Step
from ...storymem.memory.edits import BankEdits
from ...storymem.sampling.conditioning import latent_frames
from ...storymem.script.continuity import MODE_OF_CONTINUITY
from ...storymem.selection.even import EVEN, EVEN_FRAMES
from .card_notices import card_notices
from .choice_notices import REMEMBER, choice_notices
from .end_images import end_notices, impossible_end
from .experts import expert_notices
from .graph import LoopGraph
from .part_notices import part_notices
from .pass_notices import pass_notices
from .settings import setting_notices
from .shot_loras import impossible_loras, lora_notices
from .tiny_prompts import tiny_notices
from .wires import SAMPLERS, Notice, Wires

MEMORY_BANK = "StoryMemMemoryBank"
SELECT, MATCH_COLOR = "StoryMemKeyframeSelect", "StoryMemMatchColor"
# How a bank goes on from one node to the next, by kind: nothing else hands one on unchanged.
CARRIERS = ("StoryMemEditMemoryBank", "StoryMemSaveMemoryBank", CHOOSES)
PICTURES = ("images", "images_2", "images_3", "images_4")
# Stock nodes that take frames off (of pixels, and of latents), and what says how many: the first
# that stays and how many stay, or how many go.
CUTTERS = {
    "ImageFromBatch": ("batch_index", "length"),
    "LatentCut": ("index", "amount"),
    "TrimVideoLatent": ("trim_amount",),
}
OPEN_BANK = 2  # output of Shot Loop Open and Next Shot
OPEN_START_IMAGE = 7  # output of Shot Loop Open and Next Shot


def loop_notices(wires: Wires, close_id: str, loop: Loop, steps: Sequence[Step]) -> list[Notice]:
    """What an artist should know of a loop before its first shot, by node.

    Args:
        close_id: the node that frames and bank go to.
        steps: what the run is about to do.
    """
    if all(step.record is not None for step in steps):
        return []  # nothing is made
    found = [
        *_memory(wires, close_id),
        *_shots(wires),
        *_prompts(wires),
        *_keyframes(wires),
        *choice_notices(wires),
        *_start_images(wires, loop),
        *end_notices(wires, loop),
        *_cutters(wires, close_id),
        *_range(wires, loop, steps),
        *expert_notices(wires, loop, steps),
        *setting_notices(wires, loop),
        *part_notices(wires, loop),
        *tiny_notices(wires, steps),
        *pass_notices(wires),
        *lora_notices(wires, steps),
        *card_notices(wires),
    ]
    return list(dict.fromkeys(found))


def impossible_shot(wires: Wires, steps: Sequence[Step]) -> tuple[str, str] | None:
    """A node that cannot make a shot that is planned, and why: known before the first shot.

    Returns:
        The node's id and the error, or ``None``. Nothing is said of a node that may be skipped.
    """
    todo = [step.plan for step in steps if step.record is None]
    continued = [plan for plan in todo if plan.overlap_frames]
    for node_id in wires.of_kind(*SAMPLERS, MATCH_COLOR):
        if not wires.source(node_id, "shot"):
            continue
        values = wires.inputs(node_id)
        mode = MODE_OF_CONTINUITY.get(str(values.get("continuity")))
        others = [plan for plan in todo if mode and plan.mode != mode]
        if others:
            text = (
                f"continuity of {wires.name(node_id)} is {values['continuity']}, but "
                f"{others[0].shot} begins in another way ({others[0].mode}); set "
                "continuity to auto, and choose how shots continue on "
                f"{wires.name(wires.open_id)} and in the script"
            )
        elif continued and not wires.source(node_id, "previous_frames"):
            text = (
                f"{continued[0].shot} continues the one before it, but previous_frames of "
                f"{wires.name(node_id)} is not connected; connect the previous_frames of "
                f"{wires.name(wires.open_id)}, or begin that shot with a cut"
            )
        else:
            continue
        if not wires.may_be_skipped(node_id):
            return node_id, text
    return impossible_end(wires, steps) or impossible_loras(wires, steps)


def sampled_length(wires: Wires) -> int:
    """Frames that the samplers are set to; 0 when a wire says it, or a node of somebody else."""
    lengths = [wires.inputs(n).get("length") for n in wires.of_kind(*SAMPLERS)]
    return max((n for n in lengths if isinstance(n, int) and not isinstance(n, bool)), default=0)


def held_length(graph: LoopGraph) -> int:
    """Frames of a shot of the film, for which a still of it is held; 0 when nothing says it."""
    return sampled_length(replace(graph, draft=None).wires())


def is_meant_empty(wires: Wires, node_id: str) -> bool:
    """Whether a node is a Memory Bank without a picture, which says that no memory is meant."""
    if wires.kind(node_id) != MEMORY_BANK:
        return False
    values = wires.inputs(node_id)
    edits = values.get("edits") or ""
    is_empty = isinstance(edits, str) and not BankEdits.parse(edits).images
    is_empty = is_empty and not any(wires.source(node_id, name) for name in PICTURES)
    return is_empty or values.get("max_frames") == 0


# --- inside ----------------------------------------------------------------------------------


def _chain(wires: Wires, node_id: str, name: str) -> list[str]:
    """The nodes that hand a bank on to an input, nearest first: a Remember, a beginning, Open, or
    a node of somebody else, of which nothing is known, is the last one."""
    chain: list[str] = []
    while (found := wires.source(node_id, name)) and found[0] not in chain:
        chain.append(found[0])
        if wires.kind(found[0]) not in CARRIERS:
            break
        node_id, name = found[0], "bank"
    return chain


def _memory(wires: Wires, close_id: str) -> Iterator[Notice]:
    opened = wires.name(wires.open_id)
    blind = [n for n in wires.of_kind(*SAMPLERS) if not wires.uses_memory(n)]
    if len(blind) < len(wires.of_kind(*SAMPLERS)):
        blind = []  # another one sees the memory: this one is a second pass, or makes a picture
    for sampler in blind:
        chain = _chain(wires, sampler, "bank")
        if not chain:
            yield wires.notice(
                sampler,
                f"bank is not connected, so no shot sees the memory; connect the bank of {opened} "
                "(if that is what you want, connect an empty Memory Bank)",
            )
        elif not is_meant_empty(wires, chain[-1]):
            yield wires.notice(
                sampler,
                f"bank comes from {wires.name(chain[-1])}, outside of the loop, so every shot sees "
                f"the same memory and nothing of the shots before it; connect the bank of {opened}",
            )
    chain = _chain(wires, close_id, "bank")
    end = chain[-1] if chain else wires.open_id
    is_lost = end == wires.open_id or not wires.is_of_loop(end)
    if is_lost and _is_read(wires) and not is_meant_empty(wires, end):
        yield wires.notice(
            close_id,
            f"bank comes from {wires.name(end)} and not from Remember, so nothing of a shot is "
            "remembered for the next one; connect the bank of Remember (if that is what you want, "
            "connect an empty Memory Bank)",
        )
    for remember in wires.of_kind(REMEMBER):
        if not wires.is_of_loop(remember):
            continue
        chain = _chain(wires, remember, "bank")
        if not wires.is_of_loop(remember, "bank"):
            yield wires.notice(
                remember,
                ("bank is not connected" if not chain else "bank comes from outside of the loop")
                + ", so each shot forgets what was remembered before it; connect the bank of "
                + opened,
            )
        if not wires.is_of_loop(remember, "keyframes"):
            yield wires.notice(
                remember,
                "keyframes come from outside of the loop, so every shot remembers the same "
                "pictures and nothing of itself; connect the keyframes of Keyframe Select",
            )


def _is_read(wires: Wires) -> bool:
    """Whether anything of the loop looks at its memory."""
    return any(
        wires.source(n, name) == (wires.open_id, OPEN_BANK)
        for n in wires.used
        if wires.kind(n) not in (*CARRIERS, REMEMBER, SELECT)
        for name in wires.inputs(n)
    ) or any(map(wires.uses_memory, wires.of_kind(*SAMPLERS)))


def _shots(wires: Wires) -> Iterator[Notice]:
    samplers = wires.of_kind(*SAMPLERS)
    without = [n for n in samplers if wires.source(n, "shot") is None]
    for sampler in without if without == samplers else ():  # else it is a second pass
        yield wires.notice(
            sampler,
            "shot is not connected, so every shot gets the same seed, and what the script says "
            "of lengths, seeds and [continue] has no effect; connect the shot of "
            + wires.name(wires.open_id),
        )


def _prompts(wires: Wires) -> Iterator[Notice]:
    samplers = [n for n in wires.of_kind(*SAMPLERS) if wires.source(n, "positive")]
    if any(wires.is_of_loop(n, "positive") for n in samplers):
        return  # another one's prompt is that of a second pass
    for sampler in samplers:
        nodes = list(wires.before(sampler, "positive"))
        typed = [n for n in nodes if _text_input(wires.inputs(n))]
        at = typed[0] if typed else nodes[0]
        where = f" to its {_text_input(wires.inputs(at))} input" if typed else ""
        yield wires.notice(
            at,
            f"every shot is generated from this prompt, and the script's prompts are not used; "
            f"connect the prompt of {wires.name(wires.open_id)}{where}",
        )


def _text_input(inputs: dict) -> str:
    """The input of a node that holds a typed prompt; empty when none does."""
    names = ("text", "prompt", "t5xxl", "positive_prompt", "string", "value")
    return next((n for n in names if isinstance(inputs.get(n), str)), "")


def _keyframes(wires: Wires) -> Iterator[Notice]:
    for node_id in wires.of_kind(SELECT):
        if not wires.is_of_loop(node_id):
            continue
        if wires.source(node_id, "shot") is None:
            yield wires.notice(
                node_id,
                "shot is not connected, so frames that repeat the shot before are remembered "
                f"again; connect the shot of {wires.name(wires.open_id)}",
            )
        selection = wires.inputs(node_id).get("selection")
        if selection == EVEN:
            yield from _even_frames(wires, node_id)
        if wires.source(node_id, "bank") is None and selection != EVEN:
            yield wires.notice(
                node_id,
                "bank is not connected, so a shot's keyframes may be ones that the memory has "
                f"already; connect the bank of {wires.name(wires.open_id)}",
            )


def _even_frames(wires: Wires, node_id: str) -> Iterator[Notice]:
    frames = wires.inputs(node_id).get("max_keyframes")
    if isinstance(frames, int) and frames != EVEN_FRAMES:
        yield wires.notice(
            node_id,
            f"selection is even and max_keyframes {frames}, but Memento chooses from {EVEN_FRAMES} "
            f"frames of each shot; set max_keyframes to {EVEN_FRAMES}",
        )
    if wires.source(node_id, "scorer") is not None:
        yield wires.notice(
            node_id,
            "selection is even, so the scorer is not asked and frames of any quality are kept; "
            "put Aesthetic Filter after it, or disconnect the scorer",
        )


def _start_images(wires: Wires, loop: Loop) -> Iterator[Notice]:
    is_wired = wires.source(wires.open_id, "start_images") is not None
    is_named = loop.start_images or any(shot.start_image for shot in loop.story.shots)
    if not is_wired and not is_named:
        return
    own = [wires.open_id, OPEN_START_IMAGE]
    if not any(value == own for n in wires.used for value in wires.inputs(n).values()):
        yield wires.notice(
            wires.open_id,
            f"{'start_images is connected' if is_wired else 'the script names start images'}, but "
            "its pictures are not used; connect start_image to the start_image of M2V Sampler",
        )


def _cutters(wires: Wires, close_id: str) -> Iterator[Notice]:
    """Nodes that take frames off after the shot was sampled by M2V Sampler, which gives all of it.

    Only those that every frame goes through, by an amount that is typed: other ones take a picture
    out, work on a shot in parts, or take off what a stock sampler was given beside the shot.
    """
    samplers = wires.of_kind("StoryMemM2VSampler")
    for node_id in wires.every_way(samplers, close_id, "frames"):
        if wires.kind(node_id) in CUTTERS and _takes_off(wires, node_id):
            yield wires.notice(
                node_id,
                "takes frames off before Shot Loop Close, which takes off those that repeat the "
                "shot before by itself: the start of continued shots would be lost; connect the "
                "whole decoded shot",
            )


def _takes_off(wires: Wires, node_id: str) -> bool:
    values = wires.inputs(node_id)
    amounts = [values.get(name) for name in CUTTERS[wires.kind(node_id)]]
    if not all(type(n) is int for n in amounts) or values.get("dim", "t") != "t":
        return False
    if len(amounts) == 1:
        return amounts[0] > 0
    first, count = amounts
    length = sampled_length(wires)
    is_latent = wires.kind(node_id) == "LatentCut"
    return first != 0 or count < (latent_frames(length) if is_latent and length else length)


def _range(wires: Wires, loop: Loop, steps: Sequence[Step]) -> Iterator[Notice]:
    start = loop.settings.range(loop.story).start
    there = {step.plan.shot.index for step in steps}
    missing = [str(i + 1) for i in range(start) if i not in there]
    if missing:
        shots = f"shot{'s' if len(missing) > 1 else ''} {listed(missing, 5)}"
        has, is_cut = ("have", "are") if len(missing) > 1 else ("has", "is")
        yield wires.notice(
            wires.open_id,
            f"start_shot is {start + 1}, but {shots} {has} never been made: the story is made "
            f"without what {shots} would be remembered by, and {is_cut} missing from the film; set "
            "start_shot to 1 to make the whole story",
        )
    count = len(loop.story.shots)
    if loop.settings.preview and count > 1:
        yield wires.notice(
            wires.open_id,
            f"preview is on: the run stops after the first of {count_shots(count)}; turn it off "
            "for the whole story",
        )
