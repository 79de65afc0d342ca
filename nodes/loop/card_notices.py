"""What leaves a second card idle through a night, without any error: told before the first shot.

MultiGPU CFG Split gives the prompt to one card and the negative prompt to another, in each step of
a model that it is put on, as long as there is guidance.
"""

from __future__ import annotations

from collections.abc import Iterator

import comfy.model_management

from ..host.cards import SPLIT
from .experts import models_before
from .wires import Notice, Wires

MODEL_INPUTS = ("model", "model_high", "model_low", "t2v_high", "t2v_low")


def card_notices(wires: Wires) -> Iterator[Notice]:
    """What an artist should know of the cards that a loop's shots are made on."""
    splits = wires.of_kind(SPLIT)
    if not splits or wires.draft is not None:  # the film's own settings decide
        return
    if alone := [notice for n in splits if (notice := _alone(wires, n))]:
        yield from alone
        return
    for node_id in wires.used:
        yield from _guidance(wires, node_id)
        yield from _one_expert(wires, node_id)


# --- inside ----------------------------------------------------------------------------------


def _alone(wires: Wires, split: str) -> Notice | None:
    if wires.inputs(split).get("max_gpus") == 1:
        return wires.notice(
            split, "max_gpus is 1, so one card makes the shots; set it to the number of cards"
        )
    if len(comfy.model_management.get_all_torch_devices()) < 2:
        return wires.notice(
            split,
            "ComfyUI sees one card, so this node changes nothing; start ComfyUI with both cards "
            "visible, or take the node off",
        )
    return None


def _split(wires: Wires, node_id: str) -> dict[str, bool]:
    """The model inputs of a node that something is connected to, and whether two cards share it."""
    return {
        name: any(wires.kind(n) == SPLIT for n in models_before(wires, node_id, name))
        for name in MODEL_INPUTS
        if wires.source(node_id, name)
    }


def _guidance(wires: Wires, node_id: str) -> Iterator[Notice]:
    """Guidance that is off where two cards would share it; a scale on a wire is not known."""
    values = wires.inputs(node_id)
    if not isinstance(values.get("cfg"), int | float):
        return
    shared = [name for name, is_shared in _split(wires, node_id).items() if is_shared]
    scales = {name: _scale(values, name) for name in shared}
    idle = [name for name, scale in scales.items() if scale == 1]
    if not idle:
        return
    if values.get("cfg_cut") not in (None, 0, 1):
        return  # shots that begin with a cut have guidance
    if len(idle) == len(shared):
        yield wires.notice(
            node_id,
            "guidance is off (cfg 1), so each step asks for the prompt alone and MultiGPU CFG "
            "Split has nothing to share: the second card stays idle; raise cfg, or take the node "
            "off",
        )
        return
    yield wires.notice(
        node_id,
        f"guidance of {idle[0]} is off (cfg 1), so MultiGPU CFG Split has nothing to share in its "
        "steps: the second card stays idle in them",
    )


def _scale(values: dict, name: str) -> object:
    low = values.get("cfg_low")
    return low if name.endswith("_low") and low not in (None, 0) else values["cfg"]


def _one_expert(wires: Wires, node_id: str) -> Iterator[Notice]:
    shared = _split(wires, node_id)
    for pair in (("model_high", "model_low"), ("t2v_high", "t2v_low")):
        if sorted(shared.get(name, False) for name in pair) == [False, True]:
            bare = next(name for name in pair if not shared.get(name, False))
            if bare in shared:
                yield wires.notice(
                    node_id,
                    f"{bare} comes without MultiGPU CFG Split, so one card makes its steps and the "
                    "second one stays idle; put the node on both experts",
                )
