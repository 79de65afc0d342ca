"""What it costs to look at what a shot of a long story saw: ``python tests/bench/bench_seen.py``.

Records of 200 shots are written by the library, three keyframes each; then a real server and a
headless Chromium show the memory of some of them.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch

from helpers.browser import eventually
from helpers.fakes import noise_image
from helpers.gallery_page import ask, open_story, prepare_base
from helpers.host_server import Server, make_base
from helpers.long_story import long_script, write_results
from storymem.film.manifest import update_manifest
from storymem.film.shot_status import describe_made
from storymem.loop.begin import begin_shot
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.script.reader import load_story

PREFIX = "gallery"  # of the graph that ``open_story`` loads
CHOOSE = """async (label) => {
    const { seen } = app.graph.getNodeById(2).storymemGallery;
    const before = performance.now();
    await seen.choose(label);
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - before;
}"""
WATCH = """() => {
    window.longest = 0;
    const note = (list) => list.getEntries()
        .forEach(({ duration }) => { window.longest = Math.max(window.longest, duration); });
    new PerformanceObserver(note).observe({ entryTypes: ["longtask"] });
}"""
OPENS = 50


def write_records(output: Path, shots: int) -> None:
    """What a run of ``long_script(shots)`` leaves, with small pictures of noise."""
    tale = load_story(long_script(shots), quiet=True)
    loop = Loop(tale, LoopSettings(), MemoryBank(), "body", ShotStore(output / ".storymem"))
    folder = write_results(output, PREFIX, shots)
    before, entries = None, {}
    for step in list_steps(loop, {"shots": {}}):
        begun = begin_shot(loop, step, before)
        step.begin(begun)
        index = step.plan.shot.index
        frames = [
            MemoryFrame(noise_image(9 * index + i, 90, 160), shot=index, frame=i, story=tale.name)
            for i in range(5)
        ]
        bank = begun.bank.remember(frames[:3], dropped=frames[3:])
        step.record, before = finish_shot(loop, step, torch.rand(5, 48, 64, 3), bank, crf=40)
        entries[step.label] = {
            "key": step.key, "own": step.own, "prompt": step.plan.prompt,
            "file": f"shot_{step.label}.mp4", "shot_prompt": step.plan.shot.prompt,
            **describe_made(tale, step),
        }  # fmt: skip
    update_manifest(folder, tale, shots=entries)


def time_server(server, script: str, label: str) -> float:
    body = json.dumps({"script": script, "prefix": PREFIX, "shot": label}).encode()
    before = time.perf_counter()
    status, _, answer = ask(
        server, "/storymem/seen", method="POST", body=body,
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    took = 1000 * (time.perf_counter() - before)
    assert status == 200
    assert json.loads(answer)["memory"]["is_sure"]
    return took


def time_page(story, labels: list[str]) -> list[float]:
    story.page.evaluate(WATCH)
    return [story.page.evaluate(CHOOSE, label) for label in labels]


def heap_after_opens(story) -> list[float]:
    """MB of the page's heap after a fifth, two fifths ... of the opened dialogs."""
    devtools, found = story.page.context.new_cdp_session(story.page), []
    dialog = story.page.locator("dialog.storymem-seen")
    for i in range(OPENS):
        story.page.locator(".sm-progress .sm-seen").first.evaluate("(button) => button.click()")
        assert eventually(story.page, lambda: dialog.locator(".storymem-card").count() > 10)
        story.page.keyboard.press("Escape")
        dialog.wait_for(state="detached")
        if (i + 1) % (OPENS // 5) == 0:
            devtools.send("HeapProfiler.collectGarbage")
            found.append(story.page.evaluate("performance.memory.usedJSHeapSize") / 1e6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", type=int, default=200)
    shots = parser.parse_args().shots
    script, last = long_script(shots), f"01_{shots:02d}"
    with tempfile.TemporaryDirectory() as folder:
        host = make_base(Path(folder) / "host")
        base = prepare_base(Path(folder) / "base", host, folder="pack")
        write_records(base / "output", shots)
        server = Server(base, "--disable-api-nodes").start()
        try:
            asked = statistics.median(time_server(server, script, last) for _ in range(5))
            print(f"server, the memory of shot {shots}: {asked:.0f} ms")
            with open_story(server, base / "log") as story:
                story.load(script=script, max_frames=10, sink=3)
                chooser = story.gallery().locator("select")
                assert eventually(story.page, chooser.is_visible)
                drawn = time_page(story, [last, f"01_{shots // 2:02d}"] * 3)
                longest = story.page.evaluate("window.longest")
                print(f"page, until it is drawn: {statistics.median(drawn):.0f} ms")
                print(f"longest task: {longest:.0f} ms" if longest else "no task above 50 ms")
                heap = ", ".join(f"{size:.1f}" for size in heap_after_opens(story))
                print(f"heap over {OPENS} opens, MB: {heap}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
