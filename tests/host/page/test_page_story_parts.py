"""One shot split in two and two joined into one, in the story editor; see ``story_page.py``."""

from __future__ import annotations

import json

import pytest

from helpers.browser import find_chromium
from helpers.loop_graphs import story
from helpers.lora_graphs import write_style
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
CURSOR = """() => {
    const { value, selectionStart } = document.activeElement;
    return [value.slice(0, selectionStart), value.slice(selectionStart)];
}"""


def put_cursor(page, row: str, words: str) -> None:
    """Into a shot's prompt, before ``words``."""
    page.page.locator(f".sm-editor [data-label='{row}'] [data-field=prompt]").evaluate(
        """(prompt, words) => {
            prompt.focus();
            const place = prompt.value.indexOf(words);
            prompt.setSelectionRange(place, place);
        }""",
        words,
    )


def press(page, row: str, act: str) -> None:
    page.page.locator(f".sm-editor [data-label='{row}'] [data-act={act}]").click()


def test_a_shot_is_split_at_the_cursor_and_joined_again_by_keys(page):
    page.load(
        story(2, name="Parts", prompts=["She walks. She sits.", "It rains."], cuts=[True] * 2)
    )
    page.edit_table()
    before = page.rows()
    put_cursor(page, "01_01", "She sits")
    page.press("Alt+Shift+Enter")
    assert page.column("prompt") == ["She walks.", "She sits.", "It rains."]
    assert page.column("cut") == [True, False, True]
    assert (page.focused()["row"], page.page.evaluate(CURSOR)) == ("01_02", ["", "She sits."])
    look(page, "editor-split")
    page.press("Control+z")
    assert page.rows() == before
    page.press("Control+y")
    put_cursor(page, "01_01", "She walks")
    page.press("Alt+Shift+Backspace")
    assert page.rows() == before
    assert page.page.evaluate(CURSOR) == ["She walks. ", "She sits."]
    page.press("Alt+Shift+Delete")
    assert page.column("prompt") == ["She walks. She sits. It rains."]
    page.press("Alt+Shift+Delete")
    assert page.column("prompt") == ["She walks. She sits. It rains."]
    page.press("Control+z", "Control+z")
    # Undo goes to what it changed when the row that had the keyboard is gone, and never to the top.
    put_cursor(page, "01_03", "rains")
    page.press("Alt+Shift+Enter")
    assert page.focused()["row"] == "01_04"
    page.press("Control+z")
    assert page.focused()["row"] == "01_03"
    page.press("Control+y")
    assert page.focused()["row"] == "01_03"
    page.press("Control+z")
    page.save()
    assert page.script()["scenes"][0]["cut"] == [True, False, True]


def test_a_split_keeps_fields_and_the_lock_and_id_stay_with_the_first(page):
    own = {
        "seed": 2**63 + 1, "length": 121, "negative_prompt": "", "lora_strength": 0.5, "lock": True,
        "reference_images": ["a.png"], "crew": {"id": "row-1"}, "id": "row-1", "camera": 10**20,
    }  # fmt: skip
    shot = {"prompt": "雨停了。\r\n她离开。", **own}
    page.load(json.dumps({"scenes": [{"video_prompts": [shot], "cut": [True]}]}))
    page.edit_table()
    put_cursor(page, "01_01", "她离开")
    press(page, "01_01", "split")
    page.save()
    (scene,) = page.script()["scenes"]
    first, second = scene["video_prompts"]
    assert (first["prompt"], second["prompt"]) == ("雨停了。", "她离开。")
    assert first["id"] == "row-1" != second["id"]
    assert len(second["id"]) == 8
    assert first["crew"] == second["crew"] == {"id": "row-1"}
    assert first["camera"] == second["camera"] == 10**20
    assert scene["lock"] == [True, None]
    for name in ("seed", "length", "negative_prompt", "lora_strength"):
        assert scene[name] == own[name]
    assert scene["reference_images"] == ["a.png"]  # of both
    page.edit_table()
    press(page, "01_01", "join")
    page.save()
    (scene,) = page.script()["scenes"]
    (joined,) = scene["video_prompts"]
    assert joined == {
        "prompt": "雨停了。她离开。",
        "crew": {"id": "row-1"},
        "id": "row-1",
        "camera": 10**20,
    }
    assert (scene["lock"], scene["seed"], scene["length"]) == ([True], [2**63 + 1], [121])


def test_a_join_takes_the_longer_length_and_reaches_over_the_edge_of_a_scene(page):
    scenes = [
        {"scene_num": 1, "video_prompts": ["a", "b"], "cut": [True, False], "length": [41, 81]},
        {"scene_num": 2, "video_prompts": [{"prompt": "c", "mood": "calm"}], "cut": [True],
         "length": [121], "reference_images": [["x.png"]], "place": "harbour"},
    ]  # fmt: skip
    page.load(json.dumps({"scenes": scenes}))
    page.edit_table()
    press(page, "01_02", "join")
    page.save()
    (scene,) = page.script()["scenes"]
    assert scene["video_prompts"] == ["a", {"prompt": "b c", "mood": "calm"}]
    assert scene["length"] == [41, 121]
    assert scene["reference_images"] == [None, ["x.png"]]
    assert scene["place"] == "harbour"


def test_nothing_is_split_off_where_nothing_stands(page):
    page.load(story(1, name="Whole", prompts=["She walks."]))
    page.edit_table()
    for words in ("She walks", "no such words"):  # before the first word, after the last
        put_cursor(page, "01_01", words)
        page.press("Alt+Shift+Enter")
        assert page.column("prompt") == ["She walks."]
        assert "Put the cursor between two words" in page.message()
    page.save()


def test_loras_of_a_shot_are_typed_or_chosen(page):
    folder = page.server.base / "models" / "loras"
    names = ("ink", "rain_high_noise", "rain_low_noise", "Mara, young")
    paths = [write_style(folder / f"{name}.safetensors") for name in names]
    try:
        scene = {"loras": [["ink:0.5"], None], "cut": [True, True]}
        page.load(json.dumps({"scenes": [{"video_prompts": ["She walks.", "It rains."], **scene}]}))
        page.edit_table()
        press(page, "01_02", "more")
        field = page.page.locator("[data-label='01_02'] [data-field=loras]")
        choice = page.page.locator("[data-label='01_02'] .sm-loras")
        choice.focus()
        choice.locator("option[value=rain]").wait_for(state="attached")
        assert not choice.locator("option[value=rain_high_noise]").count()
        choice.select_option("rain")
        assert field.input_value() == "rain"
        choice.select_option("ink")
        assert (field.input_value(), choice.input_value()) == ("rain, ink", "")
        look(page, "editor-loras")
        choice.select_option("Mara, young")  # a name that no line can hold
        assert field.input_value() == '["rain, ink",{"name":"Mara, young"}]'
        choice.select_option("ink")
        assert field.input_value().endswith(',{"name":"Mara, young"},{"name":"ink"}]')
        field.fill("rain:0.8:0.4")
        page.save()
        rain = {"name": "rain", "strength_high": 0.8, "strength_low": 0.4}
        (scene,) = page.script()["scenes"]
        assert scene["loras"] == [[{"name": "ink", "strength": 0.5}], [rain]]
    finally:
        for path in paths:
            path.unlink()


WHO, DOG = "[Person A]: a girl with red hair", "[Animal B]: a dog"


def test_a_prompt_in_mementos_form_is_edited_in_parts(page):
    odd = f" global caption:{WHO} ;;\nshot caption:  She runs.\r\n"
    prompts = [odd, f"global caption: {WHO}; shot caption: She sits. She waits.", "It rains."]
    target = "[Person A] a girl\r\n[Animal B] a dog"
    scenes = [{"scene_num": 1, "video_prompts": prompts, "cut": [True] * 3}]
    whole = {"story_name": "Two", "reconstruct_target": target, "scenes": scenes}
    page.load(json.dumps(whole))
    page.edit_table()
    of_story = page.page.locator(".sm-editor [data-head=target]")
    assert of_story.input_value() == target.replace("\r", "")
    for row in ("01_01", "01_02", "01_03"):
        press(page, row, "more")

    def field(row: str, name: str):
        return page.page.locator(f".sm-editor [data-label='{row}'] [data-field={name}]")

    assert field("01_01", "global_caption").input_value() == f"{WHO} ;"
    assert field("01_01", "shot_caption").input_value() == "She runs.\n"
    assert field("01_03", "global_caption").input_value() == ""
    assert field("01_03", "shot_caption").is_hidden()
    look(page, "editor-captions")
    page.press("Control+s")  # nothing was changed, and nothing is
    page.page.wait_for_selector("dialog.sm-editor", state="detached")
    assert page.script() == whole

    page.edit_table()
    for row in ("01_01", "01_02", "01_03"):
        press(page, row, "more")
    field("01_01", "shot_caption").fill("She falls.")
    field("01_02", "global_caption").press("End")
    page.page.keyboard.type(" and")
    page.page.keyboard.type(" a hat ")
    assert field("01_02", "global_caption").input_value() == f"{WHO} and a hat "
    field("01_03", "global_caption").fill(WHO)
    field("01_03", "global_caption").fill("")
    assert page.column("prompt")[2] == "It rains."
    field("01_03", "global_caption").fill(DOG)
    assert field("01_03", "shot_caption").input_value() == "It rains."
    of_story.fill("[Animal B] a dog")
    put_cursor(page, "01_02", "She waits")
    page.press("Alt+Shift+Enter")
    put_cursor(page, "01_03", "hat; shot")
    page.press("Alt+Shift+Enter")  # both shots need who is there
    assert "Put the cursor between two words" in page.message()
    hat = f"global caption: {WHO} and a hat; shot caption: "
    expected = [
        odd.replace("She runs.\r\n", "She falls."), f"{hat}She sits.", f"{hat}She waits.",
        f"global caption: {DOG}; shot caption: It rains.",
    ]  # fmt: skip
    assert page.column("prompt") == expected
    put_cursor(page, "01_03", "She waits")
    page.press("Alt+Shift+Backspace")
    together = f"global caption: {WHO} and a hat, {DOG}; shot caption: She waits. It rains."
    assert page.column("prompt") == [*expected[:2], together]
    assert page.page.evaluate(CURSOR)[1] == "It rains."
    put_cursor(page, "01_02", "She sits")
    page.press("Alt+Shift+Backspace", "Control+z", "Control+z")
    assert page.column("prompt") == expected
    page.save()
    saved = page.script()
    assert saved["reconstruct_target"] == "[Animal B] a dog"
    assert saved["scenes"][0]["video_prompts"] == expected
