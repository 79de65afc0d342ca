"""Which takes films use, and that nothing but the others can be removed."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from dataclasses import replace

import pytest

from helpers.fakes import noise_image
from storymem.cli import takes as command
from storymem.film.folder_lock import StoryClaim, is_claimed
from storymem.film.manifest import read_manifest, update_manifest, write_script_copy
from storymem.film.take_uses import (
    TakeInUse,
    find_unused,
    find_uses,
    folders_of,
    remove_take,
    remove_unused,
)
from storymem.film.versions import FilmVersion, keep_script, write_history
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.reuse import describe_result
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.loop.takes import read_takes
from storymem.memory.bank import MemoryBank, start_bank
from storymem.memory.frame import MemoryFrame
from storymem.sampling.draft import Draft
from storymem.script.reader import load_story


def tale(name="Tale", **fields):
    scene = {"video_prompts": ["one", "two"], "cut": [True, True], **fields}
    return load_story(json.dumps({"story_name": name, "scenes": [scene]}), quiet=True)


@pytest.fixture
def output(tmp_path):
    """An output folder in which the first two takes of a story of two shots were replaced."""
    for seed in (None, 7):
        make(tmp_path, tale(seed=[seed, seed]))
    return tmp_path


def store_of(output) -> ShotStore:
    return ShotStore(output / ".storymem")


def make(output, story, prefix="films", folder=None, draft=None):
    """Run a story into its folder, as far as this asks for it; its steps."""
    folder = folder or output / prefix / story.name
    folder.mkdir(parents=True, exist_ok=True)
    bank = start_bank([noise_image(1, 8, 8) / 255], max_frames=3, sink=1)
    loop = Loop(story, LoopSettings(draft=draft), bank, "body", store_of(output))
    steps = list_steps(loop, read_manifest(folder))
    for i, step in enumerate(steps):
        before = load_result(loop, steps[i - 1].record) if i else None
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
        if step.record is None:
            seed = int(step.key[:6], 16)
            frames = noise_image(seed, 8, 8)[None].expand(3, -1, -1, -1) / 255
            own = MemoryFrame(noise_image(seed + 1, 8, 8), shot=i, story=story.name)
            step.record, _ = finish_shot(loop, step, frames, begun.bank.remember([own]), crf=30)
    update_manifest(folder, story, shots={step.label: describe_result(step) for step in steps})
    write_script_copy(folder, story)
    return steps


def keys(output) -> list[str]:
    return [take.key for take in read_takes(store_of(output))]


def shown(output, folder="films/Tale") -> set[str]:
    return {entry["key"] for entry in read_manifest(output / folder)["shots"].values()}


def written_later(output, folder="films/Tale") -> None:
    """The folder's ``story.json`` is newer than every take."""
    path = output / folder / "story.json"
    os.utime(path, (path.stat().st_mtime + 100,) * 2)


def unused(output, story="Tale", scripts=()) -> set[str]:
    return {take.key for take in find_unused(store_of(output), story, scripts).takes}


def test_takes_that_no_film_shows_can_go(output):
    written_later(output)
    assert len(keys(output)) == 4
    assert unused(output) == set(keys(output)) - shown(output)
    before = {path: path.stat().st_size for path in files(output)}
    found = find_unused(store_of(output), "Tale")
    assert remove_unused(store_of(output), found) == found.size
    gone = {path: size for path, size in before.items() if not path.exists()}
    assert sum(gone.values()) == found.size
    assert set(keys(output)) == shown(output)
    assert unused(output) == set()


def files(output) -> list:
    return [path for path in (output / ".storymem").rglob("*") if path.is_file()]


def test_what_stays_still_makes_the_film(output):
    """Pictures that a kept take holds stay, and nothing of the film is made again."""
    written_later(output)
    remove_unused(store_of(output), find_unused(store_of(output), "Tale"))
    story = tale(seed=[7, 7])
    loop = Loop(story, LoopSettings(), MemoryBank(), "body", store_of(output))
    for take in read_takes(store_of(output)):
        loop.store.load(loop.store.find(take.key))
    steps = make(output, story)
    assert {step.record.key for step in steps} == shown(output)
    assert len(keys(output)) == 2


@pytest.mark.parametrize(
    "user", ["history", "earlier", "lock", "edit", "script", "version", "page"]
)
def test_a_take_that_something_uses_stays(output, user):
    written_later(output)
    folder, first = output / "films/Tale", sorted(set(keys(output)) - shown(output))[0]
    story, scripts = tale(seed=[7, 7]), []
    if user == "history":
        film = FilmVersion(
            "Tale_00001_.mp4", "2026-01-01", "a" * 64, {"01_01": first}, sha256="b" * 64, size=1
        )
        update_manifest(folder, story, films=write_history([film]))
    elif user == "earlier":
        film = {"prompts": [], "shots": {"01_01": {"key": first}}, "locks": {}}
        update_manifest(folder, story, earlier=[film])
    elif user == "lock":
        update_manifest(folder, story, locks={"r1": first})
    elif user == "edit":
        (folder / "shot_01_01 edited 1.mp4").write_bytes(b"x")
        entry = {"key": first, "sha256": "c" * 64, "time": 5, "fps": 16.0, "edited": "d" * 64}
        update_manifest(folder, story, files={"shot_01_01 edited 1.mp4": entry})
    elif user == "script":
        write_script_copy(folder, tale(seed=[7, 7], use_take=[first[:16], None]))
    elif user == "version":
        keep_script(folder, f"one\n---\n[use_take: {first[:12]}]\ntwo")
    else:
        scripts = [f'{{"use_take": ["{first[:16]}"]}}']
    written_later(output)
    assert first not in unused(output, scripts=scripts)
    with pytest.raises(TakeInUse, match="stays, because it is used by") as told:
        remove_take(store_of(output), first, scripts)
    assert told.value.args[0].startswith("this take stays, ")
    assert first in keys(output)


def test_a_take_of_another_folder_or_story_stays(output):
    """The store is shared by all prefixes and stories of an output folder."""
    other = sorted(set(keys(output)) - shown(output))
    make(output, tale(), prefix="other")  # the first takes again
    written_later(output)
    assert unused(output) == set()
    with pytest.raises(TakeInUse):
        remove_take(store_of(output), other[0])
    make(output, tale("Second"))
    written_later(output)
    written_later(output, "films/Second")
    assert unused(output) == set()
    assert folders_of(store_of(output)) == [
        output / "films/Second", output / "films/Tale", output / "other/Tale"
    ]  # fmt: skip


def test_a_take_that_the_folder_could_not_show_yet_stays(output):
    """Its run was killed after the shot was finished, before story.json said so."""
    path = output / "films/Tale/story.json"
    os.utime(path, (1, 1))
    assert unused(output) == set()


def test_takes_of_a_story_whose_folder_is_gone_stay(output):
    (output / "films/Tale/story.json").unlink()
    assert unused(output) == set()


@pytest.mark.parametrize("folder", ["gone", "older", "newer"])
def test_takes_of_a_draft_are_measured_by_its_own_folder(output, folder):
    """It may have been moved, or its run killed before story.json told of the shot."""
    store, draft = store_of(output), output / "films/Tale.draft"
    for seed in (None, 7):
        make(output, tale(seed=[seed, seed]), folder=draft, draft=Draft())
    update_manifest(draft, tale(), **{"pass": "draft"})
    gone = set(keys(output)) - shown(output) - shown(output, "films/Tale.draft")
    drafts = {take.key for take in read_takes(store, "Tale", "draft")} & gone
    assert (len(gone), len(drafts)) == (4, 2)
    written_later(output)
    if folder == "gone":
        shutil.rmtree(draft)
        with pytest.raises(TakeInUse, match="its story's folder is not there"):
            remove_take(store, min(drafts))
    elif folder == "older":
        os.utime(draft / "story.json", (1, 1))
    else:
        written_later(output, "films/Tale.draft")
    assert unused(output) == (gone if folder == "newer" else gone - drafts)


def test_a_folder_that_nobody_can_read_stops_everything(output):
    first = sorted(set(keys(output)) - shown(output))[0]
    (output / "films/Broken").mkdir()
    (output / "films/Broken/story.json").write_text("{")
    for act in (lambda: find_unused(store_of(output), "Tale"), lambda: remove_take(
        store_of(output), first)):  # fmt: skip
        with pytest.raises(ValueError, match=r"story\.json cannot be read, so nobody can tell"):
            act()
    assert len(keys(output)) == 4


def test_nothing_is_removed_while_a_run_is_on(output):
    written_later(output)
    found = find_unused(store_of(output), "Tale")
    claim = StoryClaim(output / "films/Tale", "way")
    assert is_claimed(output / "films/Tale")
    with pytest.raises(ValueError, match="a run is making the story in Tale"):
        remove_unused(store_of(output), found)
    assert len(keys(output)) == 4
    claim.release()
    assert not is_claimed(output / "films/Tale")
    remove_unused(store_of(output), found)
    assert len(keys(output)) == 2


def test_one_take_is_removed_with_what_only_it_holds(output):
    written_later(output)
    first, second = sorted(set(keys(output)) - shown(output))
    before = sum(path.stat().st_size for path in files(output))
    freed = remove_take(store_of(output), first)
    assert before - sum(path.stat().st_size for path in files(output)) == freed > 0
    assert first not in keys(output)
    assert second in keys(output)
    with pytest.raises(ValueError, match="there is no take"):
        remove_take(store_of(output), first)


def test_pictures_of_edited_shots_stay(output):
    written_later(output)
    first = sorted(set(keys(output)) - shown(output))[0]
    store = store_of(output)
    (digest,) = {frame.digest for frame in store.load(store.find(first)).bank.frames} - {
        noise_digest()
    }
    entry = {"key": next(iter(shown(output))), "sha256": "c" * 64, "time": 5, "fps": 16.0,
             "edited": "", "tail": [digest]}  # fmt: skip
    update_manifest(output / "films/Tale", tale(seed=[7, 7]), files={"shot_01_01.mp4": entry})
    written_later(output)
    found = find_unused(store, "Tale")
    assert first in {take.key for take in found.takes}
    assert digest not in found.pictures


def noise_digest() -> str:
    return MemoryFrame(noise_image(1, 8, 8)).digest


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_picture_that_a_script_promotes_stays_when_its_take_goes(output, form):
    store = store_of(output)
    gone = [key for key in keys(output) if key not in shown(output)]
    digests = sorted({f.digest for f in store.outline(store.find(gone[0])).frames if f.shot >= 0})
    assert len(digests) == 1
    written_later(output)
    named = digests[0][:16]
    script = {
        "json": json.dumps({"scenes": [{"promote": {"memory": [{"picture": named}]}}]}),
        "text": f"[promote: memory 1:0 #{named}]\none",
    }[form]
    assert digests[0] in find_unused(store, "Tale").pictures
    found = find_unused(store, "Tale", [script])
    assert {take.key for take in found.takes} == set(gone)
    assert digests[0] not in found.pictures
    remove_take(store, gone[0], [script])
    assert store.has_pictures(digests)
    assert gone[0] not in keys(output)


def test_a_headless_run_has_its_store_in_its_folder(tmp_path):
    store = ShotStore(tmp_path / "out" / ".shots")
    assert folders_of(store) == [tmp_path / "out"]


def test_who_uses_what(output):
    uses = find_uses(store_of(output), ["[use_take: 0123456789ab]"])
    assert [uses.of(key) for key in sorted(shown(output))] == [["Tale"], ["Tale"]]
    assert uses.of("0123456789ab" + "c" * 52) == ["the script"]
    assert uses.of("d" * 64) == []


# --- python -m storymem takes ---------------------------------------------------------------------


@pytest.fixture
def said(output, capsys, caplog):
    """The command with further words, and what it says."""

    def run(*words: str) -> str:
        parser = argparse.ArgumentParser()
        command.add_options(parser)
        caplog.clear()
        code = command.run(parser.parse_args([str(output / "films/Tale"), *words]))
        assert code == (2 if "error: " in caplog.text else 0)
        return capsys.readouterr().out + caplog.text

    return run


def test_the_command_lists_takes(output, said):
    text = said()
    assert text.count("shot 1 (01_01)  one") == 1
    assert all(key[:16] in text for key in keys(output))
    assert text.count("used by Tale") == 2
    assert text.count("seed 7") == 2
    only = said("--shot", "2")
    assert "shot 1" not in only
    assert sum(key[:16] in only for key in keys(output)) == 2
    assert "--shot must be from 1 to 2" in said("--shot", "9")


def test_the_command_removes_takes(output, said):
    written_later(output)
    first, second = sorted(set(keys(output)) - shown(output))
    assert "stays, because it is used by Tale" in said("--remove", next(iter(shown(output)))[:16])
    assert f"take {first[:16]} removed" in said("--remove", first[:16])
    assert "there is no take '../x'" in said("--remove", "../x")
    listed = said("--clean")
    assert "1 take would free" in listed
    assert second in keys(output)
    assert "1 take removed" in said("--clean", "--yes")
    assert set(keys(output)) == shown(output)
    assert "no take to remove" in said("--clean")


def test_the_command_says_what_it_needs(output, said):
    (output / "films/Tale/script.json").unlink()
    assert "holds no script" in said()


def test_a_manifest_of_odd_values_uses_nothing_and_breaks_nothing(output):
    odd = {"shots": {"01_01": {"key": "../../x"}}, "locks": {"a": 3}, "files": {"x": 3}}
    (output / "films/Odd").mkdir()
    (output / "films/Odd/story.json").write_text(json.dumps(odd))
    uses = find_uses(store_of(output))
    assert uses.of("../../x") == []
    assert replace(FilmVersion(), file="x").file == "x"
