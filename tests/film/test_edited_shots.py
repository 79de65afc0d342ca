"""Shot files that an artist edited are kept and used; damage is restored, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import struct
import threading
import time
from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from helpers.not_empty import not_empty
from storymem.files.video import read_frames, read_info, write_video
from storymem.film import edited_shots
from storymem.film.edited_shots import Look, Written, examine
from storymem.film.folder import claim_folder, story_folder
from storymem.film.manifest import read_manifest
from storymem.film.output import StoryExport, VideoOptions
from storymem.film.repair import repair_folder
from storymem.film.shot_files import find_edits
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank
from storymem.script.reader import load_story

pytestmark = pytest.mark.slow

SIZE = (32, 48)  # height, width
GREEN = (20, 200, 40)
BLUE = (30, 40, 210)


@pytest.fixture
def folder_of(tmp_path):
    return Folder(tmp_path)


class Folder:
    """Stories as the nodes make them, run after run in one output folder."""

    def __init__(self, output):
        self.output, self.store = output, ShotStore(output / ".storymem")
        self.notes: dict[str, str] = {}
        self.given: dict[str, torch.Tensor | None] = {}  # by label, in the last run

    @property
    def path(self):
        return self.output / "p" / "Tale"

    def shot(self, label="01_01"):
        return self.path / f"shot_{label}.mp4"

    def run(self, prompts="abc", cut=None, *, length=9, options=None, body="", **settings):
        """One run; labels of the shots that were made in it."""
        cut = cut or [True] + [False] * (len(prompts) - 1)
        lock = settings.pop("lock", [None] * len(prompts))
        scene = {"video_prompts": list(prompts), "cut": cut, "lock": lock}
        story = load_story({"story_name": "Tale", "scenes": [scene]})
        repair_folder(story_folder(self.output, "p", story), story, self.store)
        folder = claim_folder(self.output, "p", story)
        settings = LoopSettings(**settings)
        loop = Loop(story, settings, MemoryBank(), body, self.store)
        loop = replace(loop, edits=find_edits(folder, story, self.store))
        steps = list_steps(loop, read_manifest(folder))
        self.notes, self.given, made, before = {}, {}, [], None
        options = replace(options or VideoOptions(), prompt_subtitles=True)
        shown = StoryExport(folder, story, settings, options, notes=self.notes)
        for step in steps:
            if step.record is None:
                before = before or (load_result(loop, step.before.record) if step.before else None)
                begun = begin_shot(loop, step, before)
                step.begin(begun)
                if begun.record is None:
                    self.given[step.label] = begun.given
            if step.record is None:
                bright = sum((step.plan.prompt + body).encode()) * 37 % 200 / 255
                frames = torch.full((length + step.plan.overlap_frames, *SIZE, 3), bright)
                if begun.given is not None:  # a model's frames show what they go on from
                    frames[:, 0, 0] = begun.given.mean()
                step.record, before = finish_shot(loop, step, frames, MemoryBank(), crf=17)
                shown.show_shot(step)
                made.append(step.label)
            else:
                before = load_result(loop, step.record)
        self.film = shown.finish(steps, {}, None)
        self.steps = steps
        return made

    def files(self):
        return sorted(path.name for path in self.path.glob("shot_*"))

    def record(self, label="01_01"):
        return next(step.record for step in self.steps if step.label == label).video.read_bytes()


def paint(path, colour=GREEN, frames=9, size=SIZE, fps=16, crf=12):
    """What an artist's program writes: another picture, another size or rate."""
    picture = np.full((*size, 3), colour, np.uint8)
    write_video(path, [picture] * frames, fps=fps, crf=crf)
    return path.read_bytes()


def colours(path) -> list[tuple[int, ...]]:
    return [tuple(frame.mean((0, 1)).round().astype(int)) for frame in read_frames(path)]


def is_near(colour, other) -> bool:
    return all(abs(a - b) < 12 for a, b in zip(colour, other, strict=True))


# --- what is an edit -------------------------------------------------------------------------


def test_an_edit_differs_is_newer_and_plays_to_its_end(tmp_path):
    path = tmp_path / "shot.mp4"
    paint(path)
    written = Written("a" * 64, "b" * 64, path.stat().st_mtime_ns - 1, 16.0)
    look, edit = examine(path, written)
    assert (look, edit.frames) == (Look.EDITED, 9)
    assert examine(path, replace(written, sha256=edit.sha256))[0] is Look.OURS
    older = replace(written, time=path.stat().st_mtime_ns)
    assert examine(path, older)[0] is Look.DAMAGED
    assert examine(path, replace(older, edited=edit.sha256))[0] is Look.EDITED
    assert examine(tmp_path / "none.mp4", written)[0] is Look.MISSING
    (tmp_path / "link.mp4").symlink_to(path)
    assert examine(tmp_path / "link.mp4", written)[0] is Look.DAMAGED
    assert examine(path, None)[0] is Look.UNKNOWN


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, 1])
def test_what_is_cut_off_is_no_edit_at_whatever_byte(tmp_path, share):
    path = tmp_path / "shot.mp4"
    rng = np.random.default_rng(0)
    write_video(path, rng.integers(0, 255, (9, *SIZE, 3), dtype=np.uint8))
    written = Written("a" * 64, "b" * 64, 0, 16.0)
    assert examine(path, written)[0] is Look.EDITED
    os.truncate(path, min(int(path.stat().st_size * share), path.stat().st_size - 1))
    os.utime(path, (1e9, 1e9))  # not just now
    assert examine(path, written)[0] is Look.CUT_OFF
    os.truncate(path, 0)
    os.utime(path, (1e9, 1e9))
    assert examine(path, written)[0] is Look.DAMAGED


def test_a_file_whose_end_was_never_written_is_no_edit(tmp_path):
    path = tmp_path / "shot.mp4"
    rng = np.random.default_rng(0)
    write_video(path, rng.integers(0, 255, (9, *SIZE, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-60] + bytes(60))
    os.utime(path, (1e9, 1e9))
    assert examine(path, Written("a" * 64, "b" * 64, 0, 16.0))[0] is Look.CUT_OFF


def test_a_file_cut_between_two_pictures_is_no_edit(tmp_path):
    path = tmp_path / "shot.mp4"
    rng = np.random.default_rng(0)
    write_video(path, rng.integers(0, 255, (9, *SIZE, 3), dtype=np.uint8))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        last = max(packets, key=lambda packet: packet.pos)
    os.truncate(path, last.pos)
    os.utime(path, (1e9, 1e9))
    assert examine(path, Written("a" * 64, "b" * 64, 0, 16.0))[0] is Look.CUT_OFF


def test_an_export_that_is_being_written_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "shot.mp4"
    whole = paint(path, size=(320, 480))
    written = Written("a" * 64, "b" * 64, 0, 16.0)

    def export(pauses):
        for part in range(pauses):
            path.write_bytes(whole[: len(whole) * part // pauses])
            time.sleep(0.1)
        path.write_bytes(whole)

    monkeypatch.setattr(edited_shots, "BUSY_SECONDS", 0.5)
    path.write_bytes(whole[:100])
    program = threading.Thread(target=export, args=[8])
    program.start()
    assert examine(path, written)[0] is Look.EDITED
    program.join()
    monkeypatch.setattr(edited_shots, "PATIENCE", 0.2)
    path.write_bytes(whole[:100])
    assert examine(path, written)[0] is Look.BUSY


@pytest.mark.parametrize(("frames", "fps", "counted"), [(9, 16, 9), (14, 24, 9), (15, 25, 10)])
def test_frames_are_counted_at_the_rate_of_the_shot(tmp_path, frames, fps, counted):
    path = tmp_path / "shot.mp4"
    paint(path, frames=frames, fps=fps, size=(64, 64))
    _, edit = examine(path, Written("a" * 64, "b" * 64, 0, 16.0))
    assert edit.frames == counted
    fitted = list(edit.fitted(SIZE))
    assert [pixels.shape for pixels in fitted] == [(*SIZE, 3)] * counted
    assert all((a == b).all() for a, b in zip(edit.tail(SIZE), fitted[-5:], strict=True))
    assert round(edit.rate) == fps


def test_an_edit_that_took_the_place_of_another_rate_is_counted_at_that(tmp_path):
    path = tmp_path / "shot.mp4"
    paint(path, fps=24)
    _, edit = examine(path, Written("a" * 64, "b" * 64, 0, 24.0))
    assert edit.frames == 9


# --- kept, and used ----------------------------------------------------------------------------


@pytest.mark.parametrize("lock", [None, True])
def test_an_edited_shot_is_kept_in_the_film_and_before_a_shot_that_continues(folder_of, lock):
    tale = folder_of
    tale.run(lock=[lock, None, None])
    edited = paint(tale.shot())
    for made in (["01_02", "01_03"], []):
        assert tale.run(lock=[lock, None, None]) == made
        assert tale.shot().read_bytes() == edited
        film = colours(tale.film)
        assert len(film) == 27
        assert all(is_near(colour, GREEN) for colour in film[:9])
        assert not any(is_near(colour, GREEN) for colour in film[9:])
        assert "shot_01_01.mp4 was edited: it is kept" in tale.notes["shot_01_01.mp4"]
        if made:
            assert is_near((tale.given["01_02"] * 255).mean((0, 1, 2)).tolist(), GREEN)
    tale.shot().unlink()  # the way back
    assert tale.run(lock=[lock, None, None]) == []
    assert tale.shot().read_bytes() == tale.record()
    assert not any(is_near(colour, GREEN) for colour in colours(tale.film))


def test_a_cut_after_an_edited_shot_is_not_made_again(folder_of):
    folder_of.run(cut=[True, True, True])
    paint(folder_of.shot())
    assert folder_of.run(cut=[True, True, True]) == []


def test_five_frames_are_given_from_the_edit(folder_of):
    folder_of.run(continuity="last_five_frames")
    paint(folder_of.shot(), frames=6)
    assert folder_of.run(continuity="last_five_frames") == ["01_02", "01_03"]
    assert folder_of.given["01_02"].shape == (5, *SIZE, 3)
    paint(folder_of.shot(), frames=4)
    with pytest.raises(ValueError, match=r"the edited shot_01_01.mp4 has only 4; make it longer"):
        folder_of.run(continuity="last_five_frames")


def test_an_edit_of_another_size_and_rate_is_fitted_and_that_is_said(folder_of):
    folder_of.run()
    edited = paint(folder_of.shot(), size=(64, 96), fps=24, frames=14)
    assert folder_of.run() == ["01_02", "01_03"]
    assert folder_of.shot().read_bytes() == edited
    assert folder_of.given["01_02"].shape == (1, *SIZE, 3)
    assert folder_of.notes["shot_01_01.mp4"].endswith(
        "re-encoded from 96x64 at 24 fps to 48x32 at 16 fps"
    )
    info = read_info(folder_of.film)
    assert (info.frames, info.height, info.width) == (27, *SIZE)
    assert sum(is_near(colour, GREEN) for colour in colours(folder_of.film)) == 9
    assert sorted(p.name for p in folder_of.path.glob(".*.part")) == []


def test_an_edit_in_the_encoding_of_the_others_is_copied(folder_of):
    folder_of.run("ab", [True, True])
    paint(folder_of.shot("01_02"), crf=17)
    folder_of.run("ab", [True, True])
    (note,) = folder_of.notes.values()
    assert note.endswith("used in the story video")
    with av.open(str(folder_of.film)) as film, av.open(str(folder_of.shot("01_02"))) as edit:
        packets = [[bytes(p) for p in c.demux(video=0) if p.size] for c in (film, edit)]
    assert packets[0][9:] == packets[1]


def test_an_edit_of_another_length_moves_captions_and_fades(folder_of):
    options = VideoOptions(fade_frames=2)
    folder_of.run("ab", [True, True], options=options)
    paint(folder_of.shot(), frames=16)
    folder_of.run("ab", [True, True], options=options)
    assert read_info(folder_of.film).frames == 16 + 9 - 2
    assert "--> 00:00:00,875\na\n" in folder_of.film.with_suffix(".srt").read_text()
    paint(folder_of.shot(), frames=2)  # room for a fade of one frame
    folder_of.run("ab", [True, True], options=options)
    assert read_info(folder_of.film).frames == 2 + 9 - 1
    assert "--> 00:00:00,062\na\n" in folder_of.film.with_suffix(".srt").read_text()


def test_an_edit_stays_at_another_frame_rate_of_the_films(folder_of):
    folder_of.run()
    edited = paint(folder_of.shot())
    folder_of.run(options=VideoOptions(24.0))
    assert folder_of.shot().read_bytes() == edited
    assert read_info(folder_of.film).frames == 27
    assert "shot_01_02.mp4" not in folder_of.notes  # copied at 24 frames per second by us


def test_an_edit_over_a_film_of_another_rate_is_counted_frame_by_frame(folder_of):
    options = VideoOptions(24.0)
    folder_of.run(options=options)
    assert folder_of.run(options=options) == []
    assert folder_of.notes == {}
    paint(folder_of.shot(), fps=24)
    folder_of.run(options=options)
    assert read_info(folder_of.film).frames == 27


# --- another take, another place ---------------------------------------------------------------


def test_another_take_is_shown_and_the_edit_waits_for_its_own(folder_of):
    folder_of.run()
    edited = paint(folder_of.shot())
    folder_of.run()
    assert folder_of.run(redo=(0,))[0] == "01_01"
    assert folder_of.shot().read_bytes() == folder_of.record()
    aside = folder_of.path / "shot_01_01 edited 1.mp4"
    assert aside.read_bytes() == edited
    assert list(folder_of.notes.values()) == [
        "shot_01_01.mp4 was edited, but another take lies there now: the edited file is kept as "
        "'shot_01_01 edited 1.mp4'"
    ]
    assert folder_of.run() == []  # the first take again
    assert folder_of.shot().read_bytes() == edited
    assert not aside.exists()


def test_edits_of_two_takes_are_both_kept(folder_of):
    folder_of.run("a")
    first = paint(folder_of.shot())
    folder_of.run("a", redo=(0,))
    second = paint(folder_of.shot(), BLUE)
    for _ in range(2):
        folder_of.run("a")
        assert folder_of.shot().read_bytes() == first
        folder_of.run("a", redo=(0,))
        assert folder_of.shot().read_bytes() == second
    assert len(folder_of.files()) == 2


def test_an_edit_moves_with_its_shot(folder_of):
    folder_of.run("abc", [True] * 3)
    edited = paint(folder_of.shot("01_02"))
    assert folder_of.run("axbc", [True] * 4, lock=[None, None, True, True]) == ["01_02"]
    assert folder_of.shot("01_03").read_bytes() == edited
    assert folder_of.shot("01_02").read_bytes() == folder_of.record("01_02")
    assert folder_of.files() == [f"shot_01_0{n}.mp4" for n in (1, 2, 3, 4)]
    assert list(folder_of.notes) == ["shot_01_03.mp4"]
    assert [is_near(c, GREEN) for c in colours(folder_of.film)] == [
        18 <= number < 27 for number in range(36)
    ]


def test_two_edited_shots_that_change_places_keep_their_edits(folder_of):
    folder_of.run("ab", [True] * 2)
    edits = paint(folder_of.shot("01_01")), paint(folder_of.shot("01_02"), BLUE)
    assert folder_of.run("ba", [True] * 2, lock=[True, True]) == []
    assert folder_of.shot("01_02").read_bytes() == edits[0]
    assert folder_of.shot("01_01").read_bytes() == edits[1]
    assert len(folder_of.files()) == 2


def test_the_edit_of_a_shot_that_is_taken_out_is_kept_beside(folder_of):
    folder_of.run("abc", [True] * 3)
    edited = paint(folder_of.shot("01_03"))
    folder_of.run("ab", [True] * 2)
    aside = "shot_01_03 edited 1.mp4"
    assert folder_of.files() == ["shot_01_01.mp4", "shot_01_02.mp4", aside]
    assert (folder_of.path / aside).read_bytes() == edited
    assert "its shot is no longer in the script" in folder_of.notes[aside]
    folder_of.run("abc", [True] * 3)
    assert folder_of.shot("01_03").read_bytes() == edited


def test_an_edit_made_while_the_shot_is_regenerated_is_not_lost(folder_of, monkeypatch):
    folder_of.run("a")
    begin = StoryExport.show_shot

    def paint_and_show(shown, step):
        paint(folder_of.shot())
        return begin(shown, step)

    monkeypatch.setattr(StoryExport, "show_shot", paint_and_show)
    folder_of.run("a", body="another model")
    assert "shot_01_01 edited 1.mp4" in folder_of.files()
    assert folder_of.shot().read_bytes() == folder_of.record()


def copy_without_start(path, frames):
    """As cutters that do not encode again: the packets stay, and the file says from when to show
    them."""
    whole = path.with_name("whole.mp4")
    os.rename(path, whole)
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        shift = int(frames / 16 / stream.time_base)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copied
                target.mux(packet)
    whole.unlink()


def test_what_was_cut_away_without_encoding_does_not_come_back_in_the_film(folder_of):
    folder_of.run(cut=[True] * 3)
    own = folder_of.shot("01_02")
    greys = range(40, 220, 20)
    write_video(own, [np.full((*SIZE, 3), level, np.uint8) for level in greys])
    copy_without_start(own, 3)
    assert folder_of.run(cut=[True] * 3) == []
    levels = [np.mean(colour) for colour in colours(folder_of.film)[9:-9]]
    assert levels == pytest.approx(list(greys)[3:], abs=3)
    captions = folder_of.film.with_suffix(".srt").read_text()
    assert "00:00:00,562 --> 00:00:00,938" in captions  # frames 9 to 15


ONE = 1 << 16  # in an mp4's table of how a film is turned
TURNED = {  # as phones write it; how many quarter turns counterclockwise a player makes
    1: (0, -ONE, 0, ONE, 0, 0, 0, SIZE[1] * ONE, 1 << 30),
    2: (-ONE, 0, 0, 0, -ONE, 0, SIZE[1] * ONE, SIZE[0] * ONE, 1 << 30),
    3: (0, ONE, 0, -ONE, 0, 0, SIZE[0] * ONE, 0, 1 << 30),
}


@pytest.mark.parametrize("turns", TURNED)
@pytest.mark.parametrize("label", ["01_01", "01_02"])
def test_a_film_that_players_turn_is_turned_and_no_other_shot_with_it(folder_of, turns, label):
    folder_of.run("abc", [True, False, True])
    plain = colours(folder_of.film)
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[: SIZE[0] // 2, : SIZE[1] // 2] = 250
    write_video(folder_of.shot(label), [picture] * 9)
    content = bytearray(folder_of.shot(label).read_bytes())
    place = content.index(b"tkhd") + 44
    content[place : place + 36] = struct.pack(">9i", *TURNED[turns])
    folder_of.shot(label).write_bytes(content)
    folder_of.run("abc", [True, False, True])
    frames = list(read_frames(folder_of.film))
    with av.open(str(folder_of.film)) as container:
        assert {frame.rotation for frame in container.decode(video=0)} == {0}
    bright = [(0, 0), (1, 0), (1, 1), (0, 1)][turns]  # the quarter that is bright now
    first = 9 * (label == "01_02")
    seen = [frames[first + 4]]
    if label == "01_01":
        seen.append((folder_of.given["01_02"][-1] * 255).numpy())
    for shown in seen:
        assert shown.shape == (*SIZE, 3)
        quarters = shown.reshape(2, SIZE[0] // 2, 2, SIZE[1] // 2, 3).mean((1, 3, 4))
        assert quarters[bright] > 200
        assert quarters.sum() - quarters[bright] < 60
    assert colours(folder_of.film)[-9:] == plain[-9:]


def test_an_export_that_ends_while_a_new_take_is_written_is_kept(folder_of, monkeypatch):
    folder_of.run("ab", [True] * 2)
    copy, exported = shutil.copyfile, []

    def copy_meanwhile(*paths):
        if not exported:
            exported.append(paint(folder_of.shot()))
        return copy(*paths)

    monkeypatch.setattr(shutil, "copyfile", copy_meanwhile)
    assert folder_of.run("ab", [True] * 2, redo=(0,)) == ["01_01"]
    kept = [name for name in folder_of.files() if (folder_of.path / name).read_bytes() in exported]
    assert kept == ["shot_01_01 edited 1.mp4"]
    assert folder_of.shot().read_bytes() == folder_of.record()


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_what_does_not_play_to_its_end_is_restored_and_not_thrown_away(
    folder_of, share, monkeypatch
):
    monkeypatch.setattr(edited_shots, "BUSY_SECONDS", 0.1)
    folder_of.run()
    length = int(folder_of.shot().stat().st_size * share)
    os.truncate(folder_of.shot(), length)
    assert folder_of.run() == []
    assert folder_of.shot().read_bytes() == folder_of.record()
    cut_off = folder_of.path / "shot_01_01 cut off 1.mp4"
    assert cut_off.exists() == bool(length)
    assert len(folder_of.notes) == 1
    assert folder_of.run() == []
    assert folder_of.notes == {}


@pytest.mark.parametrize("holds", [None, "notes.txt"])
def test_a_folder_where_a_shot_belongs_is_put_aside(folder_of, holds):
    folder_of.run()
    folder_of.shot().unlink()
    folder_of.shot().mkdir()
    if holds:
        (folder_of.shot() / holds).write_text("mine")
    assert folder_of.run() == []
    assert folder_of.shot().read_bytes() == folder_of.record()
    aside = folder_of.path / "shot_01_01 other 1.mp4"
    assert [path.name for path in aside.iterdir()] == ([holds] if holds else [])
    assert f"kept as '{aside.name}'" in folder_of.notes["shot_01_01.mp4"]


def test_a_file_that_is_older_than_ours_is_damage(folder_of):
    folder_of.run()
    paint(folder_of.shot())
    os.utime(folder_of.shot(), (1e9, 1e9))
    assert folder_of.run() == []
    assert folder_of.shot().read_bytes() == folder_of.record()
    assert "was damaged or changed" in folder_of.notes["shot_01_01.mp4"]


def test_a_known_edit_stays_one_when_its_folder_is_copied(folder_of):
    folder_of.run()
    edited = paint(folder_of.shot())
    folder_of.run()
    for path in not_empty(folder_of.path.glob("shot_*")):
        os.utime(path, (1e9, 1e9))
    assert folder_of.run() == []
    assert folder_of.shot().read_bytes() == edited


@pytest.mark.parametrize("is_in_place", [False, True])
def test_a_run_that_is_killed_when_a_file_is_put_in_place_leaves_no_false_edit(
    folder_of, monkeypatch, is_in_place
):
    folder_of.run("a")
    put = os.replace

    def die(source, target):
        is_film = str(target).endswith("shot_01_01.mp4")
        if not is_film or is_in_place:
            put(source, target)
        if is_film:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", die)
        with pytest.raises(KeyboardInterrupt):
            folder_of.run("a", body="another model")
    assert folder_of.run("a", body="another model") == []
    assert folder_of.shot().read_bytes() == folder_of.record()
    assert folder_of.files() == ["shot_01_01.mp4"]
    assert not any("edited" in note for note in folder_of.notes.values())


def test_a_file_that_nobody_knows_is_put_aside(folder_of):
    folder_of.run("a")
    foreign = paint(folder_of.shot("01_02"))
    folder_of.run("ab")
    assert folder_of.shot("01_02").read_bytes() == folder_of.record("01_02")
    assert (folder_of.path / "shot_01_02 other 1.mp4").read_bytes() == foreign


# --- folders of earlier versions, and lost manifests ---------------------------------------------


def forget(folder_of, *names):
    path = folder_of.path / "story.json"
    manifest = json.loads(path.read_text())
    for part in (manifest, *manifest["shots"].values()):
        for name in names:
            part.pop(name, None)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("fps", [16.0, 24.0])
@pytest.mark.parametrize("names", [["files"], ["files", "sha256"]])
def test_files_of_an_earlier_version_are_edits_when_newer_than_the_last_run(folder_of, names, fps):
    options = VideoOptions(fps)
    folder_of.run(options=options)
    forget(folder_of, *names)
    assert folder_of.run(options=options) == []
    assert folder_of.notes == {}
    forget(folder_of, *names)
    edited = paint(folder_of.shot(), fps=fps)
    assert folder_of.run(options=options) == ["01_02", "01_03"]
    assert folder_of.shot().read_bytes() == edited


@pytest.mark.parametrize("fps", [16.0, 24.0])
def test_an_edit_outlives_a_lost_manifest(folder_of, fps):
    options = VideoOptions(fps)
    folder_of.run(options=options)
    (folder_of.path / "story.json").unlink()
    assert folder_of.run(options=options) == []
    assert folder_of.notes == {}
    edited = paint(folder_of.shot(), fps=16)
    (folder_of.path / "story.json").unlink()
    assert folder_of.run(options=options) == ["01_02", "01_03"]
    assert folder_of.shot().read_bytes() == edited
    assert folder_of.run(options=options) == []


@pytest.mark.parametrize(
    "table",
    [
        5,
        [],
        {"../x.mp4": {}},
        {"shot_01_01.mp4": 5},
        {"shot_01_01.mp4": {"key": "x", "sha256": "y", "time": 1, "fps": 16.0, "edited": ""}},
        {"shot_01_01.mp4": {"key": "a" * 64, "sha256": "b" * 64, "time": 1, "fps": 1e-9}},
    ],
)
def test_a_table_of_files_that_cannot_be_is_left_out(folder_of, table):
    folder_of.run()
    path = folder_of.path / "story.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": table}))
    assert folder_of.run() == []
    assert folder_of.notes == {}
    assert folder_of.shot().read_bytes() == folder_of.record()
