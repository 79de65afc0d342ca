"""What every node promises: permanent ids, words for the artist, inputs that execute() takes."""

from __future__ import annotations

import asyncio
import inspect
import sys

import pytest

PERMANENT_IDS = {
    "StoryMemLoadStory": "Load Story",
    "StoryMemMemoryBank": "Memory Bank",
    "StoryMemKeyframeSelect": "Keyframe Select",
    "StoryMemAestheticFilter": "Aesthetic Filter",
    "StoryMemRemember": "Remember",
    "StoryMemM2VSampler": "M2V Sampler",
    "StoryMemM2VConditioning": "M2V Conditioning",
    "StoryMemM2VModelPatch": "M2V Model Patch",
    "StoryMemLoadLoRA": "Load Story LoRA",
    "StoryMemShotLoopOpen": "Shot Loop Open",
    "StoryMemShotLoopClose": "Shot Loop Close",
    "StoryMemPreviewMemoryBank": "Preview Memory Bank",
}


@pytest.fixture(scope="module")
def node_classes(host):
    extension = asyncio.run(sys.modules[host._pack].comfy_entrypoint())
    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}


def test_node_ids_and_display_names_are_permanent(node_classes):
    names = {
        i: node_classes[i].GET_SCHEMA().display_name for i in PERMANENT_IDS if i in node_classes
    }
    assert names == PERMANENT_IDS


def test_every_node_lives_in_the_storymem_category(node_classes):
    assert all(n.GET_SCHEMA().category.startswith("StoryMem") for n in node_classes.values())
    assert all(i.startswith("StoryMem") for i in node_classes)


def test_every_node_has_a_description(node_classes):
    assert [i for i, n in node_classes.items() if not n.GET_SCHEMA().description] == []


def test_every_input_and_output_has_a_tooltip(node_classes):
    silent = [
        f"{node_id}.{part.id or part.display_name}"
        for node_id, node in node_classes.items()
        for part in (*node.GET_SCHEMA().inputs, *node.GET_SCHEMA().outputs)
        if not part.tooltip
    ]
    assert silent == []


def test_inputs_match_the_parameters_of_execute(node_classes):
    for node_id, node in node_classes.items():
        schema = node.GET_SCHEMA()
        parameters = inspect.signature(node.execute).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            continue
        assert {i.id for i in schema.inputs} == set(parameters), node_id
        for declared in schema.inputs:
            if declared.optional and declared.get_io_type() != "COMBO":
                assert parameters[declared.id].default is not inspect.Parameter.empty, (
                    f"{node_id}.{declared.id} is optional but execute() has no default for it"
                )


def test_option_values_are_plain_lowercase(node_classes):
    for node_id, node in node_classes.items():
        for part in node.GET_SCHEMA().inputs:
            if part.get_io_type() != "COMBO" or part.id in ("sampler_name", "scheduler"):
                continue
            if any(word in part.id for word in ("file", "lora", "name", "folder", "head", "model")):
                continue  # names of files
            for value in part.options:
                plain = value == value.lower() and value.isascii() and " " not in value
                assert plain, (node_id, value)
