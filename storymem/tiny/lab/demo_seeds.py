"""Plays the demo with several seeds and asks whether each shot is right: ``python -m
storymem.tiny.lab.demo_seeds --out DIR``.

A shot is right when everybody it names is there with the portrait's look, nobody else is, and
nobody is there twice. Writes ``demo_seeds.json`` and a picture with a row for each seed.
"""

from __future__ import annotations

import argparse
import json

import torch

from ...script.reader import load_story
from .. import demo, stand_in, text, world
from ..judge import AREA_COST, Judge, least_area
from . import plots, trials
from .player import Case, begin_bank, play_tales

# Frames in which somebody is wholly in view; those who cross, while they are apart.
WHOLE = {"enters": slice(11, None), "leaves": slice(0, 2), "crosses": [0, 1, 14, 15, 16]}
TWICE = 0.25  # of what a second one would gain by fitting: more is a second one


def frames_in_view(prompt: str, length: int) -> torch.Tensor:
    """In which of the last ``length`` frames of a shot each kind is wholly in view, as its prompt
    says, bool [P, T]; nowhere for those whom it does not name."""
    words = text.parse(prompt)
    seen = torch.zeros(len(world.KINDS), world.FRAMES, dtype=torch.bool)
    for name, action in (words[0:2], words[2:4]):
        if name:
            seen[text.KIND_OF[name], WHOLE.get(action, slice(None))] = True
    return seen[:, -length:]


def is_right(
    clip: torch.Tensor, prompt: str, looks: torch.Tensor, judge: Judge, eyes: stand_in.StandIn
) -> str:
    """What is wrong with a shot, in a word; nothing when it is right.

    Args:
        clip: uint8 [T, 96, 96, 3].
        looks: int64 [P, 4], of every kind that may be named.
    """
    in_view = frames_in_view(prompt, len(clip))
    named = in_view.any(1)
    pixels = clip.float() / 255
    framing = text.parse(prompt)[-1]
    number = world.MEDIUM if framing is None else world.FRAMINGS.index(framing)
    how = {"in_view": in_view[None], "framing": torch.tensor([number])}
    seen = judge.identify(pixels[None], named[None], **how)[0]
    if not (seen == looks)[named].all():
        return "look"
    whole = in_view[named].all(0).nonzero()[:, 0].tolist()  # frames in which all of them are
    moments = (whole or [len(clip) // 2])[:: max(1, len(whole) // 3)]
    frames = clip[moments]
    for kind in named.nonzero()[:, 0].tolist():
        look = world.look_number(looks[kind]).expand(len(frames))
        where = judge.locate(pixels[moments], kind, look, framing=number)
        again = judge.costs(pixels[moments], kind, avoid=where, framing=number)[:, look[0]]
        if (again < -TWICE * AREA_COST * least_area(kind, number)).float().mean() > 0.5:
            return "twice"
    there = eyes.look_at(frames)[:, : len(world.KINDS)].bool().float().mean(0) > 0.5
    if (there & ~named).any():
        return "stranger"
    return ""


def measure(options: argparse.Namespace, paint=None, referee=None) -> dict:
    """Everything the options ask for; what is wrong with each shot, by seed."""
    paint, referee = trials.prepare(options, paint, referee or Judge("cpu"))
    story = load_story(demo.SCRIPT)
    looks = torch.zeros(len(world.KINDS), len(world.ATTRIBUTES), dtype=torch.long)
    for kind, words in enumerate(demo.LOOKS):
        looks[kind] = demo.parse_look(words)
    seeds = list(range(options.seeds))
    case = Case("demo")
    banks = [begin_bank(case, demo.portraits(), ()) for _ in seeds]
    played = play_tales([story] * len(seeds), banks, seeds, case, paint)
    eyes = stand_in.StandIn("cpu")
    wrong = {
        seed: [
            is_right(clip, shot.prompt, looks, referee, eyes)
            for clip, shot in zip(clips, story.shots, strict=True)
        ]
        for seed, clips in zip(seeds, played.shots, strict=True)
    }
    whole = sum(not any(shots) for shots in wrong.values())
    found = {"wrong": wrong, "whole_stories": whole, "of": len(seeds)}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "demo_seeds.json").write_text(json.dumps(found, indent=1))
    rows = [
        (f"seed {seed}", [clip[len(clip) // 2] for clip in clips])
        for seed, clips in zip(seeds, played.shots, strict=True)
    ]
    plots.save_story(options.out / "demo_seeds.png", rows)
    trials.logger.info("%d of %d stories have all shots right; %s", whole, len(seeds), wrong)
    return found


def main(argv: list[str] | None = None) -> None:
    """Run the program: measure what its options ask for."""
    parser = trials.parser("storymem.tiny.lab.demo_seeds", __doc__, ())
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 0 on")
    options = parser.parse_args(argv)
    trials.start(options)
    measure(options)


if __name__ == "__main__":
    main()
