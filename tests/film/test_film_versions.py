"""Films of one story are numbered as the host counts, and an earlier one's state comes back."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

from storymem import __main__ as program
from storymem.files.hashing import checksum
from storymem.files.video import read_info
from storymem.film import edited_shots, folder_lock, series, versions
from storymem.film.folder import claim_folder
from storymem.film.folder_lock import StoryClaim
from storymem.film.manifest import read_manifest, write_script_copy
from storymem.film.output import StoryExport, VideoOptions
from storymem.film.restore import find_store, keep_present, list_films
from storymem.film.shot_status import shot_states
from storymem.film.take_uses import find_uses
from storymem.film.versions import (
    FilmVersion,
    check_history,
    next_file,
    read_history,
    write_history,
)
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank
from storymem.memory.bank_folder import load_bank
from storymem.memory.frame import MemoryFrame
from storymem.script.reader import load_story

pytestmark = pytest.mark.slow


def tale(prompts="abc", name="Tale", **fields):
    scene = {"video_prompts": list(prompts), "cut": [True] * len(prompts), **fields}
    return load_story({"story_name": name, "scenes": [scene]})


def make(output, story=None, options=None, *, frames=3, stops=False, **settings):
    """The story as the nodes make it, with all files of the artist's folder; its film."""
    story = story or tale()
    loop = Loop(
        story, LoopSettings(**settings), MemoryBank(), "body", ShotStore(output / ".storymem")
    )
    folder = claim_folder(output, "p", story)
    steps, before = list_steps(loop, read_manifest(folder)), None
    options = replace(options or VideoOptions(crf=30), prompt_subtitles=True)
    shown = StoryExport(folder, story, loop.settings, options)
    for step in steps:
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
        if step.record is None:
            bank = begun.bank
            seed = sum(step.plan.prompt.encode())
            pixels = torch.rand(frames, 16, 16, 3, generator=torch.Generator().manual_seed(seed))
            frame = MemoryFrame.from_pixels(pixels[0], shot=step.plan.shot.index)
            made = finish_shot(loop, step, pixels, bank.remember([frame]), crf=30)
            step.record, step.result = made
        before = step.result or load_result(loop, step.record)
        shown.export_missing([step])
    if stops:  # before the film
        write_script_copy(folder, story)
        return None
    return shown.finish(steps, {}, before.bank)


def films(folder) -> list[str]:
    return sorted(p.name for p in folder.glob("*.mp4") if not p.name.startswith("shot_"))


def run(*arguments) -> int:
    return program.main(["films", *map(str, arguments)])


def keys(folder) -> dict[str, str]:
    return {label: entry["key"] for label, entry in read_manifest(folder)["shots"].items()}


def shown_files(folder) -> dict[str, str]:
    names = ["script.json", *(p.name for p in folder.glob("shot_*.mp4"))]
    return {name: checksum(folder / name) for name in names}


# --- numbers ---------------------------------------------------------------------------------


def test_a_film_that_changes_takes_the_next_number_and_the_one_before_stays(tmp_path):
    first = make(tmp_path)
    folder, before = first.parent, first.read_bytes()
    assert first.name == "Tale_00001_.mp4"
    assert make(tmp_path, tale("abd")).name == "Tale_00002_.mp4"
    assert make(tmp_path, tale("abd"), VideoOptions(fps=24, crf=30)).name == "Tale_00003_.mp4"
    faded = VideoOptions(crf=30, fade_frames=1)
    assert make(tmp_path, tale("abd"), faded).name == "Tale_00004_.mp4"
    assert make(tmp_path, tale("ab")).name == "Tale_00005_.mp4"
    assert first.read_bytes() == before
    assert len(films(folder)) == 5
    assert sorted(p.name for p in folder.glob("*.srt")) == [
        f"Tale_0000{i}_.srt" for i in range(1, 6)
    ]


def test_a_run_that_changes_nothing_keeps_its_film_untouched(tmp_path):
    film = make(tmp_path)
    status = film.stat()
    assert make(tmp_path) == film
    assert film.stat().st_mtime_ns == status.st_mtime_ns
    assert films(film.parent) == ["Tale_00001_.mp4"]
    assert len(read_manifest(film.parent)["films"]) == 1


def test_quality_counts_only_where_the_film_is_encoded(tmp_path):
    film = make(tmp_path, options=VideoOptions(crf=30))
    assert make(tmp_path, options=VideoOptions(crf=20)) == film  # the shots' packets are copied
    faded = make(tmp_path, options=VideoOptions(crf=30, fade_frames=1))
    assert make(tmp_path, options=VideoOptions(crf=20, fade_frames=1)) != faded


def test_a_film_that_comes_again_after_another_gets_a_number_of_its_own(tmp_path):
    first = make(tmp_path)
    make(tmp_path, tale("abd"))
    third = make(tmp_path)
    assert third.name == "Tale_00003_.mp4"
    assert third.read_bytes() == first.read_bytes()


def test_a_part_of_the_story_is_counted_for_itself(tmp_path):
    film = make(tmp_path)
    part = make(tmp_path, end_shot=2)
    assert part.name == "Tale_shots_01-02_00001_.mp4"
    assert make(tmp_path, tale("axc"), end_shot=2).name == "Tale_shots_01-02_00002_.mp4"
    assert make(tmp_path) == film


def test_a_film_that_was_deleted_comes_back_under_its_number(tmp_path):
    film = make(tmp_path)
    before = film.read_bytes()
    film.unlink()
    film.with_suffix(".srt").unlink()
    assert make(tmp_path) == film
    assert film.read_bytes() == before
    assert film.with_suffix(".srt").is_file()


def test_a_film_that_somebody_changed_is_not_written_over(tmp_path):
    film = make(tmp_path)
    film.write_bytes(b"graded")
    assert make(tmp_path).name == "Tale_00002_.mp4"
    assert film.read_bytes() == b"graded"


def test_a_film_of_an_earlier_version_has_no_number_and_stays(tmp_path):
    folder = make(tmp_path).parent
    (folder / "Tale_00001_.mp4").rename(folder / "Tale.mp4")
    (folder / "story.json").write_text(
        json.dumps({k: v for k, v in read_manifest(folder).items() if k != "films"})
    )
    before = (folder / "Tale.mp4").read_bytes()
    for ending in (".srt", ".vtt"):
        (folder / f"Tale_00001_{ending}").unlink()
    make(tmp_path)
    assert films(folder) == ["Tale.mp4", "Tale_00001_.mp4"]
    assert (folder / "Tale.mp4").read_bytes() == before


def test_subtitles_follow_their_film_and_an_artists_own_stay(tmp_path):
    film = make(tmp_path)
    subtitles = film.with_suffix(".srt")
    subtitles.write_text("mine")
    assert make(tmp_path) == film
    assert subtitles.read_text() == "mine"
    subtitles.unlink()
    locked = tale("abx", lock=[None, None, True])  # the prompt is another one, the film is not
    assert make(tmp_path) == film
    assert make(tmp_path, locked) == film
    assert "\nx\n" in subtitles.read_text()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], 1),
        (["Tale_00001_.mp4", "Tale_00007_.srt"], 8),
        (["Tale_00003.png", "tale_00009_.mp4", "Tale_12.txt"], 13),  # the host counts all of these
        (["Tale.mp4", "Tales_00005_.mp4", "Tale_shots_01-02_00009_.mp4", "Tale_x_.mp4"], 1),
        (["Tale_00001_final.mp4", "Tale__00004_.mp4"], 2),
    ],
)
def test_numbers_are_counted_as_the_host_counts(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).touch()
    assert next_file(tmp_path, "Tale", []) == f"Tale_{expected:05d}_.mp4"


def test_a_number_is_not_given_twice_after_its_film_was_removed(tmp_path):
    make(tmp_path)
    second = make(tmp_path, tale("abd"))
    second.unlink()
    second.with_suffix(".srt").unlink()
    assert make(tmp_path, tale("abe")).name == "Tale_00003_.mp4"


@pytest.mark.parametrize("has_links", [True, False])
def test_a_name_that_another_process_took_is_left_alone(tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(versions.os, "link", lambda *_: (_ for _ in ()).throw(OSError()))
    film, target = tmp_path / "joined", tmp_path / "Tale_00001_.mp4"
    film.write_bytes(b"mine")
    target.write_bytes(b"theirs")
    assert not versions.take_name(film, target)
    assert target.read_bytes() == b"theirs"
    target.unlink()
    assert versions.take_name(film, target)
    assert target.read_bytes() == b"mine"


def test_a_run_that_is_killed_before_its_film_has_the_name_takes_the_same_number(
    tmp_path, monkeypatch
):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(series, "take_name", killed)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    assert films(tmp_path / "p" / "Tale") == []
    monkeypatch.undo()
    assert make(tmp_path).name == "Tale_00001_.mp4"
    assert len(read_manifest(tmp_path / "p" / "Tale")["films"]) == 1


# --- the history -----------------------------------------------------------------------------


def test_the_history_says_what_a_film_was_joined_from(tmp_path):
    folder = make(tmp_path, options=VideoOptions(24, 30, 1)).parent
    (version,) = read_history(read_manifest(folder))
    assert version.shots == keys(folder)
    assert (version.fps, version.crf, version.fade_frames, version.is_copied) == (24, 30, 1, False)
    assert version.sha256 == checksum(folder / "Tale_00001_.mp4")
    copy = folder / "versions" / f"{version.script}.json"
    assert copy.read_text() == tale().source


GOOD = {
    "file": "Tale_00001_.mp4", "when": "2026-01-01T00:00:00+00:00", "content": "a" * 64,
    "shots": {"01_01": "b" * 64}, "script": "c" * 64, "fps": 16.0, "crf": 17, "fade_frames": 0,
    "is_copied": True, "sha256": "d" * 64, "size": 10, "subtitles": "",
}  # fmt: skip


@pytest.mark.parametrize(
    "odd",
    [
        {"file": "../Tale_00001_.mp4"}, {"file": "Tale.mp4"}, {"file": 5},
        {"file": ".x_00001_.mp4"}, {"file": "Tale_1_.mp4"},
        {"file": "shot_01_01.mp4"}, {"file": "/etc/x_00001_.mp4"}, {"when": 3}, {"when": "x" * 99},
        {"content": "x"}, {"shots": ["b" * 64]}, {"shots": {"../x": "b" * 64}},
        {"shots": {"01_01": "../../x"}}, {"script": "../x"}, {"script": None}, {"fps": True},
        {"fps": float("nan")}, {"fps": 0}, {"fps": 10**400}, {"crf": "17"}, {"crf": -1},
        {"fade_frames": 1.5}, {"is_copied": 1}, {"sha256": []}, {"size": -1}, {"subtitles": "x"},
    ],
)  # fmt: skip
def test_entries_that_cannot_be_are_left_out_of_the_history(odd):
    other = {**GOOD, "file": "Tale_00002_.mp4"}
    assert [e["file"] for e in check_history([{**GOOD, **odd}, other])] == ["Tale_00002_.mp4"]


@pytest.mark.parametrize("value", [None, {}, "x", [None], [[]], [{}], [GOOD["file"]]])
def test_a_history_that_is_none_is_empty(tmp_path, value):
    (tmp_path / "story.json").write_text(json.dumps({"films": value}))
    assert read_manifest(tmp_path)["films"] == []


def test_an_entry_survives_being_written_and_read():
    assert write_history(read_history({"films": check_history([GOOD])})) == [GOOD]


def test_the_history_stays_small(monkeypatch):
    monkeypatch.setattr(versions, "MOST_FILMS", 8)
    monkeypatch.setattr(versions, "MOST_STATES", 5)
    monkeypatch.setattr(versions, "MOST_STATE_SHOTS", 7)
    (known,) = read_history({"films": [GOOD]})
    two = {"01_01": "b" * 64, "01_02": "e" * 64}
    many = [replace(known, file=f"Tale_{i:05d}_.mp4", shots=two) for i in range(1, 12)]
    kept = write_history(many)
    assert [entry["file"][5:10] for entry in kept] == [f"{i:05d}" for i in range(4, 12)]
    assert [len(entry["shots"]) for entry in kept] == [0, 0, 0, 0, 0, 2, 2, 2]


def test_scripts_that_no_film_has_any_more_go(tmp_path, monkeypatch):
    monkeypatch.setattr(versions, "MOST_STATES", 2)
    for prompts in ("ab", "ac", "ad"):
        folder = make(tmp_path, tale(prompts)).parent
    assert len(list((folder / "versions").iterdir())) == 2


# --- putting a film back -----------------------------------------------------------------------


def test_restoring_puts_shots_script_memory_and_keys_of_a_film_back(tmp_path, capsys):
    folder = make(tmp_path).parent
    before = shown_files(folder), keys(folder), load_bank(folder / "bank")
    make(tmp_path, tale("axcd"))
    after = shown_files(folder), keys(folder)
    assert run(folder, "--restore", "1") == 0
    assert "Tale_00001_ is back: 3 shots" in capsys.readouterr().out
    assert shown_files(folder) == before[0]
    assert {label: keys(folder)[label] for label in before[1]} == before[1]
    digests = [[f.digest for f in bank.frames] for bank in (load_bank(folder / "bank"), before[2])]
    assert digests[0] == digests[1]
    assert make(tmp_path) == folder / "Tale_00001_.mp4"  # it is the present film again
    assert run(folder, "--restore", "Tale_00002_") == 0
    assert (shown_files(folder), keys(folder)) == after
    assert films(folder) == ["Tale_00001_.mp4", "Tale_00002_.mp4"]


def test_a_locked_shot_keeps_the_restored_result(tmp_path):
    folder = make(tmp_path).parent
    first = keys(folder)["01_02"]
    make(tmp_path, tale("axc"))
    assert keys(folder)["01_02"] != first
    assert run(folder, "--restore", "1") == 0
    make(tmp_path, tale("ayc", lock=[None, True, None]))
    assert keys(folder)["01_02"] == first


def test_a_restored_shot_that_was_kept_for_another_prompt_still_waits_without_its_lock(tmp_path):
    make(tmp_path)
    folder = make(tmp_path, tale("axd", lock=[None, True, None])).parent
    make(tmp_path, tale("aye"))
    assert run(folder, "--restore", "2") == 0
    assert [s.state for s in shot_states(tale("axd"), folder)] == ["done", "waiting", "depends"]


def test_a_film_of_another_rate_is_restored_in_its_rate(tmp_path):
    folder = make(tmp_path, options=VideoOptions(24, 30)).parent
    before = shown_files(folder)
    make(tmp_path)
    assert run(folder, "--restore", "1") == 0
    assert shown_files(folder) == before


def test_a_state_that_has_no_film_yet_is_kept_before_another_comes_back(tmp_path, capsys):
    folder = make(tmp_path).parent
    make(tmp_path, tale("axc"), stops=True)
    stopped = shown_files(folder), keys(folder)
    assert run(folder, "--restore", "1") == 0
    assert "the current state is kept as Tale_00002_" in capsys.readouterr().out
    assert run(folder, "--restore", "1") == 0  # nothing to keep now
    assert len(read_manifest(folder)["films"]) == 2
    assert run(folder, "--restore", "2") == 0
    assert (shown_files(folder), keys(folder)) == stopped
    assert make(tmp_path, tale("axc")).name == "Tale_00003_.mp4"


def test_keeping_the_present_state_needs_a_state(tmp_path):
    (tmp_path / "story.json").write_text("{}")
    assert keep_present(tmp_path) is None


def test_a_changed_shot_file_is_put_aside_and_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(edited_shots, "BUSY_SECONDS", 0.1)
    folder = make(tmp_path).parent
    make(tmp_path, tale("axc"))
    (folder / "shot_01_02.mp4").write_bytes(b"graded")
    assert run(folder, "--restore", "1") == 0
    aside = folder / "shot_01_02 cut off 1.mp4"
    assert f"'{aside.name}'" in capsys.readouterr().out
    assert aside.read_bytes() == b"graded"
    assert read_info(folder / "shot_01_02.mp4").frames == 3


def test_what_cannot_be_restored_is_told_and_changes_nothing(tmp_path, caplog):
    folder = make(tmp_path).parent
    first = read_history(read_manifest(folder))[0]
    make(tmp_path, tale("axc"))
    store = find_store(folder)
    before = shown_files(folder), (folder / "story.json").read_bytes()
    assert run(folder, "--restore", "7") == 2
    assert "there is no film '7' in the history; choose one of: Tale_00001_" in caplog.text
    shutil.rmtree(store.folder_of(first.shots["01_02"]))
    assert run(folder, "--restore", "1") == 2
    assert "Tale_00001_ cannot be restored: the finished shots 01_02 are gone" in caplog.text
    (folder / "versions" / f"{first.script}.json").write_text("{}")
    assert run(folder, "--restore", "1") == 2
    assert "its script or its list of shots is gone" in caplog.text
    assert (shown_files(folder), (folder / "story.json").read_bytes()) == before
    assert run(tmp_path / "nowhere") == 2
    assert "holds no story.json" in caplog.text
    shutil.rmtree(store.root)
    assert run(folder) == 2
    assert "has no finished shots" in caplog.text


def test_a_folder_in_which_a_run_is_at_work_is_left_alone(tmp_path, caplog, monkeypatch):
    folder = make(tmp_path).parent

    first = StoryClaim(folder, "a" * 64)
    monkeypatch.setattr(folder_lock, "_CLAIMS", set())  # as another process sees it
    assert run(folder, "--restore", "1") == 2
    assert f"a run is making the story in {folder}; wait until it is done" in caplog.text
    first.release()
    assert run(folder, "--restore", "1") == 0


# --- the list, and removing --------------------------------------------------------------------


def test_the_list_says_what_each_film_is(tmp_path, capsys):
    folder = make(tmp_path).parent
    make(tmp_path, tale("axcd"))
    make(tmp_path, tale("axcd"), end_shot=1)
    (folder / "Tale_00002_.mp4").unlink()
    first = read_history(read_manifest(folder))[0]
    shutil.rmtree(find_store(folder).folder_of(first.shots["01_02"]))
    assert run(folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "Tale_00001_", "Tale_00002_", "Tale_shots_01-01_00001_",
    ]  # fmt: skip
    gone = r"3 shots  16 fps  \d+ KB  incomplete, finished shots are gone: 01_02"
    assert re.search(gone, lines[0])
    assert "4 shots  16 fps  removed  current" in lines[1]
    assert re.search(r"1 shot  16 fps  \d+ KB  current$", lines[2])


def test_cleaning_says_what_it_would_free_and_removes_only_when_told(tmp_path, capsys):
    for prompts in ("abc", "abd", "abe", "abf"):
        folder = make(tmp_path, tale(prompts)).parent
    (folder / "Tale_00009_.mp4").write_bytes(b"the artist's own")
    there = films(folder)
    assert run(folder, "--clean", "--keep", "2") == 0
    words = capsys.readouterr().out
    assert "2 films would free" in words
    assert "pass --yes to remove them" in words
    assert films(folder) == there
    assert run(folder, "--clean", "--keep", "2", "--yes") == 0
    assert "2 films removed" in capsys.readouterr().out
    assert films(folder) == ["Tale_00003_.mp4", "Tale_00004_.mp4", "Tale_00009_.mp4"]
    assert sorted(p.name for p in folder.glob("*.srt")) == ["Tale_00003_.srt", "Tale_00004_.srt"]
    assert sorted(p.name for p in folder.glob("*.vtt")) == ["Tale_00003_.vtt", "Tale_00004_.vtt"]
    assert run(folder, "--clean", "--keep", "2", "--yes") == 0
    assert "no film to remove" in capsys.readouterr().out
    assert run(folder, "--restore", "1") == 0  # its shots are there all the same
    assert "run the story again to join it" in capsys.readouterr().out
    assert make(tmp_path, tale("abc")).name == "Tale_00001_.mp4"


def test_films_that_are_forgotten_hold_no_takes_and_are_never_restored(tmp_path, caplog, capsys):
    for prompts in ("abc", "abd", "abe", "abf"):
        folder = make(tmp_path, tale(prompts)).parent
    store = find_store(folder)

    history = [film.version for film in list_films(folder, store)]
    shared = set.intersection(*(set(version.shots.values()) for version in history))

    def used() -> list[str]:
        """The numbers of the films whose own takes something uses."""
        uses = find_uses(store)
        own = {v.file[5:10]: set(v.shots.values()) - shared for v in history}
        return [number for number, keys in own.items() if any(map(uses.of, keys))]

    assert used() == ["00001", "00002", "00003", "00004"]
    assert run(folder, "--clean", "--keep", "3", "--yes") == 0
    assert used() == ["00001", "00002", "00003", "00004"]  # removed, and can be restored
    assert run(folder, "--clean", "--keep", "2", "--forget") == 0
    assert used() == ["00001", "00002", "00003", "00004"]  # only said
    assert run(folder, "--clean", "--keep", "2", "--forget", "--yes") == 0
    assert "2 films removed and forgotten" in capsys.readouterr().out
    assert used() == ["00003", "00004"]
    assert films(folder) == ["Tale_00003_.mp4", "Tale_00004_.mp4"]
    assert run(folder, "--restore", "1") == 2
    assert "Tale_00001_ cannot be restored" in caplog.text
    assert run(folder, "--clean", "--keep", "2", "--forget", "--yes") == 0
    assert "no film to remove" in capsys.readouterr().out
    assert make(tmp_path, tale("abg")).name == "Tale_00005_.mp4"  # numbers are never used again


def test_cleaning_leaves_the_present_film_and_changed_ones(tmp_path, caplog, capsys):
    for prompts in ("abc", "abd", "abe"):
        folder = make(tmp_path, tale(prompts)).parent
    assert run(folder, "--restore", "1") == 0
    capsys.readouterr()
    assert run(folder, "--clean", "--keep", "1") == 0
    assert "Tale_00002_" in (words := capsys.readouterr().out)
    assert "Tale_00001_" not in words
    (folder / "Tale_00002_.mp4").write_bytes(b"graded")
    (folder / "Tale_00001_.srt").write_text("mine")
    assert run(folder, "--clean", "--keep", "1", "--yes") == 0
    assert films(folder) == ["Tale_00001_.mp4", "Tale_00002_.mp4", "Tale_00003_.mp4"]
    assert run(folder, "--clean", "--keep", "0") == 2
    assert "--keep must be 1 or more" in caplog.text


def test_a_film_that_a_hostile_history_names_is_not_removed(tmp_path):
    folder = make(tmp_path).parent
    outside = tmp_path / "p" / "holiday_00001_.mp4"
    outside.write_bytes(b"mine")
    entry = {**GOOD, "file": "../holiday_00001_.mp4", "sha256": checksum(outside), "size": 4}
    manifest = json.loads((folder / "story.json").read_text())
    manifest["films"] = [entry, *manifest["films"]]
    (folder / "story.json").write_text(json.dumps(manifest))
    assert run(folder, "--clean", "--keep", "1", "--yes") == 0
    assert outside.read_bytes() == b"mine"
    assert [film.version.file for film in list_films(folder, find_store(folder))] == [
        "Tale_00001_.mp4"
    ]


def test_a_version_without_a_number_has_none():
    assert (FilmVersion().stem, FilmVersion().number) == ("", 0)
