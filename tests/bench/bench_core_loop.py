"""What a finished story costs in ComfyUI's own loop: beside Shot Loop, and how much is the host's.

    COMFYUI_PATH=... python tests/bench/bench_core_loop.py --shots 60

Needs a ComfyUI with Start Loop; starts real servers on the CPU. One server measures all three, one
after another: the story in Shot Loop Open and Close, the same in Start Loop and End Loop, and a
Start Loop of as many turns with as many nodes in each that do nothing. Its caches hash all that a
turn is made of, the turns before it included, and more for nodes with more inputs; so what the pack
itself does is seen under ``--cache-none``. Exits with 1 when that is more than ``MOST_MS`` a shot.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import psutil

PACK = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PACK / "tests"))

from helpers.host_server import Server, make_base  # noqa: E402
from helpers.loop_graphs import core_loop, loop_graph, ran, story  # noqa: E402

CACHES = {"default": (), "classic": ("--cache-classic",), "none": ("--cache-none",)}
MOST_MS = 30  # the pack's part of one finished shot
SMALL = {"width": 64, "height": 48, "length": 13}


def idle(graph: dict, log: Path) -> dict:
    """The same loop around nodes that hand on what they are given."""
    counter = {"name": "idle", "log": ""}
    turns = graph["start"]["inputs"] | {"mode.num_iterations": graph["turns"]}
    turns["initial_iteration_value"] = ["first", 0]
    nodes = {"first": ("StoryMemTestCounter", {"value": "state", **counter})}
    nodes["start"] = ("StartLoop", turns)
    for name, source in (("next0", ["start", 4]), ("body0", ["next0", 0])):
        nodes[name] = ("StoryMemTestCounter", {"value": source, **counter})
    nodes["finish0"] = ("StoryMemTestCounter", {"value": ["body0", 0], **counter})
    nodes["end"] = ("EndLoop", graph["end"]["inputs"])
    nodes["join"] = ("StoryMemTestSink", {"value": ["end", 0], "log": str(log)})
    return {n: {"class_type": kind, "inputs": inputs} for n, (kind, inputs) in nodes.items()}


def timed(server: Server, graph: dict) -> float:
    """Seconds of the processor that a server which has just begun takes for a run: what else the
    machine does counts little."""
    server.stop()
    server.start()
    server.run(loop_graph(story(1, name="Warm"), ""))
    process = psutil.Process(server.process.pid)
    begin = sum(process.cpu_times()[:2])
    server.run(graph, timeout=1200)
    return sum(process.cpu_times()[:2]) - begin


def measure(server: Server, base: Path, shots: int, rounds: int) -> dict[str, float]:
    log = base / "log"
    looped = core_loop(story(shots), log, **SMALL)
    graphs = {
        "shot loop": loop_graph(story(shots), log, body=SMALL),
        "core loop": looped,
        "host alone": idle({**looped, "turns": shots}, log),
    }
    server.run(graphs["shot loop"], timeout=1200)
    server.run(graphs["core loop"], timeout=1200)
    ran(log)
    found: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(rounds):
        for name, graph in graphs.items():
            found[name].append(timed(server, graph))
    assert ran(log) == [], "a finished shot ran again"
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--caches", nargs="+", choices=CACHES, default=["default", "none"])
    parser.add_argument("--shots", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    missed = []
    for cache in options.caches:
        root = Path(tempfile.mkdtemp(prefix="bench_core_loop_"))
        base = make_base(root / "base")
        server = Server(base, "--disable-api-nodes", *CACHES[cache]).start()
        try:
            found = measure(server, base, options.shots, options.rounds)
        finally:
            server.stop()
            shutil.rmtree(root, ignore_errors=True)
        own = 1000 * (found["core loop"] - found["host alone"]) / options.shots
        share = found["host alone"] / found["core loop"]
        print(
            f"{cache}: "
            + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.items())
            + f"; host's share {share:.0%}, the pack's {own:.0f} ms a shot; "
            f"{found['core loop'] / found['shot loop']:.1f} times Shot Loop"
        )
        missed += [cache] if cache == "none" and own > MOST_MS else []
    print("MISSED: " + ", ".join(missed) if missed else "all limits held")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
