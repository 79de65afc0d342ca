"""What drafts are worth to a film: ``python -m storymem.tiny.lab.rehearsal --out DIR``.

A story is played as a draft of few steps, frames of that are chosen by the script's names and
sharpness (``casting.py``), and the film's memory begins with them. Measured is whether a look is
kept since its first appearance in the film, and, where portraits are given, whether it is theirs;
and what all passes of a story cost, in forwards and in forwards times tokens. Every case has the
same stories and the same noise.

Cases may be played by several processes, each with some of them; ``--join`` reads their results and
writes one table. ``--choosing`` plays other stories, with which a rule may be chosen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...files.json_text import parse_json
from .. import staging, world
from . import measures, trials
from .casting import (
    FIRST,
    LAPLACIAN,
    SHARPEST,
    SHARPEST_OF_ALL,
    SHARPEST_SHOT,
    Chosen,
    cast_frames,
    shots_of,
)
from .evaluate import EVALUATION_SEED
from .player import SEED_STEP, Case, Played, begin_bank, names, play_tales, portraits, tell
from .statistics import bootstrap

CHOOSING_SEED = 960_000  # of stories with which rules are chosen; never in training
SHOTS = 7
TOKENS = 36  # of a latent frame
LENGTH = 1 + (world.FRAMES - 1) // 4  # latent frames of a shot
HELD = 3  # drafts that are kept in the computer's memory
ONE, FULL = "one", "full"  # what the others are compared with
Cost = tuple[float, float]  # of a story: forwards, and forwards times tokens


@dataclass(frozen=True)
class Rehearsed(Case):
    """A film and the drafts before it. The defaults are a film of one pass without portraits."""

    portraits: bool = False
    film_steps: int = 20
    length: int = LENGTH  # latent frames of the film's shots
    drafts: int = 0  # passes before the film, each with frames of the one before
    draft_steps: int = 6
    draft_length: int = LENGTH
    draft_frames: int = 0  # memory frames of a draft; 0: as many as the film's
    rule: str = SHARPEST
    each: int = 1  # frames of each character
    places: bool = False  # and one frame of each place
    only: int = 0  # drafts are so many shots of each character, each by itself; 0: whole stories
    opens: bool = True  # the film's memory begins with the frames
    starts: bool = False  # the film's cuts begin with the first frames of the draft's shots


def _one(steps: int, name: str = "", **more) -> Rehearsed:
    return Rehearsed(name or f"{ONE}_{steps}", film_steps=steps, **more)


def _full(steps: int) -> Rehearsed:
    return _one(steps, f"{FULL}_{steps}", portraits=True)


STILLS = {"begins": world.CUT, "filters": False}
CASES = (
    _one(20, ONE),
    *(_one(steps) for steps in (4, 6, 8, 14, 26, 38)),
    _one(20, FULL, portraits=True),
    *(_full(steps) for steps in (4, 6, 8)),
    Rehearsed("first", drafts=1, rule=FIRST),
    Rehearsed("sharpest", drafts=1),
    Rehearsed("sharpest_of_all", drafts=1, rule=SHARPEST_OF_ALL),
    Rehearsed("sharpest_of_all_4", drafts=1, draft_steps=4, rule=SHARPEST_OF_ALL),
    Rehearsed("two_of_all", drafts=1, rule=SHARPEST_OF_ALL, each=2),
    Rehearsed("sharpest_shot", drafts=1, rule=SHARPEST_SHOT),
    Rehearsed("laplacian", drafts=1, rule=LAPLACIAN),
    Rehearsed("first_two", drafts=1, rule=FIRST, each=2),
    Rehearsed("two", drafts=1, each=2),
    Rehearsed("places", drafts=1, places=True),
    Rehearsed("sharpest_4", drafts=1, draft_steps=4),
    Rehearsed("sharpest_8", drafts=1, draft_steps=8),
    Rehearsed("sharpest_film_14", drafts=1, film_steps=14),
    Rehearsed("sharpest_entities_only", drafts=1, policy="entities_only"),
    Rehearsed("starts", drafts=1, opens=False, starts=True),
    Rehearsed("sharpest_starts", drafts=1, starts=True),
    Rehearsed("whole_first", drafts=1, draft_steps=20, rule=FIRST),
    Rehearsed("whole_sharpest", drafts=1, draft_steps=20),
    Rehearsed("whole_starts", drafts=1, draft_steps=20, opens=False, starts=True),
    Rehearsed("three_first", drafts=3, rule=FIRST),
    Rehearsed("three", drafts=3),
    Rehearsed("three_of_all", drafts=3, rule=SHARPEST_OF_ALL),
    Rehearsed("three_two", drafts=3, each=2),
    Rehearsed("three_4", drafts=3, draft_steps=4),
    Rehearsed("three_2", drafts=3, draft_steps=2, rule=SHARPEST_OF_ALL),
    Rehearsed("two_3", drafts=2, draft_steps=3, rule=SHARPEST_OF_ALL),
    Rehearsed("two_3_film_14", drafts=2, draft_steps=3, rule=SHARPEST_OF_ALL, film_steps=14),
    Rehearsed("two_4", drafts=2, draft_steps=4, rule=SHARPEST_OF_ALL),
    Rehearsed("two_6", drafts=2),
    # The middle frames of shots in several short drafts, beside the cases above.
    *(
        Rehearsed(f"{word}_{steps}_middle", drafts=drafts, draft_steps=steps)
        for word, drafts, steps in (("two", 2, 3), ("two", 2, 4), ("three", 3, 2))
    ),
    # Only the shots that are needed, each by itself: of each character one, two or three.
    Rehearsed("apart_1_20", drafts=1, draft_steps=20, only=1),
    Rehearsed("apart_1_6x3", drafts=3, only=1),
    Rehearsed("apart_1_6x4", drafts=4, only=1),
    Rehearsed("apart_2_6x2", drafts=2, only=2),
    Rehearsed("apart_2_6x3", drafts=3, only=2),
    Rehearsed("apart_2_4x3", drafts=3, draft_steps=4, only=2),
    # Stills: drafts of one latent frame.
    Rehearsed("stills_6", drafts=1, draft_length=1),
    Rehearsed("stills", drafts=1, draft_steps=20, draft_length=1),
    Rehearsed("stills_x2", drafts=2, draft_steps=20, draft_length=1),
    Rehearsed("stills_x3", drafts=3, draft_steps=20, draft_length=1),
    Rehearsed("stills_6x3", drafts=3, draft_steps=6, draft_length=1),
    Rehearsed("short_6_3", drafts=1, draft_steps=6, draft_length=3),
    Rehearsed("short_6x2", drafts=2, draft_steps=6, draft_length=2),
    Rehearsed("stills_apart_2x3", drafts=3, draft_steps=20, draft_length=1, only=2),
    Rehearsed("full_sharpest", portraits=True, drafts=1),
    Rehearsed("full_sharpest_of_all", portraits=True, drafts=1, rule=SHARPEST_OF_ALL),
    Rehearsed("full_two_3", portraits=True, drafts=2, draft_steps=3, rule=SHARPEST_OF_ALL),
    Rehearsed("full_starts", portraits=True, drafts=1, opens=False, starts=True),
    Rehearsed("full_places", portraits=True, drafts=1, places=True),
    Rehearsed("full_places_of_all", portraits=True, drafts=1, places=True, rule=SHARPEST_OF_ALL),
    *(Rehearsed(f"length_{n}", portraits=True, length=n, **STILLS) for n in (1, 2, 3)),
    *(Rehearsed(f"length_{n}_kept", length=n, **STILLS) for n in (1, 2, 3)),
)


class Rehearsal(trials.Trials):
    """The stories, the drafts that several cases share, and what was found so far."""

    file = "rehearsal.json"

    def __init__(self, options: argparse.Namespace, paint, referee):
        super().__init__(options, paint, referee)
        seed = CHOOSING_SEED if options.choosing else EVALUATION_SEED
        self.stories = staging.sample_stories(options.stories, shots=options.shots, seed=seed)
        self.count = options.stories
        self.drafts: dict[tuple, tuple[Played, Cost]] = {}

    def measure(self, case: Rehearsed) -> dict:
        stories = self.stories
        drafts = [self.draft(case, n) for n in range(1, case.drafts + 1)]
        last = drafts[-1][0] if drafts else None
        opening = self.chosen(case, last) if last and case.opens else None
        starts = self.first_frames(last) if case.starts else None
        played = self.stage(case, opening, case.film_steps, case.length, starts=starts)
        seen = self.see(played, stories)
        asked = self.in_view(case.length)
        looks = {"kept": measures.kept(seen, asked)}
        right = {"kept": (measures.is_kept(seen, asked), measures.later_appearances(asked))}
        if case.portraits:
            looks["as_drawn"] = measures.identity(seen, stories.look, asked)
            right["as_drawn"] = (seen == stories.look[:, None]).all(-1), asked
        found = {
            name: {key: value[key] for key in ("joint", "alone", "together")}
            for name, value in looks.items()
        }
        found["by_story"] = {
            name: {
                "right": (good & of).flatten(1).sum(1).tolist(),
                "count": of.flatten(1).sum(1).tolist(),
            }
            for name, (good, of) in right.items()
        }
        if case.length == LENGTH:
            found["places"] = self.places(played, stories)["joint"]
        costs = [cost for _, cost in drafts]
        costs.append(self.cost(played, case.film_steps, case.length))
        for i, name in enumerate(("forwards", "tokens")):
            found[name] = {
                "drafts": sum(cost[i] for cost in costs[:-1]),
                "film": costs[-1][i],
            }
        found["chosen"] = sum(map(len, opening or [])) / self.count
        return found

    def in_view(self, length: int) -> torch.Tensor:
        """Who is asked for, bool [S, K, P]: in a short shot, those whom it shows wholly."""
        visible = self.stories.visible
        if length == LENGTH:
            return visible
        frames = self.stories.scenes.in_view()[..., : 4 * length - 3]
        return visible & frames.any(-1).unflatten(0, visible.shape[:2])

    def draft(self, case: Rehearsed, number: int) -> tuple[Played, Cost]:
        """The ``number``-th draft before a film, and what it cost; made once."""
        how = (case.portraits, case.draft_steps, case.draft_length, case.draft_frames, case.only)
        if number > 1:
            how += (case.rule, case.each, case.places)
        key = (number, *how)
        if key not in self.drafts:
            opening = None
            if number > 1:
                opening = self.chosen(case, self.draft(case, number - 1)[0])
            rule = replace(case, policy="window", remembers=True)
            if case.draft_frames:
                rule = replace(rule, max_frames=case.draft_frames)
            if case.draft_length < LENGTH:
                rule = replace(rule, **STILLS)
            if case.only:
                rule = replace(rule, remembers=False, begins=world.CUT)
            length = case.draft_length
            played = self.stage(rule, opening, case.draft_steps, length)
            needed = self.needed(case) if case.only else None
            while len(self.drafts) >= HELD + case.drafts:
                del self.drafts[next(iter(self.drafts))]
            self.drafts[key] = played, self.cost(played, case.draft_steps, length, needed)
        return self.drafts[key]

    def chosen(self, case: Rehearsed, played: Played) -> list[list[Chosen]]:
        """The frames with which each story's memory begins."""
        how = {"rule": case.rule, "each": case.each, "among": case.only, "places": case.places}
        tales = [tell(self.stories, s, case) for s in range(self.count)]
        return [cast_frames(played.shots[s], tale, **how) for s, tale in enumerate(tales)]

    def needed(self, case: Rehearsed) -> list[set[int]]:
        """Which shots of each story its drafts are, where they are not the whole."""
        tales = [tell(self.stories, s, case) for s in range(self.count)]
        return [
            {k for name in t.cast for k in shots_of(t, name, t.cast)[: case.only]} for t in tales
        ]

    def first_frames(self, played: Played) -> list[Mapping[int, torch.Tensor]]:
        """Of each story the first frames of the shots that are cuts."""
        cuts = self.stories.begins == world.CUT
        return [
            {k: shots[k][0] for k in range(len(shots)) if cuts[s, k] or k == 0}
            for s, shots in enumerate(played.shots)
        ]

    def stage(
        self,
        case: Case,
        opening: Sequence[Sequence[Chosen]] | None,
        steps: int,
        length: int,
        starts: Sequence[Mapping[int, torch.Tensor]] | None = None,
    ) -> Played:
        """Play every story once, its memory beginning with its portraits and ``opening``."""
        stories = self.stories
        tales = [tell(stories, s, case) for s in range(self.count)]
        banks = []
        for s in range(self.count):
            faces = portraits(stories, s) if case.portraits else []
            known = list(names(stories, s)) if case.portraits else []
            for one in (opening[s] if opening else [])[: case.max_frames - len(faces)]:
                faces.append(one.image.float() / 255)
                known.append(one.name)
            banks.append(begin_bank(case, faces, known))
        seeds = [self.options.seed + SEED_STEP * s for s in range(self.count)]
        if self.options.quick:
            steps = trials.QUICK["steps"]
        self.paint.steps = steps
        self.paint.length = length
        how = {"workers": self.options.workers, "starts": starts}
        args = tales, banks, seeds, case, self.clocked_paint
        return self._clocked("playing", play_tales, *args, **how)

    def cost(
        self, played: Played, steps: int, length: int, needed: Sequence[set[int]] | None = None
    ) -> Cost:
        """Forwards of all shots of a story, or of those that are ``needed``; the same times their
        tokens."""
        memories = [
            len(memory)
            for s, shots in enumerate(played.memory)
            for k, memory in enumerate(shots)
            if needed is None or k in needed[s]
        ]
        tokens = TOKENS * sum(length + count for count in memories)
        return steps * len(memories) / self.count, steps * tokens / self.count

    def in_words(self, found: dict) -> str:
        drawn = found.get("as_drawn", {}).get("joint", {}).get("rate")
        kept = found["kept"]["joint"]["rate"]
        return f"kept {kept}, joint {drawn}, forwards {found['forwards']}"

    def compare(self) -> None:
        self.found["comparisons"] = comparisons(self.found["cases"])


def comparisons(cases: Mapping[str, dict]) -> dict:
    """Each case less the film of one pass, with portraits where it has them: paired, 95 %."""
    found = {}
    for name, case in cases.items():
        base = FULL if case["case"]["portraits"] else ONE
        if name == base or base not in cases or case["case"]["length"] != LENGTH:
            continue
        for what, one in case["by_story"].items():
            other = cases[base]["by_story"][what]
            right = [torch.tensor(part["right"]).double() for part in (one, other)]
            count = torch.tensor(one["count"]).double()
            gap = right[0] - right[1]
            found[f"{name} - {base}, {what}"] = {
                "difference": (gap.sum() / count.sum()).item(),
                "stories": bootstrap(gap, count),
            }
    return found


def table(cases: Mapping[str, dict], compared: Mapping[str, dict]) -> str:
    """Rates with intervals of 95 % over stories, and what a case costs, in Markdown."""
    heads = ["case", "joint", "kept", "less one pass", "places", "forwards", "tokens"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    whole = cases.get(ONE)
    for name in (case.name for case in CASES if case.name in cases):
        found = cases[name]
        what = "as_drawn" if found["case"]["portraits"] else "kept"
        base = FULL if found["case"]["portraits"] else ONE
        gap = compared.get(f"{name} - {base}, {what}")
        cells = [
            _cell(found["as_drawn"]["joint"]) if "as_drawn" in found else "",
            _cell(found["kept"]["joint"]),
            "" if gap is None else _signed(gap),
            _cell(found["places"]) if found.get("places") else "",
            *(
                f"{sum(found[of].values()) / whole[of]['film']:.2f}" if whole else ""
                for of in ("forwards", "tokens")
            ),
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(found: dict) -> str:
    if found["rate"] is None:
        return ""
    low, high = found["stories"]
    return f"{found['rate']:.3f} ({low:.3f}-{high:.3f})"


def _signed(found: dict) -> str:
    low, high = found["stories"]
    return f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f})"


def measure(options: argparse.Namespace, paint=None, referee=None) -> Rehearsal:
    """Everything the options ask for; ``paint`` and ``referee`` in place of the model and judge."""
    work = Rehearsal(options, *trials.prepare(options, paint, referee))
    work.run(case for case in CASES if not options.cases or case.name in options.cases)
    work.write()
    told = table(work.found["cases"], work.found["comparisons"])
    (options.out / "rehearsal.md").write_text(told)
    trials.logger.info("%s\n%s", options.out, told)
    return work


def join(out: Path, files: Sequence[Path]) -> str:
    """Write the results of several processes as one; the table of all."""
    cases: dict[str, dict] = {}
    for file in files:
        cases |= parse_json(file.read_bytes())["cases"]
    compared = comparisons(cases)
    told = table(cases, compared)
    out.mkdir(parents=True, exist_ok=True)
    joined = {"cases": cases, "comparisons": compared}
    (out / Rehearsal.file).write_text(json.dumps(joined, indent=1))
    (out / "rehearsal.md").write_text(told)
    return told


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the program's options from ``argv``, or from the command line."""
    parser = trials.parser("storymem.tiny.lab.rehearsal", __doc__, CASES)
    parser.add_argument("--shots", type=int, default=SHOTS, help="of the stories")
    parser.add_argument("--choosing", action="store_true", help="stories to choose a rule with")
    parser.add_argument("--join", type=Path, nargs="+", help="results to write as one; no playing")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the program: measure what its options ask for."""
    options = parse(argv)
    trials.start(options)
    if options.join:
        trials.logger.info("%s", join(options.out, options.join))
    else:
        measure(options)


if __name__ == "__main__":
    main()
