"""Names and values that come from a file are checked like those that come from a person."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from helpers.not_empty import not_empty
from storymem.files.json_text import DEEPEST, JsonError, parse_json
from storymem.files.messages import listed, reason_of, short, shown
from storymem.files.names import check_name, is_digest, is_label, is_plain_name, is_reserved
from storymem.film.finished_story import read_script
from storymem.film.folder import claim_folder, find_folder, remove_shown
from storymem.film.folder_lock import changing
from storymem.film.manifest import MANIFEST, read_manifest, write_script_copy
from storymem.film.output import StoryExport, VideoOptions
from storymem.film.repair import repair_folder
from storymem.film.shot_files import find_edits
from storymem.film.shot_status import shot_states
from storymem.loop.begin import begin_shot
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.reuse import latest_results
from storymem.loop.shot_record import DamagedError
from storymem.loop.shot_store import ShotStore, picture_path
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank
from storymem.memory.bank_folder import load_bank, save_bank
from storymem.memory.frame import MemoryFrame
from storymem.script.reader import MAX_SCRIPT, MOST_BYTES, load_story

KEY = "ab" * 32
STORY = load_story(
    {"story_name": "T", "scenes": [{"video_prompts": ["a", "b"], "cut": [1 == 1] * 2}]}
)
ELSEWHERE = ["../victim", "x/../../victim", "/victim", "..\\victim", "C:victim", "victim\0", "../"]


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["COM¹", "LPT³", "com².txt", "CONIN$", "conout$", "nul .x", "CON:stream", "Aux.", "prn.tar.gz"],
)
def test_every_name_that_windows_takes_for_a_device_is_refused(name):
    assert is_reserved(name)
    with pytest.raises(ValueError, match="Windows reserves that name"):
        check_name(name, "the name")


@pytest.mark.parametrize(
    "name", ["COM", "COM10", "COM⁴", "LPT0", "CONIN", "a.con", "con1", "nul-1"]
)
def test_names_like_them_are_kept(name):
    assert check_name(name, "the name") == name


def test_a_name_with_half_a_character_is_refused_in_words_that_can_be_shown():
    with pytest.raises(ValueError, match="not valid Unicode") as refused:
        check_name("a\ud800b", "the name")
    str(refused.value).encode()


@pytest.mark.parametrize("name", [*ELSEWHERE, "", ".", "..", 5, None, [], "a" * 300, "\udfff"])
def test_a_plain_name_is_one_in_one_folder(name):
    assert not is_plain_name(name)


@pytest.mark.parametrize("text", ["1_2", "01_02 ", "٠١_٠٢", "01_02\n", "01_", "1" * 9 + "_1", 5])
def test_labels_and_digests_are_plain_digits(text):
    assert is_label(text) == (text == "1_2")
    assert not is_digest(text)
    assert not is_digest("٠" * 64)
    assert is_digest(KEY)


# --- story.json ---------------------------------------------------------------------------------


def tampered(folder, **entries):
    shots = {label: {"key": KEY, "prompt": "gone", **entry} for label, entry in entries.items()}
    (folder / MANIFEST).write_text(json.dumps({"shots": shots}))
    return read_manifest(folder)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_manifest_deletes_nothing_outside_of_its_folder(tmp_path, name):
    victim = tmp_path / "victim.mp4"
    folder = tmp_path / "out" / "story"
    (folder / "shot_x").mkdir(parents=True)
    (folder / "shot_..").mkdir()
    victim.write_bytes(b"mine")
    (folder / "holiday.mp4").write_bytes(b"mine")
    for label in (f"{name}", f"x/../../../{name}", f"../../{name}", "../holiday"):
        manifest = tampered(folder, **{label: {"file": f"shot_{label}.mp4"}})
        remove_shown(folder, manifest, [])
    manifest = tampered(
        folder, **{"01_09": {"file": f"{name}.mp4"}, "01_08": {"file": "holiday.mp4"}}
    )
    remove_shown(folder, manifest, [])
    assert victim.read_bytes() == b"mine"
    assert (folder / "holiday.mp4").exists()


def test_a_shot_that_left_the_script_is_still_removed(tmp_path):
    (tmp_path / "shot_01_09.mp4").write_bytes(b"ours")
    remove_shown(tmp_path, tampered(tmp_path, **{"01_09": {"file": "shot_01_09.mp4"}}), ["01_01"])
    assert not (tmp_path / "shot_01_09.mp4").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '{"shots": 5, "prompts": 5}',
        '{"shots": {"01_01": 5, "01_02": {"key": 5, "prompt": [], "fps": "x", "size": "y"}}}',
        '{"shots": {"01_01": ' + deep(50_000) + "}}",
        '{"shots": {"01_01": {"key": ' + "9" * 5000 + "}}}",
        '{"shots": {"01_01": {"key": "' + KEY + '", "held_for": {}, "script": 1, "seed": []}}}',
        '{"stopped": {}, "failed": [], "prompts": [1, {}, "x"], "video": "../../x.mp4"}',
        '{"prompts": ["' + "\\ud800" + '"], "shots": {"01_01": {"prompt": "\\ud800"}}}',
    ],
)
def test_no_story_json_is_more_than_an_empty_one_at_worst(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    manifest = read_manifest(tmp_path)
    assert isinstance(manifest["shots"], dict)
    assert isinstance(manifest["prompts"], list)
    assert len(latest_results(manifest["shots"], STORY)) == 2
    assert len(shot_states(STORY, tmp_path)) == 2


# --- records and pictures -----------------------------------------------------------------------


@pytest.fixture
def loop(tmp_path):
    return Loop(STORY, LoopSettings(), MemoryBank(), "body", ShotStore(tmp_path / "store"))


def make(loop) -> list:
    steps, before = list_steps(loop, {"shots": {}}), None
    for step in steps:
        step.begin(begun := begin_shot(loop, step, before))
        bank = begun.bank
        frame = MemoryFrame(noise_image(step.plan.shot.index), shot=step.plan.shot.index)
        frames = torch.rand(6, 16, 16, 3)
        step.record, before = finish_shot(loop, step, frames, bank.remember([frame]), crf=30)
    return steps


def rewrite(record, change) -> None:
    """Change a record and its checksum, as somebody would who means it."""
    path = record.folder / "record.json"
    body = json.loads(json.loads(path.read_text())["record"])
    change(body)
    text = json.dumps(body)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps({"sha256": digest, "record": text}))


@pytest.mark.parametrize("key", [*ELSEWHERE, "../" * 8 + "etc", "ab", "AB" * 32, 5, None])
def test_a_key_from_a_file_leads_nowhere_else(tmp_path, loop, key):
    assert loop.store.find(key) is None
    with pytest.raises(DamagedError):
        picture_path(tmp_path, key)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["files"].update({"../../../../victim": "0" * 64}),
        lambda body: body["files"].update({"/etc/hostname": "0" * 64}),
        lambda body: body.update(files=5),
        lambda body: body.update(frames="9"),
        lambda body: body.update(facts=[]),
        lambda body: body.pop("key"),
    ],
)
def test_a_record_that_was_tampered_with_counts_as_missing(loop, change, caplog):
    first = make(loop)[0].record
    rewrite(first, change)
    assert loop.store.find(first.key) is None
    assert "is damaged and counts as missing" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["bank"]["frames"][0].update(sha256="../../../../etc/hostname"),
        lambda body: body["bank"]["frames"][0].update(sha256=5),
        lambda body: body["bank"]["frames"][0].pop("sha256"),
        lambda body: body["bank"].update(frames=5),
        lambda body: body["bank"].update(max_frames="many"),
        lambda body: body["bank"].update(max_frames=-1),
        lambda body: body.update(bank=None),
    ],
)
def test_a_shot_whose_memory_was_tampered_with_is_made_again(loop, change, caplog):
    steps = make(loop)
    rewrite(steps[0].record, change)
    again = replace(loop, story=load_story({"story_name": "T", "scenes": [
        {"video_prompts": ["a", "other"], "cut": [True, True]}]}))  # fmt: skip
    listed_now = list_steps(again, {"shots": {}})
    assert [step.record is None for step in listed_now] == [True, True]
    assert "is regenerated" in caplog.text


def test_other_pictures_beside_a_record_are_no_last_frames(loop):
    record = make(loop)[0].record
    whole = loop.store.load_tail(record)
    (record.folder / "tail_9.png").write_bytes((record.folder / "tail_0.png").read_bytes())
    assert torch.equal(loop.store.load_tail(record), whole)


# --- bank.json ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [5, None, [], {}, "holiday.png", "../victim.png", "bank.json"])
def test_a_bank_that_lists_other_files_does_not_delete_them(tmp_path, name):
    folder = tmp_path / "bank"
    save_bank(folder, MemoryBank((MemoryFrame(noise_image(1)),)))
    document = json.loads((folder / "bank.json").read_text())
    document["frames"].append({"file": name})
    document["dropped"].append({"file": name})
    (folder / "bank.json").write_text(json.dumps(document))
    for victim in (folder / "holiday.png", tmp_path / "victim.png"):
        victim.write_bytes(b"mine")
    save_bank(folder, MemoryBank((MemoryFrame(noise_image(2)),)))
    assert (folder / "holiday.png").read_bytes() == b"mine"
    assert (tmp_path / "victim.png").read_bytes() == b"mine"
    assert len(load_bank(folder, skip_damaged=True).frames) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file": 5}, "no plain file name"),
        ({"shot": 10**30}, '"shot" must be at most'),
        ({"score": 10**400}, '"score" must be a plain number'),
        ({"prompt": "\ud800"}, "not valid Unicode"),
        ({"name": ["a" * 10**6]}, '"name" has the wrong type'),
        ({"edited": "x" * 10**6}, '"edited" must be one of'),
    ],
)
def test_values_of_a_bank_are_told_shortly(tmp_path, change, words):
    save_bank(tmp_path, MemoryBank((MemoryFrame(noise_image(1)),)))
    document = json.loads((tmp_path / "bank.json").read_text())
    document["frames"][0].update(change)
    (tmp_path / "bank.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=words) as refused:
        load_bank(tmp_path)
    assert len(str(refused.value)) < 400
    str(refused.value).encode()


@pytest.mark.parametrize("text", [deep(50_000), '{"format": ' + "9" * 5000 + "}", "\ufeff", "{"])
def test_a_bank_json_that_is_none_is_named(tmp_path, text):
    save_bank(tmp_path, MemoryBank((MemoryFrame(noise_image(1)),)))
    (tmp_path / "bank.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"bank\.json is damaged"):
        load_bank(tmp_path)
    assert len(load_bank(tmp_path, skip_damaged=True).frames) == 1


# --- JSON and messages --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "{", "nul", deep(100_000), "9" * 5000, "\xff", '{"a": 1,}', deep(DEEPEST + 2)]
)
def test_json_is_read_or_refused_in_one_way(text):
    with pytest.raises(JsonError):
        parse_json(text)
    with pytest.raises(JsonError):
        parse_json(text.encode("latin-1"))


def test_json_of_usual_depth_is_read():
    assert parse_json(deep(DEEPEST)) is not None


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, 10**5000, ["x" * 10**6] * 10**5, {"x" * 10**6: 1}, [[[[[[5]]]]]], "\ud800", b"x"],
    ids=["text", "number", "list", "object", "nested", "surrogate", "bytes"],
)
def test_a_value_in_a_message_is_short_and_can_be_shown(value):
    assert len(shown(value)) <= 60
    shown(value).encode()


@pytest.mark.parametrize("text", ["a cat " * 20, "it's " * 20, "\\" * 90, "ä" * 61])
def test_a_text_that_is_cut_ends_with_its_quote(text):
    quote = repr(text[:60])[0]
    assert shown(text).startswith(quote)
    assert shown(text).endswith("..." + quote)
    assert len(shown(text)) == 60
    assert shown("a" * 58) == repr("a" * 58)


def test_usual_values_look_as_python_writes_them():
    for value in ("maybe", 5, 1.5, True, None, [1, "a"], {"a": [1]}):
        assert shown(value) == repr(value)
    assert short("one\n  two\t three") == "one two three"  # a message is one line
    assert listed("abcdefghijk") == "a, b, c, d, e, f, g, h and 3 more"


def test_a_reason_is_one_line_without_the_path(tmp_path):
    with pytest.raises(OSError) as missing:
        (tmp_path / "missing").read_bytes()
    assert reason_of(missing.value) == "No such file or directory"
    assert reason_of(ValueError("a\nb")) == "a"
    assert reason_of(ValueError()) == "ValueError"


def test_a_file_is_too_long_to_be_a_script_by_its_bytes_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "script.txt"
    path.write_text("龙" * 2**21, encoding="utf-8")  # 6 MB, but two million characters
    assert len(read_script(path).shots) == 1
    with open(path, "r+b") as file:
        file.truncate((MAX_SCRIPT + 1) * MOST_BYTES)
    monkeypatch.setattr(type(path), "read_text", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(ValueError, match="too long to be a script"):
        read_script(path)


# --- links, and folders where files belong ------------------------------------------------------


def test_a_bank_is_saved_into_no_other_place_by_a_link(tmp_path):
    theirs, bank = tmp_path / "theirs", tmp_path / "bank"
    save_bank(bank, MemoryBank(dropped=(MemoryFrame(noise_image(1), shot=0, frame=1),)))
    theirs.mkdir()
    (name,) = (path.name for path in (bank / "dropped").iterdir())
    (theirs / name).write_bytes(b"mine")
    shutil.rmtree(bank / "dropped")
    (bank / "dropped").symlink_to(theirs)
    save_bank(bank, MemoryBank(dropped=(MemoryFrame(noise_image(2), shot=0, frame=2),)))
    assert [path.read_bytes() for path in theirs.iterdir()] == [b"mine"]
    assert len(list((bank / "dropped").iterdir())) == 1
    assert not (bank / "dropped").is_symlink()


def test_a_link_in_place_of_a_lock_makes_no_file_elsewhere(tmp_path):
    folder = tmp_path / "story"
    folder.mkdir()
    (folder / ".storymem.lock").symlink_to(tmp_path / "made")
    with changing(folder):
        pass
    assert not (tmp_path / "made").exists()


def test_a_file_name_that_no_disk_can_hold_is_told(tmp_path):
    for name in ("é" * 128 + ".png", "a" * 300):
        assert not is_plain_name(name)
        entry = {"file": name, "shot": 0, "frame": 0}
        document = {"format": "storymem-bank", "version": 1, "frames": [entry], "dropped": []}
        (tmp_path / "bank.json").write_text(json.dumps(document))
        with pytest.raises(ValueError, match="no plain file name"):
            load_bank(tmp_path)
        load_bank(tmp_path, skip_damaged=True)
    assert is_plain_name("é" * 125 + ".png")


def test_a_folder_of_finished_shots_is_no_story_folder(tmp_path):
    for prefix in (".storymem", ".StoryMem", ".shots"):
        with pytest.raises(ValueError, match="finished shots are kept in that folder"):
            claim_folder(tmp_path, prefix, load_story("a", quiet=True))


@pytest.mark.parametrize("kind", ["file", "circle"])
def test_a_place_that_is_no_folder_holds_no_story(tmp_path, kind):
    if kind == "file":
        (tmp_path / "p").write_bytes(b"a picture")
    else:
        (tmp_path / "p").symlink_to(tmp_path / "p")
    story = load_story("a", quiet=True)
    assert find_folder(tmp_path, "p", story) is None
    with pytest.raises(ValueError, match="the story's folder could not be made"):
        claim_folder(tmp_path, "p", story)


def test_what_is_no_film_is_not_taken_for_one_in_a_damaged_folder(tmp_path):
    story = load_story("a\n---\nb", quiet=True)
    folder = claim_folder(tmp_path, "p", story)
    (folder / MANIFEST).write_bytes(b"{")
    (folder / "shot_01_01.mp4").mkdir()
    (folder / "shot_01_02.mp4").symlink_to(folder / "gone.mp4")
    (folder / "shot_01_03.mp4").symlink_to(folder / "shot_01_03.mp4")
    (folder / "script.json").mkdir()
    repair_folder(folder, story, ShotStore(tmp_path / ".storymem"))
    write_script_copy(folder, story)
    assert (folder / "script.txt").read_text() == "a\n---\nb"
    assert (folder / "script.json").is_dir()


# --- a visible shot that was damaged -------------------------------------------------------------


@pytest.fixture
def shown_story(tmp_path, loop):
    folder = claim_folder(tmp_path / "out", "p", STORY)
    story = StoryExport(folder, STORY, loop.settings, VideoOptions())
    steps = make(loop)
    story.finish(steps, {}, None)
    return story, steps


@pytest.mark.parametrize("unknown", [[], ["files"], ["files", "sha256"]])
def test_a_visible_shot_that_was_damaged_without_changing_size_is_restored(
    shown_story, loop, caplog, unknown
):
    story, steps = shown_story
    path = story.folder / "shot_01_01.mp4"
    whole, written = path.read_bytes(), path.stat().st_mtime_ns
    if unknown:  # as earlier versions left it, which knew no times, or sizes only
        manifest = json.loads((story.folder / MANIFEST).read_text())
        for part in (manifest, *manifest["shots"].values()):
            for name in unknown:
                part.pop(name, None)
        (story.folder / MANIFEST).write_text(json.dumps(manifest))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    path.write_bytes(bytes(damaged))
    os.utime(path, ns=(written, written))  # nobody wrote it: the disk failed
    assert find_edits(story.folder, STORY, loop.store) == {}
    story.finish(steps, {}, None)
    assert path.read_bytes() == whole
    assert "was damaged or changed" in caplog.text


def test_a_visible_shot_that_is_whole_is_not_written_again(shown_story):
    story, steps = shown_story
    before = {path: path.stat().st_mtime_ns for path in not_empty(story.folder.glob("shot_*"))}
    story.finish(steps, {}, None)
    assert {
        path: path.stat().st_mtime_ns for path in not_empty(story.folder.glob("shot_*"))
    } == before
