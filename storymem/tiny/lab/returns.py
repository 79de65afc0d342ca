"""Who is known on coming back, policy by policy: ``python -m storymem.tiny.lab.returns --out DIR``.

Stories with one, two and three characters, one of whom appears in the fourth shot, is away for
eight and returns. There are no portraits, and each of the three shots before that appearance leaves
a frame at least, so that neither the artist nor the sink holds the one who returns: whether a shot
sees it is the policy's choice alone. Measured is whether a later appearance has the look of the
character's own first one: at the return, in the shot after it, and of everybody everywhere else.
The sharpness filter is off, because it takes pictures of empty places for spoilt ones: where one
character alone is away, they are what fills the memory. ``in_bank`` says whether there was a
picture to be chosen, ``in_memory`` whether it was.

``relevant`` chooses with an embedder that stands in for CLIP (``stand_in.py``); its figures say
what the rule does with an embedder that knows this world.
"""

from __future__ import annotations

import argparse

import torch

from ...memory.policies import POLICIES
from . import measures, plots, trials
from .player import Case, join, returning
from .statistics import difference, rate, widest

SEED = 940_000  # never in training, nor in choosing anything
SEED_APART = 10  # between stories with another number of characters
FIRST = 3  # the shot, from 0, in which the one who returns appears
ABSENT, AFTER = 8, 2  # shots without, then shots with
ALONE = 0.5  # of the other shots show one of the others only: they are away at times, too
KNOWN = 0.98  # at the usual 0.95 the no-weights embedder takes a newcomer's place for a known one
CASTS = (1, 2, 3)
BUDGETS = (6, 10, 3, 4, 8)  # memory frames, in the order in which they are played
WINDOW = POLICIES[0]
MOMENTS = ("return", "afterwards", "elsewhere")
SHOWN = 2  # stories that are drawn
WORDS = {name: name for name in POLICIES} | {"relevant": "relevant (stand-in for CLIP)"}


def sink_of(budget: int) -> int:
    """A third of the places, rounded down: the paper's three of ten, and room at three."""
    return budget // 3


def name_of(policy: str, budget: int) -> str:
    """The name of a case, such as ``window_10``: the policy, and its memory frames."""
    return f"{policy}_{budget}"


CASES = tuple(
    Case(
        name_of(policy, budget),
        portraits=False,
        filters=False,
        known=KNOWN,
        max_frames=budget,
        sink=sink_of(budget),
        policy=policy,
    )
    for budget in BUDGETS
    for policy in POLICIES
)


class Returns(trials.Trials):
    """The stories of all casts in one batch, and what was found so far."""

    file = "returns.json"
    casts = CASTS

    def __init__(self, options: argparse.Namespace, paint, referee):
        super().__init__(options, paint, referee)
        shots = FIRST + 1 + options.absent + AFTER
        how = {"shots": shots, "absent": options.absent, "first": FIRST, "alone": ALONE}
        drawn = [
            returning(options.stories, characters=cast, seed=SEED + SEED_APART * cast, **how)
            for cast in self.casts
        ]
        self.stories = join([stories for stories, _ in drawn])
        back = torch.cat([back for _, back in drawn])
        visible = self.stories.visible
        at_return = back & (torch.arange(shots) == FIRST + 1 + options.absent)[:, None]
        self.asked = {
            "return": at_return,
            "afterwards": back & ~at_return,
            "elsewhere": measures.later_appearances(visible) & ~back,
        }
        self.seen: dict[str, torch.Tensor] = {}
        self.frames: dict[str, list[list[torch.Tensor]]] = {}
        self.found["sink"] = {budget: sink_of(budget) for budget in BUDGETS}
        self.found["relevant"] = "by a stand-in for CLIP that knows the tiny world"

    def rows(self, cast: int) -> slice:
        """The stories with that many characters."""
        at = self.casts.index(cast) * self.options.stories
        return slice(at, at + self.options.stories)

    def measure(self, case: Case) -> dict:
        stories = self.stories
        played = self.play(stories, case)
        seen = self.see(played, stories)
        shows = {
            "in_memory": measures.memory_shows(played, stories),
            "in_bank": measures.bank_shows(played, stories),
        }
        found: dict = {
            "memory_frames": sum(len(m) for shots in played.memory for m in shots)
            / stories.place.numel(),
            "bank_frames": sum(len(bank) for bank in played.banks) / len(played.banks),
        }
        for cast in self.casts:
            rows = self.rows(cast)
            visible = stories.visible[rows]
            asked = {moment: mask[rows] for moment, mask in self.asked.items()}
            of_cast = {m: measures.kept(seen[rows], visible, mask) for m, mask in asked.items()}
            for moment, mask in asked.items():
                of_cast[moment] |= {name: rate(s[rows], mask) for name, s in shows.items()}
            found[f"characters_{cast}"] = of_cast
        self.seen[case.name] = seen
        first = self.rows(self.casts[-1]).start
        self.frames[case.name] = [
            [clip[len(clip) // 2].clone() for clip in shots]
            for shots in played.shots[first : first + SHOWN]
        ]
        return found

    def in_words(self, found: dict) -> str:
        rates = {
            moment: [found[f"characters_{cast}"][moment]["joint"]["rate"] for cast in self.casts]
            for moment in MOMENTS
        }
        return str(rates)

    def compare(self) -> None:
        """Each policy less the window, on the same stories with the same number of frames."""
        visible = self.stories.visible
        for case in CASES:
            name, base = case.name, name_of(WINDOW, case.max_frames)
            if case.policy == WINDOW or name not in self.seen or base not in self.seen:
                continue
            pair = [measures.is_kept(self.seen[n], visible) for n in (name, base)]
            for cast in CASTS:
                rows = self.rows(cast)
                self.found["comparisons"][f"{name} - {base}, characters {cast}"] = {
                    moment: difference(pair[0][rows], pair[1][rows], mask[rows])
                    for moment, mask in self.asked.items()
                }

    def table(self) -> str:
        """Joint identity with intervals of 95 %, in Markdown."""
        heads = [f"{WORDS[p]}, {m}" for m in ("return", "elsewhere") for p in POLICIES]
        lines = [f"| characters | places | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
        for cast in CASTS:
            for budget in sorted(BUDGETS):
                cells = [
                    self._cell(name_of(policy, budget), cast, moment)
                    for moment in ("return", "elsewhere")
                    for policy in POLICIES
                ]
                lines.append(f"| {cast} | {budget} | {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    def _joint(self, case: str, cast: int, moment: str) -> dict:
        found = self.found["cases"].get(case)
        return found[f"characters_{cast}"][moment]["joint"] if found else {"count": 0}

    def _cell(self, case: str, cast: int, moment: str) -> str:
        joint = self._joint(case, cast, moment)
        if not joint["count"]:
            return "-"
        low, high = widest(joint)
        return f"{joint['rate']:.3f} ({low:.3f}-{high:.3f})"

    def draw(self) -> None:
        """The curves over the budget, and the first stories with the largest cast."""
        folder, budgets = self.options.out, sorted(BUDGETS)
        (folder / "returns.md").write_text(self.table())
        for cast in CASTS:
            for moment in ("return", "elsewhere"):
                lines = {
                    WORDS[p]: [self._joint(name_of(p, b), cast, moment) for b in budgets]
                    for p in POLICIES
                }
                lines = {k: v for k, v in lines.items() if any(value["count"] for value in v)}
                if lines:
                    title = f"Characters: {cast}. Look kept at the {moment}, by memory frames"
                    title = title.replace("the elsewhere", "all other shots")
                    path = folder / f"{moment}_{cast}.png"
                    plots.save_lines(path, title, lines, [str(budget) for budget in budgets])
        for s in range(min(SHOWN, self.options.stories)):
            rows = [
                (f"{WORDS[policy]}, {budget} frames", self.frames[name_of(policy, budget)][s])
                for budget in BUDGETS[:1]
                for policy in POLICIES
                if name_of(policy, budget) in self.frames
            ]
            if rows:
                plots.save_story(folder / f"returns_{s}.png", rows)


def measure(
    options: argparse.Namespace, paint=None, referee=None, *, kind=Returns, cases=CASES
) -> Returns:
    """Everything the options ask for; ``paint`` and ``referee`` in place of the model and judge.

    Args:
        kind: ``Returns``, or another measurement of such stories, with its ``cases``.
    """
    work = kind(options, *trials.prepare(options, paint, referee))
    work.run(case for case in cases if not options.cases or case.name in options.cases)
    work.write()
    work.draw()
    trials.logger.info("%s\n%s", options.out, work.table())
    return work


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the program's options from ``argv``, or from the command line."""
    parser = trials.parser("storymem.tiny.lab.returns", __doc__, CASES)
    parser.add_argument("--absent", type=int, default=ABSENT, help="shots without the one")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the program: measure what its options ask for."""
    options = parse(argv)
    trials.start(options)
    measure(options)


if __name__ == "__main__":
    main()
