"""An input that a later version adds is left out of keys while it changes nothing."""

from __future__ import annotations

from dataclasses import fields

import pytest

from helpers.node_schemas import WIDGETS
from storymem.headless.judges import SelectionModels
from storymem.headless.runner import RunSettings
from storymem.loop.neutral_inputs import NEUTRAL, NEVER_COUNT, inputs_that_count
from storymem.sampling.continuity import ShotPlan
from storymem.sampling.recipe import Recipe
from storymem.script.story import Shot

# What a shot and the headless runner's settings had when keys began: these count always. A new
# field needs an entry in storymem/loop/neutral_inputs.py.
FROM_THE_BEGINNING = {
    Shot: {
        "index", "scene", "number", "prompt", "cut", "seed", "length", "negative", "continuity",
        "lora_strength", "references", "first_frame_prompt", "lock", "row",
        "start_image",  # counts by its picture, as references do: see NO_PIXELS
    },
    ShotPlan: {"shot", "story", "prompt", "mode", "has_start"},
    RunSettings: {
        "out", "width", "height", "length", "size_rule", "seed", "lora_strength", "threshold",
        "max_keyframes", "start_image", "has_memory", "fps", "crf", "resume", "loop",
    },
    Recipe: {"steps", "cfg", "cfg_low", "shift", "boundary", "sampler", "rope_shift"},
    SelectionModels: {
        "embedder", "clip", "scorer", "scorer_threshold", "laion_clip", "laion_head", "hpsv3",
    },
}  # fmt: skip

# Where today's default is another one than what was computed before the setting existed.
EARLIER_DEFAULTS = {Recipe: {"scheduler": "simple"}}


def optional_widgets(schema: dict) -> set[str]:
    return {one["name"] for one in schema["inputs"] if one["optional"] and one["type"] in WIDGETS}


def wires(schema: dict) -> set[str]:
    return {one["name"] for one in schema["inputs"] if one["type"] not in WIDGETS}


def test_every_optional_input_has_a_neutral_value_or_never_counts(golden):
    """A new input of a node: say in storymem/loop/neutral_inputs.py at which value the node
    computes what it did without it, or every film that was made with the node is regenerated. An
    input that shows in no pixel goes to NEVER_COUNT."""
    schemas = golden("schemas.json")
    wanted = {name: optional_widgets(schema) for name, schema in schemas.items()}
    listed = {
        name: {*NEUTRAL.get(name, {}), *NEVER_COUNT.get(name, ())} - wires(schemas[name])
        for name in {*wanted, *NEUTRAL, *NEVER_COUNT} - {c.__name__ for c in FROM_THE_BEGINNING}
    }
    assert {n: found for n, found in listed.items() if found} == {
        n: found for n, found in wanted.items() if found
    }


def test_no_input_has_a_neutral_value_and_never_counts():
    assert [n for n in NEVER_COUNT if set(NEUTRAL.get(n, {})) & NEVER_COUNT[n]] == []


@pytest.mark.parametrize("kind", FROM_THE_BEGINNING, ids=lambda kind: kind.__name__)
def test_every_new_setting_has_a_neutral_value(kind):
    new = {field.name: field.default for field in fields(kind)}
    for name in FROM_THE_BEGINNING[kind]:
        del new[name]
    assert new | EARLIER_DEFAULTS.get(kind, {}) == NEUTRAL[kind.__name__]


def test_an_input_at_its_neutral_value_is_as_if_it_were_not_there():
    old = {"model_high": ["1", 0], "steps": 40}
    new = {**old, "shift": 4.0, "cfg_low": 0, "denoise": 1.0}
    assert inputs_that_count("StoryMemM2VSampler", new) == old


def test_any_other_value_counts_and_so_does_a_link():
    for value in (5.0, None, "", ["7", 0]):
        counted = inputs_that_count("StoryMemM2VSampler", {"shift": value})
        assert counted == {"shift": value}


def test_true_and_one_are_two_values():
    assert inputs_that_count("StoryMemRemember", {"pin": 0}) == {"pin": 0}
    assert inputs_that_count("StoryMemRemember", {"pin": False}) == {}
    assert inputs_that_count("StoryMemShotLoopOpen", {"start_shot": True}) == {"start_shot": True}


def test_what_shows_in_no_pixel_never_counts():
    assert inputs_that_count("StoryMemLoadEmbedder", {"download": True}) == {}


def test_inputs_of_other_nodes_count():
    inputs = {"seed": 0, "steps": 40, "shift": 4.0}
    assert inputs_that_count("KSampler", inputs) == inputs


# As they are in the keys of films that were made. A new input adds to this; what stands here stays,
# also when the default that a fresh node shows becomes another one.
FROZEN = {
    "StoryMemBeginStory": {"negative": ""},
    "StoryMemEvaluateStory": {"aesthetic_every": 1, "partial": False},
    "StoryMemJoinStory": {"fps": 16.0},
    "StoryMemKeyframeSelect": {"known_threshold": 0.9},
    "StoryMemLoadEmbedder": {"activation": "auto"},
    "StoryMemLoadLoRA": {"scale": "auto"},
    "StoryMemLoadMemoryBank": {"policy": "window"},
    "StoryMemLoadScorer": {"precision": "bf16"},
    "StoryMemLoadStory": {"character": "", "prompt_weights": False},
    "StoryMemM2VModelPatch": {"rope_shift": 5, "memory_refresh": "exact", "refresh_steps": ""},
    "StoryMemM2VSampler": {
        "cfg_low": 0.0, "shift": 4.0, "boundary": 0.9, "denoise": 1.0, "rope_shift": 5,
        "memory_refresh": "exact", "refresh_steps": "",
    },
    "StoryMemMemoryBank": {"edits": "", "policy": "window", "reference_names": ""},
    "StoryMemRemember": {"pin": False},
    "StoryMemShotLoopClose": {
        "fps": 16.0, "crf": 17, "transition": "none", "fade_frames": 8, "subtitles": True,
    },
    "StoryMemShotLoopOpen": {
        "negative": "", "start_shot": 1, "end_shot": 0, "preview": False, "redo_shots": "",
        "redo_take": 1, "after_redo": "recompute",
    },
    "StoryMemTinyTextEncoder": {"negative_prompt": ""},
    "Recipe": {"scheduler": "simple", "denoise": 1.0},
}  # fmt: skip
UNSEEN = ("StoryMemEvaluateStory", "StoryMemLoadEmbedder", "StoryMemLoadScorer")


@pytest.mark.parametrize("kind", FROZEN)
def test_a_neutral_value_stays_what_it_is(kind):
    """Another one would give every film that was made at it another key."""
    for name, value in FROZEN[kind].items():
        assert type(NEUTRAL[kind][name]) is type(value)
        assert inputs_that_count(kind, {name: value, "other": value}) == {"other": value}
        others = (None, [value], f"{value} ", not value if isinstance(value, bool) else 77.5)
        for other in others:
            assert inputs_that_count(kind, {name: other}) == {name: other}


def test_inputs_that_show_in_no_pixel_count_at_no_value():
    for kind in UNSEEN:
        for value in (True, False, "x"):
            assert inputs_that_count(kind, {"download": value}) == {}
        assert inputs_that_count("Another", {"download": True}) == {"download": True}
    assert {kind: names for kind, names in NEVER_COUNT.items() if kind in UNSEEN} == {
        kind: {"download"} for kind in UNSEEN
    }
