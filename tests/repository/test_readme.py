"""The README and its Chinese twin: the same shape and links, and every link leads somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from helpers.not_empty import not_empty

PACK = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = PACK / "README.md", PACK / "README.zh-CN.md"
BOTH = pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda p: p.name)
PAGES = [ENGLISH, CHINESE, PACK / "CHANGELOG.md", *not_empty((PACK / "docs").glob("*.md"))]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchor(heading: str) -> str:
    """A heading's link as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(path: Path) -> list[tuple[str, str]]:
    return re.findall(r"^(#+) (.+)$", prose(path), re.MULTILINE)


def tables(path: Path) -> list[tuple[int, int]]:
    """(rows, columns) of each table."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", prose(path), re.MULTILINE)
    return [
        (len(table.strip().splitlines()), table.splitlines()[0].count("|") - 1) for table in found
    ]


def test_both_have_the_same_chapters_tables_and_blocks_of_code():
    assert [level for level, _ in headings(ENGLISH)] == [level for level, _ in headings(CHINESE)]
    assert tables(ENGLISH) == tables(CHINESE)
    blocks = [
        re.findall(r"^```(\w*)", p.read_text(encoding="utf-8"), re.M) for p in (ENGLISH, CHINESE)
    ]
    assert blocks[0] == blocks[1]


def test_both_link_to_the_same_places():
    links = [
        sorted(
            link.replace(".zh-CN", "")  # a page that is there in both languages
            for link in LINK.findall(prose(path))
            if not link.startswith(("#", "README"))
        )
        for path in (ENGLISH, CHINESE)
    ]
    assert links[0] == links[1]
    assert "](README.zh-CN.md)" in prose(ENGLISH)
    assert "](README.md)" in prose(CHINESE)


def test_both_name_the_same_files_settings_and_commands():
    # In any order and any number: what stands between backticks is the same in all languages.
    words = [
        {word for word in re.findall(r"`([^`\n]+)`", prose(path)) if "<" not in word}
        for path in (ENGLISH, CHINESE)
    ]
    assert words[0] == words[1]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_every_link_leads_to_a_file_or_a_heading_that_exists(path):
    for link in LINK.findall(prose(path)):
        if re.match(r"https?://", link):
            continue
        name, _, part = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if part:
            assert part in {anchor(text) for _, text in headings(target)}, link


@BOTH
def test_every_shipped_workflow_and_blueprint_is_named(path):
    text = path.read_text(encoding="utf-8")
    assert [
        f.name for f in not_empty((PACK / "workflows").glob("*.json")) if f"`{f.name}`" not in text
    ] == []
    assert [
        f.stem for f in not_empty((PACK / "subgraphs").glob("*.json")) if f.stem not in text
    ] == []


@BOTH
def test_every_node_of_the_pack_is_named(path):
    language = "zh" if path == CHINESE else "en"
    names = json.loads((PACK / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    text = path.read_text(encoding="utf-8")
    known = {
        "Shot Loop Close": "Shot Loop Open / Close",
        "镜头循环：结束": "镜头循环：开始 / 结束",
        "Edit Memory Bank": "Edit, Save, Load Memory Bank",
        "Save Memory Bank": "Edit, Save, Load Memory Bank",
        "编辑记忆库": "编辑、保存、加载记忆库",
        "保存记忆库": "编辑、保存、加载记忆库",
    }
    missing = [
        node["display_name"]
        for node_id, node in names.items()
        if "Tiny" not in node_id
        and known.get(node["display_name"], node["display_name"]) not in text
    ]
    assert missing == []
