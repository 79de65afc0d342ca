"""A shot's sound in the story editor: file, dialogue and subtitle; see ``story_page.py``."""

from __future__ import annotations

import pytest

from helpers.browser import eventually, find_chromium
from helpers.loop_graphs import story
from helpers.sounds import tone
from helpers.story_page import look
from storymem.sound.files import write_sound

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
DROP = """async ([at, name, bytes]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
    const how = { bubbles: true, cancelable: true, dataTransfer };
    for (const kind of ["dragover", "drop"]) {
        document.querySelector(at).dispatchEvent(new DragEvent(kind, how));
    }
}"""
ROW = ".sm-editor [data-label='01_01']"


@pytest.fixture
def voice(server, tmp_path):
    folder = server.base / "input" / "voices"
    folder.mkdir(exist_ok=True)
    write_sound(folder / "mara.wav", tone(24_000))
    write_sound(tmp_path / "new.wav", tone(24_000))
    return (tmp_path / "new.wav").read_bytes()


def field(page, name: str):
    return page.page.locator(f"{ROW} [data-field={name}]")


def test_what_is_heard_is_typed_saved_and_undone(page, voice):
    page.load(story(2, name="Heard"))
    page.edit_table()
    page.open_more()
    audio = field(page, "audio")
    audio.focus()
    offered = page.page.locator(f"{ROW} .sm-of-sound datalist option")
    assert eventually(page.page, lambda: offered.count() > 0)
    names = offered.evaluate_all("(all) => all.map((one) => one.value)")
    assert "voices/mara.wav" in names
    assert not [name for name in names if name.endswith((".png", ".txt"))]
    audio.fill("voices/mara.wav")
    field(page, "dialogue").fill("Mara: Hello.\nPip: Hi.")
    field(page, "subtitle").fill("Hello & hi")
    field(page, "length").fill("audio")
    player = page.page.locator(f"{ROW} audio")
    assert eventually(page.page, lambda: "filename=mara.wav" in (player.get_attribute("src") or ""))
    assert eventually(page.page, lambda: player.evaluate("(player) => player.duration") == 0.5)
    look(page, "sound")
    audio.fill("gone.wav")
    page.page.locator(f"{ROW} audio.sm-missing").wait_for()
    assert "gone.wav is not in the input folder" in player.get_attribute("title")
    page.press("Control+z")
    page.page.locator(f"{ROW} audio:not(.sm-missing)").wait_for()
    field(page, "subtitle").fill("Other words")
    page.press("Control+z")
    assert eventually(page.page, lambda: field(page, "subtitle").input_value() == "Hello & hi")
    page.page.get_by_role("combobox", name="Format").select_option("plain")
    page.save()
    assert (
        "[length: audio]\n[audio: voices/mara.wav]\n[dialogue: Mara: Hello.]\n"
        "[dialogue: Pip: Hi.]\n[subtitle: Hello & hi]\nshot number 1" in page.widget("script")
    )
    page.edit_table()
    assert field(page, "length").input_value() == "audio"
    page.open_more()
    assert field(page, "dialogue").input_value() == "Mara: Hello.\nPip: Hi."
    page.close()


def test_a_dropped_sound_goes_to_the_input_folder_and_to_the_shot(page, server, voice):
    page.load(story(1, name="Drop sound"))
    page.edit_table()
    page.open_more()
    place = f"{ROW} [data-drop=audio]"
    page.page.evaluate(DROP, [place, "notes.txt", [1, 2]])
    page.wait_for_message("notes.txt is not a sound file")
    page.page.evaluate(DROP, [place, "new.wav", list(voice)])
    assert eventually(page.page, lambda: field(page, "audio").input_value() == "new.wav")
    assert (server.base / "input" / "new.wav").read_bytes() == voice
    page.press("Control+z")
    assert eventually(page.page, lambda: field(page, "audio").input_value() == "")
    page.close()


def test_a_split_shot_keeps_its_sound_and_joined_ones_have_both(page):
    said = [["Mara: Hello."], [{"who": "Pip", "says": "Hi.", "tone": "dry"}]]
    page.load(story(2, name="Parts", dialogue=said, audio=["a.wav", None], subtitle=["A", "B"]))
    page.edit_table()
    field(page, "prompt").focus()
    page.press("Home", "Control+ArrowRight", "Alt+Shift+Enter")
    assert eventually(page.page, lambda: len(page.rows()) == 3)
    field(page, "prompt").focus()
    page.press("Alt+Shift+Backspace")
    assert eventually(page.page, lambda: len(page.rows()) == 2)
    field(page, "prompt").focus()
    page.press("Alt+Shift+Backspace")
    assert eventually(page.page, lambda: len(page.rows()) == 1)
    page.save()
    (scene,) = page.script()["scenes"]
    assert scene["audio"] == ["a.wav"]
    assert scene["subtitle"] == ["A\nB"]
    assert scene["dialogue"] == [
        [{"who": "Mara", "says": "Hello."}, {"who": "Pip", "says": "Hi.", "tone": "dry"}]
    ]
