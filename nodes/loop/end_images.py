"""What a loop's nodes can make of pictures that shots end with: told before the first shot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...storymem.loop.plan import Loop, Step
from ...storymem.sampling.request import SHORTEST_WITH_END, too_short_to_end
from .experts import FILE_WIDGETS, MODEL_INPUTS
from .wires import SAMPLERS, Notice, Wires, obeys

T2V_FILE = re.compile(r"(?<![a-z\d])t2v(?![a-z])", re.IGNORECASE)
I2V_FILE = re.compile(r"(?<![a-z\d])(?:i2v|m[im]?2v)(?![a-z])|story[\W_]*mem", re.IGNORECASE)


def end_notices(wires: Wires, loop: Loop) -> Iterator[Notice]:
    """End images that no node uses, or that the pass has no place for."""
    if not loop.end_images:
        return
    is_wired = wires.source(wires.open_id, "end_images") is not None
    if wires.draft is not None and wires.draft.is_stills:
        yield wires.notice(
            wires.open_id,
            f"{'end_images is connected' if is_wired else 'the script names end images'}, but pass "
            "is stills: a single picture has no last frame, so they have no effect here",
        )
    elif not _samplers(wires):
        yield wires.notice(
            wires.open_id,
            f"{'end_images is connected' if is_wired else 'the script names end images'}, but its "
            "pictures are not used; connect shot to the shot of M2V Sampler",
        )


def impossible_end(wires: Wires, steps: Sequence[Step]) -> tuple[str, str] | None:
    """A node that cannot end a shot as it is planned, and why; see ``impossible_shot``."""
    ending = [step.plan for step in steps if step.record is None and step.plan.end is not None]
    if not ending:
        return None
    for node_id in _samplers(wires):
        length = wires.inputs(node_id).get("length")
        for plan in ending:
            count = plan.shot.length or length
            is_known = isinstance(count, int) and not isinstance(count, bool)
            if is_known and count < SHORTEST_WITH_END and not wires.may_be_skipped(node_id):
                return node_id, f"{plan.shot}: {too_short_to_end(count)}"
    for kind, names in MODEL_INPUTS.items():
        for node_id in wires.of_kind(kind):
            file = _text_model(wires, node_id, names)
            if file and not wires.may_be_skipped(node_id):
                return node_id, (
                    f"{ending[0].shot} ends with a picture (end_image), but the model of "
                    f"{wires.name(node_id)} is {file}, made from text alone: T2V models have no "
                    "input for pictures; load Wan 2.2 I2V A14B, or take end_image away"
                )
    return None


def _samplers(wires: Wires) -> list[str]:
    """The nodes that get the picture with the shot."""
    return [
        n for n in wires.of_kind(*SAMPLERS) if obeys(wires.dynprompt.get_node(n), wires.open_id)
    ]


def _text_model(wires: Wires, node_id: str, names: Sequence[str]) -> str:
    """The file of a model before a node that by its name knows text alone; empty for none."""
    files = [
        value
        for here in wires.before(node_id, *names)
        for name, value in wires.inputs(here).items()
        if name in FILE_WIDGETS and isinstance(value, str)
    ]
    found = [file for file in files if T2V_FILE.search(file)]
    return found[0] if found and not any(map(I2V_FILE.search, files)) else ""
