"""What people read of the nodes - labels, tooltips, help pages - agrees with what the nodes are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from helpers.help_pages import with_lists
from helpers.node_schemas import fingerprints, for_artists, leaves, pack_nodes, shape, texts

PACK = Path(__file__).resolve().parents[3]
HELP = PACK / "web" / "docs"
LANGUAGES = ("en", "zh")


@pytest.fixture(scope="module")
def node_classes(host) -> dict[str, type]:
    return for_artists(pack_nodes(sys.modules[host._pack]))


@pytest.fixture(scope="module")
def wanted(node_classes) -> dict:
    return {node_id: texts(node) for node_id, node in node_classes.items()}


def read(language: str, name: str) -> dict:
    path = PACK / "locales" / language / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_english_texts_are_the_schemas_own(wanted):
    said, should = leaves(read("en", "nodeDefs")), leaves(wanted)
    assert said == should, "run `python tests/tools/make_locales.py`"


def test_chinese_texts_cover_every_node_input_and_output_and_nothing_else(wanted):
    there, needed = shape(read("zh", "nodeDefs")), shape(wanted)
    assert (sorted(needed - there), sorted(there - needed)) == ([], []), (
        "first: write these by hand in locales/zh/nodeDefs.json; second: they name nothing, delete"
    )


def test_no_chinese_text_says_what_the_english_said_before(wanted):
    path = PACK / "tests" / "golden" / "translated.json"
    then, now = json.loads(path.read_text(encoding="utf-8")), fingerprints(wanted)
    stale = sorted(place for place in now if then.get(place) != now[place])
    assert stale == [], (
        "translate these again in locales/zh/nodeDefs.json, then run "
        "`python tests/tools/make_locales.py --translated`"
    )


def test_categories_and_wire_types_have_names(node_classes):
    words, types = set(), set()
    for node in node_classes.values():
        schema = node.GET_SCHEMA()
        words |= set(schema.category.split("/"))
        types |= {part.get_io_type() for part in (*schema.inputs, *schema.outputs)}
    for language in LANGUAGES:
        main = read(language, "main")
        assert words - set(main["nodeCategories"]) == set()
        assert {t for t in types if t.startswith("STORYMEM_")} - set(main["dataTypes"]) == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_has_a_help_page_and_every_page_a_node(node_classes, language):
    pages = {page.parent.name for page in HELP.glob(f"*/{language}.md")}
    nodes = set(node_classes)
    assert (sorted(nodes - pages), sorted(pages - nodes)) == ([], []), (
        f"first: write web/docs/<id>/{language}.md; second: they belong to no node"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_help_page_shows_every_input_and_output_as_the_node_has_it(node_classes, language):
    names, types = read(language, "nodeDefs"), read(language, "main")["dataTypes"]
    stale = []
    for node_id, node in node_classes.items():
        page = (HELP / node_id / f"{language}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {names[node_id]['display_name']}\n"), node_id
        if page != with_lists(page, node, names[node_id], language, types):
            stale.append(node_id)
    assert stale == [], "run `python tests/tools/make_locales.py`"


def test_the_host_serves_both_languages(host):
    from app.custom_node_manager import CustomNodeManager

    translations = CustomNodeManager().build_translations()
    for language in LANGUAGES:
        served = translations[language]
        assert (
            served["nodeDefs"]["StoryMemM2VSampler"]
            == (read(language, "nodeDefs")["StoryMemM2VSampler"])
        )
        assert (
            served["nodeCategories"]["memory"]
            == (read(language, "main")["nodeCategories"]["memory"])
        )
