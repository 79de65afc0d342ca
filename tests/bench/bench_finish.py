"""Memory and time of finishing a story shot by shot: ``python tests/bench/bench_finish.py``.

A film of coloured noise, 832x480, is written by the library; a real server upscales it with the
host's node, in parts, and joins it. Exits with 1 when the server took more memory than the limit.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch

from helpers.film_files import shot_frames
from helpers.finishing import finishing
from helpers.host_server import Server, make_base
from storymem.film.folder import claim_folder
from storymem.film.manifest import read_manifest
from storymem.film.output import StoryExport, VideoOptions
from storymem.loop.begin import begin_shot
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank
from storymem.script.reader import load_story

LIMIT = 6.0  # GB of memory
FRAMES, HEIGHT, WIDTH = 81, 480, 832


def write_film(output: Path, shots: int) -> None:
    """A finished story of ``shots`` shots, each after a cut."""
    scene = {"video_prompts": [f"shot {i}" for i in range(shots)], "cut": [True] * shots}
    story = load_story(json.dumps({"story_name": "Tale", "scenes": [scene]}))
    store = ShotStore(output / ".storymem")
    loop = Loop(story, LoopSettings(continuity="cut"), MemoryBank(), "body", store)
    folder = claim_folder(output, "loop", story)
    steps, before = list_steps(loop, read_manifest(folder)), None
    for step in steps:
        begun = begin_shot(loop, step, before)
        step.begin(begun)
        pixels = torch.from_numpy(shot_frames(step.plan.shot.index, FRAMES, HEIGHT, WIDTH))
        step.record, before = finish_shot(loop, step, pixels, begun.bank, crf=23)
    StoryExport(folder, story, loop.settings, VideoOptions()).finish(steps, {}, before.bank)


def peak_memory(process: int) -> float:
    """GB of memory that a process has had at most."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="of the film, at 16 fps")
    parser.add_argument("--scale", type=float, default=2.0)
    parser.add_argument("--at-once", type=int, default=16, help="frames of a part; 0: whole shots")
    parser.add_argument("--codec", default="h264")
    options = parser.parse_args()
    shots = round(options.seconds * 16 / FRAMES)
    with tempfile.TemporaryDirectory() as place:
        base = make_base(Path(place) / "base")
        write_film(base / "output", shots)
        server = Server(base, forked=False).start()
        try:
            before, began = peak_memory(server.process.pid), time.monotonic()
            closed = {"codec": options.codec, "timeline": "otio"}
            graph = finishing("loop/Tale", at_once=options.at_once, scale=options.scale, **closed)
            server.run(graph, timeout=24 * 3600)
            took, most = time.monotonic() - began, peak_memory(server.process.pid)
        finally:
            server.stop()
    print(
        f"{shots} shots of {FRAMES} frames, {WIDTH}x{HEIGHT}, x{options.scale:g} in parts of "
        f"{options.at_once}, {options.codec}: {took:.0f} s, {most:.2f} GB at most ({before:.2f} GB "
        "before)"
    )
    return int(most > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
