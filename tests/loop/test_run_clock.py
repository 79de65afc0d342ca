"""The clock of a run: before the first shot, while shots are made, and of old films."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch

from helpers.record_files import body_of, write_body
from storymem.files.harmless import harmless
from storymem.film.manifest import read_manifest, write_manifest
from storymem.loop import run_clock
from storymem.loop.begin import begin_shot
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.reuse import describe_result
from storymem.loop.run_clock import RunClock, TimeLeft, time_of_waiting
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.loop.time_left import FACT, Timed, Work, machine_of, pace_of, read_timed
from storymem.memory.bank import MemoryBank
from storymem.script.reader import load_story

HERE = machine_of("here")
ASKED = Work(steps=4)
FRAMES = (9, 32, 48, 3)


class Clock:
    """Stands in for the module time."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_790_000_000 + self.now


@pytest.fixture
def clock(monkeypatch):
    fake = Clock()
    monkeypatch.setattr(run_clock, "time", fake)
    return fake


def tale(count=3, name="Tale", **scene):
    prompts = [f"{name} {i}" for i in range(count)]
    cuts = [True] * count
    return load_story(
        {"story_name": name, "scenes": [{"video_prompts": prompts, "cut": cuts, **scene}]}
    )


@pytest.fixture
def loop(tmp_path):
    return Loop(tale(), LoopSettings(), MemoryBank(), "body", ShotStore(tmp_path / "store"))


def begun(loop, manifest=None, machine=HERE, asked=ASKED) -> tuple[RunClock, list]:
    shots = (manifest or {}).get("shots", {})
    steps = list_steps(loop, manifest or {"shots": {}})
    return RunClock(loop, steps, asked, machine, shots, sees_memory=False), steps


def make(loop, run, steps, clock, seconds, manifest=None) -> None:
    """Make the shots, each in some of ``seconds``."""
    before = None
    for step, needed in zip(steps, seconds, strict=False):
        step.begin(begin_shot(loop, step, before))
        run.begin(step, 0)
        clock.now += needed
        frames = torch.zeros(FRAMES) + step.plan.shot.index / 10
        work = run.finish(step, FRAMES)
        step.record, step.result = finish_shot(loop, step, frames, loop.bank, crf=30, work=work)
        before = step.result
        if manifest is not None:
            manifest["shots"][step.label] = describe_result(step)


def test_nothing_is_told_before_the_first_shot_and_all_after_it(loop, clock):
    run, steps = begun(loop)
    assert run.left(0) is None
    assert run.tell() == "; time left: unknown until the first shot is finished"
    make(loop, run, steps, clock, [40.0])
    assert run.left() == TimeLeft(0, pytest.approx(80), pytest.approx(80))
    assert run.tell() == " in 40 s, about 2 min left"
    step = steps[1]
    step.begin(begin_shot(loop, step, steps[0].result))
    run.begin(step, 0)
    clock.now += 15
    assert run.left(1) == TimeLeft(pytest.approx(25), pytest.approx(40), pytest.approx(40))
    clock.now += 100  # longer than expected
    assert run.left(1) == TimeLeft(0, pytest.approx(40), pytest.approx(40))


def test_the_record_keeps_how_long_a_shot_took_and_the_next_run_knows_it(loop, clock):
    run, steps = begun(loop)
    manifest = {"shots": {}}
    make(loop, run, steps, clock, [50.0, 20.0], manifest)
    kept = [read_timed(loop.store.find(step.key).facts[FACT]) for step in steps[:2]]
    work = Work(frames=9, width=48, height=32, memory=0, steps=4)
    assert kept == [
        Timed(work, 50.0, HERE, pace_of("body"), True, 1_790_001_050),
        Timed(work, 20.0, HERE, pace_of("body"), False, 1_790_001_070),
    ]
    assert manifest["shots"]["01_02"][FACT] == kept[1].as_fact()
    again, listed = begun(loop, manifest)
    assert [step.record is not None for step in listed] == [True, True, False]
    assert again.left(2) == TimeLeft(pytest.approx(20), 0, 0)


def test_another_machine_or_body_knows_nothing(loop, clock):
    run, steps = begun(loop)
    manifest = {"shots": {}}
    make(loop, run, steps, clock, [50.0], manifest)
    assert begun(loop, manifest, machine=machine_of("there"))[0].left() is None
    assert begun(replace(loop, body="another"), manifest)[0].left() is None


def test_another_story_of_the_store_tells_when_this_one_is_new(loop, clock):
    make(loop, *begun(loop), clock, [50.0, 20.0, 30.0])
    other = replace(loop, story=tale(2, "Other", length=[9, 17]))
    run, _ = begun(other)
    left = run.left(0)
    longer = Work(17, 48, 32, 0, 4).cost / Work(9, 48, 32, 0, 4).cost
    assert left == TimeLeft(
        pytest.approx(25), pytest.approx(25 * longer), pytest.approx(25 * longer)
    )


def test_few_records_of_a_large_store_are_read_and_odd_ones_passed_over(loop, clock, monkeypatch):
    make(loop, *begun(loop), clock, [50.0, 20.0, 30.0])
    for i in range(40):
        folder = loop.store.root / "shots" / f"{i:02x}" / f"{i:064x}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(["", "[]", '{"record": 3}', '{"record": "{}"}'][i % 4])
        os.utime(folder, (5, 5))
    (loop.store.root / "shots" / "a file").write_text("x")
    read = []
    original = run_clock.read_facts
    monkeypatch.setattr(run_clock, "read_facts", lambda path: read.append(path) or original(path))
    run, _ = begun(replace(loop, story=tale(1, "Other")))
    assert len(read) == run_clock.NEWEST_OF_STORE
    assert run.left() is not None


def test_shots_that_depend_on_another_one_are_apart(loop, clock):
    manifest = {"shots": {}}
    make(loop, *begun(loop), clock, [20.0] * 3, manifest)
    edited = json.loads(json.dumps({"story_name": "Tale", "scenes": [
        {"video_prompts": ["new", "Tale 1", "Tale 2"], "cut": [True] * 3}]}))  # fmt: skip
    run, steps = begun(replace(loop, story=load_story(edited)), manifest)
    assert [step.is_undecided for step in steps] == [False, True, True]
    assert run.left(0) == TimeLeft(pytest.approx(20), 0, pytest.approx(40))
    assert run.tell() == ", about 20 s left, up to 1 min if later shots change"


def test_a_shot_that_the_run_did_not_see_begin_has_no_time(loop, clock):
    run, steps = begun(loop)
    assert run.finish(steps[0], FRAMES) is None


def test_memory_that_grows_makes_later_shots_longer(loop, clock):
    manifest = {"shots": {}}
    make(loop, *begun(loop), clock, [20.0] * 3, manifest)
    longer = replace(loop, story=tale(6, "More"), bank=MemoryBank(max_frames=4))
    steps = list_steps(longer, {"shots": {}})
    run = RunClock(longer, steps, ASKED, HERE, manifest["shots"])
    base = Work(9, 48, 32, 0, 4)
    expected = [20 * replace(base, memory=m).cost / base.cost for m in (0, 3, 4, 4, 4, 4)]
    assert run.left().least == pytest.approx(sum(expected))
    run.begin(steps[2], 1)  # fewer than thought
    left = run.left(2)
    assert left.shot == pytest.approx(20 * replace(base, memory=1).cost / base.cost)


def test_an_old_film_without_times_is_found_and_goes_on(loop, clock):
    """Records of earlier versions do not say how long they took: they are the same shots."""
    manifest = {"shots": {}}
    make(loop, *begun(loop), clock, [20.0] * 3, manifest)
    for entry in manifest["shots"].values():
        folder = loop.store.folder_of(entry["key"])
        body = body_of(folder)
        del body["facts"][FACT], entry[FACT]
        write_body(folder, body)
    run, steps = begun(loop, manifest)
    assert all(step.record is not None and FACT not in step.record.facts for step in steps)
    assert [describe_result(step) for step in steps] == list(manifest["shots"].values())
    assert run.left() is None
    assert run.tell() == ""


@pytest.mark.parametrize("fact", ["soon", 5, [], {}, {"seconds": -1}, None])
def test_a_record_that_says_nonsense_is_still_the_shot(loop, clock, fact):
    run, steps = begun(loop)
    manifest = {"shots": {}}
    make(loop, run, steps, clock, [20.0], manifest)
    folder = loop.store.folder_of(steps[0].key)
    body = body_of(folder)
    write_body(folder, {**body, "facts": {**body["facts"], FACT: fact}})
    manifest["shots"]["01_01"][FACT] = fact
    again, listed = begun(loop, {"shots": {"01_01": {**manifest["shots"]["01_01"]}}})
    assert listed[0].record is not None
    assert again.left() is None
    assert FACT not in describe_result(listed[0])


def test_the_manifest_keeps_times_and_no_other_kind_of_value(tmp_path):
    entry = {"key": "ab" * 32, FACT: {"seconds": 5}}
    write_manifest(tmp_path, {"shots": {"01_01": entry, "01_02": {**entry, FACT: "soon"}}})
    shots = read_manifest(tmp_path)["shots"]
    assert shots["01_01"][FACT] == {"seconds": 5}
    assert FACT not in shots["01_02"]


# --- the waiting shots of a list ---------------------------------------------------------------


def test_waiting_shots_take_as_long_as_the_latest_of_this_machine():
    work, pace = Work(9, 48, 32, 2, 4), pace_of("body")
    timed = [
        Timed(work, 30.0, HERE, pace, finished=3),
        None,
        Timed(work, 9.0, HERE, pace_of("an earlier model"), finished=1),
        Timed(work, 500.0, machine_of("there"), pace, finished=9),
    ]
    longer = replace(work, frames=17).cost / work.cost
    left = time_of_waiting(timed, [(True, None), (True, 17), (False, None)], HERE)
    assert left == TimeLeft(0, pytest.approx(30 + 30 * longer), pytest.approx(60 + 30 * longer))
    assert time_of_waiting(timed, [], HERE) == TimeLeft(0, 0, 0)


def test_nothing_is_known_of_waiting_shots_without_a_time():
    assert time_of_waiting([], [(True, None)], HERE) is None
    elsewhere = Timed(Work(9, 48, 32), 5.0, machine_of("there"), pace_of("body"))
    assert time_of_waiting([None, elsewhere], [(True, None)], HERE) is None


# --- whatever goes wrong -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["_newest_first", "_dated_records", "find_rate", "replace"])
def test_a_failing_estimate_stops_nothing(loop, clock, monkeypatch, caplog, name):
    def broken(*_, **__):
        raise RuntimeError("no estimate today")

    monkeypatch.setattr(run_clock, name, broken)
    run, steps = begun(loop)
    make(loop, run, steps, clock, [20.0])
    assert steps[0].record is not None
    assert (run.left() is None) == (name in ("find_rate", "replace"))
    assert isinstance(run.tell(), str)
    assert (FACT in steps[0].record.facts) == (name != "replace")


def test_a_failure_is_told_once(caplog):
    @harmless(5)
    def broken(text):
        raise RuntimeError(text)

    assert [broken("no estimate today"), broken("again")] == [5, 5]
    (record,) = caplog.records
    assert "broken failed, and the run goes on without it (RuntimeError: no" in record.message


def test_a_shot_without_pixels_is_no_measure(loop, clock):
    run, steps = begun(loop)
    run.begin(steps[0], 0)
    clock.now += 5
    assert run.finish(steps[0], (0, 32, 48, 3)) is not None
    assert run.left() is None


def test_a_shot_that_was_not_seen_to_begin_is_not_said_to_take_as_long_as_the_last(loop, clock):
    run, steps = begun(loop)
    make(loop, run, steps, clock, [40.0])
    assert run.finish(steps[1], FRAMES) is None
    assert " in " not in run.tell()


def store_of(loop, count: int) -> None:
    for i in range(count):
        (loop.store.root / "shots" / f"{i % 256:02x}" / f"{i:064x}").mkdir(parents=True)


def test_a_slow_disk_is_not_waited_for(loop, clock, monkeypatch):
    store_of(loop, 600)
    looked, at_once = [], run_clock._folders

    def slow(place):
        for entry in at_once(place):
            clock.now += 0.1
            looked.append(entry)
            yield entry

    monkeypatch.setattr(run_clock, "_folders", slow)
    run, _ = begun(loop)
    assert len(looked) <= 12
    assert run.left() is None


def test_the_store_is_left_alone_when_it_is_not_needed(loop, clock, monkeypatch):
    manifest = {"shots": {}}
    run, steps = begun(loop, manifest)
    make(loop, run, steps, clock, [20.0] * 3, manifest)
    looked = []
    monkeypatch.setattr(run_clock, "newest_of_store", lambda root: looked.append(root) or [])
    begun(loop, manifest)
    assert looked == [], "all is finished"
    begun(replace(loop, story=tale(9)), manifest)
    assert len(looked) == 1
    entry = manifest["shots"]["01_02"]
    manifest["shots"] |= {
        f"02_{i:02d}": {**entry, FACT: {**entry[FACT], "finished": i}} for i in range(1, 6)
    }
    begun(replace(loop, story=tale(9)), manifest)
    assert len(looked) == 1, "its own shots tell enough"


def test_what_is_no_usual_file_is_not_read(loop, clock, monkeypatch):
    make(loop, *begun(loop), clock, [50.0, 20.0, 30.0])
    monkeypatch.setattr(run_clock, "LARGEST_RECORD", 1 << 16)
    store_of(loop, 3)
    pipe, large, folder = (
        loop.store.root / "shots" / f"{i:02x}" / f"{i:064x}" / "record.json" for i in range(3)
    )
    os.mkfifo(pipe)  # who reads it waits for ever
    large.write_bytes(b" " * (1 << 17))
    folder.mkdir()
    run, _ = begun(replace(loop, story=tale(1, "Other")))
    assert run.left(0).shot == pytest.approx(25)


def test_a_clock_that_was_ahead_does_not_decide_for_years(clock):
    work, now = Work(9, 48, 32, 2, 4), int(clock.time())
    old = Timed(work, 900.0, HERE, pace_of("an earlier model"), finished=now + 10 * 365 * 86400)
    new = Timed(work, 30.0, HERE, pace_of("body"), finished=now - 60)
    left = time_of_waiting([old, new], [(True, None)], HERE)
    assert left.most == pytest.approx(30)


def test_a_record_of_somebody_else_brings_only_its_time_into_the_folder(loop, clock, tmp_path):
    """What is nested as deep as a record may be would make story.json deeper than it may be."""
    run, steps = begun(loop)
    make(loop, run, steps, clock, [20.0])
    folder = loop.store.folder_of(steps[0].key)
    body = body_of(folder)
    deep: list = []
    for _ in range(97):
        deep = [deep]
    fact = {**body["facts"][FACT], "deep": deep, "more": "x" * 5000}
    write_body(folder, {**body, "facts": {**body["facts"], FACT: fact}})
    _, listed = begun(loop)
    entry = describe_result(listed[0])
    assert entry[FACT] == body["facts"][FACT]
    write_manifest(tmp_path, {"shots": {"01_01": entry}})
    assert read_manifest(tmp_path)["shots"]["01_01"] == entry
