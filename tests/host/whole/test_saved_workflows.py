"""Workflows that people saved stay loadable: frozen schemas, frozen copies of what was shipped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from helpers.node_schemas import WIDGETS, breaking_changes, for_artists, pack_nodes, saved_form
from helpers.not_empty import not_empty
from helpers.told_notices import schemas_of_host
from storymem.files.workflow_file import to_api

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
RELEASED = not_empty((GOLDEN / "workflows").glob("*.json"))
KINDS = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}
MIGRATE = (
    "saved workflows would not survive this. Keep the old name, order, type or option and add the "
    "new one at the end, or take old workflows over in the node (and record it with "
    "`python tests/tools/make_schema_snapshot.py --migrated`)"
)
RECORD = "additions are fine; record them with `python tests/tools/make_schema_snapshot.py`"


@pytest.fixture(scope="module")
def current(host) -> dict:
    nodes = for_artists(pack_nodes(sys.modules[host._pack]))
    return {node_id: saved_form(node) for node_id, node in nodes.items()}


@pytest.fixture(scope="module")
def frozen() -> dict:
    return json.loads((GOLDEN / "schemas.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def object_info(host) -> dict:
    return schemas_of_host()


def test_no_change_of_a_node_breaks_saved_workflows_and_every_addition_is_recorded(frozen, current):
    problems = breaking_changes(frozen, current)
    assert problems == [], MIGRATE
    news = sorted(set(current) - set(frozen))
    grown = [i for i in frozen if i in current and frozen[i] != current[i]]
    assert (news, grown) == ([], []), RECORD


@pytest.mark.parametrize("path", RELEASED, ids=lambda p: p.stem)
def test_a_released_workflow_still_fits_the_nodes(path, object_info):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    ours = [n for n in workflow["nodes"] if n["type"].startswith("StoryMem")]
    assert ours
    unknown = {n["type"] for n in workflow["nodes"]} - set(object_info) - {"MarkdownNote"}
    assert unknown == set()
    for node in ours:
        described = object_info[node["type"]]
        sections = [described["input"].get(s, {}) for s in ("required", "optional")]
        declared = {name: spec for section in sections for name, spec in section.items()}
        assert {i["name"] for i in node["inputs"]} <= set(declared), node["type"]
        assert len(node["outputs"]) <= len(described["output"])
        kinds = [output["type"] for output in node["outputs"]]
        assert kinds == list(described["output"][: len(kinds)]), node["type"]
        widgets = sum(
            1 + bool(len(spec) > 1 and spec[1].get("control_after_generate"))
            for spec in declared.values()
            if spec[0] in WIDGETS
        )
        assert len(node["widgets_values"]) <= widgets, node["type"]


@pytest.mark.parametrize("path", RELEASED, ids=lambda p: p.stem)
def test_a_released_workflow_still_becomes_a_prompt_that_the_nodes_accept(path, object_info):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    prompt = to_api(workflow, object_info)
    for node in prompt.values():
        kind = node["class_type"]
        sections = object_info[kind]["input"]
        declared = {**sections.get("required", {}), **sections.get("optional", {})}
        missing = set(sections.get("required", ())) - {n.split(".")[0] for n in node["inputs"]}
        assert missing == set(), kind
        for name, value in node["inputs"].items():
            if isinstance(value, list) or not kind.startswith("StoryMem"):
                continue
            spec = declared[name]
            _check(f"{kind}.{name}", spec[0], spec[1] if len(spec) > 1 else {}, value)


def _check(place: str, kind: str, options: dict, value) -> None:
    if kind in KINDS:
        assert isinstance(value, KINDS[kind]), (place, value)
        assert isinstance(value, bool) == (kind == "BOOLEAN"), (place, value)
        if kind in ("INT", "FLOAT"):
            assert options.get("min", value) <= value <= options.get("max", value), (place, value)
    elif kind == "COMBO" and not str(value).endswith((".safetensors", ".json", ".txt", ".png")):
        assert value in options["options"], (place, value)
