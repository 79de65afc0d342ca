"""End to end with the tiny model's trained weights: a real server, the host's page, the judge.

Each test begins with the same finished story, whose shots are kept: only what it changes is made.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.browser import (
    SHOW_ALL,
    find_chromium,
    load_workflow,
    open_page,
    wait_for_draft,
    wait_until_ready,
)
from helpers.gallery_page import prepare_base
from helpers.host_server import PACK
from helpers.loop_graphs import hold, release
from helpers.server_base import serving, with_shipped_names
from helpers.tiny_page import FIRST, OWN_CONTROLS, SECOND, TinyPage, script
from helpers.workflow_graphs import needs
from storymem.tiny import world

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
LOOK = os.environ.get("STORYMEM_SCREENSHOTS")  # a folder: pictures of the page, to be looked at


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory, host):
    """A server with stand-ins for the large models, so that no template misses a file."""
    base = prepare_base(
        tmp_path_factory.mktemp("tiny_server"), base_folder, folder="ComfyUI-StoryMem"
    )
    threads = {"OMP_NUM_THREADS": "1"}
    with serving(with_shipped_names(base), "--disable-api-nodes", env=threads) as running:
        yield running


@pytest.fixture(scope="module")
def shared(server, tmp_path_factory):
    """The page with the finished story in it."""
    with open_page(server.port, width=2400, height=1500) as page:
        tiny = TinyPage(server, page, tmp_path_factory.mktemp("log") / "log")
        tiny.open_template()
        tiny.shorten()
        tiny.first_run = tiny.run()
        tiny.workflow = page.evaluate("() => app.graph.serialize()")
        yield tiny


@pytest.fixture
def tiny(shared):
    load_workflow(shared.page, shared.workflow)
    shared.page.evaluate(SHOW_ALL)
    assert shared.run() == [], "finished shots are found again"
    shared.wait_on_node(["done"] * 3)
    yield shared
    release(shared.log)
    assert shared.errors == []


def look(tiny, name: str) -> None:
    if LOOK:
        tiny.page.wait_for_timeout(1000)
        tiny.page.screenshot(path=str(Path(LOOK) / f"{name}.png"))


def test_the_template_films_its_story_with_the_look_of_the_portrait_in_view(tiny):
    assert tiny.first_run == [1, 2, 3]
    assert tiny.looks() == [FIRST] * 3
    assert [card["role"] for card in tiny.cards()][:2] == ["sink", "waiting"]
    look(tiny, "tiny-dark")


def test_every_template_that_the_server_offers_opens_with_no_node_missing(tiny, server):
    # One file is for hosts with loops of their own, as its note says.
    newer = {"StartLoop", "EndLoop"} - server.get("/object_info").keys()
    offered = server.get("/workflow_templates")["ComfyUI-StoryMem"]
    assert len(offered) == len(list((PACK / "workflows").glob("*.json")))
    for name in offered:
        template = server.get(f"/api/workflow_templates/ComfyUI-StoryMem/{name}.json")
        seen = load_workflow(tiny.page, template)
        lacking = [n["type"] for n in template["nodes"] if name in needs() and n["type"] in newer]
        assert (seen["missing"], seen["nodes"]) == (lacking, len(template["nodes"])), name


def test_a_pin_and_a_drop_by_keyboard_change_how_the_character_looks(tiny):
    first, second = (card["digest"] for card in tiny.cards()[:2])
    tiny.focus(first)
    tiny.press("d", "ArrowRight", "p")
    changed = [tiny.card(digest)["next"] for digest in (first, second)]
    assert changed == ["next: dropped", "next: pinned"]
    look(tiny, "tiny-pending")
    assert tiny.run() == [1, 2, 3]
    assert tiny.looks() == [SECOND] * 3
    assert tiny.card(first)["role"] == "dropped"
    assert "unpin" in tiny.card(second)["acts"]
    # Undone by keyboard, the story is the first one again, and nothing has to be made.
    tiny.focus(first)
    tiny.press("r")
    tiny.focus(second)
    tiny.press("p")
    assert tiny.widget("edits", "StoryMemMemoryBank") == ""
    assert tiny.run() == []
    assert tiny.looks() == [FIRST] * 3
    width, room = tiny.room_below_film()
    assert width == 460
    assert room >= 0, f"the node with the film grew {-room} over others"


def test_an_edited_shot_and_those_after_it_are_made_again_but_a_locked_one_stays(tiny):
    tiny.edit_table()
    tiny.tab_to(row="01_03", field="lock")
    tiny.press("Space")
    tiny.page.locator("[data-label='01_02'] textarea").first.focus()
    tiny.press("Control+a")
    tiny.page.keyboard.type("Bomo circles, snow, still")
    tiny.save()
    tiny.wait_on_node(["done", "waiting", "locked"])
    assert tiny.run() == [2]
    tiny.wait_on_node(["done", "done", "locked"])
    tiny.edit_table()
    tiny.tab_to(row="01_03", field="lock")
    tiny.press("Space")
    tiny.save()
    tiny.wait_on_node(["done", "done", "depends"])
    assert tiny.run() == [3]
    assert tiny.looks() == [FIRST] * 3


def test_a_reload_in_the_middle_shows_the_run_and_cancelling_keeps_what_is_finished(tiny, server):
    shots = [f"Bomo jumps, {place}, still" for place in world.PLACES]
    tiny.put({"StoryMemLoadStory": {"script": script("Stopped", *shots)}})
    tiny.hold_before_close()
    wait_for_draft(tiny.page, "StoryMemTestHold")
    hold(tiny.log, 2)
    prompt_id = tiny.queue()
    tiny.wait_on_node(["done", "running"] + ["waiting"] * (len(shots) - 2), timeout=300_000)
    tiny.page.reload()
    wait_until_ready(tiny.page)
    cancel = tiny.page.get_by_role("button", name="Cancel, keep finished shots").first
    cancel.press("Enter")
    assert server.wait(prompt_id)["status"]["messages"][-1][0] == "execution_interrupted"
    tiny.page.wait_for_function(
        "() => document.querySelector('.sm-progress')?.dataset.state === 'stopped'"
    )
    assert tiny.made() == [1]
    release(tiny.log)
    tiny.wait_on_node(["done"] + ["waiting"] * (len(shots) - 1))
    tiny.put({"StoryMemLoadStory": {"script": script("Stopped", *shots[:2])}})
    assert tiny.run() == [2]
    assert tiny.looks("Stopped")[-1] == FIRST


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_control_of_the_pack_on_the_canvas_is_reached_by_tab(tiny, theme):
    page = tiny.page
    put = "([name, value]) => app.extensionManager.setting.set(name, value)"
    page.evaluate(put, ["Comfy.ColorPalette", theme])
    look(tiny, f"tiny-{theme}-after")
    wanted = page.evaluate(OWN_CONTROLS)
    assert len(wanted) > 10
    assert all(wanted)
    page.evaluate("() => document.querySelector('[data-seen=\"0\"]').focus()")
    reached = {"0"}
    for _ in range(3 * len(wanted)):
        tiny.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.dataset.seen"))
    assert {str(i) for i in range(len(wanted))} <= reached, wanted
