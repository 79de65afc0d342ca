"""A story's folder whose ``story.json`` was lost or damaged finds itself again."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from storymem.film.earlier_films import find_film, shares_prompt
from storymem.film.folder import claim_folder
from storymem.film.manifest import read_manifest
from storymem.film.output import StoryExport, VideoOptions
from storymem.film.repair import repair_folder
from storymem.loop.begin import begin_shot
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank
from storymem.script.reader import load_story

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
    StoryExport(folder, story, loop.settings, VideoOptions(fps)).finish(steps, {}, None)
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
    before = keys(folder)
    spoil(folder, text)
    repair_folder(folder, tale(), loop.store)
    assert keys(folder) == before
    assert "is rebuilt, with 3 of its shots" in caplog.text
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
    repair_folder(folder, tale(), loop.store)
    assert keys(folder) == shown


def test_a_folder_with_a_script_alone_is_known_by_it(tmp_path):
    folder, loop, _ = make(tmp_path, tale())
    for path in folder.glob("*.mp4"):
        path.unlink()
    spoil(folder, "")
    repair_folder(folder, tale("a"), loop.store)
    assert shares_prompt(read_manifest(folder), tale("bx"))
    assert not shares_prompt(read_manifest(folder), tale("xy"))


@pytest.mark.parametrize("fps", [16.0, 24.0])
def test_another_film_whose_manifest_was_lost_is_written_down_as_its_own(tmp_path, fps):
    folder, loop, _ = make(tmp_path, tale(), fps)
    before = keys(folder)
    spoil(folder, None)
    repair_folder(folder, tale("xyz"), loop.store)
    assert keys(folder) == before
    assert find_film(folder, tale("xyz")).is_other
    assert not find_film(folder, tale()).is_other


def test_shots_of_which_nobody_can_tell_are_said_and_never_written_over(tmp_path, caplog):
    folder, loop, _ = make(tmp_path, tale())
    spoil(folder, "{")
    shutil.rmtree(loop.store.root)
    before = (folder / "shot_01_01.mp4").read_bytes()
    repair_folder(folder, tale("xyz"), ShotStore(loop.store.root))
    assert "nothing beside it shows which story it belongs to" in caplog.text
    assert (folder / "story.json").read_text() == "{"
    with pytest.raises(ValueError, match=r"shot_01_01\.mp4, but no story\.json that says whose"):
        claim_folder(tmp_path, "p", tale("xyz"))
    assert (folder / "shot_01_01.mp4").read_bytes() == before


def test_whole_manifests_and_folders_of_somebody_else_are_left_alone(tmp_path):
    folder, loop, _ = make(tmp_path, tale())
    before = (folder / "story.json").read_bytes()
    other = folder.with_name("Tale_2")
    other.mkdir()
    (other / "holiday.mp4").write_text("mine")
    repair_folder(folder, tale(), loop.store)
    repair_folder(other, tale(), loop.store)
    assert (folder / "story.json").read_bytes() == before
    assert json.loads(before)["name"] == "Tale"
    assert [path.name for path in other.iterdir()] == ["holiday.mp4"]
