"""Which shots are finished, which are to be made: judged on plans and keys, without a host."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from helpers.call_count import count_calls
from helpers.fakes import noise_image
from storymem.files.hashing import digest_of
from storymem.files.names import check_name, folder_name
from storymem.film.folder import claim_folder
from storymem.film.manifest import write_script_copy
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.disk_space import SPARE_BYTES, check_disk, estimate_bytes
from storymem.loop.plan import Loop, LoopSettings, plan_shot
from storymem.loop.reuse import describe_result, latest_results, moved_results
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps, summarise_steps
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.script.numbers import parse_ranges
from storymem.script.reader import load_story

PROMPTS = ("a", "b", "c", "d")


def story(prompts=PROMPTS, cuts=None, **fields):
    cuts = cuts or [True] + [False] * (len(prompts) - 1)
    scene = {"video_prompts": list(prompts), "cut": cuts, **fields}
    return load_story({"story_name": "Tale", "scenes": [scene]})


@pytest.fixture
def loop(tmp_path):
    settings = LoopSettings(continuity="last_five_frames")
    return Loop(story(), settings, MemoryBank(), "body", ShotStore(tmp_path))


def body(step, bank, previous) -> tuple[torch.Tensor, MemoryFrame]:
    """Frames and a keyframe, which depend on all that a body sees."""
    seen = [step.plan.prompt, str(step.plan.seed(7)), *(f.digest for f in bank.used())]
    seen += [] if previous is None else [str(previous.sum().item())]
    seed = int(digest_of(seen)[:8], 16)
    frames = torch.rand(14, 16, 16, 3, generator=torch.Generator().manual_seed(seed))
    return frames, MemoryFrame(noise_image(seed), shot=step.plan.shot.index)


def run(loop, manifest=None) -> list[int]:
    """Make what is to be made, as the nodes do; the numbers of the shots that were made."""
    manifest = {"shots": {}} if manifest is None else manifest
    steps, made, before = list_steps(loop, manifest), [], None
    manifest["shots"].update(moved_results(manifest["shots"], loop.story, steps))
    for step in steps:
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
        if step.record is None:
            assert (begun.given is None) == (step.plan.overlap_frames == 0)
            frames, frame = body(step, begun.bank, begun.given)
            bank = begun.bank.remember([frame])
            step.record, _ = finish_shot(loop, step, frames, bank, crf=30)
            made.append(step.plan.shot.index + 1)
        before = load_result(loop, step.record)
        manifest["shots"][step.label] = describe_result(step)
    return made


def test_a_finished_story_has_nothing_to_make(loop):
    assert run(loop) == [1, 2, 3, 4]
    assert run(loop) == []


def test_a_finished_shot_keeps_the_keyframes_that_it_was_finished_with(loop, monkeypatch):
    """Though the selection of a later version would keep another frame of it."""
    run(replace(loop, story=story(PROMPTS[:2])))
    kept, body_before = digests_of_bank(loop, 2), body

    def later_body(step, bank, previous):
        frames, frame = body_before(step, bank, previous)
        assert [f.digest for f in bank.frames][:2] == kept
        return frames, MemoryFrame(255 - frame.image, shot=frame.shot)

    monkeypatch.setitem(globals(), "body", later_body)
    assert run(loop) == [3, 4]
    assert digests_of_bank(loop, 4)[:2] == kept
    assert len(kept) == 2


def digests_of_bank(loop, shot: int) -> list[str]:
    """Pictures that the story has remembered after a shot, counted from 1."""
    step = list_steps(loop, {"shots": {}})[shot - 1]
    return [frame.digest for frame in load_result(loop, step.record).bank.frames]


def test_an_edit_changes_the_keys_of_the_shot_and_of_those_after_it(loop):
    run(loop)
    for shot in range(4):
        prompts = list(PROMPTS)
        prompts[shot] += ", edited"
        assert run(replace(loop, story=story(prompts))) == list(range(shot + 1, 5))


@pytest.mark.parametrize(
    "change",
    [
        {"prefix": "other"},
        {"start_shot": 2},
        {"end_shot": 3},
        {"preview": True},
        {"take": 7},
        {"keep_later": True},
    ],
)
def test_settings_that_are_not_pixels_change_no_key(loop, change):
    run(loop)
    assert run(replace(loop, settings=replace(loop.settings, **change))) == []


def test_another_body_changes_every_key(loop):
    run(loop)
    assert run(replace(loop, body="other")) == [1, 2, 3, 4]


def test_a_shot_depends_on_the_one_before_until_that_is_made(loop):
    manifest = {"shots": {}}
    run(loop, manifest)
    edited = replace(loop, story=story(("a", "b, edited", "c", "d")))
    steps = list_steps(edited, manifest)
    assert [bool(step.record) for step in steps] == [True, False, False, False]
    assert [bool(step.key) for step in steps] == [True, True, False, False]
    assert [step.depends_on for step in steps] == [None, None, steps[1], steps[1]]
    line = "1 shot to make, 2 shots that depend on shot 2, 1 shot finished"
    assert summarise_steps(steps) == line
    fresh = list_steps(replace(loop, body="other"), {})
    assert summarise_steps(fresh) == "4 shots to make"
    alone = list_steps(replace(loop, story=story(("a",))), manifest)
    assert summarise_steps(alone) == "nothing to make, 1 shot finished"
    alone = list_steps(replace(loop, story=story(("new",))), manifest)
    assert summarise_steps(alone) == "1 shot to make"
    undecided = sum(step.is_undecided for step in steps)
    line = check_disk(loop.store, 2**20, free=2**40, undecided=undecided)
    assert line.startswith(
        "; disk: about 1 MB needed at most (2 shots may turn out to be finished)"
    )


def as_earlier_versions_wrote_it(record) -> None:
    """Without what records hold since shots are found by what they see."""
    path = record.folder / "record.json"
    body = json.loads(json.loads(path.read_text())["record"])
    del body["tail"]
    text = json.dumps(body)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps({"sha256": digest, "record": text}))


def test_a_locked_shot_of_an_earlier_version_stays_and_the_story_goes_on_from_it(loop):
    manifest = {"shots": {}}
    run(loop, manifest)
    keys = [step.key for step in list_steps(loop, manifest)]
    as_earlier_versions_wrote_it(list_steps(loop, manifest)[1].record)
    locked = replace(loop, story=story(("a", "b, edited", "c", "d"), lock=[None, True, None, None]))
    steps = list_steps(locked, manifest)
    assert [step.reason for step in steps] == ["", "locked", "", ""]
    assert [step.key for step in steps] == keys
    assert [bool(step.record) for step in steps] == [True] * 4


def test_keys_of_earlier_versions_find_nothing_and_what_is_locked_stays(loop):
    manifest = {"shots": {}}
    run(loop, manifest)
    for number, step in enumerate(list_steps(loop, manifest)):  # as if under keys of another kind
        old = f"{number:064x}"
        folder = loop.store.folder_of(old)
        folder.parent.mkdir(parents=True, exist_ok=True)
        as_earlier_versions_wrote_it(step.record)
        document = json.loads((step.record.folder / "record.json").read_text())
        text = json.dumps({**json.loads(document["record"]), "key": old})
        digest = hashlib.sha256(text.encode()).hexdigest()
        document = json.dumps({"sha256": digest, "record": text})
        (step.record.folder / "record.json").write_text(document)
        step.record.folder.rename(folder)
        manifest["shots"][step.label] |= {"key": old, "own": "of another kind"}
    keep = with_settings_of(loop, keep_later=True)
    assert [s.record for s in list_steps(keep, manifest)] == [None] * 4
    locked = replace(loop, story=story(lock=[None, True, None, None]))
    assert run(locked, manifest) == [1, 3, 4]
    assert run(locked, manifest) == []


def with_settings_of(loop, **changes):
    return replace(loop, settings=replace(loop.settings, **changes))


def test_beginning_a_shot_changes_nothing_behind_its_callers_back(loop):
    run(loop)
    for step in list_steps(loop, {}):
        before, step.key, step.record = load_result(loop, step.record), "", None
        as_it_was = replace(step)
        begun = begin_shot(loop, step, before)
        assert step == as_it_was
        assert begun.key


def test_the_overview_and_the_order_of_fields_change_no_key(loop):
    run(loop)
    assert run(replace(loop, story=replace(loop.story, overview="x", source="y"))) == []


def test_the_character_changes_every_key(loop):
    run(loop)
    assert run(replace(loop, story=replace(loop.story, character="A cat."))) == [1, 2, 3, 4]


def test_redo_gives_another_seed_and_keep_later_keeps_the_rest(loop):
    manifest = {"shots": {}}
    run(loop, manifest)
    redo = replace(loop, settings=replace(loop.settings, redo=(1,), keep_later=True))
    assert run(redo, manifest) == [2]
    assert run(redo, manifest) == []
    recompute = replace(loop, settings=replace(loop.settings, redo=(1,)))
    assert run(recompute, manifest) == [3, 4]


def test_a_redo_of_a_locked_shot_makes_it_and_the_lock_then_keeps_that_take(loop):
    manifest = {"shots": {}}
    locked = replace(loop, story=story(lock=[None, True, None, None]))
    run(locked, manifest)
    redo = replace(locked, settings=replace(loop.settings, redo=(1,)))
    assert run(redo, manifest) == [2, 3, 4]
    take = manifest["shots"]["01_02"]["key"]
    run(locked, manifest)
    assert manifest["shots"]["01_02"]["key"] == take


def cuts(prompts, **fields):
    return story(prompts, [True] * len(prompts), **fields)


def test_a_lock_holds_when_the_shots_own_prompt_is_edited(loop, caplog):
    manifest = {"shots": {}}
    run(loop, manifest)
    kept = manifest["shots"]["01_02"]["key"]
    lock = [None, True, None, None]
    edited = replace(loop, story=story(("a", "b, edited", "c", "d"), lock=lock))
    for _ in range(2):
        assert run(edited, manifest) == []
        assert manifest["shots"]["01_02"]["key"] == kept
    assert "is locked and stays as it is, although its prompt has changed" in caplog.text
    unlocked = replace(loop, story=story(("a", "b, edited", "c", "d")))
    assert run(unlocked, manifest) == [2, 3, 4]


def test_a_held_shot_is_found_again_when_another_is_put_before_it(loop):
    manifest = {"shots": {}}
    run(replace(loop, story=cuts("ab")), manifest)
    kept = manifest["shots"]["01_02"]["key"]
    run(replace(loop, story=cuts(("a", "b, edited"), lock=[None, True])), manifest)
    longer = replace(loop, story=cuts(("x", "a", "b, edited"), lock=[None, None, True]))
    assert run(longer, manifest) == [1, 2]
    assert manifest["shots"]["01_03"]["key"] == kept


def test_a_lock_on_a_new_shot_does_not_take_the_result_of_another(loop):
    manifest = {"shots": {}}
    run(replace(loop, story=cuts("ab")), manifest)
    longer = replace(loop, story=cuts(("a", "x", "b"), lock=[None, True, True]))
    assert run(longer, manifest) == [2]


def test_a_part_moves_the_results_of_shots_that_it_does_not_come_to(loop):
    manifest = {"shots": {}}
    run(replace(loop, story=cuts("abcd")), manifest)
    keys = {name: manifest["shots"][f"01_0{i}"]["key"] for i, name in enumerate("abcd", 1)}
    longer = replace(loop, story=cuts("axbcd", lock=[None, None, True, True, None]))
    run(replace(longer, settings=replace(loop.settings, end_shot=2)), manifest)
    results = latest_results(manifest["shots"], longer.story)
    found = {s.prompt: entry for s, entry in zip(longer.story.shots, results, strict=True)}
    assert {name: found[name].get("key") for name in "abcd"} == keys
    assert run(longer, manifest) == [5]


def listed(loop, manifest) -> list[str]:
    """Of each shot, the label that its kept film had when it was made."""
    return [s.record.facts["label"] if s.record else "" for s in list_steps(loop, manifest)]


def test_a_locked_shot_that_was_never_made_takes_no_film_of_the_same_prompt(loop):
    manifest = {"shots": {}}
    twice = cuts(["a", "She waits.", "c", "She waits."], lock=[None, True, None, True])
    part = replace(loop, story=twice, settings=replace(loop.settings, end_shot=3))
    assert run(part, manifest) == [1, 2, 3]
    whole = replace(loop, story=twice)
    assert listed(whole, manifest) == ["01_01", "01_02", "01_03", ""]
    assert run(whole, manifest) == [4]


@pytest.mark.parametrize(
    ("before", "after", "films"),
    [
        ("awcw", "xawcw", ["", "01_01", "01_02", "01_03", "01_04"]),
        ("aww", "xaww", ["", "01_01", "01_02", "01_03"]),
        ("www", "xwww", ["", "01_01", "01_02", "01_03"]),
        ("aww", "ww", ["01_02", "01_03"]),
        ("awcw", "waw", ["01_02", "01_01", "01_04"]),
        ("awcw", "wxcwaw", ["01_02", "", "01_03", "01_04", "01_01", ""]),
        ("abc", "cba", ["01_03", "01_02", "01_01"]),
        ("a" * 11, "x" + "a" * 11, ["", *(f"01_{i:02d}" for i in range(1, 12))]),
    ],
)
def test_locked_shots_of_one_prompt_keep_their_own_films_when_others_move(
    loop, before, after, films
):
    manifest = {"shots": {}}
    run(replace(loop, story=cuts(before)), manifest)
    moved = replace(loop, story=cuts(after, lock=[True] * len(after)))
    for _ in range(2):  # as it is, and after a run that wrote it down and was stopped
        assert listed(moved, manifest) == films
        steps = list_steps(moved, manifest)
        manifest["shots"].update(moved_results(manifest["shots"], moved.story, steps))
    assert run(moved, manifest) == [i for i, film in enumerate(films, 1) if not film]
    assert [film or f"01_{i:02d}" for i, film in enumerate(films, 1)] == listed(moved, manifest)


def test_a_prompt_of_several_lines_is_not_the_one_of_its_last_line(loop):
    manifest = {"shots": {}}
    run(replace(loop, story=cuts(["x\nb"])), manifest)
    assert run(replace(loop, story=cuts(["b"])), {"shots": dict(manifest["shots"])}) == [1]
    locked = replace(loop, story=cuts(["x\nb", "b"], lock=[None, True]))
    assert run(locked, {"shots": {"01_02": manifest["shots"]["01_01"]}}) == [2]


def test_films_of_earlier_versions_are_found_by_the_end_of_the_whole_prompt():
    old = {"01_01": {"key": "k", "prompt": "Mara is a woman.\nMara sits."}}
    assert latest_results(old, cuts(["x", "@Mara sits."])) == [{}, old["01_01"]]


def test_hundreds_of_moved_shots_are_found_with_a_few_looks_for_each_pair():
    entries = {f"01_{i:02d}": {"key": f"{i}", "prompt": f"shot {i}"} for i in range(1, 201)}
    moved = cuts(["new", *(e["prompt"] for e in entries.values())])
    assert latest_results(entries, moved)[1:] == list(entries.values())
    assert count_calls(lambda: latest_results(entries, moved)) < 30 * 200**2


def test_a_plan_says_mode_negative_and_prompt(loop):
    plain = story(cuts=[True, False, True, False], continuity=[None, "last_frame", None, None])
    settings = replace(loop.settings, negative="blurry")
    modes = [plan_shot(plain, settings, s, has_previous=s.index > 0).mode for s in plain.shots]
    assert modes == ["m2v", "mi2v", "m2v", "mm2v"]
    explicit = story(negative_prompt=["", None, "rain", None])
    plans = [plan_shot(explicit, settings, s, has_previous=True) for s in explicit.shots]
    assert [p.shot.negative for p in plans] == ["", "blurry", "rain", "blurry"]


def test_four_times_as_many_shots_are_four_times_the_work_to_list(tmp_path):
    def loop_of(count: int) -> Loop:
        long = story([f"shot {i}" for i in range(count)])
        return Loop(long, LoopSettings(), MemoryBank(), "body" * 1000, ShotStore(tmp_path))

    short, long = loop_of(50), loop_of(200)
    assert len(list_steps(long, {})) == 200
    assert count_calls(lambda: list_steps(long, {})) < 4.5 * count_calls(
        lambda: list_steps(short, {})
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", ()), ("3", (2,)), ("3, 5-7", (2, 4, 5, 6)), ("2 - 3;1", (0, 1, 2)), ("2,2", (1,))],
)
def test_shot_numbers_are_read(text, expected):
    assert parse_ranges(text, "redo_shots", shots=8) == expected


def test_the_disk_is_estimated_and_checked(loop):
    steps = list_steps(loop, {})
    needed = estimate_bytes(steps, 832, 480, 81)
    assert 20e6 < needed < 200e6  # four shots: a few MB of video and eleven pictures each
    assert estimate_bytes(steps[:1], 832, 480, 81) == pytest.approx(needed / 4, rel=0.01)
    assert estimate_bytes(steps, 832, 480, 81, "ffv1") > 8 * needed
    assert "MB needed" in check_disk(loop.store, needed, free=needed + SPARE_BYTES)
    with pytest.raises(ValueError, match="too full for this story: about"):
        check_disk(loop.store, needed, free=needed + SPARE_BYTES - 1)
    run(loop)
    assert estimate_bytes(list_steps(loop, {}), 832, 480, 81) == 0
    assert check_disk(loop.store, 0) == ""


# --- names and folders -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "  ", ".", "..", "a/b", "a\\b", "../up", "CON", "nul.x", "lpt9"]
)
def test_names_that_are_no_folder_are_refused(name):
    with pytest.raises(ValueError, match="the name must"):
        check_name(name, "the name")


@pytest.mark.parametrize("name", ["Wait... what", "A Cat\u2019s Day", "龙 🐉", "console", "a.b"])
def test_names_that_are_folders_are_kept(name, tmp_path):
    assert check_name(name, "the name") == name
    (tmp_path / folder_name(name)).mkdir()


def test_what_some_file_systems_cannot_hold_is_replaced():
    assert folder_name('Titanic: "A" <b>? ') == "Titanic_ _A_ _b__"
    long = folder_name("é" * 500)
    assert len(long.encode()) <= 120
    assert long != folder_name("é" * 501)


def test_prefix_and_title_alone_decide_the_folder(tmp_path):
    first = claim_folder(tmp_path, "p", story(("a", "b")))
    assert first == tmp_path / "p" / "Tale"
    for prompts in (("a", "c"), ("x",), ("b", "y")):
        assert claim_folder(tmp_path, "p", story(prompts)) == first
    assert claim_folder(tmp_path, "q", story(("a", "b"))) == tmp_path / "q" / "Tale"


def test_titles_that_differ_in_case_or_accents_have_folders_that_any_disk_can_hold(tmp_path):
    def named(name):
        return claim_folder(tmp_path, "p", replace(story(), name=name)).name

    assert [named(name) for name in ("Tale", "TALE", "tale")] == ["Tale", "TALE_2", "tale_3"]
    assert [named(name) for name in ("Tale", "TALE", "tale")] == ["Tale", "TALE_2", "tale_3"]
    assert named("Caf\u00e9") == named("Cafe\u0301") == "Caf\u00e9"


def test_files_of_somebody_else_in_the_folder_stay(tmp_path):
    (tmp_path / "p" / "Tale").mkdir(parents=True)
    (tmp_path / "p" / "Tale" / "holiday.mp4").write_text("mine")
    assert claim_folder(tmp_path, "p", story()).name == "Tale"
    (tmp_path / "p" / "Tale" / "shot_01_01.mp4").write_text("mine")
    with pytest.raises(ValueError, match=r"holds shot_01_01\.mp4, but no story\.json"):
        claim_folder(tmp_path, "p", story())


def test_only_the_newest_script_lies_beside_the_shots(tmp_path):
    plain = '\ufeff a cat\n---\n"{}" is on its collar'
    for source, name in [('{"scenes": 1}', "json"), (plain, "txt"), (' {"scenes": 2}', "json")]:
        write_script_copy(tmp_path, replace(story(), source=source))
        assert [path.name for path in tmp_path.iterdir()] == [f"script.{name}"]
        assert (tmp_path / f"script.{name}").read_text(encoding="utf-8") == source
