"""What is odd about a shot that stock nodes sample in parts: told before the first one.

M2V Sampler does all of it on its own; SamplerCustomAdvanced runs with whatever it is given. Only
what is certain is told, of samplers that make the shot: a second pass has another latent.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...storymem.loop.plan import Loop
from .settings import grey, too_many_steps
from .wires import Notice, Wires

SAMPLER, CONDITIONING = "SamplerCustomAdvanced", "StoryMemM2VConditioning"
PATCH, TRIM = "StoryMemM2VModelPatch", "TrimVideoLatent"
POSITIVE, NEGATIVE, MEMORY_FRAMES = 0, 1, 4  # outputs of M2V Conditioning
OWN_SAMPLER, OWN_SIGMAS = "StoryMemSampler", "StoryMemSigmas"


def part_notices(wires: Wires, loop: Loop) -> list[Notice]:
    """What an artist should know of the parts that shots of a loop are sampled with."""
    found: list[Notice] = []
    for node_id in wires.of_kind(SAMPLER):
        latent = wires.source(node_id, "latent_image")
        if latent is None or wires.kind(latent[0]) != CONDITIONING:
            continue
        found += [*_noise(wires, node_id), *_schedule(wires, node_id)]
        guider = wires.source(node_id, "guider")
        found += _swapped(wires, guider[0]) if guider else []
        if loop.bank.max_frames > 0 and wires.uses_memory(latent[0]):
            found += _unpatched(wires, guider[0]) if guider else []
            found += _untrimmed(wires, node_id)
    return found


# --- inside ----------------------------------------------------------------------------------


def _noise(wires: Wires, node_id: str) -> Iterator[Notice]:
    before = [wires.kind(n) for n in wires.before(node_id, "noise")]
    if before and CONDITIONING not in before:
        yield wires.notice(
            node_id,
            "noise is not M2V Conditioning's, so the shot's own seed is not used, and a shot "
            "changes with the number of frames that it remembers; connect noise of M2V "
            "Conditioning",
        )


def _schedule(wires: Wires, node_id: str) -> Iterator[Notice]:
    """Denoise and steps that no shot is sampled with, and half of the released pair."""
    before = {name: list(wires.before(node_id, name)) for name in ("sampler", "sigmas", "guider")}
    for here in before["sigmas"]:
        values = wires.inputs(here)
        if "denoise" in values:
            yield from grey(wires, here)
        if "steps" in values:
            for guider in before["guider"][:1]:
                yield from too_many_steps(wires, here, guider)
            break
    is_own = [
        any(wires.kind(n) == kind for n in before[name])
        for name, kind in (("sampler", OWN_SAMPLER), ("sigmas", OWN_SIGMAS))
    ]
    if is_own == [True, False] and before["sigmas"]:
        yield wires.notice(
            node_id,
            "sampler is the released one, but sigmas are not of its schedule, so shots differ from "
            "the released run; connect StoryMem Sigmas to sigmas",
        )
    if is_own == [False, True] and before["sampler"]:
        yield wires.notice(
            node_id,
            "sigmas are of the released schedule, but sampler is another one, so shots differ from "
            "the released run; connect StoryMem Sampler to sampler",
        )


def _swapped(wires: Wires, guider: str) -> Iterator[Notice]:
    wanted = {"positive": POSITIVE, "negative": NEGATIVE}
    found = {name: wires.source(guider, name) for name in wanted}
    for name, source in found.items():
        if source and wires.kind(source[0]) == CONDITIONING and source[1] == 1 - wanted[name]:
            yield wires.notice(
                guider,
                f"{name} is the other one's output of M2V Conditioning; connect positive to "
                "positive and negative to negative",
            )


def _unpatched(wires: Wires, guider: str) -> Iterator[Notice]:
    names = [n for n in sorted(wires.inputs(guider)) if n.startswith("model")]
    patches = {
        name: [n for n in wires.before(guider, name) if wires.kind(n) == PATCH]
        for name in names
        if wires.source(guider, name)
    }
    for name, found in patches.items():
        if not found:
            yield wires.notice(
                guider,
                f"no M2V Model Patch is on the way to {name}, so it takes memory frames for "
                "frames of the shot; put M2V Model Patch there, with memory_frames of M2V "
                "Conditioning",
            )
    shifts = [wires.inputs(found[0]).get("rope_shift", 5) for found in patches.values() if found]
    if len(shifts) == 2 and all(type(s) is int for s in shifts) and shifts[0] != shifts[1]:
        yield wires.notice(
            guider,
            f"rope_shift is {shifts[0]} and {shifts[1]} at the two experts, so that each takes the "
            "memory for another moment; set the same on both M2V Model Patch",
        )


def _untrimmed(wires: Wires, node_id: str) -> Iterator[Notice]:
    for decode in wires.of_kind("VAEDecode", "VAEDecodeTiled"):
        source = wires.source(decode, "samples")
        if source is None:
            continue
        trimmed = wires.kind(source[0]) == TRIM and wires.source(source[0], "samples")
        if source[0] == node_id:
            yield wires.notice(
                decode,
                "the memory frames are still before the shot; put TrimVideoLatent between, with "
                "memory_frames of M2V Conditioning at trim_amount",
            )
        elif trimmed and trimmed[0] == node_id and not wires.source(source[0], "trim_amount"):
            yield wires.notice(
                source[0],
                "trim_amount is typed, but shots remember different numbers of frames; connect "
                "memory_frames of M2V Conditioning",
            )
