"""What a script remembers, as the memory gallery and what a shot saw tell it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from helpers.browser import find_chromium
from helpers.gallery_page import gallery_server, open_run_story

pytestmark = [
    pytest.mark.http,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: the page is not looked at"),
]
PROMPTS = ["An empty pier.", "Pip barks.", *[f"Mara rows, {i}." for i in range(4)], "Pip is back."]
REMEMBER = [None, [{"who": "Pip", "weight": 3}], *[None] * 3, [{"who": "Mara", "weight": 0}], None]
SCENE = {"video_prompts": PROMPTS, "cut": [True] * len(PROMPTS), "remember": REMEMBER}
SCRIPT = {"story_name": "Pier", "cast": ["Mara", "Pip"], "scenes": [SCENE]}


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory):
    with gallery_server(tmp_path_factory.mktemp("remember_server"), base_folder) as running:
        yield running


@pytest.fixture(scope="module")
def story(server, tmp_path_factory):
    """A page with a story that ran once under the paper's window."""
    log = tmp_path_factory.mktemp("log") / "log"
    with open_run_story(server, log, script=json.dumps(SCRIPT), policy="window") as page:
        yield page


def facts(story, digest: str) -> str:
    story.focus(digest)
    return story.focused()["label"]


def test_the_gallery_says_for_whom_frames_were_kept_and_which_gave_way(story):
    status = story.gallery().inner_text()
    assert "The last shot saw 4 of 21 frames, chosen by what the script remembers" in status
    cards = story.shown()
    saw = [card["digest"] for card in cards if card["role"] in ("sink", "seen", "pinned")]
    assert saw == story.first_run[7]
    kept = next(c for c in cards if c["place"].startswith("shot 2,") and c["digest"] in saw)
    assert "kept for Pip, weight 3, as the script says" in facts(story, kept["digest"])
    gone = [c for c in cards if c["place"].startswith("shot 6,")]
    assert {card["role"] for card in gone} == {"waiting"}
    told = facts(story, gone[0]["digest"])
    assert "Left out of the last shot: its weight in the script is 0" in told
    if folder := os.environ.get("STORYMEM_SCREENSHOTS"):
        story.page.screenshot(path=str(Path(folder) / "remember-gallery.png"))
    assert story.errors == []
