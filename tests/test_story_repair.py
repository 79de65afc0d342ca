"""A story's folder whose ``story.json`` was lost or damaged finds itself again."""

from __future__ import annotations

import json

import pytest
import torch

from storymem.memory_bank import MemoryBank
from storymem.shot_begin import begin_shot
from storymem.shot_loop import Loop, LoopSettings, finish_shot, list_steps
from storymem.shot_store import ShotStore
from storymem.story import load_story
from storymem.story_folder import claim_folder, find_folder, read_manifest
from storymem.story_output import ShownStory, VideoOptions
from storymem.story_repair import repair_folders

DAMAGE = ["", "{", "[]", '{"shots": {"01_01": ', None]


def tale(prompts="abc", **fields):
    scene = {"video_prompts": list(prompts), "cut": [True] * len(prompts), **fields}
    return load_story({"story_name": "Tale", "scenes": [scene]})


def make(output, story, fps=16.0, body="body"):
    """The story as the nodes make it: records, and the folder that an artist looks into."""
    store = ShotStore(output / ".storymem")
    loop = Loop(story, LoopSettings(), MemoryBank(), body, store)
    folder = claim_folder(output, "p", story)
    steps = list_steps(loop, read_manifest(folder))
    for step in steps:
        if step.record is None:
            step.begin(begin_shot(loop, step, None))
            seed = sum(step.plan.prompt.encode()) + len(body)
            frames = torch.rand(3, 16, 16, 3, generator=torch.Generator().manual_seed(seed))
            step.record, _ = finish_shot(loop, step, frames, MemoryBank(), crf=30)
    ShownStory(folder, story, loop.settings, VideoOptions(fps)).finish(steps, {}, None)
    return folder, loop, steps


def spoil(folder, text):
    path = folder / "story.json"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)


def keys(folder) -> dict:
    return {label: entry["key"] for label, entry in read_manifest(folder)["shots"].items()}


@pytest.mark.parametrize("fps", [16.0, 24.0])
@pytest.mark.parametrize("text", DAMAGE)
def test_a_damaged_manifest_is_written_anew_and_locks_hold(tmp_path, text, fps, caplog):
    folder, loop, _ = make(tmp_path, tale(), fps)
    make(tmp_path, tale("xy"), fps)  # another story of that name
    before = keys(folder)
    spoil(folder, text)
    repair_folders(tmp_path, "p", tale(), loop.store)
    assert keys(folder) == before
    assert "is written anew, with 3 of its shots" in caplog.text
    assert claim_folder(tmp_path, "p", tale()) == folder
    _, _, steps = make(tmp_path, tale(lock=[None, True, None]), fps, body="another")
    assert [step.reason for step in steps] == ["", "locked", ""]
    assert steps[1].record.key == before["01_02"]


def test_a_take_that_was_shown_is_the_one_that_is_found(tmp_path):
    make(tmp_path, tale(), body="newer, of another graph")
    folder, loop, _ = make(tmp_path, tale())
    shown = keys(folder)
    make(tmp_path, tale(), body="again another")
    make(tmp_path, tale())
    assert keys(folder) == shown
    spoil(folder, "")
    repair_folders(tmp_path, "p", tale(), loop.store)
    assert keys(folder) == shown


def test_a_folder_with_a_script_alone_is_known_by_it(tmp_path):
    folder, loop, _ = make(tmp_path, tale())
    for path in folder.glob("*.mp4"):
        path.unlink()
    spoil(folder, "")
    repair_folders(tmp_path, "p", tale("a"), loop.store)
    assert find_folder(tmp_path, "p", tale("a")) == folder


def test_what_nobody_can_tell_is_said_and_left_alone(tmp_path, caplog):
    folder, loop, _ = make(tmp_path, tale())
    spoil(folder, "{")
    repair_folders(tmp_path, "p", tale("xyz"), loop.store)
    assert "nothing beside it tells whose it is: 'Tale' gets another folder" in caplog.text
    assert (folder / "story.json").read_text() == "{"


def test_whole_manifests_and_folders_of_somebody_else_are_left_alone(tmp_path):
    folder, loop, _ = make(tmp_path, tale())
    before = (folder / "story.json").read_bytes()
    other = folder.with_name("Tale_2")
    other.mkdir()
    (other / "holiday.mp4").write_text("mine")
    repair_folders(tmp_path, "p", tale(), loop.store)
    assert (folder / "story.json").read_bytes() == before
    assert json.loads(before)["name"] == "Tale"
    assert [path.name for path in other.iterdir()] == ["holiday.mp4"]
