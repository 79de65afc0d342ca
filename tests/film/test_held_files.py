"""Files that another program has open, as while it plays them: Windows lets nobody replace, rename
or remove those. A stand-in refuses the same here."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from storymem.files import disk
from storymem.files.disk import write_whole
from storymem.film.finished_story import open_film
from storymem.film.folder import claim_folder
from storymem.film.held_files import files_beside, held_notes
from storymem.film.manifest import read_manifest
from storymem.film.output import StoryExport, VideoOptions
from storymem.film.shot_status import shot_states
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank
from storymem.script.reader import load_story
from storymem.views.posters import find_shot

SIZE = (32, 48)  # height, width


class Windows:
    """Refuses to replace, rename or remove files that are held; it counts how often."""

    def __init__(self, monkeypatch):
        self.held: dict[str, int | None] = {}  # by name: how many more refusals, None for ever
        self.refused = 0
        for name in ("replace", "rename", "unlink"):
            monkeypatch.setattr(os, name, self._refusing(getattr(os, name)))
        monkeypatch.setattr(Path, "unlink", _unlink)

    def hold(self, name: str, refusals: int | None = None) -> None:
        self.held[name] = refusals

    def let_go(self) -> None:
        self.held.clear()

    def _check(self, *paths) -> None:
        for path in paths:
            name = os.path.basename(path)
            if os.path.lexists(path) and self.held.get(name, 0) != 0:
                if self.held[name] is not None:
                    self.held[name] -= 1
                self.refused += 1
                raise PermissionError(errno.EACCES, "it is being used by another process", name)

    def _refusing(self, real):
        def act(*paths, **options):
            self._check(*paths)
            return real(*paths, **options)

        return act


def _unlink(path, missing_ok=False):
    """As every Python has it, by ``os.unlink``."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        if not missing_ok:
            raise


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setattr(disk, "HELD_SECONDS", 0.05)
    monkeypatch.setattr(disk, "HELD_POLL_SECONDS", 0.001)
    return Windows(monkeypatch)


@pytest.fixture
def tale(tmp_path):
    return Tale(tmp_path)


class Tale:
    """A story of cuts, run after run in one output folder."""

    def __init__(self, output):
        self.output, self.store = output, ShotStore(output / ".storymem")
        self.notes: dict[str, str] = {}

    @property
    def path(self):
        return self.output / "p" / "Tale"

    def run(self, prompts="abc", *, body=""):
        """One run; the paths that shots were put to."""
        scene = {"video_prompts": list(prompts), "cut": [True] * len(prompts)}
        story = load_story({"story_name": "Tale", "scenes": [scene]})
        folder = claim_folder(self.output, "p", story)
        loop = Loop(story, LoopSettings(), MemoryBank(), body, self.store)
        steps, self.notes, before, put = list_steps(loop, read_manifest(folder)), {}, None, []
        shown = StoryExport(folder, story, LoopSettings(), VideoOptions(), notes=self.notes)
        for step in steps:
            if step.record is None:
                step.begin(begin_shot(loop, step, before))
            if step.record is None:
                bright = sum((step.plan.prompt + body).encode()) * 37 % 200 / 255
                frames = torch.full((5, *SIZE, 3), bright)
                step.record, before = finish_shot(loop, step, frames, MemoryBank(), crf=17)
                put.append(shown.show_shot(step).name)
            else:
                before = load_result(loop, step.record)
        self.told = list(held_notes(self.notes))
        self.film = shown.finish(steps, {}, None)
        self.story, self.steps = story, steps
        return put

    def bytes_of(self, name):
        return (self.path / name).read_bytes()

    def record(self, label):
        return next(step.record for step in self.steps if step.label == label).video.read_bytes()

    def files(self):
        return sorted(path.name for path in self.path.glob("shot_*"))

    def shown(self):
        """What the page is told of each shot: its state and the file that it plays."""
        states = shot_states(self.story, self.path)
        return [(state.word, state.video and state.video.name) for state in states]


IN_PLACE = ["shot_01_01.mp4", "shot_01_02.mp4", "shot_01_03.mp4"]


def test_a_file_that_is_held_for_a_moment_is_replaced_after_it(windows, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    windows.hold("a", 3)
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert windows.refused == 3


def test_a_file_that_is_held_for_ever_keeps_what_it_says(windows, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    windows.hold("a")
    with pytest.raises(PermissionError, match="used by another process"):
        write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_shot_that_is_played_for_a_moment_is_replaced_where_it_lies(tale, windows):
    tale.run()
    windows.hold("shot_01_02.mp4", 2)
    assert tale.run(body="another") == IN_PLACE
    assert windows.refused == 2
    assert tale.files() == IN_PLACE
    assert tale.bytes_of("shot_01_02.mp4") == tale.record("01_02")
    assert tale.told == []
    assert tale.notes == {}


def test_a_shot_that_is_played_on_lies_beside_until_the_next_run(tale, windows, caplog):
    tale.run()
    old = tale.bytes_of("shot_01_02.mp4")
    windows.hold("shot_01_02.mp4")
    assert tale.run(body="another") == [IN_PLACE[0], "shot_01_02 new.mp4", IN_PLACE[2]]
    assert tale.bytes_of("shot_01_02.mp4") == old
    assert tale.bytes_of("shot_01_02 new.mp4") == tale.record("01_02") != old
    (told,) = tale.told
    assert told == (
        "shot_01_02.mp4 could not be replaced, as while a program plays it (it is being used by "
        "another process): the new shot is in 'shot_01_02 new.mp4' until it can be"
    )
    assert list(tale.notes.values()) == [told]  # at the end of the run as well
    assert told in caplog.text
    assert tale.shown()[1] == ("done", "shot_01_02 new.mp4")
    film = open_film(tale.path)
    assert [shot.path.name for shot in film.shots][1] == "shot_01_02 new.mp4"
    assert find_shot(tale.output, "p/Tale", "01_02 new").name == "shot_01_02 new.mp4"

    assert tale.run(body="another") == []  # it is still played
    assert tale.files() == sorted([*IN_PLACE, "shot_01_02 new.mp4"])
    assert len(tale.notes) == 1

    windows.let_go()
    assert tale.run(body="another") == []
    assert tale.files() == IN_PLACE
    assert tale.bytes_of("shot_01_02.mp4") == tale.record("01_02")
    assert tale.notes == {}
    assert tale.shown()[1] == ("done", "shot_01_02.mp4")
    assert files_beside(read_manifest(tale.path)) == {}


def test_a_shot_that_was_played_while_it_was_finished_is_in_its_place_at_the_end(
    tale, windows, monkeypatch
):
    tale.run()
    windows.hold("shot_01_02.mp4")
    finish = StoryExport.finish

    def end_of_playing(*arguments):
        windows.let_go()
        return finish(*arguments)

    monkeypatch.setattr(StoryExport, "finish", end_of_playing)
    assert tale.run(body="another")[1] == "shot_01_02 new.mp4"
    assert len(tale.told) == 1
    assert tale.notes == {}
    assert tale.files() == IN_PLACE
    assert tale.bytes_of("shot_01_02.mp4") == tale.record("01_02")


def test_take_after_take_of_a_shot_that_is_played_leaves_only_the_newest_beside(tale, windows):
    tale.run()
    windows.hold("shot_01_02.mp4")
    for body in ("second", "third", "fourth"):
        tale.run(body=body)
        (beside,) = set(tale.files()) - set(IN_PLACE)
        assert tale.bytes_of(beside) == tale.record("01_02")
    windows.hold(beside)  # now that one is played as well
    tale.run(body="fifth")
    assert len(tale.files()) == 5
    windows.let_go()
    tale.run(body="fifth")
    assert tale.files() == IN_PLACE


def test_a_file_beside_that_an_artist_changed_is_not_removed(tale, windows, caplog):
    tale.run()
    windows.hold("shot_01_02.mp4")
    tale.run(body="another")
    (tale.path / "shot_01_02 new.mp4").write_bytes(b"graded")
    windows.let_go()
    tale.run(body="another")
    assert tale.bytes_of("shot_01_02 new.mp4") == b"graded"
    assert tale.bytes_of("shot_01_02.mp4") == tale.record("01_02")
    assert "was changed since it was written: it stays" in caplog.text


def test_a_played_shot_that_the_script_no_longer_has_goes_with_the_next_run(tale, windows):
    tale.run("abc")
    windows.hold("shot_01_03.mp4")
    tale.run("ab")
    assert tale.files() == IN_PLACE
    windows.let_go()
    tale.run("ab")
    assert tale.files() == IN_PLACE[:2]


def test_a_film_that_is_played_is_never_in_the_way(tale, windows):
    tale.run()
    played = tale.film
    content = played.read_bytes()
    windows.hold(played.name)
    tale.run(body="another")
    assert tale.film.name == "Tale_00002_.mp4"
    assert played.read_bytes() == content
    assert windows.refused == 0


def test_a_place_that_refuses_new_files_for_ever_loses_no_shot(tale, monkeypatch):
    tale.run()
    monkeypatch.setattr(disk, "HELD_SECONDS", 0)
    replace = os.replace

    def refuse(source, target):  # and nothing else: what lay there is removed
        if os.path.basename(target) == "shot_01_02.mp4":
            raise PermissionError(errno.EACCES, "access is denied")
        return replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        tale.run(body="another")
        assert tale.shown()[1] == ("done", "shot_01_02 new.mp4")
        assert tale.bytes_of("shot_01_02 new.mp4") == tale.record("01_02")
        assert len(tale.notes) == 1
    tale.run(body="another")
    assert tale.files() == IN_PLACE
    assert tale.bytes_of("shot_01_02.mp4") == tale.record("01_02")


def test_a_folder_that_refuses_everything_is_told_as_before(tale, monkeypatch):
    tale.run()
    monkeypatch.setattr(disk, "HELD_SECONDS", 0)

    def refuse(*_):
        raise PermissionError(errno.EACCES, "permission denied")

    monkeypatch.setattr("storymem.film.output.write_copy", refuse)
    monkeypatch.setattr("storymem.film.held_files.write_copy", refuse)
    with pytest.raises(disk.StoreError, match="could not be written to"):
        tale.run(body="another")
