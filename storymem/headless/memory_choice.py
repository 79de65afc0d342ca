"""Memento's learned choice of a shot's memory, by the experts of a headless run."""

from __future__ import annotations

from einops import rearrange

from ..loop.memory_choice import has_to_score, keep_chosen, pools_of
from ..memory.bank import MemoryBank
from ..sampling.continuity import ShotPlan
from ..sampling.request import memory_size
from ..script.captions import split_captions


def choose_for_shot(engine, settings, bank: MemoryBank, plan: ShotPlan, prompt: str) -> MemoryBank:
    """The bank with what each expert's keyframe query leaves of it for a shot.

    Args:
        engine: an ``Engine`` that knows ``prompt`` and its global part.
        settings: a ``RunSettings``.
        prompt: of the shot, whole, as it is encoded.
    """
    pools = pools_of(bank, plan, engine.experts_of_choice())
    to_score = {expert: pool for expert, pool in pools.items() if has_to_score(bank, pool)}
    scores = {}
    if to_score:
        encoder, vae = engine.encoder(), engine.vae
        size = memory_size(
            bank.frames, plan,
            width=settings.width, height=settings.height, size_rule=settings.size_rule,
        )  # fmt: skip
        latents = {
            expert: vae.normalise(encoder.memory(pool.frames, *size))
            for expert, pool in to_score.items()
        }
        vae.free()
        for expert, pool in to_score.items():
            memory = rearrange(latents[expert], "1 c m h w -> m c h w")
            texts = prompt, split_captions(prompt)[0]
            scores[expert] = engine.score_memory(expert, memory, pool.positions, *texts)
    return keep_chosen(bank, plan, pools, scores)
