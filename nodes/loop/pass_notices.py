"""What of a draft's settings a loop's nodes do not obey, and what a draft will look like: told
before its first shot."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...storymem.files.messages import listed
from ...storymem.sampling.draft import Draft
from .experts import FILE_WIDGETS, MODEL_INPUTS
from .settings import FEW_STEPS
from .wires import M2V_SAMPLER, SAMPLERS, Notice, Wires, obeys

# Words in the names of models and LoRAs that were distilled to few steps.
DISTILLED = re.compile(
    r"distill|lightx2v|lightning|causvid|accvid|fusionx|turbo|hyper|self[\W_]*forcing"
    r"|(?<![a-z])(?:lcm|dmd\d?)(?![a-z])",
    re.IGNORECASE,
)
FEW = 8  # steps that no model makes a picture in without being distilled
TINY, FEW_OF_TINY = "storymem_tiny", 5  # but the pack's own, by its file


def pass_notices(wires: Wires) -> list[Notice]:
    """What an artist should know of the draft, or of the stills, that a loop makes."""
    draft = wires.draft
    if draft is None:
        return []
    return [*_ignored(wires, draft), *_few_already(wires, draft), *_unfinished(wires, draft)]


# --- inside ----------------------------------------------------------------------------------


def _ignored(wires: Wires, draft: Draft) -> Iterator[Notice]:
    """Settings that no node of the loop obeys."""
    samplers = wires.of_kind(*SAMPLERS)
    obeying = [n for n in samplers if obeys(wires.dynprompt.get_node(n), wires.open_id)]
    if not obeying:
        names = listed(_set_by(draft, with_sampling=True))
        if names and samplers:
            yield wires.notice(
                wires.open_id,
                f"pass is {draft.name}, but shot is not connected to M2V Sampler, so {names} of "
                "Draft Settings have no effect, and each shot takes as long as one of the film; "
                "connect shot, or choose pass film",
            )
        elif names:
            yield wires.notice(
                wires.open_id,
                f"pass is {draft.name}, but no M2V Sampler or M2V Conditioning makes its shots, so "
                f"{names} of Draft Settings have no effect, and each shot takes as long as one of "
                "the film; use one of these nodes, or choose pass film",
            )
        return
    names = [n for n in _set_by(draft, with_sampling=True) if n not in _set_by(draft)]
    if names and not any(wires.kind(n) == M2V_SAMPLER for n in obeying):
        yield wires.notice(
            obeying[0],
            f"pass is {draft.name}, and M2V Conditioning obeys its size and length, but not "
            f"{listed(names)}: set these on the nodes that sample, or use M2V Sampler",
        )


def _set_by(draft: Draft, *, with_sampling: bool = False) -> list[str]:
    """Words for what a pass sets, that of the sampler included or not."""
    found = ["size"] if draft.size not in (0, 1) else []
    found += ["length"] if draft.is_stills else []
    if with_sampling and draft.steps:
        found += ["steps"] + ["cfg"] * bool(draft.cfg) + ["LoRAs"] * draft.has_lora
    return found


def _few_already(wires: Wires, draft: Draft) -> Iterator[Notice]:
    """A film of as few steps as its draft, which then saves by its size alone."""
    for node_id in wires.of_kind(M2V_SAMPLER):
        steps = wires.inputs(node_id).get("steps")
        is_whole = type(steps) is int and draft.steps > 0
        obeyed = obeys(wires.dynprompt.get_node(node_id), wires.open_id)
        if is_whole and obeyed and _film_steps(wires, node_id) <= draft.steps:
            yield wires.notice(
                node_id,
                f"steps is {steps}, no more than the draft's {draft.steps}, so that steps, cfg and "
                "models are the film's own, and a draft saves time by its size and memory alone",
            )


def _film_steps(wires: Wires, node_id: str) -> int:
    return wires.dynprompt.get_node(node_id)["inputs"]["steps"]


def _unfinished(wires: Wires, draft: Draft) -> Iterator[Notice]:
    """Few steps at cfg 1 on models whose files do not say that they were made for it."""
    if draft.has_lora or not 0 < draft.steps <= FEW or draft.cfg != 1:
        return
    for node_id in wires.of_kind(M2V_SAMPLER):
        node = wires.dynprompt.get_node(node_id)
        is_faster = type(steps := node["inputs"].get("steps")) is int and draft.is_faster(steps)
        if not is_faster or not obeys(node, wires.open_id):
            continue
        files = list(_files(wires, node_id))
        if draft.steps > FEW_OF_TINY and any(TINY in file for file in files):
            continue
        if files and not any(DISTILLED.search(f) or FEW_STEPS.search(f) for f in files):
            yield wires.notice(
                wires.open_id,
                f"the draft has {draft.steps} steps at cfg 1, but no model or LoRA is made for few "
                "steps by its name, so that its shots come out unfinished; choose LoRAs for few "
                "steps on Draft Settings, or set its steps to 8 to 20 and its cfg to 0, the film's",
            )
            return


def _files(wires: Wires, node_id: str) -> Iterator[str]:
    """Models and LoRAs before a sampler, by the names of their files."""
    for here in wires.before(node_id, *MODEL_INPUTS[M2V_SAMPLER]):
        for name, value in wires.inputs(here).items():
            if isinstance(value, str) and (name in FILE_WIDGETS or "lora" in name.lower()):
                yield value
