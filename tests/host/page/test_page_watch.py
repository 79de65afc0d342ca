"""Finished shots are played on the page, in headless Chromium with its real video decoder."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from helpers.browser import eventually, find_chromium, settle, wait_for_draft
from helpers.long_story import long_script, write_results
from helpers.loop_graphs import hold, ran, release, story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.usefixtures("unplanned"),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
PACK = Path(__file__).resolve().parents[3]
FPS = 16
TRIES = 8  # times that a story is played: what else a machine does can cost frames
SCREEN, ROW, NEWEST = ".sm-stage video.sm-front", ".sm-poster video", ".sm-newest video"
# What the two videos of the player present, in order: film, time on the screen, time in the film.
RECORD = """() => {
    window.frames = [];
    for (const video of document.querySelectorAll(".sm-stage video")) {
        const note = (now, { mediaTime, expectedDisplayTime }) => {
            if (video.classList.contains("sm-front")) {
                const film = new URL(video.src, location.href).searchParams.get("filename");
                window.frames.push([film, expectedDisplayTime / 1000, mediaTime]);
            }
            video.requestVideoFrameCallback(note);
        };
        video.requestVideoFrameCallback(note);
    }
}"""
# How bright the middle of a video is, and where in its film it stands.
LOOK = """(selector) => {
    const video = document.querySelector(selector);
    if (!video || video.readyState < 2) return null;
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const [level] = context.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
    const film = new URL(video.src, location.href).searchParams.get("filename");
    return { film, time: video.currentTime, level, paused: video.paused };
}"""
PLAYED = """() => performance.getEntriesByType("resource").map(({ name }) => new URL(name))
    .filter(({ pathname }) => pathname.endsWith("/view"))
    .map(({ searchParams }) => searchParams.get("filename"))"""
TELL = """async (facts) => {
    const { api } = await import("/scripts/api.js");
    const { id: workflow } = app.rootGraph;
    const shot = { of: 3, finished: 2, position: 3, shot: 3, label: "01_03", prompt: "x" };
    const run = { story: "x", folder: "page/Long 3", message: "", prompt_id: "p", workflow };
    const detail = { ...shot, ...run, ...facts };
    api.dispatchEvent(new CustomEvent("storymem.progress", { detail }));
}"""


def ramp(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames that get brighter."""
    levels = np.linspace(30, 220, count).astype(np.uint8)
    return [np.full((height, width, 3), level, np.uint8) for level in levels]


def load(page, server, shots: int, *, prefix: str, frames: int = FPS, size=(48, 64), missing=()):
    """A finished story; ``prefix`` is its own among the tests'."""
    output = server.base / "output"
    write_results(output, prefix, shots, frames=ramp(frames, *size), missing=missing)
    page.load(long_script(shots), prefix=prefix)
    # What follows on a shot that is missing may be made again as well.
    eventually(page.page, lambda: len(page.on_node()) == shots and "done" in page.on_node())


def seen(page, selector: str) -> dict | None:
    return page.page.evaluate(LOOK, selector)


def wait_for_film(page, selector: str, film: str) -> None:
    assert eventually(page.page, lambda: (seen(page, selector) or {}).get("film") == film), (
        f"{selector} shows {seen(page, selector)}, not {film}"
    )


def assert_plays(page, selector: str) -> None:
    """A video goes on, and shows other pictures."""
    assert eventually(page.page, lambda: seen(page, selector) is not None)
    shown = []

    def goes_on() -> bool:
        if now := seen(page, selector):  # not while it jumps back to its beginning
            shown.append(now)
        return len({s["time"] for s in shown}) > 2 and len({s["level"] for s in shown}) > 2

    assert eventually(page.page, goes_on), shown[-5:]


def state(page) -> str | None:
    return page.page.evaluate("() => document.querySelector('.sm-player')?.dataset.state ?? null")


def wait_for_state(page, wanted: str) -> None:
    page.page.wait_for_function(
        "(wanted) => document.querySelector('.sm-player')?.dataset.state === wanted", arg=wanted
    )


def title(page) -> str:
    return page.page.locator(".sm-player h2").text_content()


def message(page) -> str:
    return page.page.locator(".sm-player .sm-message").text_content()


def open_player(page) -> None:
    """By the keyboard, from the list on Load Story."""
    page.page.locator(".sm-list").focus()
    page.press("Space")
    page.page.wait_for_selector(".sm-player[open]")


def joins(frames: list, count: int) -> list[float]:
    """For each film that follows another, how many frames are missing between the two.

    Whole frames of theirs that were not shown, or a later start, in the time of frames.
    """
    found = []
    for before, after in pairwise(frames):
        if before[0] != after[0]:
            first, last = round(after[2] * FPS), round(before[2] * FPS)
            skipped = count - 1 - last
            # The first frame waits decoded and is not told of again; the one after it is.
            wanted = skipped + 1 + first
            late = (after[1] - before[1]) * FPS - wanted
            found.append(max(skipped, 0) + max(late, 0) + max(first - 1, 0))
    return found


def test_between_two_shots_at_most_one_frame_is_missing(page, server):
    load(page, server, 6, prefix="joins")
    found = []

    def is_smooth() -> bool:
        open_player(page)
        page.page.evaluate(RECORD)
        wait_for_state(page, "ended")
        played = joins(page.page.evaluate("() => window.frames"), FPS)
        page.press("Escape")
        if len(played) == 5:  # a busy machine may pass over a whole shot
            found.append(played)
        return bool(found) and max(map(min, zip(*found, strict=True))) <= 1

    assert any(is_smooth() for _ in range(TRIES)), found


def test_the_story_so_far_skips_what_is_missing_and_is_led_by_keys(page, server):
    load(page, server, 6, prefix="keys", frames=2 * FPS, missing=(3, 6))
    open_player(page)
    wait_for_state(page, "plays")
    assert title(page) == "Shot 1 of 6"
    assert_plays(page, SCREEN)
    page.press("Space")
    wait_for_state(page, "pauses")
    held = seen(page, SCREEN)
    page.press("ArrowRight")
    wait_for_film(page, SCREEN, "shot_01_02.mp4")
    assert held["paused"]
    page.press("ArrowRight", "Space")
    wait_for_state(page, "pauses")
    wait_for_film(page, SCREEN, "shot_01_04.mp4")
    assert message(page) == "Missing, because not finished yet: 3."
    look(page, "player-missing")
    page.press("ArrowLeft", "Space")
    wait_for_state(page, "pauses")
    wait_for_film(page, SCREEN, "shot_01_02.mp4")
    page.press("Space")
    wait_for_film(page, SCREEN, "shot_01_04.mp4")  # by itself
    assert message(page) == "Missing, because not finished yet: 3."
    wait_for_state(page, "ended")
    assert title(page) == "Shot 5 of 6"
    assert message(page) == "That is all so far. Missing, because not finished yet: 6."
    page.press("Escape")
    page.page.wait_for_selector(".sm-player", state="detached")
    assert page.page.evaluate("() => document.activeElement.className") == "sm-list"
    assert page.page.evaluate("() => [...document.querySelectorAll('.sm-stage')].length") == 0


def test_a_click_on_a_line_of_the_list_plays_that_shot_alone(page, server):
    load(page, server, 3, prefix="line", frames=5)
    page.page.locator(".sm-list > li").nth(1).click()
    wait_for_state(page, "ended")
    assert title(page) == "Shot 2 of 3"
    assert message(page) == ""
    page.press("Space")  # and on from there
    wait_for_film(page, SCREEN, "shot_01_03.mp4")
    page.press("Escape")
    page.page.wait_for_selector(".sm-player", state="detached")


def test_a_shot_plays_in_its_row_of_the_editor(page, server):
    load(page, server, 3, prefix="row", missing=(2,), size=(64, 36))
    page.edit_table()
    posters = page.page.locator(".sm-editor .sm-poster")
    assert posters.nth(1).is_disabled()
    posters.first.click()
    assert_plays(page, f"[data-label='01_01'] {ROW}")
    box = page.page.locator(ROW).bounding_box()
    fit = page.page.locator(ROW).evaluate("(video) => getComputedStyle(video).objectFit")
    assert (fit, box["height"] > 200) == ("contain", True)  # a film that is high, as a whole
    look(page, "row-plays")
    page.press("ArrowRight")  # over the shot that is missing
    wait_for_film(page, f"[data-label='01_03'] {ROW}", "shot_01_03.mp4")
    assert page.focused()["row"] == "01_03"
    page.press("Enter")
    assert page.page.locator(ROW).count() == 0
    page.press("Enter")
    assert_plays(page, f"[data-label='01_03'] {ROW}")
    page.press("Escape")  # stops the shot, and then closes the editor
    assert page.page.locator(ROW).count() == 0
    assert page.page.locator("dialog.sm-editor[open]").count() == 1
    page.close()


def test_space_in_the_editor_plays_the_story_outside_of_text_fields(page, server):
    load(page, server, 2, prefix="space")
    page.edit_table()
    assert page.focused()["field"] == "prompt"
    page.press("Control+Home", "Space")
    assert state(page) is None
    assert page.column("prompt")[0].startswith(" shot number 1")
    page.press("Control+z")
    page.tab_to(row="01_01", field="lock")
    page.press("Space", "Space")
    assert state(page) is None
    page.page.locator(".sm-editor [role=tab][aria-selected=true]").focus()
    page.press("Space")
    wait_for_state(page, "plays")
    assert_plays(page, SCREEN)
    page.press("Escape")
    page.page.wait_for_selector(".sm-player", state="detached")
    page.page.locator("#sm-panel-table").click(position={"x": 3, "y": 3})  # nothing is there
    page.press("Space")
    wait_for_state(page, "plays")
    page.press("Escape")
    page.page.wait_for_selector(".sm-player", state="detached")
    page.page.locator(".sm-editor [data-act=watch]").press("Enter")
    wait_for_state(page, "plays")
    page.press("Escape")
    page.page.wait_for_selector(".sm-player", state="detached")
    page.close()


def test_of_two_hundred_shots_only_the_next_one_is_loaded_ahead(page, server):
    load(page, server, 200, prefix="many", frames=FPS)
    page.page.evaluate("() => performance.clearResourceTimings()")

    def loaded() -> set[str]:
        return set(page.page.evaluate(PLAYED)) - {"shot_01_200.mp4"}  # it is on Shot Loop Close

    open_player(page)
    page.press("Space")
    wait_for_state(page, "pauses")
    wanted = {"shot_01_01.mp4", "shot_01_02.mp4"}
    assert eventually(page.page, lambda: loaded() >= wanted)
    assert loaded() == wanted
    page.press("ArrowRight")
    wait_for_film(page, SCREEN, "shot_01_02.mp4")
    wanted.add("shot_01_03.mp4")
    assert eventually(page.page, lambda: loaded() >= wanted)
    assert loaded() == wanted
    # With the one on Shot Loop Close.
    assert eventually(page.page, lambda: page.page.locator("video[src]").count() == 3)
    page.press("Escape")
    page.page.wait_for_selector(".sm-player", state="detached")
    assert page.page.locator(".sm-stage").count() == 0


# --- on the loop's nodes -------------------------------------------------------------------------


def hosts_films(page) -> list[str]:
    """Films that the host shows on nodes, at their size, without ours."""
    return page.page.evaluate(
        """() => [...document.querySelectorAll("video")]
            .filter((video) => video.videoWidth && !video.closest(".sm-newest"))
            .map((video) => new URL(video.src).searchParams.get("filename"))"""
    )


def is_newest_shown(page) -> bool:
    return page.page.locator(".sm-newest").first.is_visible()


@pytest.mark.parametrize("nodes", ["classic", "nodes-two"])
def test_close_shows_the_newest_shot_and_then_the_film_through_cancel_and_reload(
    page, server, nodes
):
    name = f"Shown {nodes}"
    set_nodes_two(page, nodes == "nodes-two")
    page.load(story(4, name=name))
    hold(page.log, 3)
    prompt_id = page.queue()
    if nodes == "nodes-two":  # where ComfyUI 0.18 goes on showing what was loaded before
        wait_for_draft(page.page, name)
        page.reload()
    wait_for_film(page, NEWEST, "shot_01_02.mp4")
    assert_plays(page, NEWEST)
    look(page, f"{nodes}-runs")
    page.page.locator(".sm-newest").click()
    wait_for_state(page, "ended")
    assert title(page) == "Shot 2 of 4"
    page.press("Escape")
    page.page.locator(".sm-progress .sm-bar-of").first.click(position={"x": 2, "y": 2})
    wait_for_state(page, "ended")
    assert title(page) == "Shot 1 of 4"
    page.press("Escape")
    wait_for_draft(page.page, name)
    page.reload()
    wait_for_film(page, NEWEST, "shot_01_02.mp4")
    assert_plays(page, NEWEST)
    page.page.locator(".sm-cancel").first.press("Enter")
    server.wait(prompt_id)
    assert ran(page.log) == [1, 2]
    release(page.log)
    page.page.wait_for_function(
        "() => document.querySelector('.sm-progress')?.dataset.state === 'stopped'"
    )
    assert_plays(page, NEWEST)
    wait_for_film(page, NEWEST, "shot_01_02.mp4")
    assert page.run() == [3, 4]
    film = f"{name}_00001_.mp4"
    assert eventually(page.page, lambda: hosts_films(page)) == [film]
    assert not is_newest_shown(page)  # it is there once
    look(page, f"{nodes}-done")
    page.reload()
    wait_for_film(page, NEWEST, film)
    assert_plays(page, NEWEST)
    assert hosts_films(page) == []
    page.page.locator(".sm-newest").click()
    wait_for_state(page, "ended")
    assert title(page) == "The film"
    page.press("Escape")
    page.page.wait_for_selector(".sm-player", state="detached")


def set_nodes_two(page, wanted: bool) -> None:
    page.page.evaluate(
        "(wanted) => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', wanted)", wanted
    )
    settle(page.page)


# From the bottom of Shot Loop Close to the top of the node below it, in the graph's pixels.
DISTANCE = """() => {
    const boxOf = (node) => {
        const element = document.querySelector(`[data-node-id="${node.id}"]`);
        const shown = element?.getBoundingClientRect();
        if (!shown) return [node.pos[0], node.pos[1] - 30, node.size[0], node.size[1] + 30];
        const { x, y, width, height } = shown;
        return [x, y, width, height].map((length) => length / app.canvas.ds.scale);
    };
    const isClose = (node) => node.comfyClass === "StoryMemShotLoopClose";
    const close = app.graph._nodes.find(isClose);
    const [left, top, width, height] = boxOf(close);
    const below = app.graph._nodes.filter((node) => node !== close).map(boxOf)
        .filter(([x, y, w]) => x < left + width && x + w > left && y > top);
    return Math.min(...below.map(([, y]) => y)) - (top + height);
}"""


# What the server says when the node gave its film.
EXECUTED = """async ([node, subfolder, filename]) => {
    const { api } = await import("/scripts/api.js");
    const output = { images: [{ filename, subfolder, type: "output" }], animated: [true] };
    const detail = { node, display_node: node, output, prompt_id: "p" };
    api.dispatchEvent(new CustomEvent("executed", { detail }));
}"""


@pytest.mark.parametrize("nodes", ["classic", "nodes-two"])
def test_the_video_never_covers_what_is_below_in_the_shipped_layout(page, server, nodes):
    set_nodes_two(page, nodes == "nodes-two")
    folder = server.base / "output" / "page" / "Long 3"
    if not folder.exists():
        frames = ramp(FPS, 36, 64)
        write_results(server.base / "output", "page", 3, frames=frames, missing=(3,))
    workflow = json.loads((PACK / "workflows" / "storymem_story.json").read_text(encoding="utf-8"))
    page.page.evaluate("(workflow) => app.loadGraphData(workflow)", workflow)
    page.page.evaluate(
        """(script) => {
            const find = (kind) => app.graph._nodes.find((node) => node.comfyClass === kind);
            const set = (kind, name, value) => {
                const widget = find(kind).widgets.find((found) => found.name === name);
                widget.value = value;
                widget.callback?.(value);
            };
            set("StoryMemShotLoopOpen", "filename_prefix", "page");
            set("StoryMemLoadStory", "script", script);
            app.canvas.ds.scale = 0.6;
            app.canvas.ds.offset = [-1500, 60];
            app.canvas.setDirty(true, true);
        }""",
        long_script(3),
    )
    page.wait_on_node(["done", "done", "waiting"])
    wait_for_film(page, NEWEST, "shot_01_02.mp4")
    ids = page.page.evaluate(
        """() => ["Open", "Close"].map((end) => String(app.graph._nodes
            .find((node) => node.comfyClass === `StoryMemShotLoop${end}`).id))"""
    )
    facts = {"open": ids[0], "node": ids[1], "state": "shot"}
    facts["states"] = {"01_01": "done", "01_02": "done", "01_03": "running"}
    page.page.evaluate(TELL, {**facts, "notice": "\n".join(["a long notice"] * 9)})
    page.page.locator(".sm-progress .sm-cancel").last.wait_for()
    assert eventually(page.page, lambda: page.page.evaluate(DISTANCE) > 0)
    assert_plays(page, NEWEST)
    look(page, f"{nodes}-shipped")
    # A run whose film the host shows already, and then the next run.
    page.page.evaluate(TELL, {**facts, "state": "done"})
    page.page.evaluate(EXECUTED, [ids[1], "page/Long 3", "film.mp4"])
    assert eventually(page.page, lambda: hosts_films(page)) == ["film.mp4"]
    settle(page.page)  # and the node is as high as that
    assert not is_newest_shown(page)
    assert eventually(page.page, lambda: page.page.evaluate(DISTANCE) > 0)
    page.page.evaluate(TELL, {**facts, "notice": ""})
    page.page.locator(".sm-progress .sm-cancel").last.wait_for()
    if nodes == "classic":  # in Nodes 2.0 the host's film may leave no room
        assert eventually(page.page, lambda: is_newest_shown(page))
    settle(page.page)
    look(page, f"{nodes}-shipped-again")
    assert eventually(page.page, lambda: page.page.evaluate(DISTANCE) > 0)
