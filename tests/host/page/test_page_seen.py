"""What each shot saw: looked at in the host's page, and changed from a shot on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from helpers.browser import eventually, find_chromium, settle, wait_until_ready
from helpers.gallery_page import ask, gallery_server, open_run_story
from helpers.loop_graphs import hold, release

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
LOOK = os.environ.get("STORYMEM_SCREENSHOTS")  # a folder: pictures of the page, to be looked at
JSON = {"Content-Type": "application/json"}
CARDS = """(gallery) => [...gallery.querySelectorAll(".storymem-card")].map((card) => ({
    digest: card.dataset.key.slice(1, 65),
    role: card.dataset.role,
    label: card.querySelector(".storymem-role").textContent,
    next: card.querySelector(".storymem-next").textContent,
    acts: [...card.querySelectorAll(".storymem-act:not([hidden])")].map((b) => b.dataset.act),
}))"""
SEEN = ("sink", "window", "pinned", "seen")


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory):
    base = tmp_path_factory.mktemp("seen_server")
    with gallery_server(base, base_folder, folder="seen") as running:
        yield running


@pytest.fixture(scope="module")
def shared(server, tmp_path_factory):
    """One page with a story of six shots that ran once."""
    with open_run_story(server, tmp_path_factory.mktemp("log") / "log") as story:
        yield story


@pytest.fixture
def story(shared):
    """The shared page with no changes in its memory, and the latest memory in view."""
    yield shared
    release(shared.log)
    shared.page.evaluate(
        """() => {
            document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
            const { storymemGallery } = app.graph.getNodeById(2);
            const none = { pin: [], unpin: [], drop: [], keep: [], images: [], from: [] };
            storymemGallery.write(none);
            storymemGallery.seen.choose("");
        }"""
    )
    assert shared.errors == []


def look(story, name: str) -> None:
    if LOOK:
        story.page.screenshot(path=f"{LOOK}/{name}.png")


def choose(story, gallery, number: int) -> list[dict]:
    """Choose a shot as the artist does; the cards that it shows."""
    select = gallery.locator(".storymem-chooser select")
    select.focus()
    select.select_option(value=f"01_{number:02d}")
    words = f"Shot {number} "
    status = gallery.locator(".storymem-status")
    assert eventually(story.page, lambda: status.inner_text().startswith(words))
    return cards_of(story, gallery)


def cards_of(story, gallery) -> list[dict]:
    settle(story.page)
    return gallery.evaluate(CARDS)


def press_on(story, gallery, digest: str, key: str) -> None:
    gallery.locator(f".storymem-card[data-key*='{digest}'] .storymem-picture").first.focus()
    story.press(key)


def seen_digests(cards) -> list[str]:
    return [card["digest"] for card in cards if card["role"] in SEEN]


def test_every_shot_shows_what_its_sampler_got_in_that_order(story):
    gallery = story.gallery()
    for number, got in story.first_run.items():
        cards = choose(story, gallery, number)
        assert seen_digests(cards) == got
        places = [card["label"].split(" · ")[0] for card in cards[: len(got)]]
        assert places == [str(i + 1) for i in range(len(got))]
    look(story, "seen_gallery")
    fifth = choose(story, gallery, 5)
    assert {"1 · opening", "not seen"} <= {card["label"] for card in fifth}
    facts = gallery.locator(f"[data-key*='{fifth[-1]['digest']}'] .storymem-picture").first
    assert "did not see it" in facts.get_attribute("aria-label") or fifth[-1]["role"] == "dropped"


def test_a_frame_is_dropped_from_a_shot_on_and_no_shot_before_it_is_made_again(story):
    gallery = story.gallery()
    before = choose(story, gallery, 3)
    cards = choose(story, gallery, 4)
    gone = next(digest for digest in seen_digests(cards) if digest in seen_digests(before))
    press_on(story, gallery, gone, "d")
    assert story.edits() == {"from": [{"shot": "01_04", "drop": [gone]}]}
    (card,) = [card for card in cards_of(story, gallery) if card["digest"] == gone]
    assert (card["next"], card["acts"][:1]) == ("from shot 4: dropped", ["restore"])
    look(story, "seen_dropped")
    assert set(choose(story, gallery, 3)[0]["next"]) == set()
    assert choose(story, gallery, 3) == before
    made = story.queue()
    assert set(made) == {4, 5, 6}
    assert all(gone not in digests for digests in made.values())
    cards = choose(story, gallery, 4)
    assert seen_digests(cards) == made[4]
    (card,) = [card for card in cards if card["digest"] == gone]
    assert (card["role"], card["next"]) == ("dropped", "changed from shot 4 on")
    assert gone in seen_digests(choose(story, gallery, 3))
    # The latest memory knows it as well, and asks for nothing more.
    gallery.locator(".storymem-chooser select").select_option(value="")
    (card,) = [card for card in story.shown() if card["digest"] == gone]
    assert (card["role"], card["next"]) == ("dropped", "")
    # Restored for the whole story there, and undone: it is out from the fourth shot on as before.
    press_on(story, gallery, gone, "r")
    assert story.edits() == {}
    press_on(story, gallery, gone, "u")
    assert story.edits() == {"from": [{"shot": "01_04", "drop": [gone]}]}
    choose(story, gallery, 4)
    press_on(story, gallery, gone, "u")
    assert story.edits() == {}
    assert story.queue() == {}


def test_a_frame_that_was_not_seen_is_pinned_from_a_shot_on(story):
    gallery = story.gallery()
    cards = choose(story, gallery, 6)
    unseen = next(card["digest"] for card in cards if card["role"] == "waiting")
    press_on(story, gallery, unseen, "p")
    assert story.edits() == {"from": [{"shot": "01_06", "pin": [unseen]}]}
    made = story.queue()
    assert set(made) == {6}
    assert unseen in made[6]
    assert unseen in seen_digests(choose(story, gallery, 6))


def test_the_same_is_in_a_dialog_from_the_loop_and_from_the_editor(story):
    page = story.page
    assert story.queue() == {}  # what earlier tests changed is undone
    page.locator(".sm-progress .sm-seen").first.click()
    dialog = page.locator("dialog.storymem-seen")
    status = dialog.locator(".storymem-status")
    assert eventually(page, lambda: status.inner_text().startswith("Shot 6 "))
    assert seen_digests(cards_of(story, dialog)) == story.first_run[6]
    look(story, "seen_dialog")
    dialog.locator(".storymem-step").first.click()
    assert eventually(page, lambda: status.inner_text().startswith("Shot 5 "))
    press_on(story, dialog, story.first_run[5][0], "d")
    assert story.edits() == {"from": [{"shot": "01_05", "drop": [story.first_run[5][0]]}]}
    # Enter shows a frame large, Escape goes back to the dialog, and once more to the page.
    press_on(story, dialog, story.first_run[5][1], "Enter")
    large = page.locator("dialog:not(.storymem-seen).storymem-dialog")
    assert "from shot" not in large.inner_text()
    assert "Place 2" in large.inner_text()
    story.press("Escape")
    large.wait_for(state="detached")
    story.press("Escape")
    dialog.wait_for(state="detached")
    page.get_by_role("button", name="Edit story").first.click()
    row = page.locator(".sm-editor li[data-label='01_03']")
    row.locator("[data-act='memory']").click()
    assert eventually(page, lambda: status.inner_text().startswith("Shot 3 "))
    assert seen_digests(cards_of(story, dialog)) == story.first_run[3]
    look(story, "seen_editor")
    story.press("Escape")
    dialog.wait_for(state="detached")
    assert page.evaluate("document.activeElement.dataset.act") == "memory"
    story.press("Escape")


def test_finished_shots_are_looked_at_while_the_others_are_made(story):
    """Clicks for shots that wait are made meanwhile; the run goes on as it was queued."""
    page, gallery = story.page, story.gallery()
    seed = """(seed) => {
        app.graph.getNodeById(4).widgets.find((widget) => widget.name === "seed").value = seed;
    }"""
    page.evaluate(seed, 8)
    hold(story.log, 3)
    try:
        known = set(story.server.get("/history") or {})
        page.evaluate("() => app.queuePrompt(0)")
        choose(story, gallery, 2)
        places = page.locator(".sm-progress .sm-line").first
        assert eventually(page, lambda: "3" in places.inner_text())
        assert eventually(
            page, lambda: seen_digests(cards_of(story, gallery)) != story.first_run[2]
        )
        now = seen_digests(cards_of(story, gallery))
        assert len(now) == len(story.first_run[2])
        press_on(story, gallery, now[0], "d")
        assert story.edits() == {"from": [{"shot": "01_02", "drop": [now[0]]}]}
    finally:
        release(story.log)
    fresh = eventually(page, lambda: set(story.server.get("/history") or {}) - known)
    status = story.server.get(f"/history/{(one := fresh.pop())}")[one]["status"]
    assert status["status_str"] == "success"
    assert now[0] in seen_digests(choose(story, gallery, 3))
    choose(story, gallery, 2)
    press_on(story, gallery, now[0], "u")
    assert story.edits() == {}
    page.evaluate(seed, 7)
    assert story.queue() == {}


def test_of_many_frames_that_were_not_seen_the_latest_are_shown_first(story):
    def frame(i: int) -> dict:
        place = max(0, i - 57)
        role = "window" if place else "waiting"
        return {"digest": f"{i:064x}", "role": role, "number": i + 1, "shot": i, "position": place}

    bank = {"frames": [frame(i) for i in range(60)], "dropped": [], "count": 60, "max_frames": 2}
    shots = [{"label": "01_01", "row": "", "lock": True, "prompt": "a", "record": "x"}]
    answer = {
        "error": "", "shots": shots, "shot": 0,
        "memory": {**bank, "policy": "window", "tell": "shot", "is_sure": False},
    }  # fmt: skip
    story.page.route("**/storymem/seen", lambda route: route.fulfill(json=answer))
    try:
        gallery = story.gallery()
        cards = choose(story, gallery, 1)
        assert [int(card["digest"], 16) for card in cards] == [58, 59, *range(18, 58)]
        notes = gallery.locator(".storymem-notes").inner_text()
        assert "Shot 1 is locked" in notes
        assert "may differ" in notes
        gallery.get_by_role("button", name="Show the 18 earlier frames").press("Enter")
        assert len(cards_of(story, gallery)) == 60
    finally:
        story.page.unroute("**/storymem/seen")


def test_shots_in_mementos_form_are_told_apart_by_what_happens_in_them(story):
    told = story.page.evaluate(
        """() => {
            const { seen } = app.graph.getNodeById(2).storymemGallery;
            const { answer, shots } = seen;
            const prompt = `global caption: ${"[Person A]: tall ".repeat(9)}; shot caption: Rain.`;
            seen.answer = { ...answer, shots: shots.map((shot) => ({ ...shot, prompt })) };
            seen.refill();
            const told = seen.select.options[2].text;
            seen.answer = answer;
            seen.refill();
            return told;
        }"""
    )
    assert told == "2: Rain."


def test_it_works_after_a_reload_and_in_nodes_two_light_and_chinese(story):
    page = story.page
    page.evaluate(
        """async () => {
            const set = (id, value) => app.extensionManager.setting.set(id, value);
            await set("Comfy.VueNodes.Enabled", true);
            await set("Comfy.ColorPalette", "light");
            await set("Comfy.Locale", "zh");
        }"""
    )
    page.reload()
    wait_until_ready(page)
    try:
        page.wait_for_function("app.graph._nodes.length === 8")
        gallery = story.gallery()
        select = gallery.locator(".storymem-chooser select")
        option = "option[value='01_05']"
        assert eventually(page, lambda: select.focus() or select.locator(option).count())
        select.select_option(value="01_05")
        status = gallery.locator(".storymem-status")
        assert eventually(page, lambda: status.inner_text().startswith("镜头 5 "))
        cards = cards_of(story, gallery)
        assert seen_digests(cards) == story.first_run[5]
        assert "1 · 开场" in {card["label"] for card in cards}
        look(story, "seen_zh_light_nodes2")
    finally:
        page.evaluate(
            """async () => {
                const set = (id, value) => app.extensionManager.setting.set(id, value);
                await set("Comfy.VueNodes.Enabled", false);
                await set("Comfy.ColorPalette", "dark");
                await set("Comfy.Locale", "en");
            }"""
        )
        page.reload()
        wait_until_ready(page)
        page.wait_for_function("app.graph._nodes.length === 8")


# --- the route ------------------------------------------------------------------------------------


def tell(server, body, **headers) -> tuple[int, dict]:
    status, _, answer = ask(
        server, "/storymem/seen", method="POST", body=json.dumps(body).encode(),
        headers=JSON | headers,
    )  # fmt: skip
    return status, json.loads(answer) if status == 200 else {}


def test_the_route_stays_in_the_hosts_folders_and_writes_nothing(story, server):
    script = story.page.evaluate(
        "() => app.graph.getNodeById(1).widgets.find((w) => w.name === 'script').value"
    )

    def below(folder: Path) -> dict:
        parts = [path for path in folder.rglob("*") if path.name not in ("comfyui.log",)]
        return {path: path.lstat().st_mtime_ns for path in parts if "temp" not in path.parts}

    before = below(server.base / "output")
    status, answer = tell(server, {"script": script, "prefix": "gallery"})
    assert (status, answer["error"], answer["shot"]) == (200, "", 5)
    assert [f["digest"] for f in answer["memory"]["frames"] if f["position"]]
    _, first = tell(server, {"script": script, "prefix": "gallery", "shot": "01_01"})
    assert (first["shot"], first["memory"]["count"]) == (0, 0)
    told = json.loads(script)
    told["scenes"][0]["use_take"] = [
        None,
        None,
        None,
        None,
        answer["shots"][2]["record"][:16],
        None,
    ]
    _, taken = tell(server, {"script": json.dumps(told), "prefix": "gallery", "shot": "01_05"})
    assert taken["shots"][4]["record"] == answer["shots"][2]["record"]
    for prefix in ("../gallery", "/etc", "gallery/../..", "a" * 300, "other"):
        status, answer = tell(server, {"script": script, "prefix": prefix})
        assert status == 200
        assert answer["memory"] is None
        assert not any(shot["record"] for shot in answer["shots"])
    for body in ({"script": script, "shot": "../../x"}, {"script": "", "file": "/etc/passwd"}):
        assert tell(server, body)[1]["memory"] is None
    assert tell(server, {"script": 5})[0] == 400
    assert tell(server, {"script": script}, Origin="http://evil.example")[0] == 403
    assert below(server.base / "output") == before


# --- references of one shot ---


def test_a_shots_own_reference_is_told_as_one_and_nobody_is_guessed_on_it(story):
    Image.new("RGB", (64, 48), "teal").save(story.server.base / "input" / "hero.png")
    prompts = ["Fipi sails.", "Fipi lands.", "Fipi rests."]
    references = [None, ["hero.png"], None]
    scene = {"video_prompts": prompts, "cut": [True] * 3, "reference_images": references}
    tale = {"story_name": "Hero", "cast": ["Fipi"], "scenes": [scene]}
    story.load(script=json.dumps(tale))
    story.queue()
    gallery = story.gallery()
    choose(story, gallery, 3)
    card = gallery.locator(".storymem-card").filter(has_text="reference of shot 2")
    assert card.locator(".storymem-place").inner_text() == "hero.png, reference of shot 2"
    assert card.locator(".storymem-who").is_hidden()
    told = card.locator(".storymem-picture").get_attribute("aria-label")
    assert "Fipi" not in told
    card.scroll_into_view_if_needed()
    look(story, "seen_reference")
