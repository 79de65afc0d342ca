"""What widgets of a loop cost a night, and wires in each other's place: told before the first shot.

Only what is certain. Numbers that come over a wire are not known yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...storymem.files.messages import count_shots, shown
from ...storymem.loop.plan import Loop
from ...storymem.sampling.recipe import odd_pair
from .wires import SAMPLERS, Notice, Wires, links_of

OPEN_PROMPT, OPEN_NEGATIVE = 4, 5  # outputs of Shot Loop Open and Next Shot
FEW_STEPS = re.compile(r"(?<!\d)([1-8])[\W_]*steps?(?![a-z])(?![\W_]*\d)", re.IGNORECASE)
MANY = 4  # times the steps that a LoRA was distilled to: a whole night instead of two hours
VAE_FILE = "vae_name"
OTHER_VAE = re.compile(
    r"hunyuan|ltx|mochi|cosmos|flux|sdxl|sd3|wan[\W_]*2[\W_]*2|(?:^|[\\/])ae\.", re.IGNORECASE
)
# What gives nothing but its output: without a wire there, the artist's choice has no effect.
USED_ONLY_BY_WIRE = {
    "StoryMemKeyframeSelect": "the keyframes are",
    "StoryMemAestheticFilter": "what it keeps is",
    "StoryMemChooseMemory": "the chosen memory is",
    "StoryMemMatchColor": "the matched frames are",
}


def setting_notices(wires: Wires, loop: Loop) -> list[Notice]:
    """What an artist should know of a loop's settings and of wires that lead nowhere."""
    return [
        *_swapped_prompts(wires),
        *_steps(wires),
        *_pairs(wires),
        *_decoders(wires),
        *_unused(wires),
        *_end(wires, loop),
    ]


# --- inside ----------------------------------------------------------------------------------


def _texts(wires: Wires, node_id: str, name: str) -> set[int]:
    """Which of Open's prompt and negative an input is made from."""
    found = {wires.source(node_id, name)} if wires.source(node_id, name) else set()
    for here in wires.before(node_id, name):
        if here != wires.open_id:
            links = links_of(wires.dynprompt.get_node(here))
            found |= {(source, slot) for _, source, slot in links}
    return {slot for node, slot in found if node == wires.open_id} & {OPEN_PROMPT, OPEN_NEGATIVE}


def _swapped_prompts(wires: Wires) -> Iterator[Notice]:
    for node_id in wires.of_kind(*SAMPLERS):
        values = wires.inputs(node_id)
        texts = [_texts(wires, node_id, name) for name in ("positive", "negative")]
        same = wires.source(node_id, "positive") == wires.source(node_id, "negative")
        if texts[0] == {OPEN_NEGATIVE}:
            yield wires.notice(
                node_id,
                "positive is made from the loop's negative prompt, so every shot shows what it "
                "should not; connect what encodes the prompt to positive",
            )
        elif texts[1] == {OPEN_PROMPT} and not same:
            yield wires.notice(
                node_id,
                "negative is made from the loop's prompt, so every shot avoids what it should "
                "show; connect what encodes the negative prompt to negative",
            )
        elif same and wires.source(node_id, "positive") and _is_not_one(values.get("cfg", 1)):
            yield wires.notice(
                node_id,
                "positive and negative are the same, so cfg has nothing to tell apart; connect "
                "what encodes the negative prompt to negative",
            )


def _is_not_one(cfg: object) -> bool:
    return isinstance(cfg, int | float) and cfg != 1


def _steps(wires: Wires) -> Iterator[Notice]:
    """Steps and denoise that no shot is sampled with."""
    for node_id in wires.of_kind("StoryMemM2VSampler"):
        yield from grey(wires, node_id)
        yield from too_many_steps(wires, node_id, node_id)


def grey(wires: Wires, node_id: str) -> Iterator[Notice]:
    """A ``denoise`` below 1 on the node that has it."""
    denoise = wires.inputs(node_id).get("denoise", 1.0)
    if isinstance(denoise, int | float) and 0 < denoise < 1:
        yield wires.notice(
            node_id,
            f"denoise is {denoise:g}, but a shot starts from noise and not from a picture, so "
            "it would stay grey; set denoise to 1",
        )


def too_many_steps(wires: Wires, node_id: str, experts: str) -> Iterator[Notice]:
    """``steps`` of a node, where the models of the node ``experts`` are made for few."""
    steps = wires.inputs(node_id).get("steps")
    names = [n for n in ("model_high", "model_low") if wires.source(experts, n)]
    distilled = [_distilled(wires, experts, name) for name in names]
    if type(steps) is not int or not distilled or not all(distilled):
        return
    count, name = max(distilled)
    if steps >= MANY * count:
        yield wires.notice(
            node_id,
            f"steps is {steps}, but {shown(name)} is made for {count}: each shot takes "
            f"{steps // count} times as long and looks worse; set steps to {count} and cfg to 1",
        )


def _pairs(wires: Wires) -> Iterator[Notice]:
    """The released sampler without its schedule, or the schedule without it."""
    for node_id in wires.of_kind("StoryMemM2VSampler"):
        values = wires.inputs(node_id)
        pair = values.get("sampler_name"), values.get("scheduler")
        if all(isinstance(name, str) for name in pair) and (text := odd_pair(*pair)):
            yield wires.notice(node_id, text)


def _distilled(wires: Wires, node_id: str, name: str) -> tuple[int, str] | None:
    """The fewest steps that a LoRA before a model input names, and its file."""
    found = [
        (int(count), value)
        for here in wires.before(node_id, name)
        for key, value in wires.inputs(here).items()
        if "lora" in key.lower() and isinstance(value, str)
        for count in FEW_STEPS.findall(value)
    ]
    return min(found, default=None)


def _decoders(wires: Wires) -> Iterator[Notice]:
    """A VAE of another model, by its name, after a sampler that has Wan's."""
    vaes = {wires.inputs(vae).get(VAE_FILE) for vae in _vaes(wires, SAMPLERS)}
    for node_id in wires.of_kind("VAEDecode", "VAEDecodeTiled"):
        source = wires.source(node_id, "vae")
        name = wires.inputs(source[0]).get(VAE_FILE) if source else None
        is_other = isinstance(name, str) and name not in vaes and OTHER_VAE.search(name)
        if is_other and any(wires.kind(n) in SAMPLERS for n in wires.before(node_id, "samples")):
            yield wires.notice(
                node_id,
                f"vae is {shown(name)}, which by its name is not the VAE of Wan 2.1 that the shot "
                "was sampled with; connect the same VAE as at M2V Sampler",
            )


def _vaes(wires: Wires, kinds: Sequence[str]) -> list[str]:
    found = [wires.source(node_id, "vae") for node_id in wires.of_kind(*kinds)]
    return [source[0] for source in found if source]


def _unused(wires: Wires) -> Iterator[Notice]:
    """Nodes of the loop whose output goes nowhere, or only to others of that kind."""
    prompt, used = wires.dynprompt, {*wires.used, wires.open_id}
    users = {source for n in prompt.all_node_ids() for _, source, _ in links_of(prompt.get_node(n))}
    for node_id in sorted(prompt.all_node_ids()):
        kind = wires.kind(node_id)
        if node_id in used or node_id in users or kind not in USED_ONLY_BY_WIRE:
            continue
        if wires.is_of_loop(node_id):
            yield wires.notice(
                node_id,
                f"{USED_ONLY_BY_WIRE[kind]} not used: no output is connected; connect it, or take "
                "this node out",
            )


def _end(wires: Wires, loop: Loop) -> Iterator[Notice]:
    count, end = len(loop.story.shots), loop.settings.end_shot
    if 0 < end < count and not loop.settings.preview:
        yield wires.notice(
            wires.open_id,
            f"end_shot is {end}: the run stops after shot {end} of {count_shots(count)}; set it to "
            "0 for the whole story",
        )
