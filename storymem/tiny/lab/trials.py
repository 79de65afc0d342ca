"""What measurements of the tiny model share: options, clock, results that survive a stop."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import torch

from ...files.disk import write_whole
from .. import demo, files, judge, stand_in, world
from . import measures
from .painter import Painter, load_painter, random_painter
from .player import Case, Played, play

logger = logging.getLogger(__name__)

SECONDS = 540  # no new case is begun after that
QUICK = {"stories": 2, "steps": 2}


class Trials:
    """Cases played one by one. What is found is written after each, so that a stop loses one."""

    file = ""  # of the results, in the folder that the options name

    def __init__(self, options: argparse.Namespace, paint, referee):
        self.options, self.paint, self.referee = options, paint, referee
        self.embedder = None  # for cases that ask for one
        self.began = time.perf_counter()
        self.seconds: Counter[str] = Counter()  # of the case that is being played
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        self.found: dict = {
            "settings": {**settings, "command": " ".join(sys.argv)},
            "cases": {},
            "comparisons": {},
        }

    def measure(self, case: Case) -> dict:
        """Plays a case; what is found of it."""
        raise NotImplementedError

    def compare(self) -> None:
        """Writes into ``found`` what needs several cases."""
        raise NotImplementedError

    def play(self, stories: world.Stories, case: Case) -> Played:
        """Play the stories as the case says; adds to ``seconds`` what playing and painting took."""

        if self.embedder is None and (case.policy == "relevant" or case.sees == "stand_in"):
            self.embedder = stand_in.StandIn(self.options.device)

        if isinstance(self.paint, Painter):
            self.paint.refreshes = case.refreshes
        how = {"seed": self.options.seed, "workers": self.options.workers}
        return self._clocked(
            "playing", play, stories, case, self.clocked_paint, embedder=self.embedder, **how
        )

    def clocked_paint(self, requests, rope_shift: int) -> torch.Tensor:
        """``paint``; adds what it took to ``seconds``."""
        return self._clocked("painting", self.paint, requests, rope_shift)

    def see(self, played: Played, stories: world.Stories) -> torch.Tensor:
        """The looks that the judge sees, int64 [S, K, P, 4] (see ``measures.see``)."""
        return self._clocked("judging", measures.see, self.referee, played, stories)

    def places(self, played: Played, stories: world.Stories) -> dict:
        """How places keep their looks (see ``measures.places_kept``)."""
        device = getattr(self.referee, "device", "cpu")
        seen = self._clocked("judging", measures.see_places, played, stories, device)
        return measures.places_kept(seen, stories)

    def run(self, cases: Iterable[Case]) -> None:
        """Play the cases that are not left out, as long as there is time.

        One that fails takes no other with it: it is told in ``left_out``.
        """
        for case in cases:
            case = replace(case, real_time=self.options.real_time)
            if why := self._obstacle(case):
                logger.warning("%s is left out: %s", case.name, why)
                self.found.setdefault("left_out", {})[case.name] = why
                continue
            began, self.seconds = time.perf_counter(), Counter()
            try:
                found = self.measure(case)
            except Exception as error:
                logger.exception("%s failed", case.name)
                self.found.setdefault("left_out", {})[case.name] = f"failed: {error!r}"
                continue
            self.seconds["all"] = time.perf_counter() - began
            seconds = {key: round(value, 1) for key, value in self.seconds.items()}
            self.found["cases"][case.name] = {"case": asdict(case), **found, "seconds": seconds}
            logger.info("%-22s %s; seconds %s", case.name, self.in_words(found), seconds)
            self.write()

    def in_words(self, found: dict) -> str:
        """The main figures of a case, for the log."""
        raise NotImplementedError

    def write(self) -> None:
        """Compare the cases played so far, and replace the file of results in one step."""
        folder = self.options.out
        folder.mkdir(parents=True, exist_ok=True)
        self.compare()
        self.found["seconds"] = round(time.perf_counter() - self.began, 1)
        write_whole(folder / self.file, json.dumps(self.found, indent=1).encode())

    def _obstacle(self, case: Case) -> str:
        if time.perf_counter() - self.began > self.options.seconds:
            return "no time was left"
        if case.matches_colour and find_spec("kornia") is None:
            return "matching colours needs kornia, which is not installed"
        return ""

    def _clocked(self, part: str, work: Callable, *args, **named):
        began = time.perf_counter()
        result = work(*args, **named)
        if getattr(result, "is_cuda", False):
            torch.cuda.synchronize()
        self.seconds[part] += time.perf_counter() - began
        return result


def parser(program: str, about: str, cases: Sequence[Case]) -> argparse.ArgumentParser:
    """The options of every measurement."""
    options = argparse.ArgumentParser(prog=program, description=about)
    add = options.add_argument
    add("--out", type=Path, required=True, help="folder of the results")
    add("--weights", type=Path, help="DiT file in the host's layout; default: the shipped one")
    add("--vae", type=Path, help="VAE file; default: the shipped one")
    add("--stories", type=int, default=64, help="of each kind")
    add("--cases", nargs="+", default=[], choices=[case.name for case in cases])
    add("--steps", type=int, default=demo.RECIPE["steps"])
    add("--cfg", type=float, default=demo.RECIPE["cfg"])
    add("--seed", type=int, default=0, help="of the noise")
    add("--seconds", type=float, default=SECONDS, help="after which no new case is begun")
    add("--real-time", action="store_true", help="the model's memory positions are real time")
    add("--workers", type=int, default=min(12, os.cpu_count() or 1), help="choosing keyframes")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add(
        "--quick",
        action="store_true",
        help="a trial of the program alone: two stories, two steps, random weights",
    )
    return options


def prepare(options: argparse.Namespace, paint=None, referee=None):
    """The model and the judge, unless others are given; ``--quick`` takes a random model."""
    if options.quick:
        vars(options).update(QUICK)
    if paint is None:
        vae = options.vae or files.require("vae")
        how = {"steps": options.steps, "cfg": options.cfg}
        if options.quick:
            paint = random_painter(vae, options.device, **how)
        else:
            model = options.weights or files.require("diffusion_models")
            paint = load_painter(model, vae, options.device, **how)
    return paint, referee or judge.Judge(options.device)


def start(options: argparse.Namespace) -> None:
    """Logging and arithmetic of a program that measures."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    logging.getLogger("storymem.selection.keyframes").setLevel(
        logging.ERROR
    )  # a line for every shot
    if options.device != "cpu":
        torch.set_num_threads(1)  # the workers have the processor's cores
    torch.set_float32_matmul_precision("high")
