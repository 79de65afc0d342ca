"""What ``remember`` keeps and what it costs: which characters' frames a shot sees on their return.

    python tests/bench/bench_remember.py

Seeded random stories of 24 shots with three or four characters and a bank under pressure. One of
them matters: seen in a shot near the beginning, away for at least ten, and back near the end. The
others come and go. A script that knows the plot gives the important one weight 3 where it appears,
and passers-by weight 0. Counted is whether a shot sees a frame of each one who appears and was
seen before, at the same number of places: for the important one's return, for the passer-by, and
for all others. ``no zeros`` gives the important one weight 3 and nobody weight 0. No model takes
part: how well a sampler keeps what it sees is another measurement. Differences are paired over the
same stories, with bootstrap intervals of 95 %.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import conftest  # noqa: F401  loads the library as ``storymem``

from storymem.loop.shot_memory import shot_memory
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.script.reader import load_story

NAMES = ("Mara", "Pip", "Bo", "Ana")
SHOTS, AWAY, FIRST = 24, 10, 4
KINDS = ("return", "others", "passer-by")
WEIGHTS = ("none", "no zeros", "all")
DRAWS = 2000  # of the bootstrap


def random_story(characters: int, rng: random.Random, weighs: str):
    """A story in which the first of the names is the important one, and who is in each shot.

    The last of the others is a passer-by. Weights are 3 for the important one, 0 for shots that
    show the passer-by alone, or nobody."""
    names = NAMES[:characters]
    hero, others, passer_by = names[0], names[1:], names[-1]
    first = rng.randrange(3, 3 + FIRST)
    back = rng.randrange(first + AWAY + 1, SHOTS - 1)
    shots, present = [], []
    for shot in range(SHOTS):
        here = rng.sample(others, rng.choice((0, 1, 1, 2)))
        if shot in (first, back, back + 1):
            here = [hero, *here[:1]]
        remember = []
        if hero in here:
            remember.append({"who": hero, "weight": 3})
        elif weighs == "all" and (not here or here == [passer_by]):
            remember.append({"who": passer_by, "weight": 0})
        prompt = f"{' and '.join(here) or 'An empty street'}, take {shot}"
        shots.append(
            {"prompt": prompt, "cut": True, "remember": remember if weighs != "none" else None}
        )
        present.append(tuple(here))
    data = {"story_name": "s", "cast": list(names), "scenes": [{"video_prompts": shots}]}
    return load_story(data, quiet=True), present, hero, (back,)


def count(story, present, hero, returns, policy: str, places: int, kept: list[int]):
    """Seen and asked: of the important one on the return; of the others, everywhere."""
    bank = MemoryBank(max_frames=places, sink=places // 3, policy=policy)
    known: set[str] = set()
    found = {kind: [0, 0] for kind in KINDS}
    passer_by = story.cast[-1]
    number = 0
    for shot in story.shots:
        view = shot_memory(bank, story, shot).frames
        seen = {name for frame in view for name in present[frame.shot]}
        for name in present[shot.index]:
            if name in known and (name != hero or shot.index in returns):
                kind = "others" if name != passer_by else "passer-by"
                kind = "return" if name == hero else kind
                found[kind][0] += name in seen
                found[kind][1] += 1
        known.update(present[shot.index])
        frames = []
        for i in range(kept[shot.index]):
            number += 1
            picture = torch.tensor([[[number // 65536, number // 256 % 256, number % 256]]])
            frames.append(
                MemoryFrame(
                    picture.to(torch.uint8), story="s", shot=shot.index, frame=i, prompt=shot.prompt
                )
            )
        bank = bank.remember(frames)
    return found


def rate_of(rows) -> float:
    asked = sum(count for _, count in rows)
    return sum(hits for hits, _ in rows) / asked if asked else float("nan")


def interval(with_it, without, rng: random.Random) -> tuple[float, float, float]:
    """The difference of two rates over the same stories, and where 95 % of resamples lie."""
    count = len(with_it)
    draws = []
    for _ in range(DRAWS):
        chosen = [rng.randrange(count) for _ in range(count)]
        draws.append(rate_of([with_it[i] for i in chosen]) - rate_of([without[i] for i in chosen]))
    draws.sort()
    low, high = draws[int(0.025 * DRAWS)], draws[int(0.975 * DRAWS)]
    return rate_of(with_it) - rate_of(without), low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stories", type=int, default=200)
    options = parser.parse_args()
    head = ["characters", "places", "policy", "weights", *KINDS]
    sys.stdout.write(f"| {' | '.join(head)} |\n{'|---' * len(head)}|\n")
    for characters in (3, 4):
        for places in (4, 6, 10):
            for policy in ("window", "entities"):
                found = {weights: [] for weights in WEIGHTS}
                for number in range(options.stories):
                    kept = [random.Random(f"{number} {i}").randint(1, 3) for i in range(SHOTS)]
                    for weights in WEIGHTS:
                        rng = random.Random(f"{characters} {number}")
                        tale = random_story(characters, rng, weights)
                        found[weights].append(count(*tale, policy, places, kept))
                tell([str(characters), str(places), policy], found)


def tell(head: list[str], found: dict) -> None:
    for weights in WEIGHTS:
        cells = []
        for kind in KINDS:
            rows = {w: [tuple(f[kind]) for f in found[w]] for w in ("none", weights)}
            cell = f"{rate_of(rows[weights]):.3f}"
            if weights != "none":
                more, low, high = interval(rows[weights], rows["none"], random.Random(0))
                cell += f" ({more:+.3f}: {low:+.3f} to {high:+.3f})"
            cells.append(cell)
        sys.stdout.write(f"| {' | '.join([*head, weights, *cells])} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
