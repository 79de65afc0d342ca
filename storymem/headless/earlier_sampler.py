"""Stories begun before the released sampler was the default go on with the one that they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..files.json_text import parse_json
from ..loop.plan import Loop
from ..loop.shot_record import RECORD_FILE
from ..loop.shots import list_steps
from ..sampling.recipe import Recipe
from .engine import Engine
from .sampling import SCHEDULER_OF_SAMPLER

EARLIER = "uni_pc"  # the default up to version 0.3
KEPT = (
    f"the last shots of this story were made with sampler {EARLIER}, the default of earlier "
    "versions; going on with it, so that finished shots stay (--sampler storymem_unipc makes all "
    "of them again, with the released sampler)"
)


def keep_sampler(
    loop: Loop, engine: Engine, describe_body: Callable[[Recipe], str], known: Mapping
) -> tuple[Loop, list[str]]:
    """The loop of a story that goes on, and what to say of it.

    A story whose latest shot has the earlier default sampler keeps it: that takes the place of
    ``engine.recipe``'s, today's, in the engine, too. Where no record says which it was, the one
    that more finished shots fit.

    Args:
        describe_body: everything but the shot that decides its pixels, under a recipe.
        known: the film's manifest, as ``list_steps`` wants it.
    """

    def count_finished(candidate: Loop) -> int:
        return sum(step.record is not None for step in list_steps(candidate, known))

    scheduler = SCHEDULER_OF_SAMPLER[EARLIER]
    earlier = replace(engine.recipe, sampler=EARLIER, scheduler=scheduler)
    other = replace(loop, body=describe_body(earlier))
    latest = _latest_sampler(loop, known)
    is_kept = latest == EARLIER
    if latest is None:
        is_kept = count_finished(other) > count_finished(loop)
    if not is_kept:
        return loop, []
    engine.recipe = earlier
    return other, [KEPT]


def _latest_sampler(loop: Loop, known: Mapping) -> str | None:
    """The sampler of the film's shot that was made last; ``None`` when that was not kept."""
    store, made = loop.store, {}
    for entry in known["shots"].values():
        facts = store.find_facts(entry.get("key"))
        body = store.find_body(str(facts.get("body"))) if facts else None
        try:
            sampler = parse_json(body)["recipe"]["sampler"] if body else None
            when = (store.folder_of(entry["key"]) / RECORD_FILE).stat().st_mtime_ns
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue  # anybody may have written these
        if isinstance(sampler, str):
            made[when] = sampler
    return made[max(made)] if made else None
