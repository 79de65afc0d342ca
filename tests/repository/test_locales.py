"""The page's texts in English and Chinese: the same places, in their own language, and well formed.

That they are the nodes' own is tested beside the host, in ``host/test_texts.py``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from helpers.node_schemas import NOT_IN_MESSAGES, leaves, shape
from helpers.not_empty import not_empty

PACK = Path(__file__).resolve().parents[2]
FILES = ("main", "nodeDefs", "settings", "commands")  # what the host reads
CHINESE = re.compile(r"[\u4e00-\u9fff]")
SAME_IN_ALL_LANGUAGES = {"StoryMem"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|TBD|XXX)\b|待译|待翻译|^\s*$", re.IGNORECASE)


def read(language: str, name: str) -> dict:
    path = PACK / "locales" / language / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FILES)
def test_both_languages_say_something_at_the_same_places(name):
    english, chinese = shape(read("en", name)), shape(read("zh", name))
    assert (sorted(english - chinese), sorted(chinese - english)) == ([], [])


@pytest.mark.parametrize("name", FILES)
def test_chinese_texts_are_chinese_and_english_ones_are_not(name):
    texts = leaves(read("zh", name))
    foreign = {
        place: text
        for place, text in texts.items()
        if not CHINESE.search(text) and text not in SAME_IN_ALL_LANGUAGES
    }
    assert foreign == {}
    assert {p: t for p, t in leaves(read("en", name)).items() if CHINESE.search(t)} == {}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", FILES)
def test_no_text_is_unfinished_or_read_as_a_message_format_by_the_page(language, name):
    texts = leaves(read(language, name))
    assert {p: t for p, t in texts.items() if UNFINISHED.search(t)} == {}
    assert {p: t for p, t in texts.items() if NOT_IN_MESSAGES.search(t)} == {}


def test_every_setting_and_command_of_the_page_has_its_texts():
    scripts = (PACK / "web" / "js").rglob("*.js") if (PACK / "web" / "js").is_dir() else ()
    ids = {
        name
        for path in scripts
        for name in re.findall(
            r"\bid:\s*[\"'](StoryMem\.[\w.]+)[\"']", path.read_text(encoding="utf-8")
        )
    }
    known = {*read("en", "settings"), *read("en", "commands")}
    assert {name.replace(".", "_") for name in ids} == known


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_pages_and_their_links_are_whole(language):
    pages = not_empty((PACK / "web" / "docs").glob(f"*/{language}.md"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        name = f"{page.parent.name}/{page.name}"
        assert text.startswith("# "), name
        assert text.count("```") % 2 == 0, name
        assert (CHINESE.search(text) is not None) == (language == "zh"), name
        assert not UNFINISHED.search(text), name
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (page.parent / target).exists(), (name, target)


def test_every_help_page_has_the_same_chapters_in_both_languages():
    for english in not_empty((PACK / "web" / "docs").glob("*/en.md")):
        chinese = english.with_name("zh.md")
        assert chinese.exists(), f"{english.parent.name} has no zh.md"
        shapes = [
            re.findall(r"^(#+) |^(```)|^- `(\w+)`", page.read_text(encoding="utf-8"), re.MULTILINE)
            for page in (english, chinese)
        ]
        assert shapes[0] == shapes[1], english.parent.name
