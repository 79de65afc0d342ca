"""Who is in view when somebody returns: the paper's window against the policy ``entities``.

    python tests/bench/bench_memory_policy.py

Seeded random stories of 14 shots with one, two or three characters, one of whom is away for at
least six shots and returns. Counted is whether the shot sees a frame of each one who appears, at
the same number of places. A sampler needs that before it can keep an identity; how well it keeps it
is another measurement.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import conftest  # noqa: F401  loads the library as ``storymem``

from storymem.loop.shot_memory import shot_memory
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.script.reader import load_story

NAMES = ("Mara", "Pip", "Bo")
SHOTS, AWAY = 14, 6
PICTURE = torch.zeros(1, 1, 3, dtype=torch.uint8)


def random_story(characters: int, rng: random.Random):
    """A story, and the number of the shot in which somebody returns."""
    names = list(NAMES[:characters])
    first = rng.randrange(3)  # the returner's last shot before the absence
    back = rng.randrange(first + AWAY + 1, SHOTS)
    who, others = names[-1], names[:-1]
    prompts = []
    for shot in range(SHOTS):
        if shot in (first, back) or (shot < first and rng.random() < 0.5):
            present = [who, *(n for n in others if rng.random() < 0.4)]
        else:
            present = rng.sample(others, rng.randint(1, len(others))) if others else []
        prompts.append(" and ".join(present) + " walk on" if present else "An empty street")
    scene = {"video_prompts": prompts, "cut": [True] * SHOTS}
    return load_story({"story_name": "s", "cast": names, "scenes": [scene]}), back, who


def wilson(hits: int, count: int) -> str:
    if not count:
        return "-"
    rate, z = hits / count, 1.96
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return f"{rate:.3f} ({middle - half:.3f}-{middle + half:.3f})"


def seen_of(bank: MemoryBank, story, shot) -> set[str]:
    seen = shot_memory(bank, story, shot).frames
    return {name for frame in seen for name in frame.name.split(", ")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stories", type=int, default=400)
    parser.add_argument("--sink", type=int, default=3)
    options = parser.parse_args()
    row = "| {} | {} | {} | {} | {} |\n"
    sys.stdout.write(row.format("characters", "places", "policy", "on the return", "elsewhere"))
    sys.stdout.write("|---|---|---|---|---|\n")
    for characters in (1, 2, 3):
        for places in (3, 5, 7, 10):
            for policy in ("window", "entities"):
                counts = {"return": [0, 0], "else": [0, 0]}
                rng = random.Random(f"{characters}")
                for _ in range(options.stories):
                    story, back, who = random_story(characters, rng)
                    bank = MemoryBank(
                        max_frames=places, sink=min(options.sink, places - 1), policy=policy
                    )
                    known: set[str] = set()
                    for shot in story.shots:
                        present = [n for n in NAMES if n in shot.prompt]
                        view = seen_of(bank, story, shot)
                        for name in present:
                            if name in known:
                                kind = "return" if (shot.index, name) == (back, who) else "else"
                                counts[kind][0] += name in view
                                counts[kind][1] += 1
                        known.update(present)
                        frame = MemoryFrame(
                            PICTURE, story="s", shot=shot.index, name=", ".join(present)
                        )
                        kept = rng.randint(1, 3)
                        bank = bank.remember(replace(frame, frame=i) for i in range(kept))
                rates = [wilson(*counts[kind]) for kind in ("return", "else")]
                sys.stdout.write(row.format(characters, places, policy, *rates))


if __name__ == "__main__":
    main()
