"""What long stories cost in the host's page, and the server that answers it.

    python tests/bench/bench_page.py

Needs a ComfyUI checkout (COMFYUI_PATH, else ~/ComfyUI) and Chromium; starts a real server on the
CPU. Every story has a folder with a result for each shot, and its first shot was edited since. Each
figure stands beside those of shorter stories in the same run.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PACK), str(PACK / "tests"), str(PACK / "tests" / "host" / "page")]

from test_page_gallery import SEND, bank_of  # noqa: E402

from helpers.browser import eventually  # noqa: E402
from helpers.gallery_page import StoryPage  # noqa: E402
from helpers.long_story import long_script, write_results, write_takes  # noqa: E402
from helpers.story_page import open_story_page, story_server  # noqa: E402
from storymem.loop.shot_store import ShotStore  # noqa: E402

SHOTS = (10, 200, 2_000)
OF_TAKES_SHOTS = (10, 200)
FRAMES = (10, 200)  # that are kept
REPEATS = 5
PATIENCE = 300_000  # milliseconds
PREPARE = """() => {
    window.longest = 0;
    const see = (seen) => {
        for (const { duration } of seen.getEntries()) longest = Math.max(longest, duration);
    };
    new PerformanceObserver(see).observe({ entryTypes: ["longtask"] });
    const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    window.until = async (is) => {
        while (!is()) await new Promise((done) => setTimeout(done, 2));
    };
    window.drawn = async (act) => {
        await frame();
        const begin = performance.now();
        await act();
        await frame();
        return performance.now() - begin;
    };
    window.inEditor = (which) => document.querySelector(`.sm-editor ${which}`);
    window.rows = () => document.querySelectorAll(".sm-editor li[data-id]");
    window.typed = async (control) => {
        control.focus();
        await new Promise((done) => setTimeout(done, 500)); // what came into view is drawn
        return drawn(() => document.execCommand("insertText", false, " "));
    };
}"""
STEPS = {  # each gives the milliseconds until the page has drawn what came of it
    "open the story editor": """(shots) => drawn(() => {
        document.querySelector(".sm-edit").click();
        return until(() => rows().length === shots);
    })""",
    "a letter in the last shot's prompt": """(shots) => {
        return typed(rows()[shots - 1].querySelector("[data-field=prompt]"));
    }""",
    "go to the end of the timeline": """() => drawn(() => {
        inEditor(".sm-timeline").scrollLeft = 1e6;
    })""",
    "find a word of every prompt": """() => drawn(() => {
        inEditor("[data-act=find]").click();
        inEditor("[data-find=words]").value = "shore";
        inEditor("[data-find=words]").dispatchEvent(new Event("input", { bubbles: true }));
    })""",
    "go to the last place": "() => drawn(() => inEditor('[data-find=previous]').click())",
    "replace all of them": """() => drawn(() => {
        inEditor("[data-find=other]").value = "beach";
        inEditor("[data-find=all]").click();
    })""",
    "take that back": """() => drawn(() => {
        inEditor("[data-act=undo]").click();
        inEditor("[data-find=close]").click();
    })""",
    "add a shot after the first": "() => drawn(() => inEditor('[data-act=add]').click())",
    "move the first one down": "() => drawn(() => inEditor('[data-act=down]').click())",
    "remove the first one": "() => drawn(() => inEditor('[data-act=remove]').click())",
    "undo that": "() => drawn(() => inEditor('[data-act=undo]').click())",
    "do it again": "() => drawn(() => inEditor('[data-act=redo]').click())",
    "a shot of a run is finished": """() => drawn(() => {
        const label = Object.keys(run.states)[run.finished];
        run.finished += 1;
        run.states[label] = "done";
        tell({ ...run, states: { ...run.states } });
    })""",
    "show the script as text": "() => drawn(() => inEditor('[data-tab=text]').click())",
    "a letter in the text": "() => typed(inEditor('.sm-raw'))",
    "save and close": """() => drawn(() => {
        inEditor(".sm-primary").click();
        return until(() => !inEditor(""));
    })""",
}
FILTER = """(words) => drawn(() => {
    inEditor("[data-filter=words]").value = words;
    inEditor("[data-filter=words]").dispatchEvent(new Event("input", { bubbles: true }));
})"""
FILTERS = {"one shot of all": "shot 7", "none": "no such words", "all": "shore", "off": ""}
TAKES = 20
OF_TAKES = {
    "open the takes of the last shot": """([shots, takes]) => drawn(() => {
        rows()[shots - 1].querySelector("[data-act=takes]").click();
        return until(() => document.querySelectorAll(".sm-take-list > li").length === takes);
    })""",
    "the next take": """() => drawn(() => {
        const list = document.querySelector(".sm-take-list");
        list.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
    })""",
    "play both": """() => drawn(() => {
        document.querySelector(".sm-takes [data-act=play]").click();
        const videos = [...document.querySelectorAll(".sm-takes video")];
        return until(() => videos.every((video) => video.currentTime > 0));
    })""",
    "choose it": """() => drawn(() => {
        document.querySelector(".sm-takes [data-act=use_left]").click();
    })""",
    "a shot of a run is finished": STEPS["a shot of a run is finished"],
    "close the takes": "() => drawn(() => document.querySelector('.sm-takes .sm-close').click())",
}
BEGIN_RUN = """async (script) => {
    const { api } = await import("/scripts/api.js");
    const labels = [...document.querySelectorAll(".sm-list > li")].map((row) => row.dataset.label);
    window.run = {
        node: "4", open: "2", of: labels.length, finished: 0, position: 1, shot: 1, state: "shot",
        prompt: "x", workflow: app.rootGraph.id, script,
        states: Object.fromEntries(labels.map((label) => [label, "waiting"])),
    };
    window.tell = (detail) => api.dispatchEvent(new CustomEvent("storymem.progress", { detail }));
    tell(run);
}"""
DRAW = """() => {
    const gallery = app.graph.getNodeById(2).storymemGallery;
    const begin = performance.now();
    gallery.draw();
    return performance.now() - begin;
}"""


def asked(shots: int) -> dict:
    script = long_script(shots, edited=True)
    return {"script": script, "file": "none", "character": "", "prefix": "page"}


def time_server(server, shots: int) -> dict[str, float]:
    """Milliseconds of an answer, and of the slowest one to others who ask meanwhile."""
    view = server.post("/storymem/story", asked(shots))
    assert [shot["state"] for shot in view["shots"]] == ["waiting", *["depends 1"] * (shots - 1)]
    assert all(shot["video"] for shot in view["shots"][1:])
    found = {"GET /system_stats": statistics.median(get(server) for _ in range(50))}
    for path, body in (("story", asked(shots)), ("script", {**view, "prefix": "page"})):
        times, waits = [], []
        for _ in range(REPEATS):
            begin = time.monotonic()
            server.post(f"/storymem/{path}", body)
            times.append(1000 * (time.monotonic() - begin))
        with ThreadPoolExecutor() as pool:
            for _ in range(REPEATS):
                answers = pool.submit(lambda p=path, b=body: server.post(f"/storymem/{p}", b))
                meanwhile = [get(server)]
                while not answers.done():
                    meanwhile.append(get(server))
                waits.append(max(meanwhile))
        found[f"POST /storymem/{path}"] = statistics.median(times)
        found[f"  the slowest /system_stats during POST {path}"] = statistics.median(waits)
    return found


def get(server) -> float:
    begin = time.monotonic()
    server.get("/system_stats")
    return 1000 * (time.monotonic() - begin)


def time_editor(page, shots: int) -> dict[str, float]:
    """Milliseconds of each step, and of the longest in which the page did not listen."""
    body, mark = asked(shots), page.server.post("/storymem/story", asked(shots))["mark"]
    times, tasks = defaultdict(list), defaultdict(list)
    for _ in range(REPEATS):
        page.page.evaluate("() => { longest = 0; }")
        page.load(body["script"])
        page.wait_on_node(["waiting", *["depends"] * (shots - 1)])
        tasks["load the workflow"].append(page.page.evaluate("longest"))
        page.page.evaluate(BEGIN_RUN, mark)
        for name, step in STEPS.items():
            page.page.evaluate("() => { longest = 0; }")
            times[name].append(page.page.evaluate(step, shots))
            page.page.wait_for_timeout(1000)  # the server is asked what it says to a change
            tasks[name].append(page.page.evaluate("longest"))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return medians | {f"longest task: {name}": statistics.median(tasks[name]) for name in tasks}


def time_takes(page, shots: int) -> dict[str, float]:
    """Milliseconds of each step with 20 takes of every shot while a run is on, of the longest task
    in which the page did not listen, and megabytes that 50 openings left behind."""
    page.load(long_script(shots))
    eventually(page.page, lambda: len(page.on_node()) == shots)
    body = {**asked(shots), "script": long_script(shots), "shot": shots - 1}
    mark = page.server.post("/storymem/story", body)["mark"]
    begin = time.monotonic()
    assert len(page.server.post("/storymem/takes", body)["takes"]) == TAKES
    found = {"POST /storymem/takes, the first": 1000 * (time.monotonic() - begin)}
    times, tasks = defaultdict(list), defaultdict(list)
    for _ in range(REPEATS):
        begin = time.monotonic()
        page.server.post("/storymem/takes", body)
        times["POST /storymem/takes"].append(1000 * (time.monotonic() - begin))
        page.page.evaluate(BEGIN_RUN, mark)
        page.edit_table()
        page.page.wait_for_timeout(1500)  # takes are counted
        steps = {f"filter: {name}": (FILTER, words) for name, words in FILTERS.items()}
        steps |= {name: (step, [shots, TAKES]) for name, step in OF_TAKES.items()}
        for name, (step, how) in steps.items():
            page.page.evaluate("() => { longest = 0; }")
            times[name].append(page.page.evaluate(step, how))
            page.page.wait_for_timeout(500)
            tasks[name].append(page.page.evaluate("longest"))
        page.close()
    page.edit_table()
    before = held(page)
    for _ in range(50):
        page.page.evaluate(OF_TAKES["open the takes of the last shot"], [shots, TAKES])
        page.page.evaluate(OF_TAKES["close the takes"])
    found["MB more after 50 openings"] = held(page) - before
    page.close()
    medians = {name: statistics.median(values) for name, values in times.items()}
    longest = {f"longest task: {name}": statistics.median(tasks[name]) for name in tasks}
    return found | medians | longest


def held(page) -> float:
    """Megabytes that the page's scripts hold once what is not needed is gone."""
    session = page.page.context.new_cdp_session(page.page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return used / 2**20


def time_gallery(page, frames: int) -> dict[str, float]:
    """Milliseconds to draw a gallery again."""
    page.page.evaluate(SEND, ["2", bank_of(frames)])
    page.page.wait_for_timeout(1000)
    times = [page.page.evaluate(DRAW) for _ in range(REPEATS)]
    return {"draw the gallery": statistics.median(times)}


def show(found: list[dict[str, float]], sizes: tuple[int, ...]) -> None:
    print(f"{'ms, median of ' + str(REPEATS):52}" + "".join(f"{size:>9}" for size in sizes))
    for name in found[0]:
        print(f"{name:52}" + "".join(f"{column[name]:9.1f}" for column in found), flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base, custom_nodes = Path(folder) / "base", Path(folder) / "given" / "custom_nodes"
        custom_nodes.mkdir(parents=True)
        (custom_nodes / "ComfyUI-StoryMem").symlink_to(PACK)
        (custom_nodes / "storymem-test-nodes").symlink_to(PACK / "tests" / "helpers" / "host_nodes")
        with story_server(base, custom_nodes.parent) as server:
            for shots in SHOTS:
                write_results(base / "output", "page", shots)
            show([time_server(server, shots) for shots in SHOTS], SHOTS)
            with open_story_page(server, base / "log", user="bench") as page:
                page.page.set_default_timeout(PATIENCE)
                page.page.evaluate(PREPARE)
                show([time_editor(page, shots) for shots in SHOTS], SHOTS)
                for shots in OF_TAKES_SHOTS:
                    write_takes(ShotStore(base / "output" / ".storymem"), shots, TAKES)
                show([time_takes(page, shots) for shots in OF_TAKES_SHOTS], OF_TAKES_SHOTS)
                gallery = StoryPage(server, page.page, base / "log")
                gallery.load()
                show([time_gallery(gallery, frames) for frames in FRAMES], FRAMES)


if __name__ == "__main__":
    main()
