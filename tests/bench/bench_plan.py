"""What it costs to say which shots the next run will make: a story of 200 finished shots.

    python tests/bench/bench_plan.py            # 200 shots
    python tests/bench/bench_plan.py --shots 40

Needs a ComfyUI checkout (COMFYUI_PATH, else ~/ComfyUI); starts a real server on the CPU. Exits
with 1 when a limit is missed.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import sys
import tempfile
import time
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PACK / "tests"))

from helpers.host_server import Server, make_base  # noqa: E402
from helpers.loop_graphs import edited, loop_graph, story  # noqa: E402

MOST_FIRST_S = 10  # every file of every record is read
MOST_AGAIN_S = 3  # they lie there as they did


def asked(server: Server, graph: dict) -> tuple[float, dict]:
    begin = time.monotonic()
    answer = server.post("/storymem/plan", {"prompt": graph, "node": "open"})
    assert not answer["error"], answer["error"]
    return time.monotonic() - begin, answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shots", type=int, default=200)
    shots = parser.parse_args().shots
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder) / "base")
        log, body = base / "log", {"width": 64, "height": 48, "length": 13}
        server = Server(base).start()
        try:
            taken, answer = asked(server, loop_graph(story(shots), log, body=body))
            print(f"new:             {taken:6.2f} s  {answer['summary']}")
            begin = time.monotonic()
            server.run(loop_graph(story(shots), log, body=body), timeout=3600)
            print(f"made in          {time.monotonic() - begin:6.2f} s")
            server.stop()
            server = Server(base).start()
            times = []
            for what, script in (
                ("finished, first:", story(shots)),
                ("finished, again:", story(shots)),
                ("shot 1 edited:  ", edited(shots, 1)),
                ("last edited:    ", edited(shots, shots)),
            ):
                taken, answer = asked(server, loop_graph(script, log, body=body))
                times.append(taken)
                print(f"{what} {taken:6.2f} s  {answer['summary']}")
            begin = time.monotonic()
            server.run(loop_graph(edited(shots, shots), log, body=body), timeout=3600)
            print(f"a run of one:    {time.monotonic() - begin:6.2f} s")
        finally:
            server.stop()
    return int(times[0] > MOST_FIRST_S or max(times[1:]) > MOST_AGAIN_S)


if __name__ == "__main__":
    sys.exit(main())
