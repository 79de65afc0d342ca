"""What long stories cost in the host's page: opening the story editor, a letter in it, the gallery.

    python tests/bench_page.py

Needs a ComfyUI checkout (COMFYUI_PATH, else ~/ComfyUI) and Chromium; starts a real server on the
CPU. Each figure stands beside the one of a short story in the same run.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import statistics
import sys
import tempfile
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PACK), str(PACK / "tests"), str(PACK / "tests" / "host")]

from gallery_page import StoryPage  # noqa: E402
from loop_graphs import story  # noqa: E402
from story_page import open_story_page, story_server  # noqa: E402
from test_page_gallery import SEND, bank_of  # noqa: E402

SHORT, LONG = 10, 200  # shots, and frames that are kept
REPEATS = 5
OPEN = """async (shots) => {
    const begin = performance.now();
    document.querySelector(".sm-edit").click();
    const rows = () => document.querySelectorAll(".sm-editor li[data-id]");
    while (rows().length < shots) await new Promise((done) => setTimeout(done, 2));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - begin;
}"""
TYPE = """() => {
    const prompts = document.querySelectorAll(".sm-editor li[data-id] [data-field=prompt]");
    const prompt = prompts[prompts.length - 1];
    const times = [];
    for (let i = 0; i < 30; i++) {
        const begin = performance.now();
        prompt.value += "x";
        prompt.dispatchEvent(new Event("input", { bubbles: true }));
        times.push(performance.now() - begin);
    }
    return times.sort((a, b) => a - b)[15];
}"""
DRAW = """() => {
    const gallery = app.graph.getNodeById(2).storymemGallery;
    const begin = performance.now();
    gallery.draw();
    return performance.now() - begin;
}"""


def time_editor(page, shots: int) -> tuple[float, float]:
    """Milliseconds to open the editor, and for a letter in the last shot."""
    page.load(story(shots, name=f"Long {shots}", cuts=[True] * shots))
    page.wait_on_node(["waiting"] * shots)
    opened, typed = [], []
    for _ in range(REPEATS):
        opened.append(page.page.evaluate(OPEN, shots))
        typed.append(page.page.evaluate(TYPE))
        page.close()
    return statistics.median(opened), statistics.median(typed)


def time_gallery(page, frames: int) -> float:
    """Milliseconds to draw a gallery again."""
    page.page.evaluate(SEND, ["2", bank_of(frames)])
    page.page.wait_for_timeout(1000)
    return statistics.median(page.page.evaluate(DRAW) for _ in range(REPEATS))


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        base, custom_nodes = Path(folder) / "base", Path(folder) / "given" / "custom_nodes"
        custom_nodes.mkdir(parents=True)
        (custom_nodes / "ComfyUI-StoryMem").symlink_to(PACK)
        (custom_nodes / "storymem-test-nodes").symlink_to(PACK / "tests" / "host_nodes")
        with (
            story_server(base, custom_nodes.parent) as server,
            open_story_page(server, base / "log", user="bench") as page,
        ):
            short, long = (time_editor(page, shots) for shots in (SHORT, LONG))
            rows += [("open the editor", short[0], long[0]), ("a letter", short[1], long[1])]
            gallery = StoryPage(server, page.page, base / "log")
            gallery.load()
            rows.append(("draw the gallery", *(time_gallery(gallery, n) for n in (SHORT, LONG))))
    print(f"{'ms, median of ' + str(REPEATS):20} {SHORT:>8} {LONG:>8}")
    for name, short, long in rows:
        print(f"{name:20} {short:8.1f} {long:8.1f}")


if __name__ == "__main__":
    main()
