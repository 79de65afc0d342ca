"""How long shots take: what a finished one cost, and what those to come will take on this machine.

What a shot costs, next to another one of the same models, is known from its size alone. A forward
pass goes over all tokens, those of the memory included, in a linear part (the layers) and one that
grows with their square (attention). Measured for the experts of Wan2.2 A14B at 832x480 with 21
latent frames: 3.77 s a pass without memory, 4.75 s with 3 memory frames, 7.27 s with 10
(docs/performance.md), which are 32 760, 37 440 and 48 360 tokens: both parts are equal at about
18 000 tokens, and the three are met within 1 %. A shot is as many passes as it has steps, and one
more for encoding and decoding. How long a pass takes on this machine, finished shots tell.

Estimates are never exact, and what is not known is not guessed.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from statistics import median

from ..files.harmless import harmless
from ..files.hashing import digest_of
from ..files.json_text import parse_json
from ..sampling.conditioning import VAE_STRIDE, latent_frames
from ..sampling.draft import Draft

FACT = "work"  # its name in a record
EVEN_TOKENS = 18_000  # where attention takes as long as all the rest of a forward pass (see above)
PATCH = 2  # latent pixels along one side of a token
PASSES_BESIDE = 1  # encoding and decoding, in forward passes
NEWEST = 5  # results that an estimate rests on
LONGEST = 60 * 60 * 24 * 30  # seconds; whatever claims more is no shot's time
LARGEST = 1 << 20  # pixels, frames or steps; more is no shot's
LAST_DATE = 1 << 40  # seconds since 1970
MARK_DIGITS = 16  # of a machine or a pace
# Inputs that the cost knows of, or that no pass takes longer by, when they are typed.
SIZES = ("width", "height", "length")  # known of the pack's own nodes only
COUNTS = (*SIZES, "steps")
FREE_INPUTS = (
    *COUNTS, "seed", "noise_seed", "control_after_generate", "text", "prompt", "negative", "image",
)  # fmt: skip
OWN_NODES = "StoryMem"  # how their kinds begin
FREE_GROUPS = ("settings", "judges", "start_image", "code")  # of a headless run
MODEL_FILES = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin")
ODD = (ValueError, TypeError, KeyError, AttributeError, LookupError)


@dataclass(frozen=True)
class Work:
    """What a shot asks of the machine; 0 where the graph does not say."""

    frames: int = 0  # pixel frames as sampled, those that repeat the shot before included
    width: int = 0  # pixels
    height: int = 0
    memory: int = 0  # frames that it sees
    steps: int = 0

    @property
    def cost(self) -> float:
        """In tokens of a forward pass, to compare with others; 0 while the size is unknown."""
        if not (self.frames and self.width and self.height):
            return 0.0
        side = VAE_STRIDE * PATCH
        of_frame = max(1, self.width // side) * max(1, self.height // side)
        tokens = (_latents(self.frames) + self.memory) * of_frame
        return (self.steps + PASSES_BESIDE) * tokens * (1 + tokens / EVEN_TOKENS)

    def sized(self, other: Work) -> Work:
        """With the size of another one where it has none."""
        names = ("frames", "width", "height")
        return replace(self, **{n: getattr(self, n) or getattr(other, n) for n in names})


@dataclass(frozen=True)
class Timed:
    """How long a finished shot took, from its beginning until it was put on disk."""

    work: Work
    seconds: float
    machine: str  # see ``machine_of``
    pace: str  # see ``pace_of``
    first: bool = False  # of its run or prompt, which had models to load
    finished: int = 0  # when, in seconds since 1970

    def as_fact(self) -> dict:
        """For a record; no part of a key."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "work"}
        return asdict(self.work) | own | {"seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class Rate:
    """What a machine needs for shots of one kind."""

    seconds: float  # for a cost of 1
    like: Work  # of the latest: the size of shots of which the graph does not say it

    def seconds_of(self, work: Work) -> float:
        """How long a shot will take."""
        return self.seconds * work.sized(self.like).cost


@dataclass(frozen=True)
class TimeLeft:
    """Seconds left of a run."""

    shot: float  # of the one that is being made; 0 when none is
    least: float  # of those after it that are sure to be made
    most: float  # if those are made as well that depend on others

    def as_figures(self) -> dict[str, float]:
        """For the page."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def read_timed(fact: object) -> Timed | None:
    """What a record says of its time; ``None`` when it says nothing that can be true. Anybody may
    have written it."""
    if not isinstance(fact, Mapping):
        return None
    numbers = {f.name: fact.get(f.name) for f in fields(Work)}
    seconds, finished = fact.get("seconds"), fact.get("finished", 0)
    marks = [fact.get(name) for name in ("machine", "pace")]
    if not all(_is_count(n, LARGEST) for n in numbers.values()):
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return None
    work = Work(**numbers)
    if not (work.cost and 0 < seconds <= LONGEST and _is_count(finished, LAST_DATE)):
        return None
    if not all(isinstance(mark, str) and len(mark) == MARK_DIGITS for mark in marks):
        return None
    return Timed(work, float(seconds), *marks, fact.get("first") is True, finished)


def find_rate(timed: Iterable[Timed], machine: str, pace: str) -> Rate | None:
    """What ``machine`` needs for shots of this pace, by the first few that tell; ``None`` when none
    does. The first shot of a run counts only where there is no other.

    Args:
        timed: those that matter most first.
    """
    same = [one for one in timed if one.machine == machine and one.pace == pace]
    used = ([one for one in same if not one.first] or same)[:NEWEST]
    if not used:
        return None
    return Rate(median(one.seconds / one.work.cost for one in used), same[0].work)


@harmless("")
def machine_of(*described: object) -> str:
    """A mark of this machine and its device, which says no name."""
    return digest_of([platform.node(), *map(str, described)])[:MARK_DIGITS]


@harmless("")
def pace_of(body: str, draft: Draft | None = None) -> str:
    """A mark of what makes the shots: the same for bodies of which only sizes, lengths, steps,
    seeds and texts differ, another one for other models, and for each pass before the film."""
    try:
        value = parse_json(body)
        told = _without_sizes(value) if isinstance(value, dict) else _lines(value)
    except ODD:
        told = body
    of_pass = [draft.name, draft.cfg, draft.lora_high, draft.lora_low] if draft else []
    return digest_of(["pace", told, *of_pass])[:MARK_DIGITS]


def spoken(seconds: float) -> str:
    """``45 s``, ``12 min`` or ``1 h 05 min``; never less than it is."""
    if seconds < 60:
        return f"{max(1, math.ceil(seconds))} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


# --- inside ----------------------------------------------------------------------------------


def _latents(frames: int) -> int:
    return latent_frames(max(1, frames))


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _without_sizes(run: Mapping) -> dict:
    """Of a headless run."""
    kept = {name: value for name, value in run.items() if name not in FREE_GROUPS}
    recipe = {name: v for name, v in run["recipe"].items() if name not in FREE_INPUTS}
    weights = {name: v for name, v in run["weights"].items() if name not in ("clip", "laion")}
    return {**kept, "recipe": recipe, "weights": weights}


def _is_free(kind: str, name: str, value: object) -> bool:
    """Whether the cost knows of an input of a node, or no pass takes longer by it."""
    if name in SIZES and not kind.startswith(OWN_NODES):
        return False
    if name in COUNTS:
        return type(value) is int  # other kinds of value are not counted
    return name in FREE_INPUTS and not isinstance(value, list)


def _lines(graph: list) -> list:
    """Of a graph (see ``LoopGraph.describe``): its nodes, its wires and its models' sizes."""
    outputs, lines, files = parse_json(graph[1])
    nodes = [
        [kind, {name: v for name, v in inputs.items() if not _is_free(kind, name, v)}]
        for kind, _, inputs in lines
    ]
    models = [[name, stat[0]] for name, stat in files if name.lower().endswith(MODEL_FILES)]
    return [outputs, nodes, models]
