"""Several films of one title in one folder: which one a script goes on with, what its locks hold,
and that nothing of the others is lost."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from helpers.not_empty import not_empty
from storymem.film import edited_shots
from storymem.film.earlier_films import begin_film, find_film, keep_earlier, notices_of
from storymem.film.folder import claim_folder, story_folder
from storymem.film.manifest import prompt_marks, read_manifest
from storymem.film.output import StoryExport, VideoOptions
from storymem.film.shot_status import shot_states
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.reuse import latest_results
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank
from storymem.script.reader import load_story


def tale(*prompts, name="Tale", locked=(), rows=None, **fields):
    """A story of shots without memory of each other; ``rows`` are ids of rows by prompt."""
    rows = rows or {}
    shots = [{"prompt": p, "id": rows[p]} if p in rows else p for p in prompts]
    scene = {"video_prompts": shots, "cut": [True] * len(prompts), **fields}
    scene["lock"] = [prompt in locked for prompt in prompts]
    return load_story({"story_name": name, "scenes": [scene]})


class Made:
    """What one run gave."""

    def __init__(self, output, story, body="body", settings=None, stop_after=None):
        store = ShotStore(output / ".storymem")
        settings = settings or LoopSettings(keep_later=True)
        loop = Loop(story, settings, MemoryBank(), body, store)
        place = story_folder(output, "p", story)
        film = find_film(place, story)
        self.notices = notices_of(film, place, story)
        steps = list_steps(loop, film.known)
        self.folder = claim_folder(output, "p", story)
        begin_film(self.folder, story, steps)
        self.made = []
        shown = StoryExport(self.folder, story, settings, VideoOptions())
        before = None
        for step in steps[:stop_after]:
            if step.record is None:
                step.begin(begin_shot(loop, step, before))
            if step.record is None:
                seed = sum(step.plan.prompt.encode()) + len(body)
                frames = torch.rand(3, 16, 16, 3, generator=torch.Generator().manual_seed(seed))
                step.record, _ = finish_shot(loop, step, frames, MemoryBank(), crf=30)
                self.made.append(step.plan.prompt)
                shown.show_shot(step)
            before = load_result(loop, step.record)
        if stop_after is None:
            shown.finish(steps, {}, None)
        self.steps = steps
        self.keys = {step.label: step.key for step in steps}
        self.reasons = [step.reason for step in steps]


@pytest.fixture
def run(tmp_path):
    return lambda story, **more: Made(tmp_path, story, **more)


def manifest_of(made) -> dict:
    return read_manifest(made.folder)


# --- locks -----------------------------------------------------------------------------------


def test_a_lock_holds_when_every_prompt_is_edited(run):
    first = run(tale("a", "b"))
    edited = run(tale("x", "y", locked="y"))
    assert edited.folder == first.folder
    assert edited.made == ["x"]
    assert edited.reasons == ["", "locked"]
    assert edited.keys["01_02"] == first.keys["01_02"]
    assert any("holds another film of that title" in line for line in edited.notices)
    assert "locked and kept from that film: 01_02" in edited.notices
    assert manifest_of(edited)["locks"] == {"01_02": first.keys["01_02"]}
    again = run(tale("z", "w", locked="w"))
    assert again.keys["01_02"] == first.keys["01_02"]


def test_a_lock_that_a_run_wrote_down_outlives_a_run_that_stops(run):
    first = run(tale("a", "b", locked="b"))
    assert manifest_of(first)["locks"] == {"01_02": first.keys["01_02"]}
    stopped = run(tale("x", "y", locked="y"), stop_after=0)
    locked = shot_states(tale("x", "y", locked="y"), first.folder)[1]
    assert (locked.state, locked.video) == ("locked", first.folder / "shot_01_02.mp4")
    assert manifest_of(stopped)["locks"] == {"01_02": first.keys["01_02"]}
    assert run(tale("x", "y", locked="y")).made == ["x"]


def test_a_lock_goes_with_its_row_where_the_row_has_an_id(run):
    first = run(tale("a", "b", "c", locked="b", rows={"b": "r7"}))
    moved = run(tale("a", "x", "c", "edited", locked=["edited"], rows={"edited": "r7"}))
    assert moved.made == ["x"]
    assert moved.keys["01_04"] == first.keys["01_02"]
    assert manifest_of(moved)["locks"]["r7"] == first.keys["01_02"]
    again = run(tale("new", "other", locked=["new"], rows={"new": "r7"}))
    assert again.made == ["other"]
    assert again.keys["01_01"] == first.keys["01_02"]


def test_an_id_of_a_row_regenerates_nothing(run):
    first = run(tale("a", "b"))
    story = tale("a", "b", rows={"a": "r1", "b": "r2"})
    assert [found.state for found in shot_states(story, first.folder)] == ["done", "done"]
    assert run(story).made == []


def test_of_two_locked_rows_of_one_prompt_each_keeps_its_own(run):
    story = tale("a", "a", seed=[1, 2])
    rows = ("r1", "r2")
    shots = tuple(replace(s, lock=True, row=rows[s.index]) for s in story.shots)
    first = run(replace(story, shots=shots))
    swapped = [replace(shots[1], index=0, number=1), replace(shots[0], index=1, number=2)]
    second = run(replace(story, shots=tuple(swapped)))
    assert second.made == []
    assert list(second.keys.values()) == list(first.keys.values())[::-1]


def test_a_copy_of_a_locked_row_does_not_take_its_result(run):
    first = run(tale("a", "b", locked="a", rows={"a": "r1"}))
    second = run(tale("a", "c", locked=["a", "c"], rows={"a": "r1", "c": "r1"}))
    assert second.made == []  # by its label the copy holds what was there
    story = tale("c", "a", "d", locked=["a", "c", "d"], rows=dict.fromkeys("acd", "r1"))
    third = run(story, stop_after=3)
    assert third.keys["01_01"] == second.keys["01_02"]
    assert third.keys["01_02"] == first.keys["01_01"]
    assert third.made == ["d"]
    assert manifest_of(third)["locks"]["r1"] == first.keys["01_01"]


def test_a_lock_that_is_taken_off_is_forgotten(run):
    run(tale("a", "b", locked="b", rows={"b": "r7"}))
    assert manifest_of(run(tale("a", "b", rows={"b": "r7"})))["locks"] == {}
    assert run(tale("a", "c", locked="c", rows={"c": "r7"}), body="new").made == ["a"]  # by label


def test_locks_hold_for_shots_that_a_run_does_not_come_to(run):
    first = run(tale("a", "b"))
    part = LoopSettings(keep_later=True, end_shot=1)
    run(tale("x", "y", locked="y"), settings=part)
    whole = run(tale("x", "y", locked="y"))
    assert whole.made == []
    assert whole.keys["01_02"] == first.keys["01_02"]


def test_a_shot_that_is_locked_before_it_is_made_is_made_and_then_held(run):
    first = run(tale("a", locked="a"))
    assert first.made == ["a"]
    assert run(tale("x", locked="x")).made == []


def test_a_lock_of_another_title_or_another_label_holds_nothing(run):
    run(tale("a", "b"))
    assert run(tale("x", "y", name="Other", locked="y")).made == ["x", "y"]
    assert run(tale("x", "y", "z", locked="z")).made == ["x", "y", "z"]


def test_locks_in_a_manifest_of_anyone_are_checked():
    entries = {"01_01": {"key": "k", "prompt": "a"}}
    story = tale("a", "b", locked="b", rows={"b": "r7"})
    for locks in ({}, {"01_02": "gone"}):
        assert latest_results(entries, story, locks) == [entries["01_01"], {}]
    assert latest_results(entries, story, {"r7": "k"}) == [{}, entries["01_01"]]
    assert latest_results({}, story, {"r7": "k2"}) == [{}, {"key": "k2"}]


# --- another film in the folder --------------------------------------------------------------


def test_another_film_is_said_before_the_run_and_kept(run):
    first = run(tale("a", "b", "c", locked="c"))
    entries = manifest_of(first)["shots"]
    second = run(tale("x"))
    (notice,) = second.notices
    assert f"{second.folder} holds another film of that title (3 shots, none with a" in notice
    assert "its shots are kept, and python -m storymem films --restore brings it back" in notice
    assert "its film stays as Tale_00001_.mp4" in notice
    manifest = manifest_of(second)
    (earlier,) = manifest["earlier"]
    assert earlier["shots"] == entries
    assert earlier["locks"] == {"01_03": first.keys["01_03"]}
    assert manifest["locks"] == {}
    assert earlier["prompts"] == prompt_marks(tale("a", "b", "c"))
    assert earlier["name"] == "Tale"
    assert sorted(manifest["shots"]) == ["01_01"]
    assert manifest["prompts"] == prompt_marks(tale("x"))
    assert [path.name for path in second.folder.glob("shot_*")] == ["shot_01_01.mp4"]
    assert run(tale("x")).notices == []


def test_a_film_of_a_number_of_its_own_is_named(run):
    first = run(tale("a"))
    manifest = manifest_of(first)
    (first.folder / "story.json").write_text(json.dumps({**manifest, "video": "Tale_00002_.mp4"}))
    assert "; its film stays as Tale_00002_.mp4, its shots" in run(tale("x")).notices[0]


def test_a_script_that_comes_back_takes_up_its_own_film_and_locks(run, caplog):
    first = run(tale("a", "b", locked="b"))
    run(tale("x", "y"))
    back = run(tale("a", "edited", locked=["edited"]), body="another graph")
    assert back.made == ["a"]
    assert back.keys["01_02"] == first.keys["01_02"]
    assert [line for line in back.notices if "used again" in line]
    assert "damaged" not in caplog.text  # the file there was the other film's
    manifest = manifest_of(back)
    assert [sorted(film["shots"]) for film in manifest["earlier"]] == [["01_01", "01_02"]]
    assert not set(manifest["earlier"][0]["prompts"]) & set(manifest["prompts"])
    assert manifest["earlier"][0]["prompts"] == prompt_marks(tale("x", "y"))


def test_a_result_that_a_lock_took_from_another_film_does_not_make_them_one(run):
    first = run(tale("a", "b"))
    run(tale("x", "y", locked="y"))
    back = run(tale("a", "b"))
    assert [line for line in back.notices if "used again" in line]
    assert back.made == []
    assert back.keys == first.keys
    (other,) = manifest_of(back)["earlier"]
    assert other["prompts"] == prompt_marks(tale("x", "y"))
    assert run(tale("x", "y", locked="y")).keys["01_02"] == first.keys["01_02"]


def test_a_run_that_stops_leaves_the_earlier_film_kept(run):
    first = run(tale("a", "b"))
    stopped = run(tale("x", "y"), stop_after=1)
    assert manifest_of(stopped)["earlier"][0]["shots"] == manifest_of_shots(first)
    assert (first.folder / "shot_01_02.mp4").is_file()  # in view until the film is whole
    done = run(tale("x"))
    assert not (done.folder / "shot_01_02.mp4").exists()


def manifest_of_shots(made) -> dict:
    return {step.label: read_manifest(made.folder)["earlier"][0]["shots"][step.label]
            for step in made.steps}  # fmt: skip


def test_a_file_of_an_earlier_shot_that_somebody_changed_stays_in_view(run, monkeypatch):
    monkeypatch.setattr(edited_shots, "BUSY_SECONDS", 0.1)
    first = run(tale("a", "b", "c"))
    graded = first.folder / "shot_01_03.mp4"
    graded.write_bytes(graded.read_bytes() + b"graded")
    written = graded.read_bytes()
    run(tale("x"))
    (aside,) = first.folder.glob("shot_01_03 *.mp4")
    assert aside.read_bytes() == written
    assert not (first.folder / "shot_01_02.mp4").exists()


def test_a_script_of_which_nothing_was_made_is_no_film(run):
    run(tale("a"), stop_after=0)
    assert run(tale("x")).notices == []
    assert "holds another film" in run(tale("a")).notices[0]


def test_the_page_shows_no_picture_of_the_other_film(run):
    first = run(tale("a", "b"))
    run(tale("x", "y"))
    for story in (tale("a", "b"), tale("n", "o")):
        assert [(s.state, s.video) for s in shot_states(story, first.folder)] == [
            ("waiting", None)
        ] * 2
    locked = shot_states(tale("n", "o", locked="o"), first.folder)
    assert [s.state for s in locked] == ["waiting", "locked"]


def test_nothing_is_written_by_looking(run, tmp_path):
    first = run(tale("a"))
    before = {path: path.stat().st_mtime_ns for path in not_empty(tmp_path.rglob("*"))}
    film = find_film(first.folder, tale("x"))
    notices_of(film, first.folder, tale("x"))
    keep_earlier(film.manifest)
    assert {path: path.stat().st_mtime_ns for path in not_empty(tmp_path.rglob("*"))} == before


def test_marks_before_names_are_no_other_film(run):
    run(tale("@Mara sits"))
    assert run(tale("Mara sits")).notices == []


# --- untitled stories, folders of earlier versions -------------------------------------------


def test_untitled_stories_say_that_they_share_a_folder(tmp_path):
    for text in ("a\n---\nb", "a\n---\nc"):  # they share a prompt
        story = load_story(text)
        place = story_folder(tmp_path, "p", story)
        (notice,) = notices_of(find_film(place, story), place, story)
        assert f"this script has no title of its own: all such stories share {place}" in notice
    assert notices_of(find_film(place, story), place, story, has_title_folder=False) == []
    assert notices_of(find_film(place, tale("a")), place, tale("a")) == []


def test_a_numbered_folder_of_an_earlier_version_is_told_and_left_alone(run, tmp_path):
    other = run(tale("x"))
    old = other.folder.with_name("Tale_2")
    mine = run(tale("a", "b", name="Tale_2"))
    manifest = {**manifest_of(mine), "name": "Tale"}  # as two stories of one title were kept
    (old / "story.json").write_text(json.dumps(manifest))
    before = {path: path.read_bytes() for path in not_empty(old.iterdir()) if path.is_file()}
    now = run(tale("a", "edited", locked=["edited"]), body="another graph")
    assert now.folder == other.folder
    assert now.made == ["a"]
    assert now.keys["01_02"] == mine.keys["01_02"]
    told = "\n".join(now.notices)
    assert f"an earlier version put this story's 2 shots into {old}" in told
    assert "holds another film of that title (1 shot, none with" in told
    assert {
        path: path.read_bytes() for path in not_empty(old.iterdir()) if path.is_file()
    } == before
    assert run(tale("a", "edited", locked=["edited"])).notices == []


def test_a_numbered_folder_of_a_story_of_that_name_is_no_earlier_versions(run):
    run(tale("x"))
    run(tale("a", "b", name="Tale_2"))
    now = run(tale("a", "c"))
    assert "earlier version" not in "\n".join(now.notices)
