"""Measures what the tiny model remembers: ``python -m storymem.tiny.lab.evaluate --out DIR``.

Plays held-out stories with the full method and with parts of it switched off, and asks the judge,
which does not learn, who is in them. Writes ``evaluation.json`` (after every case, so that a run
that is cut short leaves what it has), plots, and pictures of whole stories.
"""

from __future__ import annotations

import argparse

import torch

from ...sampling.continuity import OVERLAP_FRAMES
from ...sampling.memory_refresh import refresh_schedule
from ...script.continuity import MODE_OF_CONTINUITY
from ...selection import keyframes
from .. import demo, picture, staging, world
from . import flow, measures, plots, trials
from .player import CONTINUITY, Case, Played, returning
from .statistics import widest

EVALUATION_SEED, RETURN_SEED = 920_000, 930_000  # never in training, nor in choosing anything
SHOWN = 4  # stories that are drawn
ABSENT = 9  # shots for which the returning character is away, of LONG_SHOTS
SHOTS, LONG_SHOTS = 7, 12

FULL = Case("full")
NO_MEMORY = {"portraits": False, "remembers": False, "max_frames": 0}
SPOILT = {"portraits": False, "corrupted": 0.5}
# Three places for frames: choosing matters where there is little room.
FEW = {"portraits": False, "max_frames": 3, "sink": 1}
# Keyframes by what stands in for CLIP (``stand_in.py``), with the method's thresholds.
LIKE_CLIP = {
    "sees": "stand_in",
    "threshold": keyframes.SIMILARITY_THRESHOLD,
    "known": keyframes.KNOWN_THRESHOLD,
}
# Memory runs along in few steps, and its kept keys and values are read in the others.
CACHED = {"refreshes": refresh_schedule(demo.RECIPE["steps"])}
CASES = (
    FULL,
    Case("none", **NO_MEMORY),
    Case("portraits_only", remembers=False),
    Case("generated", portraits=False),
    Case("s1", rope_shift=1),
    Case("s0", rope_shift=0),
    Case("random_frames", portraits=False, selection="random"),
    Case("semantic_3", **FEW),
    Case("random_3", **FEW, selection="random"),
    Case("clip_3", **FEW, **LIKE_CLIP),
    Case("clip_random_3", **FEW, **LIKE_CLIP, selection="random"),
    Case("clip_6", portraits=False, **LIKE_CLIP),
    Case("clip_random_6", portraits=False, **LIKE_CLIP, selection="random"),
    Case("spoilt_filtered", **SPOILT),
    Case("spoilt_unfiltered", **SPOILT, filters=False),
    Case("entities_only", policy="entities_only"),
    Case("generated_entities_only", portraits=False, policy="entities_only"),
    Case("full_cached", **CACHED),
    Case("portraits_only_cached", remembers=False, **CACHED),
    Case("generated_cached", portraits=False, **CACHED),
    Case("full_cached_once", refreshes=(0,)),
    Case("seam_cut", begins=world.CUT),
    Case("seam_mi2v", begins=world.FIRST_FRAME),
    Case("seam_mm2v", begins=world.FIVE_FRAMES),
    Case("seam_mi2v_matched", begins=world.FIRST_FRAME, matches_colour=True),
    Case("seam_mm2v_matched", begins=world.FIVE_FRAMES, matches_colour=True),
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
    "semantic_3": "generated, three places",
    "random_3": "generated, three places, random frames",
    "entities_only": "full method, entities_only",
    "generated_entities_only": "generated, entities_only",
    "spoilt_filtered": "generated, spoilt, filter",
    "spoilt_unfiltered": "generated, spoilt, no filter",
    "sink3": "return, sink 3 + recent 3",
    "sink0": "return, recent 6",
}
AS_DRAWN = ("full", "portraits_only", "s1", "s0", "none", "sink3", "sink0")
KEPT = ("full", "generated", "random_frames", "spoilt_filtered", "spoilt_unfiltered", "none")
JOINT = "all four attributes, 95 % (chance 0.006)"
# What is asked of the model: a rate, or None where two cases are compared.
BARS = {
    "portrait_memory": 0.95,
    "together": 0.95,
    "generated": 0.75,
    "places": 0.8,
    "none_at_chance": None,
    "s5": None,
    "sink": None,
    "semantic": None,
    "filter": None,
}
COMPARED = (
    *(("full", other) for other in ("none", "s1", "s0", "portraits_only")),
    ("entities_only", "full"),
    *((f"{name}_cached", name) for name in ("full", "portraits_only")),
    ("full_cached_once", "full"),
)
KEPT_COMPARED = (
    ("generated", "random_frames"),
    ("semantic_3", "random_3"),
    ("clip_3", "clip_random_3"),
    ("clip_6", "clip_random_6"),
    ("spoilt_filtered", "spoilt_unfiltered"),
    ("generated_entities_only", "generated"),
    ("generated_cached", "generated"),
)


class Evaluation(trials.Trials):
    """The stories, the judge, and what was found so far."""

    file = "evaluation.json"

    def __init__(self, options: argparse.Namespace, paint, referee):
        super().__init__(options, paint, referee)
        self.stories = staging.sample_stories(
            options.stories, shots=options.shots, seed=EVALUATION_SEED
        )
        long, absent = options.long_shots, min(ABSENT, options.long_shots - 2)
        how = {"shots": long, "absent": absent, "seed": RETURN_SEED}
        self.long, self.back = returning(options.stories, **how)
        self.seen: dict[str, torch.Tensor] = {}
        self.frames: dict[str, list[list[torch.Tensor]]] = {}

    def measure(self, case: Case) -> dict:
        is_return = case.name in {c.name for c in RETURNS}
        stories = self.long if is_return else self.stories
        played = self.play(stories, case)
        seen = self.see(played, stories)
        asked = self.back if is_return else stories.visible
        result = {
            "as_drawn": measures.identity(seen, stories.look, asked),
            "kept": measures.kept(seen, stories.visible),
            "places": self.places(played, stories),
            "memory_frames": sum(len(m) for shots in played.memory for m in shots)
            / stories.place.numel(),
        }
        if is_return:
            shows = measures.memory_shows(played, stories)[self.back]
            result["returns_with_the_character_in_memory"] = shows.float().mean().item()
        if case.name.startswith("seam_"):
            name = case.name.removeprefix("seam_")
            goes_on = self.stories.begins != world.CUT
            result["seams"] = self._clocked("seams", self.seams, name, played, goes_on)
        self.seen[case.name] = seen
        self.frames[case.name] = [
            [clip[len(clip) // 2].clone() for clip in shots] for shots in played.shots[:SHOWN]
        ]
        return result

    def in_words(self, found: dict) -> str:
        joint, kept = found["as_drawn"]["joint"], found["kept"]["joint"]["rate"]
        words = f"joint {joint['rate']} of {joint['count']}, kept {kept}"
        if seams := found.get("seams"):
            words += f", seam {seams['step']['mean']}, usual {seams['usual']['mean']}"
        return words

    def seams(self, name: str, played: Played, asked: torch.Tensor) -> dict:
        """Figures of the seams where ``asked`` is set; the frames around them are kept as a file
        where there is no OpenCV to measure their optical flow."""
        found = measures.seams(played, asked)
        if asked[: flow.STORIES].any():
            windows = flow.cut_out(played, asked)
            if flow.is_possible():
                self.found.setdefault("flow", {})[name] = flow.measure(
                    windows, self.options.workers
                )
            else:
                found["flow"] = "not measured: OpenCV is missing; see storymem.tiny.lab.flow"
                self.options.out.mkdir(parents=True, exist_ok=True)
                windows.save(self.options.out / f"seams_{name}.npz")
        return found

    def true_seams(self, device) -> None:
        """The seams of the stories as they are drawn: what a perfect model would leave."""
        stories = self.stories
        begins, shape = stories.begins.tolist(), stories.begins.shape
        shots: list[list[torch.Tensor]] = [[] for _ in begins]
        repeated: list[list[torch.Tensor]] = [[] for _ in begins]
        for number, scene in enumerate(torch.arange(shape.numel()).split(1)):
            s, k = divmod(number, shape[1])
            clip = picture.render(stories.scenes[scene].to(device))[0]
            clip = clip.mul(255).round().to(torch.uint8).cpu()
            choice = CONTINUITY.get(begins[s][k], "cut")
            taken_off = OVERLAP_FRAMES[MODE_OF_CONTINUITY[choice]]
            shots[s].append(clip[taken_off:])
            repeated[s].append(clip[:taken_off])
        truth = Played(shots, repeated, memory=[], banks=[])
        self.found["true_seams"] = {
            name: self.seams(f"truth_{name}", truth, stories.begins == value)
            for name, value in (("mi2v", world.FIRST_FRAME), ("mm2v", world.FIVE_FRAMES))
        }

    def ceilings(self, codec) -> None:
        """The judge on the truth, and on what the VAE makes of it."""
        scenes, device = self.stories.scenes, codec.device
        truth, restored = [], []
        for part in torch.arange(len(scenes)).split(16):
            clips = picture.render(scenes[part].to(device))
            visible = scenes.visible[part]
            how = {"in_view": scenes[part].in_view(), "framing": scenes.framing[part]}
            truth.append(self.referee.identify(clips, visible, **how).cpu())
            back = codec.decode(codec.encode(clips))
            restored.append(self.referee.identify(back, visible, **how).cpu())
        shape = (*self.stories.visible.shape, 4)
        for name, seen in (("judge", truth), ("vae", restored)):
            looks = torch.cat(seen).view(shape)
            found = measures.identity(looks, self.stories.look, self.stories.visible)
            self.found.setdefault("ceilings", {})[name] = found
        rates = {name: f["joint"]["rate"] for name, f in self.found["ceilings"].items()}
        trials.logger.info("ceilings %s", rates)

    def compare(self) -> None:
        stories, seen = self.stories, self.seen
        compared = self.found["comparisons"]
        for one, other in COMPARED:
            if one in seen and other in seen:
                pair = (seen[one], seen[other], stories.look, stories.visible)
                compared[f"{one} - {other}"] = measures.compare(*pair)
        for one, other in KEPT_COMPARED:
            if one in seen and other in seen:
                later = measures.later_appearances(stories.visible)
                same = [measures.is_kept(s, stories.visible) for s in (seen[one], seen[other])]
                compared[f"{one} - {other}, kept"] = measures.difference(*same, later)
        if "sink3" in seen and "sink0" in seen:
            pair = (seen["sink3"], seen["sink0"], self.long.look, self.back)
            compared["sink3 - sink0"] = measures.compare(*pair)
        self.found["bars"] = self.bars()

    def bars(self) -> dict:
        """What was asked of the model, and whether it is reached; None where it was not run."""
        joint = {n: c["as_drawn"]["joint"] for n, c in self.found["cases"].items()}
        kept = {n: c["kept"]["joint"] for n, c in self.found["cases"].items()}
        met: dict[str, bool | None] = dict.fromkeys(BARS)
        if "full" in joint:
            full = self.found["cases"]["full"]
            together = full["as_drawn"]["together"]["rate"]
            met["portrait_memory"] = joint["full"]["rate"] >= BARS["portrait_memory"]
            met["together"] = together is not None and together >= BARS["together"]
            places = full["places"]["joint"]["rate"]
            met["places"] = places is not None and places >= BARS["places"]
            if "s1" in joint and "s0" in joint:
                met["s5"] = joint["full"]["rate"] > max(joint["s1"]["rate"], joint["s0"]["rate"])
        if "none" in joint:
            met["none_at_chance"] = joint["none"]["stories"][0] <= 1 / world.LOOKS
        if "generated" in kept:
            met["generated"] = kept["generated"]["rate"] >= BARS["generated"]
        for name, better, worse, found in (
            ("sink", "sink3", "sink0", joint),
            ("semantic", "generated", "random_frames", kept),
            ("filter", "spoilt_filtered", "spoilt_unfiltered", kept),
        ):
            if better in found and worse in found:
                met[name] = found[better]["stories"][0] > found[worse]["stories"][1]
        return met

    def draw(self) -> None:
        """Plots, and the middle frame of every shot of the first stories."""
        folder = self.options.out
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
            names = [*world.ATTRIBUTES, "joint", *world.KINDS, "alone", "together"]
            parts = [(n, cases["full"]["as_drawn"][n]) for n in names]
            bars = [(name, f["rate"], widest(f)) for name, f in parts if f["count"]]
            plots.save_bars(folder / "attributes.png", "Full method, by attribute", bars)
        for s in range(min(SHOWN, self.options.stories)):
            self._draw_story(folder / f"story_{s}.png", s)

    def _draw_story(self, path, s: int) -> None:
        shots = self.stories.place.shape[1]
        scenes = self.stories.scenes[torch.arange(s * shots, (s + 1) * shots)]
        middle = picture.render(scenes.at(torch.full((shots, 1), world.FRAMES // 2)))[:, 0]
        rows = [("the truth", list((middle * 255).round().to(torch.uint8)))]
        for name in ("full", "portraits_only", "generated", "none", "s0"):
            if name in self.frames:
                rows.append((WORDS[name], self.frames[name][s]))
        plots.save_story(path, rows)


def evaluate(options: argparse.Namespace, paint=None, referee=None) -> Evaluation:
    """Everything the options ask for; ``paint`` and ``referee`` in place of the model and judge."""
    paint, referee = trials.prepare(options, paint, referee)
    work = Evaluation(options, paint, referee)
    wanted = [
        case for case in (*CASES, *RETURNS) if not options.cases or case.name in options.cases
    ]
    if not options.cases and hasattr(paint, "codec"):
        work.ceilings(paint.codec)
    if any(case.name.startswith("seam_") for case in wanted):
        work.true_seams(options.device)
    work.run(sorted(wanted, key=lambda case: case not in (*CASES[:6], *RETURNS)))
    work.write()
    work.draw()
    trials.logger.info("bars met: %s; %s", work.found["bars"], options.out)
    return work


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the program's options from ``argv``, or from the command line."""
    parser = trials.parser("storymem.tiny.lab.evaluate", __doc__, (*CASES, *RETURNS))
    parser.add_argument("--shots", type=int, default=SHOTS, help="of the stories")
    parser.add_argument(
        "--long-shots", type=int, default=LONG_SHOTS, help="of those with a returning character"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the program: measure what its options ask for."""
    options = parse(argv)
    trials.start(options)
    evaluate(options)


if __name__ == "__main__":
    main()
