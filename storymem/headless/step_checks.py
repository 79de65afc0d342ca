"""What of a headless run's shots can be checked before the first one is made."""

from __future__ import annotations

from ..files.messages import counted
from ..loop.plan import Step
from ..sampling.conditioning import check_size, latent_frames
from ..sampling.memory_layout import IDENTITY_POSITION
from ..sampling.methods import MEMENTO
from ..sampling.request import SHORTEST_WITH_END, too_short_to_end
from ..sampling.rope import check_reach
from .positions import check_positions


def check_steps(run, steps: list[Step]) -> None:
    """Raise ValueError, naming the shot, for one to be made that cannot be.

    Args:
        run: the ``StoryRun`` that the steps are of.
    """
    made = run.settings.of_pass
    for step in steps:
        check_size(made.width, made.height, run.length_of(step))
        if step.record is None:
            _check_given_frames(run, step)
            _check_end(run, step)
            _check_positions(run, step)


def _check_given_frames(run, step: Step) -> None:
    """Raise ValueError for a shot that repeats more frames than there are."""
    given, shot, length = step.plan.overlap_frames, step.plan.shot, run.length_of(step)
    if not given:
        return
    if length <= given:
        raise ValueError(
            f"{shot} has {counted(length, 'frame')}, of which {given} repeat the shot before it: "
            "nothing is left; make it longer"
        )
    before = step.before
    if before is None:
        return
    left = run.length_of(before) - before.plan.overlap_frames
    if (left := before.record.frames if before.record else left) < given:
        raise ValueError(
            f"{shot} continues from the last {given} frames of the shot before it, but that one "
            f"has only {left}; make it longer, or choose last_frame"
        )


def _check_end(run, step: Step) -> None:
    """Raise ValueError for a shot that is too short to end with its picture."""
    length = run.length_of(step)
    if step.plan.end is not None and length < SHORTEST_WITH_END:
        raise ValueError(f"{step.plan.shot}: {too_short_to_end(length)}")


def _check_positions(run, step: Step) -> None:
    """Raise ValueError for a shot that might see more memory than positions reach.

    Of how many frames that is, only the most is known before the shots are made.
    """
    bank = run.loop.bank
    most = len(bank.frames) + step.plan.shot.index * run.settings.max_keyframes
    most = min(most, bank.max_frames) if run.settings.has_memory else 0
    positions, frames = run.engine.files.positions(), latent_frames(run.length_of(step))
    if run.method == MEMENTO:
        check_positions([IDENTITY_POSITION], frames, positions)  # no frame stands farther away
    else:
        check_reach(most, run.engine.recipe.rope_shift, frames, positions)
