"""Find and replace over all prompts of the story editor; see ``story_page.py``."""

from __future__ import annotations

import json

import pytest

from helpers.browser import eventually, find_chromium, settle
from helpers.loop_graphs import story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
PROMPTS = ["A cat sees a cat.", "Nobody is here.", "Category: Cat,\r\ncats and CAT.", "the cat"]
SHOWN = """() => {
    const here = document.querySelector(".sm-found-layer .sm-here");
    const row = here?.closest("li[data-id]");
    const before = [...(here?.parentElement.querySelectorAll("mark") ?? [])].indexOf(here);
    return [row?.dataset.label ?? "", here?.textContent ?? "", before];
}"""
CHOSEN = """() => {
    const { value, selectionStart, selectionEnd } = document.activeElement;
    return value.slice(selectionStart, selectionEnd);
}"""


PLANNED = """(count) => {
    const rows = [...document.querySelectorAll(".sm-editor li[data-id]")];
    const isPlanned = (row) => row.querySelector(".sm-plan-line")?.textContent;
    return rows.length === count && rows.every(isPlanned);
}"""


def open_bar(page, key: str, words: str, prompts=PROMPTS, *, is_planned: bool = False) -> None:
    """Type into the bar; ``is_planned``: once all rows have the plan's line, and their height."""
    page.load(story(name="Found", prompts=prompts, cuts=[True] * len(prompts)))
    page.edit_table()
    if is_planned:
        page.page.wait_for_function(PLANNED, arg=len(prompts))
    page.press(key)
    page.page.keyboard.type(words)


def count(page) -> str:
    return page.page.locator(".sm-find .sm-count").text_content()


def shown(page) -> list:
    return page.page.evaluate(SHOWN)


def choose(page, name: str) -> None:
    page.page.locator(f".sm-find [data-find={name}]").click()


def replace_with(page, words: str) -> None:
    page.page.locator(".sm-find [data-find=other]").fill(words)


def test_words_are_found_in_every_prompt_and_walked_through(page):
    open_bar(page, "Control+f", "cat")
    assert (count(page), shown(page)) == ("1 of 7", ["01_01", "cat", 0])
    assert page.page.locator(".sm-find [data-find=other]").is_hidden()
    found = page.page.locator(".sm-editor li.sm-found")
    assert [row.get_attribute("data-label") for row in found.all()] == ["01_01", "01_03", "01_04"]
    look(page, "editor-find")
    page.press("Enter", "Enter")
    assert (count(page), shown(page)) == ("3 of 7", ["01_03", "Cat", 0])
    page.press("F3")
    assert (count(page), shown(page)) == ("4 of 7", ["01_03", "Cat", 1])
    page.press("Shift+Enter", "Shift+Enter", "Shift+Enter", "Shift+Enter")
    assert (count(page), shown(page)) == ("7 of 7", ["01_04", "cat", 0])
    page.press("Enter")
    assert count(page) == "1 of 7"
    page.press("Enter", "Escape")  # the bar, not the editor: the words are chosen in their prompt
    assert page.page.locator(".sm-find").is_hidden()
    assert page.page.locator(".sm-found, .sm-found-layer").count() == 0
    assert (page.focused()["row"], page.page.evaluate(CHOSEN)) == ("01_01", "cat")
    page.press("Control+f")
    assert page.page.locator(".sm-find [data-find=words]").input_value() == "cat"
    page.page.keyboard.type("no such words")
    assert (count(page), shown(page)) == ("not found", ["", "", -1])
    page.press("Escape")
    page.close()


def test_case_and_whole_words_count_when_they_are_asked_for(page):
    open_bar(page, "Control+f", "cat")
    choose(page, "whole")
    assert count(page) == "1 of 5"  # neither Category nor cats
    choose(page, "case")
    assert count(page) == "1 of 3"
    choose(page, "whole")
    assert count(page) == "1 of 4"
    words = page.page.locator(".sm-find [data-find=words]")
    for text, told in (("is h", "1 of 1"), (".", "1 of 3"), ("a*", "not found"), ("", "")):
        words.fill(text)  # signs mean themselves
        assert count(page) == told, text
    page.press("Escape")
    page.close()


def test_one_is_replaced_after_the_other_and_all_at_once(page):
    open_bar(page, "Control+h", "cat")
    replace_with(page, "cats")
    page.page.locator(".sm-find [data-find=other]").press("Enter")
    assert page.column("prompt")[0] == "A cats sees a cat."
    assert (count(page), shown(page)) == ("2 of 7", ["01_01", "cat", 1])  # not what was put in
    page.press("Enter")
    assert page.column("prompt")[0] == "A cats sees a cats."
    assert shown(page) == ["01_03", "Cat", 0]
    page.press("Control+z")
    assert page.column("prompt")[0] == "A cats sees a cat."
    replace_with(page, "$& dog")
    choose(page, "all")
    assert count(page) == "7 replaced in 3 shots"
    assert page.column("prompt")[0] == "A $& dogs sees a $& dog."
    look(page, "editor-replaced")
    page.press("Control+z")  # one step
    assert page.column("prompt")[0] == "A cats sees a cat."
    assert page.column("prompt")[3] == "the cat"
    page.press("Control+y", "Escape")
    page.save()
    prompts = json.loads(page.widget("script"))["scenes"][0]["video_prompts"]
    assert prompts[2] == "$& dogegory: $& dog,\r\n$& dogs and $& dog."  # its line ends are kept
    assert prompts[1] == PROMPTS[1]


def test_what_is_found_follows_what_is_typed_and_moved(page):
    open_bar(page, "Control+f", "cat")
    page.page.locator(".sm-editor [data-label='01_02'] [data-field=prompt]").fill("cat cat")
    assert count(page) == "1 of 9"
    page.page.locator(".sm-editor [data-label='01_01'] [data-act=remove]").click()
    assert (count(page), shown(page)[0]) == ("1 of 7", "01_01")
    page.press("Control+z")
    assert count(page).endswith("of 9")
    page.page.locator("[data-tab=text]").click()
    assert page.page.locator(".sm-find").is_hidden()
    page.page.locator("[data-tab=table]").click()
    assert page.page.locator(".sm-found").count() == 0
    page.close()


IN_VIEW = """() => {
    const here = document.querySelector(".sm-here");
    const box = here.getBoundingClientRect();
    const field = here.closest(".sm-row").querySelector("textarea");
    const around = field.getBoundingClientRect();
    const panel = document.querySelector("#sm-panel-table").getBoundingClientRect();
    return [box.top >= around.top, box.bottom <= around.bottom,
        around.top >= panel.top - 1, around.bottom <= panel.bottom + 1];
}"""


def in_view(page) -> bool:
    return eventually(page.page, lambda: page.page.evaluate(IN_VIEW) == [True] * 4)


def test_a_place_far_down_in_a_long_prompt_comes_into_view(page):
    long = "\n".join([*["She walks on."] * 40, "There is a needle.", *["She walks on."] * 40])
    open_bar(page, "Control+f", "needle", [*["a shot"] * 30, long], is_planned=True)
    assert in_view(page), page.page.evaluate(IN_VIEW)
    look(page, "editor-find-far")
    page.press("Escape")
    page.close()


def test_a_place_stays_in_view_while_rows_grow_and_is_let_go_of_when_scrolled_away(page):
    open_bar(page, "Control+f", "needle", [*["a shot"] * 30, "a needle"], is_planned=True)
    assert in_view(page)
    grow = """(px) => document.querySelectorAll(".sm-plan-line")
        .forEach((line) => { line.style.paddingTop = `${px}px`; })"""
    page.page.evaluate(grow, 30)
    assert in_view(page), "after the rows grew"
    page.page.evaluate(
        """() => { document.querySelector(".sm-find").style.paddingBottom = "150px"; }"""
    )
    assert in_view(page), "after the rows got less room"
    page.page.evaluate("""() => { document.querySelector("#sm-panel-table").scrollTop = 0; }""")
    settle(page.page)
    page.page.evaluate(grow, 10)
    settle(page.page)
    assert page.page.evaluate("""() => document.querySelector("#sm-panel-table").scrollTop""") == 0
    page.page.evaluate("""() => { document.querySelector(".sm-find").style.paddingBottom = ""; }""")
    page.press("Escape")
    page.close()


FILTERED = """() => {
    const shown = (list) => [...document.querySelectorAll(list)];
    return {
        rows: shown(".sm-editor li[data-id]:not(.sm-left-out)").map((row) => row.dataset.label),
        dimmed: shown(".sm-timeline .sm-dimmed .sm-number").map((one) => one.textContent),
        count: document.querySelector(".sm-filter .sm-count").textContent,
        none: !document.querySelector(".sm-none-match").hidden,
    };
}"""


def filtered(page) -> dict:
    return page.page.evaluate(FILTERED)


def test_the_table_shows_the_shots_that_are_asked_for(page):
    open_bar(page, "Control+Shift+f", "cat")
    seen = {"rows": ["01_01", "01_03", "01_04"], "dimmed": ["2"], "none": False}
    assert filtered(page) == {**seen, "count": "3 of 4 shown"}
    look(page, "editor-filter")
    for control in ("[data-field=prompt]", "[data-act=handle]"):  # no Tab stops at what is left out
        page.page.evaluate("(of) => document.querySelector(`.sm-left-out ${of}`).focus()", control)
        assert page.focused()["tag"] == "INPUT"
        assert page.page.locator(f".sm-left-out {control}").is_hidden()
    page.press("Enter")  # to the first of them
    assert page.focused()["row"] == "01_01"
    for key in ("Alt+ArrowDown", "Alt+Shift+Backspace"):  # past a shot that nobody sees
        page.press(key)
        assert page.message().startswith("Shots are moved and joined only while all are shown")
    assert page.column("prompt")[0] == PROMPTS[0]
    page.page.locator("[data-label='01_01'] textarea").fill("A dog.")
    assert filtered(page) == {**seen, "count": "3 of 4 shown"}  # not from under the hands
    page.press("Alt+Enter")
    assert filtered(page)["rows"] == ["01_01", "01_02", "01_04", "01_05"]  # with the new shot
    page.press("Control+z", "Control+h")
    page.page.locator(".sm-find [data-find=words]").fill("o")
    assert count(page).endswith("of 2")  # not in the second shot
    page.press("Escape", "Control+Shift+f", "Enter")  # asked for again
    assert filtered(page)["rows"] == ["01_03", "01_04"]
    page.page.locator(".sm-timeline [data-shot] button").nth(1).click()  # that one as well
    assert (filtered(page)["rows"], page.focused()["row"]) == (["01_02", "01_03", "01_04"], "01_02")
    page.press("Control+Shift+f")
    page.page.keyboard.type("no such words")
    assert filtered(page) == {
        "rows": [], "dimmed": ["1", "2", "3", "4"], "none": True, "count": "0 of 4 shown",
    }  # fmt: skip
    look(page, "editor-filter-none")
    page.press("Escape")
    labels = ["01_01", "01_02", "01_03", "01_04"]
    assert filtered(page) == {"rows": labels, "dimmed": [], "none": False, "count": ""}
    page.page.locator("[data-filter=state]").select_option("changed")
    assert filtered(page)["rows"] == ["01_01"]
    page.page.locator("[data-tab=text]").click()
    assert page.page.locator(".sm-filter").is_hidden()
    page.page.locator("[data-tab=table]").click()
    assert filtered(page)["rows"] == ["01_01"]
    page.page.locator(".sm-filter [data-filter=all]").click()
    assert filtered(page)["rows"] == labels
    page.close()
