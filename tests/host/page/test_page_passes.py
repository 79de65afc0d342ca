"""Passes in the page: whose shots the editor shows, and the board of each."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from helpers.browser import eventually
from helpers.gallery_page import ask
from helpers.long_story import long_script, write_results
from helpers.story_page import look
from storymem.film.manifest import write_script_copy
from storymem.script.reader import load_story

SHOTS = 4
PREFIX = "passes"
STATES = """() => [...document.querySelectorAll(".sm-editor .sm-shots .sm-state")]
    .map((one) => one.dataset.state ?? one.textContent)"""
POSTERS = """() => [...document.querySelectorAll(".sm-editor .sm-shots .sm-poster img[src]")]
    .filter((one) => one.getAttribute("src"))
    .map((one) => new URL(one.getAttribute("src"), location).searchParams.get("folder"))"""
TITLES = """() => [...document.querySelectorAll(".sm-stories .sm-title")]
    .map((one) => one.textContent)"""
BOARDS = """() => [...document.querySelectorAll(".sm-editor .sm-board")]
    .map((one) => one.hidden ? "" : one.getAttribute("href"))"""


def write_pass(output, name: str, missing=()):
    folder = write_results(output / "made", name, SHOTS, missing=missing)
    write_script_copy(folder, load_story(long_script(SHOTS), quiet=True))
    place = output / PREFIX / (folder.name if name == "film" else f"{folder.name}.{name}")
    place.parent.mkdir(exist_ok=True)
    folder.rename(place)
    if name != "film":
        manifest = json.loads((place / "story.json").read_text())
        (place / "story.json").write_text(json.dumps({**manifest, "pass": name}))
    return place


@pytest.fixture(scope="module")
def passes(server):
    """A film of which one shot is there, its draft with all, and stills of two."""
    output = server.base / "output"
    return {
        name: write_pass(output, name, missing)
        for name, missing in (("film", (2, 3, 4)), ("draft", ()), ("stills", (3, 4)))
    }


@pytest.fixture
def opened(page, passes):
    page.load(long_script(SHOTS), prefix=PREFIX)
    page.edit_table()
    return page


def posters(page, folder: str, count: int) -> bool:
    found = page.page.evaluate(POSTERS)
    return len(found) == count and set(found) <= {folder}


def test_the_editor_shows_the_shots_of_the_chosen_pass(opened):
    page = opened.page
    film = f"{PREFIX}/Long {SHOTS}"
    assert eventually(page, lambda: posters(opened, film, 1))
    choice = page.locator(".sm-passes select")
    assert choice.locator("option").all_text_contents() == ["Film", "Draft", "Stills"]
    choice.select_option("draft")
    assert eventually(page, lambda: posters(opened, f"{film}.draft", SHOTS))
    assert all(
        quote(f"{film}.draft", safe="").replace("%20", "+") in href
        for href in page.evaluate(BOARDS)
    )
    assert page.locator(".sm-passes .sm-other").is_visible()
    assert not page.locator(".sm-shots .sm-plan-line").first.is_visible()
    look(opened, "passes-editor")
    choice.select_option("stills")
    assert eventually(page, lambda: posters(opened, f"{film}.stills", 2))
    choice.select_option("film")
    assert eventually(page, lambda: posters(opened, film, 1))
    assert not page.locator(".sm-passes .sm-other").is_visible()


def test_a_change_of_the_story_keeps_the_chosen_pass(opened):
    page = opened.page
    film = f"{PREFIX}/Long {SHOTS}"
    page.locator(".sm-passes select").select_option("draft")
    assert eventually(page, lambda: posters(opened, f"{film}.draft", SHOTS))
    first = page.locator(".sm-editor .sm-shots textarea").first
    first.fill("another walk along the shore")
    assert eventually(page, lambda: page.locator(".sm-shots .sm-state").first.text_content())
    assert page.locator(".sm-passes select").input_value() == "draft"
    assert eventually(page, lambda: posters(opened, f"{film}.draft", SHOTS))


def test_a_story_without_drafts_offers_no_choice(page):
    page.load(long_script(3), prefix="nopasses")
    page.edit_table()
    assert eventually(page.page, lambda: page.page.locator(".sm-shots textarea").count() == 3)
    assert not page.page.locator(".sm-passes select").is_visible()
    assert page.page.evaluate(BOARDS) == ["", ""]


def test_the_list_names_the_passes(page, passes):
    page.load(long_script(2), prefix="other")
    if page.page.locator(".sm-stories").count() == 0:
        page.page.locator(".storymem-stories-tab-button").click()
    page.page.locator(".sm-stories [data-act=refresh]").click()
    page.page.locator(".sm-stories input[type=search]").fill(PREFIX)
    wanted = {f"Long {SHOTS}", f"Long {SHOTS} · Draft", f"Long {SHOTS} · Stills"}
    assert eventually(page.page, lambda: set(page.page.evaluate(TITLES)) == wanted)
    look(page, "passes-list")


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_board_of_a_pass_comes_as_a_file(server, passes, kind, start):
    folder = quote(f"{PREFIX}/Long {SHOTS}.draft", safe="")
    status, _, body = ask(server, f"/storymem/board?folder={folder}&as={kind}")
    assert status == 200
    assert body.startswith(start)
    assert sorted(path.name for path in passes["draft"].glob("board.*")) == []


@pytest.mark.parametrize(
    "query", ["", "folder=../output/passes&as=png", "folder=passes/Long%204&as=exe", "folder=/etc"]
)
def test_no_other_folder_has_a_board(server, passes, query):
    status, _, _ = ask(server, f"/storymem/board?{query}")
    assert status == 404
