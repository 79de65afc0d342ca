"""What a shot is sampled from: its texts, noise and condition, and where its memory stands."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..memory.bank import MemoryBank
from ..sampling.continuity import ShotPlan
from ..sampling.methods import MEMENTO
from ..sampling.request import ShotRequest, request_shot
from ..sampling.shot_layout import seen_memories, shot_layouts
from .sampling import ShotInputs, draw_noise, lay_out_condition

NOTHING = ""  # what the identity frame reads in the unconditional pass, as released


def request_of(
    settings,
    plan: ShotPlan,
    bank: MemoryBank,
    method: str,
    *,
    previous: torch.Tensor | None,
    start: torch.Tensor | None,
) -> ShotRequest:
    """What is asked of the models for a shot that sees ``bank``.

    Args:
        settings: a ``RunSettings``.
        method: ``storymem`` or ``memento``.
        previous: ``[T, H, W, 3]``, the end of the shot before.
        start: ``[1, H, W, 3]``, the picture that the shot, or the story, begins with.
    """
    memory, memory_low = seen_memories(bank, method, plan)
    return request_shot(
        memory=memory,
        memory_low=memory_low,
        shot=plan,
        previous_frames=previous,
        start_image=start,
        width=settings.width,
        height=settings.height,
        length=settings.length,
        size_rule=settings.size_rule,
        seed=settings.seed,
    )


def inputs_of(
    engine,
    plan: ShotPlan,
    request: ShotRequest,
    method: str,
    prompt: str,
    reconstruct: str = "",
) -> tuple[str, ShotInputs]:
    """Which experts make a shot, ``i2v`` or ``t2v``, and what they are given.

    Args:
        engine: an ``Engine`` that knows the texts of the shot.
        prompt: of the shot, as it is encoded.
        reconstruct: text of the identity frame; empty for none. The T2V experts have none.
    """
    is_t2v = engine.files.t2v is not None and request.is_from_text
    has_identity = bool(reconstruct) and not is_t2v
    layouts = None
    if method == MEMENTO and not is_t2v:
        layouts = shot_layouts(request, method, plan, has_identity=has_identity)
    frames = layouts[0].frames if layouts else len(request.memory)
    inputs = ShotInputs(
        noise=draw_noise(
            request.seed, frames, *request.latent_shape[2:], has_identity=has_identity
        ),
        positive=engine.text(prompt),
        negative=engine.text(plan.shot.negative),
        condition=None,
        memory_frames=frames,
        layouts=layouts,
    )
    if is_t2v:
        return "t2v", inputs
    encoder = engine.encoder()

    def condition(memory) -> torch.Tensor:
        conditioning = encoder.condition(
            memory,
            request.given,
            width=request.width,
            height=request.height,
            length=request.length,
            end=request.end,
            has_identity=has_identity,
        )
        return lay_out_condition(conditioning, engine.vae.normalise)

    inputs = replace(inputs, condition=condition(request.memory))
    if request.memory_low is not None:
        inputs = replace(inputs, condition_low=condition(request.memory_low))
    if has_identity:
        texts = engine.text(reconstruct), engine.text(NOTHING)
        inputs = replace(inputs, identity=texts[0], identity_negative=texts[1])
    return "i2v", inputs
