"""What ``remember`` in a script keeps: ``python -m storymem.tiny.lab.remembering --out DIR``.

The stories of :mod:`returns` with two and three characters and few places: somebody appears in the
fourth shot, is away for eight, and returns. A script that knows its plot says so: whoever returns
weighs 3 in each shot with them, and shots that show nobody weigh 0. Each policy is played with
and without, at equal budget, on the same stories with the same seeds. ``return`` and ``afterwards``
are what the important one gains; ``elsewhere`` is what all others lose.
"""

from __future__ import annotations

import argparse

from ...script.reader import load_story
from .. import world
from . import measures, returns, trials
from .player import Case, Played, begin_bank, names, play_tales, script_of, seeds_of
from .returns import ABSENT, KNOWN, MOMENTS, Returns, sink_of
from .statistics import difference

CASTS = (2, 3)
BUDGETS = (4, 6, 3)  # memory frames, in the order in which they are played
COMPARED = ("window", "entities")
WITH = "_remember"  # ends the name of a case that has weights


def name_of(policy: str, budget: int, weighs: bool) -> str:
    """The name of a case, such as ``window_4_remember``."""
    return f"{policy}_{budget}{WITH if weighs else ''}"


CASES = tuple(
    Case(
        name_of(policy, budget, weighs),
        portraits=False,
        filters=False,
        known=KNOWN,
        max_frames=budget,
        sink=sink_of(budget),
        policy=policy,
    )
    for budget in BUDGETS
    for policy in COMPARED
    for weighs in (False, True)
)


def with_weights(script: dict, there: list[list[str]], returns: str) -> dict:
    """A script that says what is worth remembering.

    Args:
        there: for each shot, the names of those in it.
        returns: the name of the one who comes back.
    """
    (scene,) = script["scenes"]
    shots = []
    for shot, here in zip(scene["video_prompts"], there, strict=True):
        told = [{"who": returns, "weight": 3}] if returns in here else []
        told += [] if here else [{"place": "here", "weight": 0}]
        shots.append({**shot, "remember": told})
    return {**script, "scenes": [{**scene, "video_prompts": shots}]}


class Remembering(Returns):
    """Policies with and without weights, on the same stories."""

    file = "remembering.json"
    casts = CASTS

    def play(self, stories: world.Stories, case: Case) -> Played:
        if not case.name.endswith(WITH):
            return super().play(stories, case)
        tales = [self._tale(stories, s, case) for s in range(len(stories.place))]
        banks = [begin_bank(case, [], ()) for _ in tales]
        seeds = seeds_of(len(tales), self.options.seed)

        def paint(requests, rope_shift):
            return self._clocked("painting", self.paint, requests, rope_shift)

        how = {"workers": self.options.workers}
        return self._clocked("playing", play_tales, tales, banks, seeds, case, paint, **how)

    def _tale(self, stories: world.Stories, number: int, case: Case):
        kinds = stories.cast[number].nonzero()[:, 0].tolist()
        called = dict(zip(kinds, names(stories, number), strict=True))
        visible = stories.visible[number]
        there = [[called[kind] for kind in kinds if visible[k, kind]] for k in range(len(visible))]
        back = self.asked["return"][number].any(0).nonzero()[:, 0].tolist()
        script = script_of(stories, number, case)
        return load_story(with_weights(script, there, called[back[0]]), quiet=True)

    def compare(self) -> None:
        """Each policy with weights less itself without."""
        visible = self.stories.visible
        for budget in BUDGETS:
            for policy in COMPARED:
                pair = [name_of(policy, budget, weighs) for weighs in (True, False)]
                if not all(name in self.seen for name in pair):
                    continue
                kept = [measures.is_kept(self.seen[name], visible) for name in pair]
                for cast in self.casts:
                    rows = self.rows(cast)
                    self.found["comparisons"][f"{pair[0]} - {pair[1]}, characters {cast}"] = {
                        moment: difference(kept[0][rows], kept[1][rows], mask[rows])
                        for moment, mask in self.asked.items()
                    }

    def table(self) -> str:
        """Joint identity with and without, and their difference with its interval, in Markdown."""
        lines = [
            "| characters | places | policy | moment | without | with remember | difference |",
            "|---|---|---|---|---|---|---|",
        ]
        for cast in self.casts:
            for budget in sorted(BUDGETS):
                for policy in COMPARED:
                    with_it, without = (name_of(policy, budget, w) for w in (True, False))
                    key = f"{with_it} - {without}, characters {cast}"
                    for moment in MOMENTS if key in self.found["comparisons"] else ():
                        gap = self.found["comparisons"][key][moment]
                        cells = [self._cell(name, cast, moment) for name in (without, with_it)]
                        low, high = gap["stories"]
                        told = f"{gap['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
                        row = [str(cast), str(budget), policy, moment, *cells, told]
                        lines.append(f"| {' | '.join(row)} |")
        return "\n".join(lines) + "\n"

    def draw(self) -> None:
        """The table as a file."""
        (self.options.out / "remembering.md").write_text(self.table())


def measure(options: argparse.Namespace, paint=None, referee=None) -> Remembering:
    """Everything the options ask for; ``paint`` and ``referee`` in place of the model and judge."""
    return returns.measure(options, paint, referee, kind=Remembering, cases=CASES)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the program's options from ``argv``, or from the command line."""
    parser = trials.parser("storymem.tiny.lab.remembering", __doc__, CASES)
    parser.add_argument("--absent", type=int, default=ABSENT, help="shots without the one")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the program: measure what its options ask for."""
    options = parse(argv)
    trials.start(options)
    measure(options)


if __name__ == "__main__":
    main()
