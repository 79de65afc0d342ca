"""The cast and the pictures of shots in the story editor; see ``story_page.py``."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.parse
import urllib.request

import pytest
from PIL import Image

from helpers.browser import eventually, find_chromium
from helpers.loop_graphs import story
from helpers.story_page import look

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
PICTURES = {"mara.png": (200, 40, 40), "pip.jpg": (40, 160, 60), "cast/ann.png": (50, 60, 200)}
DROP = """async ([at, files]) => {
    const target = document.querySelector(at);
    const dataTransfer = new DataTransfer();
    for (const [name, bytes] of files) {
        dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
    }
    const how = { bubbles: true, cancelable: true, dataTransfer };
    target.dispatchEvent(new DragEvent("dragover", how));
    target.dispatchEvent(new DragEvent("drop", how));
}"""


@pytest.fixture
def pictures(server):
    folder = server.base / "input"
    (folder / "cast").mkdir(exist_ok=True)
    for name, colour in PICTURES.items():
        Image.new("RGB", (400, 700) if "ann" in name else (640, 360), colour).save(folder / name)
    (folder / ".hidden.png").write_bytes((folder / "mara.png").read_bytes())
    (folder / "broken.png").write_bytes(b"no picture")
    link = folder / "linked.png"
    if not link.is_symlink():
        secret = server.base / "secret.png"
        Image.new("RGB", (8, 8)).save(secret)
        link.symlink_to(secret)
    return folder


def png(colour=(9, 9, 9)) -> list[int]:
    written = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(written, "PNG")
    return list(written.getvalue())


def field(page, name: str, label: str = "01_01"):
    return page.page.locator(f".sm-editor [data-label='{label}'] [data-field={name}]")


def shown(page, name: str) -> list[str]:
    """The file names of a field's small pictures."""
    return page.page.locator(f".sm-picture-field[data-drop={name}] img").evaluate_all(
        "(all) => all.map((picture) => picture.alt)"
    )


def choose(page, name: str) -> None:
    page.page.locator(f"[data-pictures={name}]:is(button)").click()
    page.page.wait_for_selector(".sm-picker [data-name]")


def offered(page) -> list[str]:
    return page.page.locator(".sm-picker [data-name]").evaluate_all(
        "(all) => all.map((tile) => tile.dataset.name)"
    )


def ask(server, path: str):
    """Status and body of a GET."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def test_references_are_chosen_from_the_input_folder(page, pictures):
    page.load(story(2, name="Cast"))
    page.edit_table()
    page.open_more()
    choose(page, "reference_images")
    names = offered(page)
    assert set(PICTURES) | {"broken.png"} <= set(names)
    assert not {".hidden.png", "linked.png", "Filed.txt"} & set(names)
    page.page.wait_for_function(
        "() => document.querySelector('.sm-picker [data-name=\"mara.png\"] img').naturalWidth > 0"
    )
    look(page, "picker")
    words = page.page.locator(".sm-picker input[type=text]")
    words.fill("CAST ann")
    assert eventually(page.page, lambda: offered(page) == ["cast/ann.png"])
    page.page.locator(".sm-picker [data-name='cast/ann.png']").click()
    words.fill("")
    assert eventually(page.page, lambda: len(offered(page)) > 1)
    page.page.locator(".sm-picker [data-name='mara.png']").click()
    page.page.get_by_role("button", name="Use 2 pictures").click()
    assert page.page.locator(".sm-picker").count() == 0
    assert field(page, "reference_images").input_value() == "cast/ann.png\nmara.png"
    assert shown(page, "reference_images") == ["cast/ann.png", "mara.png"]
    page.page.get_by_role("button", name="Remove cast/ann.png").click()
    assert field(page, "reference_images").input_value() == "mara.png"
    field(page, "reference_images").fill("mara.png\ngone.png")
    missing = page.page.locator(".sm-pictures .sm-missing")
    missing.wait_for()
    assert "gone.png is not in the input folder" in missing.get_attribute("title")
    look(page, "pictures")
    page.press("Control+z")
    assert eventually(page.page, lambda: shown(page, "reference_images") == ["mara.png"])
    page.save()
    assert page.script()["scenes"][0]["reference_images"] == [["mara.png"], None]


def test_the_picker_is_used_by_keys_and_left_without_a_change(page, pictures):
    page.load(story(1, name="Keys"))
    page.edit_table()
    page.open_more()
    page.page.locator("[data-pictures=start_image]:is(button)").focus()
    page.press("Enter")
    page.page.wait_for_selector(".sm-picker [data-name]")
    page.press("Escape")  # the picker, not the editor
    assert page.page.locator(".sm-picker").count() == 0
    assert page.focused()["tag"] == "BUTTON"
    page.press("Enter")
    page.page.wait_for_selector(".sm-picker [data-name]")
    wanted = offered(page)[1]
    page.press("ArrowDown", "ArrowRight", "Enter")
    assert page.page.locator(".sm-picker").count() == 0
    assert field(page, "start_image").input_value() == wanted
    assert shown(page, "start_image") == [wanted]
    page.save()
    assert page.script()["scenes"][0]["start_image"] == [wanted]


def test_dropped_files_go_to_the_input_folder_and_to_the_shot(page, server, pictures):
    page.load(story(2, name="Drop"))
    page.edit_table()
    row = ".sm-editor [data-label='01_02']"
    files = [["new one.png", png()], ["notes.txt", [1, 2]], ["second.png", png((200, 1, 1))]]
    page.page.evaluate(DROP, [f"{row} .sm-row", files])
    page.wait_for_message("notes.txt is not a picture")
    assert (server.base / "input" / "new one.png").is_file()
    assert not (server.base / "input" / "notes.txt").exists()
    page.open_more("01_02")
    assert shown(page, "reference_images") == ["new one.png", "second.png"]
    start = f"{row} .sm-of-pictures[data-drop=start_image] .sm-picture-field"
    page.page.evaluate(DROP, [start, [["begin.png", png((1, 200, 1))]]])
    assert eventually(page.page, lambda: shown(page, "start_image") == ["begin.png"])
    end = f"{row} .sm-of-pictures[data-drop=end_image] .sm-picture-field"
    page.page.evaluate(DROP, [end, [["end.png", png((1, 1, 200))]]])
    assert eventually(page.page, lambda: shown(page, "end_image") == ["end.png"])
    look(page, "end_image")
    page.save()
    (scene,) = page.script()["scenes"]
    assert scene["reference_images"] == [None, ["new one.png", "second.png"]]
    assert scene["start_image"] == [None, "begin.png"]
    assert scene["end_image"] == [None, "end.png"]


def test_uploads_in_the_picker_are_chosen(page, server, pictures, tmp_path):
    chosen = tmp_path / "uploaded.png"
    chosen.write_bytes(bytes(png((7, 7, 120))))
    page.load(story(1, name="Upload"))
    page.edit_table()
    page.open_more()
    choose(page, "reference_images")
    page.page.locator(".sm-picker input[type=file]").set_input_files(chosen)
    tile = page.page.locator(".sm-picker [data-name='uploaded.png']")
    tile.wait_for()
    assert tile.get_attribute("aria-pressed") == "true"
    page.page.get_by_role("button", name="Use 1 picture").click()
    assert shown(page, "reference_images") == ["uploaded.png"]
    page.save()
    assert (server.base / "input" / "uploaded.png").is_file()


def test_the_cast_is_names_with_commas(page):
    page.load(story(1, name="Names", prompts=["@Mara and @Ann walk."]))
    page.edit_table()
    cast = page.page.locator("[data-head=cast]")
    assert cast.get_attribute("placeholder") == "found: Mara, Ann"
    cast.fill("Mara, Ann, Pip the cat")
    page.save()
    assert page.script()["cast"] == ["Mara", "Ann", "Pip the cat"]
    page.edit_table()
    assert cast.input_value() == "Mara, Ann, Pip the cat"
    page.page.get_by_role("combobox", name="Format").select_option("plain")
    page.save()
    assert "[cast: Mara, Ann, Pip the cat]" in page.widget("script")
    data = {"cast": [{"name": "Mara", "age": 9}], "scenes": [{"video_prompts": ["a"], "cut": [1]}]}
    page.load(json.dumps(data))
    page.edit_table()
    assert cast.get_attribute("readonly") is not None  # it says more than names
    page.page.locator(".sm-editor [data-field=prompt]").fill("b")
    page.save()
    assert page.script()["cast"] == data["cast"]


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "linked.png", "/etc/passwd", "Filed.txt", "gone.png", "broken.png", "cast",
     "", "a\0.png", "x" * 300 + ".png"],
)  # fmt: skip
def test_only_pictures_inside_the_input_folder_are_given(server, pictures, name):
    query = urllib.parse.urlencode({"name": name, "size": 64})
    assert ask(server, f"/storymem/input/picture?{query}")[0] == 404


def test_small_pictures_are_small_and_kept_by_their_version(server, pictures):
    (listed,) = (
        one
        for one in json.loads(ask(server, "/storymem/input?words=mara")[1])["pictures"]
        if one["name"] == "mara.png"
    )
    query = urllib.parse.urlencode({"name": "mara.png", "size": 64, "v": listed["version"]})
    status, body = ask(server, f"/storymem/input/picture?{query}")
    assert (status, Image.open(io.BytesIO(body)).size) == (200, (64, 36))
    for size in ("0", "99999", "999999", "x", "-1", ""):
        query = urllib.parse.urlencode({"name": "mara.png", "size": size})
        status, body = ask(server, f"/storymem/input/picture?{query}")
        assert status == 404 or max(Image.open(io.BytesIO(body)).size) <= 1024
