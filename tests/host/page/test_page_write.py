"""A language model writes, by copy and paste, in the story editor of the host's own page."""

from __future__ import annotations

import json

import pytest

from helpers.browser import find_chromium
from helpers.loop_graphs import story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
LOOK = "a woman of thirty with copper hair and a yellow raincoat"
PROMPTS = [
    f"Wide shot, slow push-in: Mara, {LOOK}, walks along a wet pier at dawn, cold blue light.",
    f"Close-up, static: Mara, {LOOK}, lifts a lantern over the wet pier, cold blue dawn light.",
]
SHOTS = [
    {"cut": True, "prompt": PROMPTS[0], "remember": [{"who": "Mara", "weight": 3}]},
    {"cut": False, "prompt": PROMPTS[1]},
]
ANSWER = "Sure!\n```json\n" + json.dumps(
    {"story_name": "Lamp", "cast": ["Mara"], "scenes": [{"scene_num": 1, "shots": SHOTS}]}
)  # cut off after the script: the fence never ends
COPIED = "() => document.querySelector('.sm-write .sm-request').value"


def open_writing(page) -> None:
    page.press("Alt+w")
    page.page.wait_for_selector("dialog.sm-write[open]")


def fill(page, name: str, text: str) -> None:
    page.page.locator(f".sm-write [data-typed={name}]").fill(text)


def answer(page, text: str) -> None:
    page.page.locator(".sm-write .sm-answer").fill(text)


def said(page) -> str:
    return page.page.locator(".sm-write .sm-message").text_content()


def wait_until_said(page, words: str) -> None:
    page.page.wait_for_function(
        "(words) => document.querySelector('.sm-write .sm-message')?.textContent.includes(words)",
        arg=words,
    )


def use(page) -> None:
    page.page.wait_for_selector(".sm-write [data-write=use]:not(:disabled)")
    page.press("Control+Enter")
    page.page.wait_for_selector("dialog.sm-write", state="detached")


def test_a_story_is_written_from_an_idea_and_taken_over_as_one_change(page):
    page.load(story(3))
    page.edit_table()
    before = page.column("prompt")
    open_writing(page)
    page.page.locator("#sm-write-idea").click()
    fill(page, "idea", "A lamp is found.")
    fill(page, "shots", "2")
    fill(page, "cast", f"Mara: {LOOK}")
    page.page.locator(".sm-write [data-write=copy]").click()
    page.page.wait_for_function(f"({COPIED})() !== ''")
    request = page.page.evaluate(COPIED)
    assert "exactly 2 shots" in request
    assert "A lamp is found." in request
    answer(page, ANSWER)
    wait_until_said(page, "2 shots: Lamp")
    look(page, "write-idea")
    use(page)
    assert page.column("prompt") == PROMPTS
    assert page.column("cut") == [True, False]
    assert "2 shots" in page.message()
    page.press("Control+z")
    assert page.column("prompt") == before
    page.press("Control+y")
    page.save()
    written = page.script()
    assert written["cast"] == ["Mara"]
    assert written["scenes"][0]["remember"] == [[{"who": "Mara", "weight": 3}], None]
    assert page.errors == []


def test_a_bad_answer_is_told_kept_and_sent_back_with_what_is_wrong(page):
    page.load(story(2))
    page.edit_table()
    open_writing(page)
    page.page.locator("#sm-write-idea").click()
    fill(page, "idea", "A lamp is found.")
    fill(page, "shots", "3")
    answer(page, ANSWER[:120])
    wait_until_said(page, "not valid JSON")
    assert page.page.locator(".sm-write [data-write=use]").is_disabled()
    page.page.locator(".sm-write [data-write=correct]").click()
    page.page.wait_for_function(f"({COPIED})().includes('not valid JSON')")
    answer(page, ANSWER)
    wait_until_said(page, "it has 2 shots, but 3 are wanted")
    page.press("Escape")
    page.page.wait_for_selector("dialog.sm-write", state="detached")
    assert page.page.locator("dialog.sm-editor").count() == 1
    open_writing(page)
    page.page.locator("#sm-write-idea").click()
    wait_until_said(page, "it has 2 shots, but 3 are wanted")  # nothing was lost
    answer(page, "")
    page.press("Escape")


def test_shots_are_rewritten_shown_as_a_difference_and_taken_over_as_one_change(page):
    page.load(story(5, cuts=[True, True, False, True, True]))
    page.edit_table()
    page.tab_to(row="01_02", field="prompt")
    before = page.column("prompt")
    open_writing(page)
    assert page.page.locator("[data-typed=which]").input_value() == "2"
    fill(page, "which", "2-3")
    fill(page, "instruction", "make the camera closer, and go on for one shot")
    page.page.locator(".sm-write [data-write=copy]").click()
    page.page.wait_for_function(f"({COPIED})() !== ''")
    assert "make the camera closer" in page.page.evaluate(COPIED)
    shots = [
        {"number": 2, "prompt": "shot number two, closer", "remember": [{"Mara": 2}],
         "dialogue": ["Mara: Closer!"]},
        {"prompt": "a new shot"},
    ]  # fmt: skip
    answer(page, json.dumps({"shots": shots}))
    wait_until_said(page, "1 changed, 1 new, 1 removed")
    kinds = page.page.eval_on_selector_all(
        ".sm-result > li", "(all) => all.map((one) => one.dataset.kind)"
    )
    assert kinds == ["changed", "new", "gone"]
    told = page.page.locator(".sm-result ins").all_text_contents()
    assert told[:2] == ["Mara 2", "Mara: Closer!"]
    wait_until_said(page, "remember names 'Mara', who is nobody of the cast")
    look(page, "write-rewrite")
    page.page.locator(".sm-write [data-write=correct]").click()
    page.page.wait_for_function(f"({COPIED})().includes('nobody of the cast')")
    assert '"prompt": "a new shot"' in page.page.evaluate(COPIED)
    use(page)
    after = [before[0], "shot number two, closer", "a new shot", *before[3:]]
    assert page.column("prompt") == after
    assert page.focused()["row"] == "01_02"
    row = page.page.locator(".sm-editor [data-label='01_02']")
    page.open_more("01_02")
    assert row.locator("[data-field=dialogue]").input_value() == "Mara: Closer!"
    page.press("Control+z")
    assert page.column("prompt") == before
    page.press("Control+y")
    page.save()
    assert page.script()["scenes"][0]["video_prompts"] == after
    assert page.errors == []


def test_a_whole_scene_is_chosen_and_what_names_no_shot_is_told(page):
    page.load(story(4))
    page.edit_table()
    page.tab_to(row="01_03", act="toggle_scene")
    page.press("Enter")
    page.tab_to(row="02_02", field="prompt")
    open_writing(page)
    page.page.locator("[data-write='which.scene']").click()
    assert page.page.locator("[data-typed=which]").input_value() == "3-4"
    fill(page, "which", "9")
    answer(page, '{"shots": [{"number": 3, "prompt": "x"}]}')
    wait_until_said(page, "of the 4 shots")
    fill(page, "which", "3-4")
    wait_until_said(page, "1 changed, 0 new, 1 removed")
    use(page)
    assert page.column("label") == ["01_01", "01_02", "02_01"]


def test_what_is_to_be_remembered_is_a_field_of_a_row(page):
    page.load(story(2))
    page.edit_table()
    page.tab_to(row="01_01", act="more")
    page.press("Enter")
    page.page.locator("[data-field=remember]").first.fill("Mara 3, place: the pier 0")
    look(page, "write-remember")
    page.wait_for_message("Mara")  # nobody of the cast
    page.save()
    assert page.script()["scenes"][0]["remember"] == [
        [{"who": "Mara", "weight": 3}, {"place": "the pier", "weight": 0}],
        None,
    ]


def test_in_nodes_two_in_chinese_and_light_it_says_the_same(page):
    page.load(story(2))
    page.use_nodes_two_in_chinese_and_light()
    page.reload()
    page.edit_table()
    open_writing(page)
    assert page.page.locator("#sm-write-title").text_content() == "用语言模型编写"
    answer(page, '{"shots": [{"number": 1, "prompt": "shot number one"}, {"prompt": "新镜头。"}]}')
    wait_until_said(page, "修改 1 个，新增 1 个")
    look(page, "write-rewrite-zh-light")
    page.page.locator("#sm-write-idea").click()
    look(page, "write-idea-zh-light")
    assert page.errors == []
