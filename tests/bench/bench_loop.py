"""What the shot loop costs beside the nodes in it: time per shot, resume, memory, many shots.

    python tests/bench/bench_loop.py                    # 12 shots, the four caches
    python tests/bench/bench_loop.py --memory 60        # resident memory, 60 shots 81 x 832 x 480
    python tests/bench/bench_loop.py --caches default   # one cache only

Needs a ComfyUI checkout (COMFYUI_PATH, else ~/ComfyUI); starts real servers on the CPU. Exits
with 1 when a limit is missed.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import shutil
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PACK / "tests"))

from helpers.host_server import Server, make_base  # noqa: E402
from helpers.loop_graphs import edited, loop_graph, ran, story  # noqa: E402

CACHES = {
    "default": (),
    "classic": ("--cache-classic",),
    "lru": ("--cache-lru", "50"),
    "none": ("--cache-none",),
}
MOST_OVERHEAD_MS = 50  # per shot, median, beyond the nodes of the body
MOST_RESUME_S = 3  # of a finished story, everything from disk
MOST_GROWTH_MB = 1  # resident memory per shot, less than one frame
SMALL = {"width": 64, "height": 48, "length": 17}
FULL = {"width": 832, "height": 480, "length": 81}


def gaps(log: Path) -> list[float]:
    """Milliseconds between the end of one shot's body and the beginning of the next."""
    path = Path(f"{log}.times")
    lines = [line.split() for line in path.read_text().splitlines()]
    path.unlink()
    times = [(kind, float(value)) for kind, value in lines]
    return [1000 * (b[1] - a[1]) for a, b in pairwise(times) if (a[0], b[0]) == ("end", "begin")]


def timed(server: Server, graph: dict) -> float:
    begin = time.monotonic()
    server.run(graph, timeout=1200)
    return time.monotonic() - begin


def measure(server: Server, base: Path, shots: int) -> dict:
    log = base / "log"
    server.run(loop_graph(story(1, name="Warm"), log))
    gaps(log)
    found = {}
    for name, size in (("small", SMALL), ("full", FULL)):
        graph = loop_graph(story(shots, name=name), log, body=size)
        begin = time.monotonic()
        server.queue(graph)
        found[f"{name} queued in ms"] = 1000 * (time.monotonic() - begin)
        while len(ran_so_far(log)) < shots:
            time.sleep(0.2)
        server.run(graph, timeout=1200)  # waits for the first one to end
        measured = gaps(log)
        found[f"{name} overhead ms"] = statistics.median(measured)
        found[f"{name} worst ms"] = max(measured)
        ran(log)
        server.stop()
        server.start()
        found[f"{name} resume s"] = timed(server, graph)
        assert ran(log) == [], "a finished shot ran again"
        found[f"{name} again s"] = timed(server, graph)
    return found


def ran_so_far(log: Path) -> list[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if line.startswith("end")]


def measure_long(server: Server, base: Path) -> dict:
    log = base / "log"
    tiny = {"width": 16, "height": 16, "length": 5}
    opened = {"continuity": "last_frame"}
    graph = loop_graph(story(200, name="Long"), log, body=tiny, opened=opened)
    begin = time.monotonic()
    prompt_id = server.queue(graph)
    queued = time.monotonic() - begin
    while not log.exists():
        time.sleep(0.01)
    started = time.monotonic() - begin
    server.wait(prompt_id, 1200)
    total = time.monotonic() - begin
    measured = gaps(log)
    ran(log)
    last = loop_graph(edited(200, 200, name="Long"), log, body=tiny, opened=opened)
    again = timed(server, last)
    assert ran(log) == [200]
    return {
        "200 shots queued s": queued,
        "first begins after s": started,
        "all took s": total,
        "overhead ms, shots 1-50": statistics.median(measured[:50]),
        "overhead ms, shots 150-200": statistics.median(measured[149:]),
        "only the last edited s": again,
    }


def measure_memory(server: Server, base: Path, shots: int) -> dict:
    log = base / "big"
    graph = loop_graph(story(shots, name="Big"), log, body=FULL)
    graph["invert"] = {"class_type": "ImageInvert", "inputs": {"image": ["body", 0]}}
    graph["close"]["inputs"]["frames"] = ["invert", 0]
    begin = time.monotonic()
    server.run(graph, timeout=3600)
    rss = [int(line) / 2**20 for line in Path(f"{log}.rss").read_text().split()]
    third = len(rss) // 3
    # The least of many: allocators keep what was freed now and then, and a shot's frames are large.
    middle, end = min(rss[third : 2 * third]), min(rss[2 * third :])
    return {
        "second third MB": middle,
        "last third MB": end,
        "most MB": max(rss),
        "growth MB a shot": (end - middle) / third,
        "seconds": time.monotonic() - begin,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--caches", nargs="+", choices=CACHES, default=list(CACHES))
    parser.add_argument("--shots", type=int, default=12)
    parser.add_argument("--memory", type=int, default=0, metavar="SHOTS")
    parser.add_argument("--long", action="store_true", help="200 shots")
    options = parser.parse_args()
    missed = []
    for cache in options.caches:
        root = Path(tempfile.mkdtemp(prefix="bench_loop_"))
        base = make_base(root / "base")
        server = Server(base, "--disable-api-nodes", *CACHES[cache]).start()
        try:
            if options.memory:
                found = measure_memory(server, base, options.memory)
                missed += [cache] if found["growth MB a shot"] > MOST_GROWTH_MB else []
            elif options.long:
                found = measure_long(server, base)
            else:
                found = measure(server, base, options.shots)
                too_slow = found["small overhead ms"] > MOST_OVERHEAD_MS
                too_late = max(found["small resume s"], found["full resume s"]) > MOST_RESUME_S
                missed += [cache] if too_slow or too_late else []
        finally:
            server.stop()
            shutil.rmtree(root, ignore_errors=True)
        print(f"{cache}: " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()))
    print("MISSED: " + ", ".join(missed) if missed else "all limits held")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
