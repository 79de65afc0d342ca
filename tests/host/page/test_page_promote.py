"""A shot takes over from the draft what the artist chooses, in the host's page."""

from __future__ import annotations

import json

import pytest

from helpers.browser import eventually, find_chromium
from helpers.loop_graphs import story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
DIALOG = "dialog.sm-promote"
SET_PASS = """(value) => {
    const widget = app.graph.getNodeById(2).widgets.find((one) => one.name === "pass");
    widget.value = value;
    widget.callback?.(value);
}"""
FRAMES = f"""() => [...document.querySelectorAll("{DIALOG} [data-frame]")].map((tile) => ({{
    frame: Number(tile.dataset.frame),
    pressed: tile.getAttribute("aria-pressed") === "true",
    wide: tile.querySelector("img").naturalWidth,
}}))"""


def draft(page, name: str) -> None:
    page.load(story(3, name=name, cuts=[True] * 3))
    page.page.evaluate(SET_PASS, "draft")
    assert page.run() == [1, 2, 3]
    page.page.evaluate(SET_PASS, "film")


def frames(page) -> list[dict]:
    return page.page.evaluate(FRAMES)


def open_promote(page, label: str) -> None:
    page.edit_table()
    row = f"[data-label='{label}']"
    page.page.locator(f"{row} [data-act='more']").click()
    page.page.locator(f"{row} [data-act='promote']").click()
    page.page.wait_for_selector(f"{DIALOG}[open]")


def chips(page) -> list[str]:
    return page.page.locator(f"{DIALOG} .sm-chip").all_text_contents()


def line(page, label: str) -> str:
    return page.page.locator(f"[data-label='{label}'] [data-field='promote']").input_value()


def test_frames_of_the_draft_are_taken_over_by_keyboard(page, server):
    draft(page, "Promote")
    open_promote(page, "01_01")
    assert eventually(page.page, lambda: len(frames(page)) > 3), frames(page)
    listed = frames(page)
    assert [listed[0]["frame"], listed[-1]["frame"]] == [0, 12]
    assert eventually(page.page, lambda: all(tile["wide"] for tile in frames(page)))
    page.press("ArrowRight", "Enter")
    assert [tile["frame"] for tile in frames(page) if tile["pressed"]] == [listed[1]["frame"]]
    page.tab_to(name="Start from it")
    page.press("Enter")
    assert eventually(page.page, lambda: chips(page) == [f"start {listed[1]['frame']}"])
    page.page.locator(f"{DIALOG} select").nth(1).select_option("3")
    assert eventually(
        page.page, lambda: frames(page) and not any(t["pressed"] for t in frames(page))
    )
    page.page.locator(f"{DIALOG} [data-frame='12']").click()
    page.page.locator(f"{DIALOG} input").fill("Mara")
    page.page.locator(f"{DIALOG} [data-promote='memory']").click()
    assert eventually(page.page, lambda: chips(page)[1:] == ["memory 3:12 Mara"]), chips(page)
    look(page, "promote")
    page.press("Escape")
    page.page.wait_for_selector(DIALOG, state="detached")
    assert page.focused()["field"] == "promote"
    assert line(page, "01_01").startswith(f"start {listed[1]['frame']} #")
    page.save()
    promote, *others = page.script()["scenes"][0]["promote"]
    assert (promote["memory"][0]["name"], others) == ("Mara", [None, None])
    assert page.run() == [1, 2, 3]
    folder = server.base / "output/page/Promote"
    entry = json.loads((folder / "story.json").read_text())["shots"]["01_01"]
    record = server.base / f"output/.storymem/shots/{entry['key'][:2]}/{entry['key']}/record.json"
    pictures = json.loads(json.loads(record.read_text())["record"])["facts"]["pictures"]
    assert [one.split()[0] for one in pictures] == ["promoted", "start"]
    assert promote["start"]["picture"] in pictures[1]


def test_what_is_taken_over_is_taken_back(page):
    draft(page, "Back")
    open_promote(page, "01_02")
    assert eventually(page.page, lambda: len(frames(page)) > 3)
    for name in ("seed", "keyframes"):
        page.page.locator(f"{DIALOG} [data-promote='{name}']").click()
    assert chips(page) == ["seed", "memory"]
    page.page.locator(f"{DIALOG} .sm-chip button").first.click()
    assert chips(page) == ["memory"]
    page.page.locator(f"{DIALOG} [data-promote='nothing']").click()
    assert chips(page) == []
    page.press("Escape")
    assert line(page, "01_02") == ""
    page.press("Control+z")  # a step of its own
    assert eventually(page.page, lambda: line(page, "01_02") == "memory")


def test_without_a_draft_it_is_said_what_to_do(page):
    page.load(story(2, name="Undrafted"))
    open_promote(page, "01_01")
    said = page.page.locator(f"{DIALOG} .sm-message")
    assert eventually(page.page, lambda: "there is no draft of this story" in said.text_content())
    assert page.page.locator(f"{DIALOG} [data-promote='seed']").is_disabled()


def test_a_damaged_shot_leaves_the_others_to_choose_from(page, server):
    draft(page, "Damaged")
    output = server.base / "output"
    place = output / "page/Damaged.draft"
    entry = json.loads((place / "story.json").read_text())["shots"]["01_01"]
    record = output / f".storymem/shots/{entry['key'][:2]}/{entry['key']}"
    for path in (place / entry["file"], record / "shot.mp4"):
        path.write_bytes(b"no video")
    open_promote(page, "01_01")
    said = page.page.locator(f"{DIALOG} .sm-message")
    assert eventually(page.page, lambda: "shot 1 (01_01) cannot be used" in said.text_content())
    assert str(server.base) not in said.text_content()
    assert frames(page) == []
    page.page.locator(f"{DIALOG} select").nth(1).select_option("3")
    assert eventually(page.page, lambda: len(frames(page)) > 3)
    assert said.text_content() == ""


def test_a_locked_shot_is_told_to_stay(page):
    draft(page, "Held")
    page.edit_table()
    page.page.locator("[data-label='01_01'] [data-field='lock']").check()
    page.save()
    open_promote(page, "01_01")
    assert page.page.locator(f"{DIALOG} .sm-hint").is_visible()
