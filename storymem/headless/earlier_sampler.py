"""Stories begun before the released sampler was the default go on with the one that they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..loop.plan import Loop
from ..loop.shots import list_steps
from ..sampling.recipe import Recipe
from .engine import Engine
from .sampling import SCHEDULER_OF_SAMPLER

EARLIER = "uni_pc"  # the default up to version 0.3
KEPT = (
    f"this story was begun with sampler {EARLIER}, the default of earlier versions; going on with "
    "it, so that finished shots stay (--sampler storymem_unipc makes all of them again, with the "
    "released sampler)"
)


def keep_sampler(
    loop: Loop, engine: Engine, describe_body: Callable[[Recipe], str], known: Mapping
) -> tuple[Loop, list[str]]:
    """The loop of a story that goes on, and what to say of it.

    Where more finished shots fit the earlier default sampler than ``engine.recipe``, which has
    today's, that takes its place in the engine, too.

    Args:
        describe_body: everything but the shot that decides its pixels, under a recipe.
        known: the film's manifest, as ``list_steps`` wants it.
    """

    def count_finished(candidate: Loop) -> int:
        return sum(step.record is not None for step in list_steps(candidate, known))

    scheduler = SCHEDULER_OF_SAMPLER[EARLIER]
    earlier = replace(engine.recipe, sampler=EARLIER, scheduler=scheduler)
    other = replace(loop, body=describe_body(earlier))
    if count_finished(other) <= count_finished(loop):
        return loop, []
    engine.recipe = earlier
    return other, [KEPT]
