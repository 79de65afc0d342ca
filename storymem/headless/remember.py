"""What a headless run remembers of a finished shot."""

from __future__ import annotations

import torch

from ..memory.bank import MemoryBank
from ..sampling.continuity import ShotPlan
from ..selection.even import EVEN, choose_evenly
from ..selection.keyframes import choose_keyframes


def remember_shot(
    settings, judging, plan: ShotPlan, frames: torch.Tensor, bank: MemoryBank
) -> MemoryBank:
    """``bank`` with the keyframes of a shot.

    Args:
        settings: a ``RunSettings``.
        judging: embedder and scorer, which even distances do not ask.
        frames: ``[T, H, W, 3]`` of the shot, those that repeat the one before included.
    """
    overlap = plan.overlap_frames
    where = {"story": plan.story, "shot": plan.shot.index}
    if settings.selection == EVEN:
        keyframes = choose_evenly(frames, **where, overlap=overlap, begin=plan.begin)
        return bank.remember(keyframes.frames)
    embedder, scorer = judging
    keyframes = choose_keyframes(
        frames[overlap:],
        embedder,
        scorer=scorer,
        bank=bank,
        **where,
        threshold=settings.threshold,
        max_keyframes=settings.max_keyframes,
        begin=plan.begin + overlap,
    )
    if scorer is not None:
        scorer.release()
    return bank.remember(keyframes.frames, dropped=keyframes.rejected)
