"""The rules by which a change of a node is called harmless or one that saved workflows notice."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.node_schemas import breaking_changes, saved_form

SNAPSHOT = Path(__file__).resolve().parents[1] / "golden" / "schemas.json"
NODE = {
    "inputs": [
        {"name": "bank", "type": "STORYMEM_BANK", "optional": False},
        {"name": "steps", "type": "INT", "optional": False, "default": 40, "min": 1, "max": 100},
        {"name": "rule", "type": "COMBO", "optional": False, "default": "a", "options": ["a", "b"]},
        {"name": "pin", "type": "BOOLEAN", "optional": True, "default": True},
    ],
    "outputs": [{"name": "bank", "type": "STORYMEM_BANK"}, {"name": "report", "type": "STRING"}],
}


def changed(change) -> list[str]:
    node = copy.deepcopy(NODE)
    change(node)
    return breaking_changes({"Node": NODE}, {"Node": node})


def test_an_unchanged_node_is_no_change():
    assert changed(lambda node: None) == []


def new_input(name="late", kind="INT", *, optional=True, at=None):
    def change(node):
        place = len(node["inputs"]) if at is None else at
        node["inputs"].insert(place, {"name": name, "type": kind, "optional": optional})

    return change


def set_input(place, **values):
    return lambda node: node["inputs"][place].update(values)


HARMLESS = {
    "a new optional widget at the end": new_input(),
    "a new optional socket after the other sockets": new_input(kind="IMAGE", at=2),
    "another output at the end": lambda node: node["outputs"].append(
        {"name": "images", "type": "IMAGE"}
    ),
    "another option at the end": set_input(2, options=["a", "b", "c"]),
    "a wider range": set_input(1, min=0, max=200),
    "a required input that became optional": set_input(2, optional=True),
    "another display name": lambda node: node.update(display_name="Other"),
}
BREAKING = {
    "an input that is gone": lambda node: node["inputs"].pop(1),
    "an input with another name": set_input(1, name="step_count", optional=True),
    "an input of another type": set_input(1, type="FLOAT"),
    "widgets in another order": lambda node: node["inputs"].insert(1, node["inputs"].pop(2)),
    "a new widget before others": new_input(at=1),
    "a new required input": new_input(optional=False),
    "an optional input that became required": set_input(3, optional=False),
    "another default": set_input(1, default=30),
    "an option that is gone": set_input(2, options=["a"]),
    "options in another order": set_input(2, options=["b", "a"]),
    "a narrower range": set_input(1, max=50),
    "a higher minimum": set_input(1, min=2),
    "another step": set_input(1, step=2),
    "another rounding": set_input(1, round=0.1),
    "another way to go on with a seed": set_input(1, control_after_generate="randomize"),
    "an output that is gone": lambda node: node["outputs"].pop(),
    "outputs in another order": lambda node: node["outputs"].reverse(),
    "an output of another type": lambda node: node["outputs"][1].update(type="INT"),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS.keys())
def test_harmless_is(change):
    assert changed(change) == []


@pytest.mark.parametrize("change", BREAKING.values(), ids=BREAKING.keys())
def test_noticed_is(change):
    assert changed(change)


@pytest.mark.parametrize(
    "options",
    [
        {"default": 0, "min": 0, "max": 0, "step": 0},  # a limit of 0 is one
        {"default": 0.5, "round": 0.01, "advanced": True},
        {"default": "", "multiline": True},
        {"default": False},
        {"control_after_generate": "fixed"},
        {},
    ],
    ids=str,
)
def test_all_that_a_saved_value_rests_on_is_kept(options):
    described = {
        "display_name": "Node", "category": "StoryMem", "output": [], "output_name": [],
        "input": {"required": {"x": ("INT", {**options, "tooltip": "words", "lazy": None})}},
    }  # fmt: skip
    (kept,) = saved_form(SimpleNamespace(GET_NODE_INFO_V1=lambda: described))["inputs"]
    assert kept == {"name": "x", "type": "INT", "optional": False, **options}


def test_a_node_that_is_gone_is_noticed_and_a_new_one_is_not():
    assert breaking_changes({"Node": NODE}, {})
    assert breaking_changes({"Node": NODE}, {"Node": NODE, "Other": NODE}) == []


def test_the_snapshot_holds_every_permanent_node():
    frozen = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert {"StoryMemLoadStory", "StoryMemM2VSampler", "StoryMemShotLoopClose"} <= set(frozen)
    assert [i for i, node in frozen.items() if not node["inputs"]] == ["StoryMemSampler"]
