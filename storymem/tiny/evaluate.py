"""Measures what the tiny model remembers: ``python -m storymem.tiny.evaluate --out DIR``.

Plays held-out stories with the full method and with parts of it switched off, and asks the judge,
which does not learn, who is in them. Writes ``evaluation.json`` (after every case, so that a run
that is cut short leaves what it has), plots, and pictures of whole stories.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from . import demo, files, judge, measures, picture, plots, world
from .player import Case, load_painter, play, returning

logger = logging.getLogger(__name__)

EVALUATION_SEED, RETURN_SEED = 920_000, 930_000  # never in training, nor in choosing anything
SHOWN = 4  # stories that are drawn
ABSENT = 9  # shots for which the returning character is away, of LONG_SHOTS
SHOTS, LONG_SHOTS = 7, 12
SECONDS = 540  # no new case is begun after that

FULL = Case("full")
NO_MEMORY = {"portraits": False, "remembers": False, "max_frames": 0}
SPOILT = {"portraits": False, "corrupted": 0.5}
CASES = (
    FULL,
    Case("none", **NO_MEMORY),
    Case("portraits_only", remembers=False),
    Case("generated", portraits=False),
    Case("s1", rope_shift=1),
    Case("s0", rope_shift=0),
    Case("random_frames", portraits=False, selection="random"),
    Case("spoilt_filtered", **SPOILT),
    Case("spoilt_unfiltered", **SPOILT, filters=False),
    Case("seam_cut", begins=world.CUT),
    Case("seam_mi2v", begins=world.FIRST_FRAME),
    Case("seam_mm2v", begins=world.FIVE_FRAMES),
)
# The portraits are not pinned, so that only the sink can hold them.
RETURNS = (Case("sink3", pinned=False), Case("sink0", pinned=False, sink=0))
WORDS = {
    "full": "full method",
    "none": "no memory",
    "portraits_only": "portraits alone",
    "generated": "generated frames alone",
    "s1": "S = 1",
    "s0": "S = 0",
    "random_frames": "generated, random frames",
    "spoilt_filtered": "generated, spoilt, filter",
    "spoilt_unfiltered": "generated, spoilt, no filter",
    "sink3": "return, sink 3 + recent 3",
    "sink0": "return, recent 6",
}
AS_DRAWN = ("full", "portraits_only", "s1", "s0", "none", "sink3", "sink0")
KEPT = ("full", "generated", "random_frames", "spoilt_filtered", "spoilt_unfiltered", "none")
JOINT = "all four attributes, 95 % (chance 0.006)"
COMPARED = tuple(("full", other) for other in ("none", "s1", "s0", "portraits_only"))
KEPT_COMPARED = (("generated", "random_frames"), ("spoilt_filtered", "spoilt_unfiltered"))


class Evaluation:
    """The stories, the judge, and what was found so far."""

    def __init__(self, options: argparse.Namespace, paint, referee):
        self.options, self.paint, self.referee = options, paint, referee
        self.stories = world.sample_stories(
            options.stories, shots=options.shots, seed=EVALUATION_SEED
        )
        long, absent = options.long_shots, min(ABSENT, options.long_shots - 2)
        how = {"shots": long, "absent": absent, "seed": RETURN_SEED}
        self.long, self.back = returning(options.stories, **how)
        self.found: dict = {"cases": {}, "comparisons": {}}
        self.seen: dict[str, torch.Tensor] = {}
        self.frames: dict[str, list[list[torch.Tensor]]] = {}

    def run(self, case: Case) -> None:
        began = time.perf_counter()
        is_return = case in RETURNS
        stories = self.long if is_return else self.stories
        workers = self.options.workers
        played = play(stories, case, self.paint, seed=self.options.seed, workers=workers)
        seen = measures.see(self.referee, played, stories.visible)
        asked = self.back if is_return else stories.visible
        result = {
            "case": asdict(case),
            "as_drawn": measures.identity(seen, stories.look, asked),
            "kept": measures.kept(seen, stories.visible),
            "memory_frames": sum(len(m) for shots in played.memory for m in shots)
            / stories.place.numel(),
        }
        if is_return:
            kinds = range(len(world.KINDS))
            shows = [measures.memory_shows(played, stories, kind) for kind in kinds]
            shows = torch.stack(shows, -1)[self.back]
            result["returns_with_the_character_in_memory"] = shows.float().mean().item()
        if case.name.startswith("seam_"):
            result["seams"] = measures.seams(played, self.stories.begins != world.CUT)
        result["seconds"] = round(time.perf_counter() - began, 1)
        self.found["cases"][case.name] = result
        self.seen[case.name] = seen
        self.frames[case.name] = [
            [clip[len(clip) // 2] for clip in shots] for shots in played.shots[:SHOWN]
        ]
        logger.info(
            "%-18s joint %.3f of %d, kept %s, %.0f s",
            case.name,
            result["as_drawn"]["joint"]["rate"],
            result["as_drawn"]["joint"]["count"],
            result["kept"]["joint"]["rate"],
            result["seconds"],
        )

    def ceilings(self, codec) -> None:
        """The judge on the truth, and on what the VAE makes of it."""
        scenes, device = self.stories.scenes, codec.device
        truth, restored = [], []
        for part in torch.arange(len(scenes)).split(16):
            clips = picture.render(scenes[part].to(device))
            visible = scenes.visible[part]
            truth.append(self.referee.identify(clips, visible).cpu())
            back = codec.decode(codec.encode(clips))
            restored.append(self.referee.identify(back, visible).cpu())
        shape = (*self.stories.visible.shape, 4)
        for name, seen in (("judge", truth), ("vae", restored)):
            looks = torch.cat(seen).view(shape)
            found = measures.identity(looks, self.stories.look, self.stories.visible)
            self.found.setdefault("ceilings", {})[name] = found
        logger.info(
            "ceilings %s", {k: v["joint"]["rate"] for k, v in self.found["ceilings"].items()}
        )

    def compare(self) -> None:
        stories, seen = self.stories, self.seen
        compared = self.found["comparisons"]
        for one, other in COMPARED:
            if one in seen and other in seen:
                pair = (seen[one], seen[other], stories.look, stories.visible)
                compared[f"{one} - {other}"] = measures.compare(*pair)
        for one, other in KEPT_COMPARED:
            if one in seen and other in seen:
                later = stories.visible & (stories.visible.int().cumsum(1) > 1)
                same = [
                    (s == measures.first_seen(s, stories.visible)[:, None]).all(-1)
                    for s in (seen[one], seen[other])
                ]
                compared[f"{one} - {other}, kept"] = measures.difference(*same, later)
        if "sink3" in seen and "sink0" in seen:
            pair = (seen["sink3"], seen["sink0"], self.long.look, self.back)
            compared["sink3 - sink0"] = measures.compare(*pair)
        self.found["bars"] = self.bars()

    def bars(self) -> dict:
        """What was asked of the model, and whether it is reached; None where it was not run."""
        joint = {n: c["as_drawn"]["joint"] for n, c in self.found["cases"].items()}
        met: dict[str, bool | None] = dict.fromkeys(("portrait_memory", "ten_times", "s5", "sink"))
        if "full" in joint:
            met["portrait_memory"] = joint["full"]["rate"] >= 0.75
            if "none" in joint:
                met["ten_times"] = joint["full"]["rate"] >= max(1e-9, 10 * joint["none"]["rate"])
            if "s1" in joint and "s0" in joint:
                met["s5"] = joint["full"]["rate"] > max(joint["s1"]["rate"], joint["s0"]["rate"])
        if "sink3" in joint and "sink0" in joint:
            met["sink"] = joint["sink3"]["stories"][0] > joint["sink0"]["stories"][1]
        return met

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.compare()
        (folder / "evaluation.json").write_text(json.dumps(self.found, indent=1))

    def draw(self, folder: Path) -> None:
        """Plots, and the middle frame of every shot of the first stories."""
        cases, ceilings = self.found["cases"], self.found.get("ceilings", {})
        rows = [
            (f"ceiling: {words}", ceilings[name])
            for name, words in (("judge", "the judge on the truth"), ("vae", "on the VAE"))
            if name in ceilings
        ]
        for file, title, measure, names in (
            ("identity", "As the portraits say", "as_drawn", AS_DRAWN),
            ("kept", "As at the first appearance", "kept", KEPT),
        ):
            shown = [*rows, *((WORDS[n], cases[n][measure]) for n in names if n in cases)]
            bars = [(w, f["joint"]["rate"], widest(f["joint"])) for w, f in shown]
            bars = [row for row in bars if row[1] is not None]
            plots.save_bars(folder / f"{file}.png", f"{title}: {JOINT}", bars)
        by_shot = {n: cases[n]["as_drawn"]["by_shot"] for n in AS_DRAWN if n in cases}
        lines = {WORDS[n]: values for n, values in by_shot.items() if not n.startswith("sink")}
        if lines:
            plots.save_lines(folder / "by_shot.png", "Joint identity by shot", lines)
        if "full" in cases:
            names = [*world.ATTRIBUTES, "joint", *world.KINDS]
            parts = [(n, cases["full"]["as_drawn"][n]) for n in names]
            bars = [(name, f["rate"], widest(f)) for name, f in parts if f["count"]]
            plots.save_bars(folder / "attributes.png", "Full method, by attribute", bars)
        for s in range(min(SHOWN, self.options.stories)):
            self._draw_story(folder / f"story_{s}.png", s)

    def _draw_story(self, path: Path, s: int) -> None:
        shots = self.stories.place.shape[1]
        scenes = self.stories.scenes[torch.arange(s * shots, (s + 1) * shots)]
        middle = picture.render(scenes.at(torch.full((shots, 1), world.FRAMES // 2)))[:, 0]
        rows = [("the truth", list((middle * 255).round().to(torch.uint8)))]
        for name in ("full", "portraits_only", "generated", "none", "s0"):
            if name in self.frames:
                rows.append((WORDS[name], self.frames[name][s]))
        plots.save_story(path, rows)


def widest(found: dict) -> tuple[float, float]:
    """Both intervals together: that over stories has no width where every story says the same."""
    pair = (found["wilson"], found["stories"])
    return min(low for low, _ in pair), max(high for _, high in pair)


def evaluate(options: argparse.Namespace, paint=None, referee=None) -> Evaluation:
    """Everything the options ask for; ``paint`` and ``referee`` in place of the model and judge."""
    began = time.perf_counter()
    if paint is None:
        model = options.weights or files.require("diffusion_models")
        where = (options.vae or files.require("vae"), options.device)
        paint = load_painter(model, *where, steps=options.steps, cfg=options.cfg)
    work = Evaluation(options, paint, referee or judge.Judge(options.device))
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    work.found["settings"] = {**settings, "command": " ".join(sys.argv)}
    wanted = [
        case for case in (*CASES, *RETURNS) if not options.cases or case.name in options.cases
    ]
    if not options.cases and hasattr(paint, "codec"):
        work.ceilings(paint.codec)
    for case in sorted(wanted, key=lambda case: case not in (*CASES[:6], *RETURNS)):
        if time.perf_counter() - began > options.seconds:
            logger.warning("no time left for %s", case.name)
            continue
        work.run(case)
        work.write(options.out)
    work.found["seconds"] = round(time.perf_counter() - began, 1)
    work.write(options.out)
    work.draw(options.out)
    logger.info("bars met: %s; %s", work.found["bars"], options.out)
    return work


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storymem.tiny.evaluate", description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the results")
    add("--weights", type=Path, help="DiT file in the host's layout; default: the shipped one")
    add("--vae", type=Path, help="VAE file; default: the shipped one")
    add("--stories", type=int, default=64)
    add("--shots", type=int, default=SHOTS, help="of the stories")
    add("--long-shots", type=int, default=LONG_SHOTS, help="of those with a returning character")
    add("--cases", nargs="+", default=[], choices=[case.name for case in (*CASES, *RETURNS)])
    add("--steps", type=int, default=demo.RECIPE["steps"])
    add("--cfg", type=float, default=demo.RECIPE["cfg"])
    add("--seed", type=int, default=0, help="of the noise")
    add("--seconds", type=float, default=SECONDS, help="after which no new case is begun")
    add("--workers", type=int, default=min(12, os.cpu_count() or 1), help="choosing keyframes")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    logging.getLogger("storymem.keyframes").setLevel(logging.ERROR)  # a line for every shot
    options = parse(argv)
    if options.device != "cpu":
        torch.set_num_threads(1)  # the workers have the processor's cores
    torch.set_float32_matmul_precision("high")
    evaluate(options)


if __name__ == "__main__":
    main()
