"""Several processes and one folder: nobody mixes, and the dead hold nothing."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.not_empty import not_empty
from storymem.files import disk, locks
from storymem.files.disk import remove_unfinished, replacing, unfinished_beside, unfinished_folder
from storymem.files.hashing import checksum
from storymem.files.video import join_videos
from storymem.film import folder_lock
from storymem.film.folder_lock import LOCK_FILE, FolderBusy, StoryClaim, changing
from storymem.film.manifest import read_manifest
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank_folder import load_bank

ROUNDS = 15
PACK = Path(__file__).resolve().parents[2]


class Other:
    """Another process that holds something until it is told to end, or killed."""

    def __init__(self, code: str, *arguments):
        begin = f"import sys, time; sys.path.insert(0, {str(PACK)!r})\n"
        end = "\nprint('ready', flush=True)\nsys.stdin.read()\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", begin + textwrap.dedent(code) + end, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


CLAIM = """
    from pathlib import Path
    from storymem.film.folder_lock import StoryClaim
    claim = StoryClaim(Path(sys.argv[1]), sys.argv[2])
"""
CHANGE = """
    from pathlib import Path
    from storymem.film.folder_lock import changing
    held = changing(Path(sys.argv[1]))
    held.__enter__()
"""
WRITE = """
    from pathlib import Path
    from storymem.files.disk import replacing
    held = replacing(Path(sys.argv[1]) / "Film.mp4")
    held.__enter__().write_bytes(b"half of a film")
"""


SWEEP = """
    import threading
    from pathlib import Path
    from storymem.files.disk import remove_unfinished

    def sweep():
        while True:
            remove_unfinished(Path(sys.argv[1]))

    threading.Thread(target=sweep, daemon=True).start()
"""


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".*") if path.name != LOCK_FILE)


def test_a_story_is_made_in_one_way_at_a_time(tmp_path):
    with Other(CLAIM, tmp_path, "a" * 64):
        with pytest.raises(FolderBusy, match=r"another process.*in another way"):
            StoryClaim(tmp_path, "b" * 64)
        same = StoryClaim(tmp_path, "a" * 64)  # the same shots are shared
        assert len(hidden(tmp_path)) == 2
        same.release()
        same.release()
        assert len(hidden(tmp_path)) == 1


def test_a_process_that_was_killed_holds_no_story(tmp_path):
    with Other(CLAIM, tmp_path, "a" * 64) as other:
        other.kill()
        assert len(hidden(tmp_path)) == 1  # what it left, which is only a file
        claim = StoryClaim(tmp_path, "b" * 64)
        assert len(hidden(tmp_path)) == 1
        claim.release()
    assert hidden(tmp_path) == []


def test_the_claim_of_a_killed_process_is_swept_by_one_that_makes_the_same(tmp_path):
    with Other(CLAIM, tmp_path, "a" * 64) as other:
        other.kill()
        claim = StoryClaim(tmp_path, "a" * 64)
        assert len(hidden(tmp_path)) == 1
        with Other(CLAIM, tmp_path, "a" * 64):
            assert len(hidden(tmp_path)) == 2
        claim.release()


def test_a_process_does_not_stand_in_its_own_way(tmp_path):
    first, second = StoryClaim(tmp_path, "a" * 64), StoryClaim(tmp_path, "b" * 64)
    assert len(hidden(tmp_path)) == 2
    first.release()
    second.release()
    assert hidden(tmp_path) == []


def test_one_process_writes_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.2)
    with changing(tmp_path), changing(tmp_path):  # nested
        pass
    with Other(CHANGE, tmp_path) as other:
        with pytest.raises(FolderBusy, match="has been writing to"), changing(tmp_path):
            raise AssertionError("two write at once")
        other.kill()
        with changing(tmp_path):
            pass


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere"
)
def test_a_folder_that_cannot_be_written_is_told_by_the_writing(tmp_path):
    tmp_path.chmod(0o500)
    with changing(tmp_path), pytest.raises(PermissionError):
        (tmp_path / "Film.mp4").write_bytes(b"film")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, caplog):
    def refuse(_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "_lock", refuse)
    with changing(tmp_path):
        claim = StoryClaim(tmp_path, "a" * 64)
    with replacing(tmp_path / "Film.mp4") as unfinished:
        unfinished.write_bytes(b"film")
        remove_unfinished(tmp_path)  # its process is at work, which its name says
    claim.release()
    assert (tmp_path / "Film.mp4").read_bytes() == b"film"
    assert "cannot be locked" in caplog.text
    assert "No locks available" in caplog.text
    assert hidden(tmp_path) == []


# --- two that finish one story ------------------------------------------------------------------

FINISH = """
    from dataclasses import replace
    from pathlib import Path
    import torch
    from storymem.memory.bank import MemoryBank
    from storymem.memory.frame import MemoryFrame
    from storymem.loop.begin import begin_shot
    from storymem.loop.plan import Loop, LoopSettings
    from storymem.loop.shots import finish_shot, list_steps
    from storymem.loop.shot_store import ShotStore
    from storymem.script.reader import load_story
    from storymem.film.folder import claim_folder
    from storymem.film import shot_files
    from storymem.film.output import StoryExport, VideoOptions

    def look_late(*arguments, look=shot_files._edits_in):
        time.sleep(float(sys.argv[3]))
        return look(*arguments)

    shot_files._edits_in = look_late
    out, seed = Path(sys.argv[1]), int(sys.argv[2])
    story = load_story("a\\n---\\nb\\n---\\nc")
    story = replace(story, shots=tuple(replace(shot, seed=seed) for shot in story.shots))
    loop = Loop(story, LoopSettings(), MemoryBank(), "body", ShotStore(out / ".storymem"))
    steps, before = list_steps(loop, {}), None
    for step in steps:
        step.begin(begun := begin_shot(loop, step, before))
        generator = torch.Generator().manual_seed(100 * seed + step.plan.shot.index)
        frames = torch.rand(5, 16, 16, 3, generator=generator)
        frame = MemoryFrame.from_pixels(frames[0], shot=step.plan.shot.index)
        step.record, before = finish_shot(loop, step, frames, begun.bank.remember([frame]), crf=30)
    folder = claim_folder(out, "p", story)
    print("ready", flush=True)
    for line in sys.stdin:
        StoryExport(folder, story, loop.settings, VideoOptions()).finish(steps, {}, before.bank)
        print("done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("pause", "rounds"), [(0, ROUNDS), (0.1, 4)])
def test_two_that_finish_one_story_at_once_leave_shots_film_and_memory_of_one(
    tmp_path, pause, rounds
):
    """Also where one has read what is known of the files long before it looks at them."""
    with Other(FINISH, tmp_path, 1, pause) as one, Other(FINISH, tmp_path, 2, 0) as two:
        for _ in range(rounds):
            for other in (one, two):
                other.process.stdin.write("go\n")
                other.process.stdin.flush()
            for other in (one, two):
                assert other.process.stdout.readline() == "done\n"
            assert_of_one_run(tmp_path)


def assert_of_one_run(out: Path) -> None:
    store, (folder,) = ShotStore(out / ".storymem"), (out / "p").glob("story*")
    shots = read_manifest(folder)["shots"]
    records = [store.find(shots[label]["key"]) for label in sorted(shots)]
    assert len({record.facts["seed"] for record in records}) == 1
    for label, record in zip(sorted(shots), records, strict=True):
        assert (folder / f"shot_{label}.mp4").read_bytes() == record.video.read_bytes()
    join_videos([record.video for record in records], out / "joined.mp4")
    manifest = read_manifest(folder)
    assert (folder / manifest["video"]).read_bytes() == (out / "joined.mp4").read_bytes()
    films = {path.name: checksum(path) for path in folder.glob("story_*_.mp4")}
    assert films == {entry["file"]: entry["sha256"] for entry in manifest["films"]}
    remembered = {frame.digest for frame in store.load(records[-1]).bank.frames}
    assert {frame.digest for frame in load_bank(folder / "bank").frames} == remembered


# --- what a killed process leaves ---------------------------------------------------------------


def test_what_a_killed_process_was_writing_is_swept_and_what_others_write_is_not(tmp_path):
    with Other(WRITE, tmp_path) as other:
        remove_unfinished(tmp_path)
        assert [name.startswith(".Film.mp4.") for name in hidden(tmp_path)] == [True]
        other.kill()
        remove_unfinished(tmp_path)
    assert hidden(tmp_path) == []


def test_a_number_that_no_process_can_have_is_of_none_that_is_at_work(tmp_path):
    (tmp_path / f".Film.mp4.{disk.host_mark()}-9999999999-0123456789ab.part").write_bytes(b"half")
    remove_unfinished(tmp_path)
    assert hidden(tmp_path) == []


def test_what_is_being_written_is_never_swept(tmp_path):
    """By any thread, while two processes look for leftovers all the time."""

    def write(number: int) -> None:
        for _ in range(ROUNDS):
            with replacing(tmp_path / f"{number}.txt") as unfinished:
                unfinished.write_text("whole")
            assert (tmp_path / f"{number}.txt").read_text() == "whole"
            with unfinished_folder(tmp_path / f"{number}") as folder:
                (folder / "inside").write_text("whole")
                shutil.rmtree(tmp_path / f"{number}", ignore_errors=True)
                folder.rename(tmp_path / f"{number}")
            assert (tmp_path / f"{number}" / "inside").read_text() == "whole"

    with Other(SWEEP, tmp_path), ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write, number) for number in range(3)]
        while not all(task.done() for task in writing):
            remove_unfinished(tmp_path)
        for task in writing:
            task.result()


def test_who_waits_for_one_folder_does_not_hold_up_another(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "PATIENCE", 30)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()

    def wait() -> bool:
        with changing(one):
            return killed.is_set()

    killed = threading.Event()
    with Other(CHANGE, one) as other, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        for _ in range(ROUNDS):
            with changing(two):
                assert not waiting.done()
        killed.set()
        other.kill()
        assert waiting.result()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_process_that_was_forked_meanwhile_holds_nothing(tmp_path):
    lock = locks.PathLock(tmp_path / "lock")
    lock.acquire()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # until the pipe is closed, whatever becomes of the test
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    try:
        assert locks.is_held(lock.path)
        lock.release()
        assert not locks.is_held(lock.path)
    finally:
        os.close(write)
        os.waitpid(child, 0)
        os.close(read)


def test_what_another_machine_or_version_left_is_swept_after_a_day(tmp_path, monkeypatch):
    names = [
        ".0123456789abcdef0123456789abcdef.mp4",  # a film, as it was once written
        ".story.json.0123456789abcdef0123456789abcdef",
        ".shot_02_01.mp4.0123456789abcdef0123456789abcdef",
        ".bank.json.4711.tmp",
        ".Film.mp4.ffffffff-1-0123456789ab.part",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    for name in (mine := [".mine", ".mine.mp4", ".shot_02_01.mp4"]):
        (tmp_path / name).write_text("not ours")
    remove_unfinished(tmp_path)
    assert hidden(tmp_path) == sorted([*names, *mine])
    for path in not_empty(tmp_path.glob(".*")):
        os.utime(path, (1, 1))
    remove_unfinished(tmp_path)
    assert hidden(tmp_path) == mine


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    class Trouble(Exception):
        pass

    def fail_halfway():
        with replacing(path) as unfinished:
            unfinished.write_text("half")
            raise Trouble

    with pytest.raises(Trouble):
        fail_halfway()
    assert path.read_text() == "old"
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert hidden(tmp_path) == []


def test_an_unfinished_copy_has_a_name_for_any_file(tmp_path):
    long = unfinished_beside(tmp_path / ("龙" * 80))
    assert disk.UNFINISHED.fullmatch(long.name)
    long.write_bytes(b"")
