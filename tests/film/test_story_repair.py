"""A story's folder whose ``story.json`` was lost or damaged finds itself again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest
import torch

from helpers.not_empty import not_empty
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


def tale(prompts="abc", name="Tale", **fields):
    scene = {"video_prompts": list(prompts), "cut": [True] * len(prompts), **fields}
    return load_story({"story_name": name, "scenes": [scene]})


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


def tables(folder) -> dict:
    """What the manifest says of results and of the files that show them."""
    manifest = read_manifest(folder)
    facts = ("key", "own", "prompt", "shot_prompt", "seed")
    shots = {label: {n: entry.get(n) for n in facts} for label, entry in manifest["shots"].items()}
    files = {name: file["key"] for name, file in manifest["files"].items()}
    return {
        "shots": shots,
        "files": files,
        "prompts": manifest["prompts"],
        "name": manifest["name"],
    }


def date(record, seconds) -> None:
    os.utime(record.video, (seconds, seconds))


@pytest.mark.parametrize("fps", [16.0, 24.0])
def test_a_repair_takes_results_of_its_own_story_alone(tmp_path, fps):
    """Two stories of the same shots, whose films are the same to the last bit."""
    made = {name: make(tmp_path, tale(name=name), fps) for name in ("Tale", "Else", "Tales")}
    videos = {(f / "shot_01_02.mp4").read_bytes() for f, _, _ in made.values()}
    assert len(videos) == 1
    before = {name: tables(folder) for name, (folder, _, _) in made.items()}
    assert len({str(table["shots"]["01_02"]["key"]) for table in before.values()}) == 3
    for newest in made:  # whichever was made last
        for name, (folder, loop, steps) in made.items():
            for step in steps:
                date(step.record, 2_000_000_000 if name == newest else 1_000_000_000)
            if name == newest:
                continue
            spoil(folder, None)
            repair_folder(folder, tale(name=name), loop.store)
            assert tables(folder) == before[name]


@pytest.mark.parametrize("script", ["beside the films", "lost"])
def test_a_film_that_shows_no_result_is_of_the_last_take_of_its_place(tmp_path, script):
    """At another frame rate no film is a copy of its record."""
    takes = {}
    for year, (prompts, body) in enumerate(
        [("abc", "first"), ("abc", "second"), ("xyz", "of another film")], 1
    ):
        folder, loop, steps = make(tmp_path, tale(prompts), 24.0, body=body)
        takes[body] = {step.label: step.record.key for step in steps}
        for step in steps:
            date(step.record, year * 100_000_000 + step.plan.shot.index)
    make(tmp_path, tale("abc"), 24.0, body="first")  # what is shown need not be the last take
    if script == "lost":
        (folder / "script.json").unlink()
    spoil(folder, None)
    # The script was edited since; its copy in the folder still tells of what is there.
    repair_folder(folder, tale("abq" if script != "lost" else "abc"), loop.store)
    assert keys(folder) == takes["second"]


def test_a_repaired_folder_knows_what_every_film_was_made_of(tmp_path):
    folder, loop, _ = make(tmp_path, tale(seed=[0, None, 5]))
    before = tables(folder)
    assert [entry["seed"] for entry in before["shots"].values()] == [0, None, 5]
    spoil(folder, "")
    repair_folder(folder, tale(seed=[0, None, 5]), loop.store)
    assert tables(folder) == before
    told = StoryExport(folder, tale(), loop.settings, VideoOptions()).shot_files
    assert told.edits() == {}


def without_own_prompts(steps) -> None:
    """Records as earlier versions wrote them, which had the whole prompt alone."""
    for step in steps:
        path = step.record.folder / "record.json"
        body = json.loads(json.loads(path.read_text())["record"])
        del body["facts"]["shot_prompt"]
        text = json.dumps(body)
        digest = hashlib.sha256(text.encode()).hexdigest()
        path.write_text(json.dumps({"sha256": digest, "record": text}))


@pytest.mark.parametrize("fps", [16.0, 24.0])
@pytest.mark.parametrize("is_earlier", [False, True])
def test_a_folder_without_a_script_is_known_by_the_prompts_of_its_results(
    tmp_path, fps, is_earlier
):
    folder, loop, steps = make(tmp_path, tale(), fps)
    before = tables(folder)
    if is_earlier:
        without_own_prompts(steps)
    (folder / "script.json").unlink()
    spoil(folder, None)
    repair_folder(folder, tale(), loop.store)
    after = tables(folder)
    assert keys(folder) == {label: entry["key"] for label, entry in before["shots"].items()}
    assert after["prompts"] == ([] if is_earlier else before["prompts"])
    assert after["files"] == before["files"]


@pytest.mark.parametrize("fps", [16.0, 24.0])
def test_blanks_around_a_prompt_make_no_other_story_of_it(tmp_path, fps):
    folder, loop, _ = make(tmp_path, tale([" a", "b\n"]), fps)
    before = tables(folder)
    spoil(folder, None)
    repair_folder(folder, tale("xyz"), loop.store)
    assert tables(folder)["shots"] == before["shots"]
    for path in not_empty(folder.glob("*.mp4")):
        path.unlink()
    spoil(folder, None)
    repair_folder(folder, tale(["a "]), loop.store)  # known by the script alone
    assert read_manifest(folder)["prompts"] == before["prompts"]


def test_a_repair_tells_of_itself_alone(tmp_path, caplog):
    """Not once more of what was odd in the script."""
    folder, loop, _ = make(tmp_path, tale(weather="fog"))
    spoil(folder, None)
    caplog.clear()
    repair_folder(folder, tale(), loop.store)
    assert [record.name for record in caplog.records] == ["storymem.film.repair"]
    assert "is rebuilt" in caplog.text


def test_links_and_folders_in_place_of_films_are_no_films(tmp_path):
    folder, loop, _ = make(tmp_path, tale())
    (folder / "shot_01_01.mp4").unlink()
    (folder / "shot_01_01.mp4").symlink_to(folder / "shot_01_02.mp4")
    (folder / "shot_01_03.mp4").unlink()
    (folder / "shot_01_03.mp4").mkdir()
    (folder / "shot_01_02 edited.mp4").write_bytes((folder / "shot_01_02.mp4").read_bytes())
    spoil(folder, None)
    repair_folder(folder, tale(), loop.store)
    assert list(keys(folder)) == ["01_02"]
    assert list(read_manifest(folder)["files"]) == ["shot_01_02.mp4"]


def test_edited_files_of_which_nobody_knows_the_take_are_named(tmp_path, caplog):
    folder, loop, _ = make(tmp_path, tale())
    spoil(folder, None)
    repair_folder(folder, tale(), loop.store)
    assert "no longer known which take" not in caplog.text
    for name in ("shot_01_02 edited 2.mp4", "shot_01_01 edited 1.mp4"):
        (folder / name).write_bytes(b"graded")
    spoil(folder, None)
    repair_folder(folder, tale(), loop.store)
    assert "in place of its shot's file: shot_01_01 edited 1.mp4, shot_01_02 edited 2.mp4" in (
        caplog.text
    )


def test_a_folder_with_a_script_alone_is_known_by_it(tmp_path):
    folder, loop, _ = make(tmp_path, tale())
    for path in not_empty(folder.glob("*.mp4")):
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


def test_whole_manifests_and_folders_of_somebody_else_are_left_alone(tmp_path, caplog):
    folder, loop, _ = make(tmp_path, tale())
    before = (folder / "story.json").read_bytes()
    other = folder.with_name("Tale_2")
    other.mkdir()
    (other / "holiday.mp4").write_text("mine")
    repair_folder(folder, tale(), loop.store)
    repair_folder(other, tale(), loop.store)
    assert (folder / "story.json").read_bytes() == before
    assert caplog.text == ""
    assert json.loads(before)["name"] == "Tale"
    assert [path.name for path in other.iterdir()] == ["holiday.mp4"]
