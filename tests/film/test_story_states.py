"""Where shots stand, as told by the story's folder, and the pictures of them for the page."""

from __future__ import annotations

import json
import os

import pytest
import torch
from PIL import Image

from storymem.files.video import write_video
from storymem.film.manifest import read_manifest, update_manifest
from storymem.film.shot_status import describe_made, find_present_film, shot_states
from storymem.loop.plan import LoopSettings, Step, plan_shot
from storymem.loop.shot_record import RECORD_FILE
from storymem.loop.shot_store import ShotStore
from storymem.loop.time_left import FACT, MARK_DIGITS, Timed, Work
from storymem.script.reader import load_story
from storymem.views.posters import find_record, find_shot, read_poster


def tale(*prompts, **fields):
    prompts = prompts or ("one", "two", "three")
    scene = {"video_prompts": list(prompts), "cut": [True] * len(prompts), **fields}
    return load_story({"story_name": "Tale", "scenes": [scene]})


@pytest.fixture
def folder(tmp_path):
    """The folder of a finished story of three shots."""
    make(tmp_path, tale())
    return tmp_path


def make(folder, story, **changes):
    step = None
    for shot in story.shots:
        plan = plan_shot(story, LoopSettings(), shot, has_previous=step is not None)
        step = Step(plan, "own", step, f"key of {shot.prompt} after {step.key if step else ''}")
        file = folder / f"shot_{shot.label}.mp4"
        file.write_bytes(b"x")
        entry = {"key": step.key, "file": file.name, "prompt": plan.prompt}
        entry |= describe_made(story, step)
        update_manifest(folder, story, shots={shot.label: {**entry, **changes}})


def states(story, folder) -> list[str]:
    return [found.word for found in shot_states(story, folder)]


def test_a_story_without_a_folder_waits():
    assert states(tale(), None) == ["waiting"] * 3


def test_the_film_is_shown_until_it_is_of_another_script_or_a_run_was_stopped(folder, tmp_path):
    film = folder / "Tale_00001_.mp4"
    assert find_present_film(None, tale()) is None
    assert find_present_film(folder, tale()) is None
    film.write_bytes(b"x")
    update_manifest(folder, tale(), video=film.name)
    assert find_present_film(folder, tale()) == film
    assert find_present_film(folder, tale("another")) is None
    update_manifest(folder, tale(), stopped="somebody cancelled it")
    assert find_present_film(folder, tale()) is None


@pytest.mark.parametrize("name", ["../Tale_00001_.mp4", "gone.mp4", "script.json", "link.mp4", ""])
def test_what_story_json_calls_a_film_is_a_film_in_its_folder(folder, name):
    (folder.parent / "Tale_00001_.mp4").write_bytes(b"x")
    (folder / "script.json").write_bytes(b"{}")
    (folder / "link.mp4").symlink_to(folder.parent / "Tale_00001_.mp4")
    update_manifest(folder, tale(), video=name)
    assert find_present_film(folder, tale()) is None


def test_finished_shots_are_done_and_have_their_video(folder):
    found = shot_states(tale(), folder)
    assert [s.state for s in found] == ["done"] * 3
    assert found[1].video == folder / "shot_01_02.mp4"


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": [None, 5, None]},
        {"length": [None, 49, None]},
        {"negative_prompt": [None, "x", None]},
    ],
)
def test_a_changed_shot_waits_and_those_after_it_depend_on_it(folder, changes):
    found = shot_states(tale(**changes), folder)
    assert [s.word for s in found] == ["done", "waiting", "depends 2"]
    assert found[1].video  # the latest result is still there to be looked at


def test_a_shot_with_another_prompt_has_no_result(folder):
    found = shot_states(tale("one", "2", "three"), folder)
    assert [s.word for s in found] == ["done", "waiting", "depends 2"]
    assert found[1].video is None


def test_another_character_makes_every_shot_wait(folder):
    story = load_story("[title: Tale]\n[character]\nMira\n---\none\n---\ntwo\n---\nthree")
    assert states(story, folder) == ["waiting"] * 3


def test_a_locked_shot_stays_and_what_follows_it_depends_on_it(folder):
    locked = [None, True, None]
    assert states(tale(lock=locked), folder) == ["done", "locked", "done"]
    assert states(tale("1", "two", "three", lock=locked), folder) == ["waiting", "locked", "done"]
    assert states(tale("one", "2", "three", lock=locked), folder) == ["done", "locked", "done"]


def test_a_prompt_with_marked_names_finds_its_result(tmp_path):
    story = tale("@Mara sits", "she stands", lock=[True, None])
    make(tmp_path, story)
    assert states(story, tmp_path) == ["locked", "done"]


def test_a_shot_that_was_kept_for_its_lock_waits_when_that_is_taken_off(folder):
    story = tale(seed=[None, 5, None], lock=[None, True, None])
    plan = plan_shot(story, LoopSettings(), story.shots[1], has_previous=True)
    kept = describe_made(story, Step(plan, "own", None, "key", reason="locked"))
    assert kept["script"] == ""


def test_the_shot_that_stopped_the_story_has_failed_until_it_goes_on(folder):
    story = tale("one", "two", "three", "four")
    update_manifest(folder, story, stopped="broke", failed="01_04")
    assert states(story, folder) == ["done", "done", "done", "failed"]
    update_manifest(folder, story, stopped="")
    assert states(story, folder)[3] == "waiting"


def test_a_folder_of_an_earlier_version_is_read_by_its_prompts(tmp_path):
    story = tale()
    make(tmp_path, story)
    for shot in story.shots:
        entry = {"key": shot.label, "file": f"shot_{shot.label}.mp4", "prompt": shot.prompt}
        update_manifest(tmp_path, story, shots={shot.label: entry})
    assert states(story, tmp_path) == ["done"] * 3
    assert states(tale("1", "two", "three"), tmp_path) == ["waiting", "depends 1", "depends 1"]


def test_a_shot_that_was_made_after_another_take_depends_on_the_new_one(folder):
    again = {"key": "another", "file": "shot_01_01.mp4", "prompt": "one", "previous": ""}
    step = Step(plan_shot(tale(), LoopSettings(), tale().shots[0], has_previous=False), "own")
    update_manifest(folder, tale(), shots={"01_01": {**again, **describe_made(tale(), step)}})
    assert states(tale(), folder) == ["done", "depends 1", "depends 1"]


def test_a_lock_decides_what_comes_after_it(folder):
    """What a locked shot leaves is known, whatever was changed before it."""
    story = tale("1", "two", "three", lock=[None, True, None])
    assert states(story, folder) == ["waiting", "locked", "done"]


def test_names_and_words_that_show_in_no_pixel_leave_a_shot_done(folder):
    scenes = [{"scene_num": 4, "video_prompts": ["one", "two", "three"], "cut": [True] * 3,
               "first_frame_prompt": "a close-up", "continuity": "last_frame"}]  # fmt: skip
    moved = load_story({"story_name": "Tale", "scenes": scenes})
    assert [found.word for found in shot_states(moved, folder)] == ["done"] * 3


def test_a_start_image_is_another_shot_and_none_is_what_it_was(folder):
    begun = load_story(
        {"story_name": "Tale", "scenes": [{"video_prompts": ["one", "two", "three"],
         "cut": [True] * 3, "start_image": [None, "b.png", None]}]}
    )  # fmt: skip
    assert shot_states(begun, folder)[0].word == "done"
    assert shot_states(begun, folder)[1].word == "waiting"


def test_taking_a_lock_off_or_locking_what_has_no_result_changes_nothing(folder, tmp_path):
    make(folder, tale(lock=[None, True, None]))
    assert states(tale(), folder) == ["done"] * 3
    assert states(tale("one", "two", "three", "four", lock=[None, None, None, True]), folder) == [
        *["done"] * 3,
        "waiting",
    ]


@pytest.mark.parametrize("name", ["../shot_01_01.mp4", "/etc/passwd", "story.json", None, 5])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path, name):
    make(tmp_path, tale(), file=name)
    assert all(found.video is None for found in shot_states(tale(), tmp_path))


# --- posters ---------------------------------------------------------------------------------


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "output" / "storymem" / "Tale 龙"
    folder.mkdir(parents=True)
    shades = torch.linspace(0, 255, 9).to(torch.uint8)[:, None, None, None].expand(9, 64, 96, 3)
    write_video(folder / "shot_01_02.mp4", shades)
    (tmp_path / "shot_01_02.mp4").write_bytes(b"outside")
    return tmp_path / "output"


def test_a_poster_is_the_middle_of_the_shot_made_small_and_kept(output, tmp_path):
    video = find_shot(output, "storymem/Tale 龙", "01_02")
    poster = read_poster(video, tmp_path / "temp", 48)
    (kept,) = (tmp_path / "temp" / "storymem" / "posters").iterdir()
    with Image.open(kept) as picture:
        assert (picture.format, picture.size) == ("JPEG", (48, 32))
        assert all(abs(c - 128) < 8 for c in picture.convert("RGB").getpixel((20, 20)))
    kept.write_bytes(b"from the cache")
    assert read_poster(video, tmp_path / "temp", 48) == b"from the cache"
    os.utime(video, ns=(1, 1))
    assert read_poster(video, tmp_path / "temp", 48) == poster


def test_a_damaged_video_has_no_poster(output, tmp_path):
    video = find_shot(output, "storymem/Tale 龙", "01_02")
    video.write_bytes(b"no video")
    assert read_poster(video, tmp_path) is None
    assert read_poster(output / "gone.mp4", tmp_path) is None


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("..", "01_02"),
        ("storymem/../..", "01_02"),
        ("storymem/Tale 龙/../../..", "01_02"),
        ("/etc", "01_02"),
        ("storymem/../storymem/Tale 龙", "01_02"),
        ("", "01_02"),
        ("storymem\\..\\..", "01_02"),
        ("storymem/Tale 龙", "../../../../shot_01_02"),
        ("storymem/Tale 龙", "01_03"),
        ("storymem/Tale 龙", ""),
        ("storymem\0", "01_02"),
        ("x" * 5000, "01_02"),
    ],
)
def test_names_never_leave_the_output_folder(output, folder, label):
    assert find_shot(output, folder, label) is None


def test_a_link_out_of_the_output_folder_is_not_followed(output, tmp_path):
    (output / "out").symlink_to(tmp_path)
    assert find_shot(output, "out", "01_02") is None


def test_a_record_is_found_by_its_key_alone(output):
    key = "ab" * 32
    record = output / ".storymem" / "shots" / "ab" / key
    record.mkdir(parents=True)
    (record / "shot.mp4").write_bytes(b"x")
    assert find_record(output / ".storymem", key) == record / "shot.mp4"
    assert find_record(output / ".storymem", "../" * 21 + "a") is None
    assert find_record(output / ".storymem", "cd" * 32) is None


def test_a_take_that_the_script_names_is_shown(folder, tmp_path):
    """As the folder shows it, else as the store has it until the next run."""
    store = ShotStore(tmp_path / "store")
    there, other = "ab" * 32, "cd" * 32
    for key in (there, other):
        store.folder_of(key).mkdir(parents=True)
    times = [Timed(Work(13, 64, 48), s, *[MARK_DIGITS * "a"] * 2).as_fact() for s in (41.0, 7.0)]
    entry = {**entry_of(folder, "01_02"), "key": there, FACT: times[0]}
    update_manifest(folder, tale(), shots={"01_02": entry})
    record = {"record": json.dumps({"facts": {FACT: times[1]}})}
    (store.folder_of(other) / RECORD_FILE).write_text(json.dumps(record))
    for key, video, seconds in (
        (there, folder / "shot_01_02.mp4", 41),
        (other, store.folder_of(other) / "shot.mp4", 7),
    ):
        named = tale(use_take=[None, key[:16], None])
        found = shot_states(named, folder, store)
        assert [s.word for s in found] == ["done", "chosen", "depends 2"]
        assert (found[1].video, found[1].timed.seconds) == (video, seconds)
    (store.folder_of(other) / RECORD_FILE).unlink()
    assert shot_states(named, folder, store)[1].timed is None  # not that of another take
    gone = tale(use_take=[None, "ef" * 8, None])
    unnamed = states(tale(), folder)  # what a run makes of it
    assert states(gone, folder) == unnamed
    assert [s.word for s in shot_states(gone, folder, store)] == unnamed


def entry_of(folder, label) -> dict:
    return read_manifest(folder)["shots"][label]
