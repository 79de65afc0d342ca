"""What is heard of a film: sounds of its shots in their place, a track under all of it, and no
picture made or encoded again for it."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.not_empty import not_empty
from helpers.sounds import click_track, clicks_in, tone
from storymem.files.hashing import checksum
from storymem.files.video import read_info, write_video
from storymem.film.film_sound import FilmSound
from storymem.film.folder import claim_folder
from storymem.film.manifest import read_manifest
from storymem.film.output import StoryExport, VideoOptions
from storymem.film.shot_files import find_edits
from storymem.film.versions import read_history
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.loop.sound_store import SoundStore
from storymem.memory.bank import MemoryBank
from storymem.script.reader import load_story
from storymem.sound.files import has_sound, read_sound, write_sound
from storymem.sound.mux import copy_packets, put_sound
from storymem.sound.sound import samples_of_frames

KEY = "ab" * 32
OTHER_KEY = "cd" * 32


class Told:
    """One story, run after run as the nodes run it, with sounds that the test gives."""

    def __init__(self, output, lengths=(9, 7, 8), cuts=(True, True, True), continuity="last_frame"):
        self.output, self.store = output, ShotStore(output / ".storymem")
        self.lengths = lengths
        prompts = [f"shot {i}" for i in range(len(lengths))]
        scene = {"video_prompts": prompts, "cut": list(cuts)}
        self.story = load_story({"story_name": "Tale", "scenes": [scene]})
        self.settings = LoopSettings(continuity)
        self.notes: dict[str, str] = {}
        self.made = 0

    def steps(self):
        """Every shot, made where it is not there; raw frames hold what the film drops."""
        loop = Loop(self.story, self.settings, MemoryBank(), "body", self.store)
        self.folder = claim_folder(self.output, "p", self.story)
        loop = replace(loop, edits=find_edits(self.folder, self.story, self.store))
        steps, before = list_steps(loop, read_manifest(self.folder)), None
        for step, length in zip(steps, self.lengths, strict=True):
            if step.record is None:
                step.begin(begin_shot(loop, step, before))
                made = torch.Generator().manual_seed(length)
                frames = torch.rand(length, 16, 16, 3, generator=made)
                step.record, step.result = finish_shot(loop, step, frames, MemoryBank(), crf=30)
                self.made += 1
            before = step.result or load_result(loop, step.record)
        return steps

    def film(self, sound=None, **options):
        steps, self.notes = self.steps(), {}
        options = VideoOptions(**{"crf": 30, **options})
        shown = StoryExport(
            self.folder, self.story, self.settings, options, notes=self.notes, sound=sound
        )
        return shown.finish(steps, {"prompt": "{}"}, None)

    def made_sounds(self, key=KEY):
        """As a run fills it from the store."""
        store = SoundStore(self.store)
        return {step.record.key: store.find(step.record, key) for step in self.steps()}

    def version(self):
        return read_history(read_manifest(self.folder))[-1]

    def shot(self, label="01_01"):
        return self.folder / f"shot_{label}.mp4"


@pytest.mark.parametrize(
    ("continuity", "fps", "fade"),
    [("last_frame", 16, 0), ("last_five_frames", 16, 4), ("last_five_frames", 23.976, 4)],
)
def test_clicks_stay_at_their_frames_in_a_film_of_twelve_shots(tmp_path, continuity, fps, fade):
    """Shots that continue repeat one frame (MI2V) or five (MM2V), which film and sound drop."""
    lengths = [33, 17, 21, 33, 13, 17, 25, 33, 17, 21, 17, 29]  # of the raw frames, mixed
    cuts = [True, False, False, True, False, True, True, False, False, True, False, True]
    rates = [48_000, 44_100, 24_000, 16_000]
    raw_click = [8, 10, 12, 20, 8, 9, 15, 11, 9, 10, 12, 8]  # a raw frame of each shot, in no fade
    told = Told(tmp_path, lengths, cuts, continuity)
    store, places, start = SoundStore(told.store), [], 0
    for i, step in enumerate(told.steps()):
        rate, overlap = rates[i % len(rates)], step.plan.overlap_frames
        assert overlap == (0 if cuts[i] else {"last_frame": 1, "last_five_frames": 5}[continuity])
        click = samples_of_frames(raw_click[i], fps, rate)
        sound = click_track([click], samples_of_frames(lengths[i], fps, rate), rate=rate)
        store.keep(step.record, KEY, sound, overlap)
        start -= fade if cuts[i] and i else 0
        places.append(samples_of_frames(start + raw_click[i] - overlap, fps))
        start += lengths[i] - overlap
    film = told.film(FilmSound(made=told.made_sounds()), fps=fps, fade_frames=fade)
    heard = read_sound(film)
    assert np.abs(np.subtract(clicks_in(heard, above=0.15), places)).max() <= 1
    assert heard.rate == 48_000
    assert abs(heard.seconds - read_info(film).frames / fps) < 0.03  # AAC pads its last frame
    shot = read_sound(told.shot("01_02"))  # alone it begins with its own first frame
    overlap = told.steps()[1].plan.overlap_frames
    first = samples_of_frames(raw_click[1] - overlap, fps)
    assert abs(clicks_in(shot, above=0.15)[0] - first) <= 1


def test_without_sound_every_file_is_as_before(tmp_path):
    plain, silent = Told(tmp_path / "a"), Told(tmp_path / "b")
    one, other = plain.film(), silent.film(FilmSound(made={}))
    assert one.read_bytes() == other.read_bytes()
    assert not has_sound(other)
    assert plain.version().content == silent.version().content
    for folder in (plain.folder, silent.folder):
        text = (folder / "story.json").read_text()
        assert '"sound"' not in text
        assert '"pictures"' not in text


@pytest.mark.parametrize("fade", [0, 2], ids=["cuts", "fades"])
def test_another_track_makes_another_film_and_encodes_no_picture(tmp_path, monkeypatch, fade):
    told = Told(tmp_path)
    silent = told.film(fade_frames=fade)
    monkeypatch.setattr("storymem.film.joining.join_videos", None)  # would fail when called
    first = told.film(FilmSound(tone(20_000)), fade_frames=fade)
    second = told.film(FilmSound(tone(20_000, hertz=880)), fade_frames=fade)
    assert [silent.name, first.name, second.name] == [f"Tale_0000{n}_.mp4" for n in (1, 2, 3)]
    assert copy_packets(first) == copy_packets(second) == copy_packets(silent)
    assert told.film(FilmSound(tone(20_000, hertz=880)), fade_frames=fade) == second
    assert told.made == 3
    # The shots have no sound of their own, so their files are as they were.
    assert all(not has_sound(told.shot(label)) for label in ("01_01", "01_02", "01_03"))


def test_equal_sounds_give_equal_bytes_after_everything_visible_is_lost(tmp_path):
    told = Told(tmp_path)
    for step in told.steps():
        SoundStore(told.store).keep(step.record, KEY, tone(30_000), 0)

    def sound():
        return FilmSound(tone(20_000), made=told.made_sounds())

    film = told.film(sound())
    before = {path.name: checksum(path) for path in not_empty(told.folder.glob("*.mp4"))}
    assert len(before) == 4
    shutil.rmtree(told.folder)
    assert told.film(sound()) == film
    again = {path.name: checksum(path) for path in not_empty(told.folder.glob("*.mp4"))}
    assert again == before
    assert told.made == 3


def test_a_track_is_heard_under_the_shots_by_its_gain(tmp_path):
    told = Told(tmp_path, lengths=(16, 16), cuts=(True, True))
    step = told.steps()[0]
    SoundStore(told.store).keep(step.record, KEY, tone(48_000, level=0.5), 0)
    quiet = FilmSound(tone(96_000, level=0.5, hertz=2000), gain=-20, made=told.made_sounds())
    samples = read_sound(told.film(quiet)).samples[0]
    with_shot, under = (np.sqrt((samples[a : a + 40_000] ** 2).mean()) for a in (4000, 52_000))
    assert under == pytest.approx(0.05 / np.sqrt(2), rel=0.05)
    assert with_shot == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_a_film_that_is_too_loud_says_so(tmp_path):
    told = Told(tmp_path)
    told.film(FilmSound(tone(200_000, level=0.9), gain=6))
    assert "dB too loud" in told.notes["sound"]
    assert "audio_gain" in told.notes["sound"]
    told.film(FilmSound(tone(200_000, level=0.9)))
    assert "sound" not in told.notes


def test_a_new_voice_puts_new_sound_to_its_shot_and_film_alone(tmp_path):
    told = Told(tmp_path)
    store = SoundStore(told.store)
    first, second, third = (step.record for step in told.steps())
    store.keep(first, KEY, tone(20_000), 0)
    store.keep(third, KEY, tone(20_000), 0)
    film = told.film(FilmSound(made=told.made_sounds()))
    others = {label: checksum(told.shot(label)) for label in ("01_02", "01_03")}
    pictures = copy_packets(told.shot())
    store.keep(first, OTHER_KEY, tone(20_000, hertz=880), 0)
    made = told.made_sounds()
    made[first.key] = store.find(first, OTHER_KEY)
    again = told.film(FilmSound(made=made))
    assert again != film
    assert copy_packets(again) == copy_packets(film)
    assert copy_packets(told.shot()) == pictures == copy_packets(first.video)
    assert {label: checksum(told.shot(label)) for label in others} == others
    assert not has_sound(told.shot("01_02"))  # second has none
    assert told.film(FilmSound(made=told.made_sounds())).name == "Tale_00003_.mp4"  # and back
    assert store.has(first, KEY)
    assert not list(told.folder.glob("* edited *"))
    assert second.video.is_file()


def test_a_sound_from_the_script_begins_with_what_the_film_shows(tmp_path):
    told = Told(tmp_path, lengths=(9, 9), cuts=(True, False))
    write_sound(tmp_path / "voice.wav", click_track([3000], 12_000))
    heard = read_sound(told.film(FilmSound(files={1: tmp_path / "voice.wav"})))
    assert abs(clicks_in(heard)[0] - (samples_of_frames(9, 16) + 3000)) <= 1
    write_sound(tmp_path / "voice.wav", click_track([4000], 12_000))  # recorded again
    heard = read_sound(told.film(FilmSound(files={1: tmp_path / "voice.wav"})))
    assert abs(clicks_in(heard)[0] - (samples_of_frames(9, 16) + 4000)) <= 1
    assert told.made == 2


def test_what_the_graph_makes_comes_before_the_script_and_silence_counts(tmp_path):
    told = Told(tmp_path)
    write_sound(tmp_path / "voice.wav", tone(12_000))
    first, second, _ = (step.record for step in told.steps())
    store = SoundStore(told.store)
    store.keep(first, KEY, None, 0)
    assert store.has(first, KEY)
    assert not store.has(second, KEY)
    assert store.find(first, KEY) is None
    sound = FilmSound(files={0: tmp_path / "voice.wav"}, made=told.made_sounds())
    assert not has_sound(told.film(sound))


def test_a_damaged_sound_counts_as_missing(tmp_path):
    told = Told(tmp_path)
    record, store = told.steps()[0].record, SoundStore(told.store)
    store.keep(record, KEY, tone(12_000), 1)
    assert store.find(record, KEY).overlap == 1
    path = record.folder / f"sound_{KEY}.wav"
    path.write_bytes(path.read_bytes()[:-100])
    assert not store.has(record, KEY)
    store.keep(record, KEY, tone(12_000), 1)
    assert store.has(record, KEY)
    (record.folder / f"sound_{KEY}.json").write_text("{")
    assert not store.has(record, KEY)
    assert told.store.find(record.key) is not None  # its pictures are none the worse


def test_a_sound_far_longer_than_its_shot_is_not_kept_whole(tmp_path):
    told = Told(tmp_path)
    record, store = told.steps()[0].record, SoundStore(told.store)
    store.keep(record, KEY, tone(8_000 * 60, rate=8_000), 0)
    assert read_sound(store.find(record, KEY).path).seconds == record.frames  # at 1 fps


def test_an_edited_shot_is_heard_as_it_was_edited_where_it_has_sound(tmp_path):
    told = Told(tmp_path)
    for step in told.steps():
        SoundStore(told.store).keep(step.record, KEY, tone(40_000, level=0.2), 0)
    sound = FilmSound(made=told.made_sounds())
    told.film(sound)
    green = np.full((9, 16, 16, 3), (20, 200, 40), np.uint8)
    write_video(tmp_path / "cut.mp4", green)
    put_sound(tmp_path / "cut.mp4", told.shot(), [click_track([9000], 27_000)], fps=16)
    heard = read_sound(told.film(FilmSound(made=told.made_sounds())))
    assert clicks_in(heard.cut(0, 27_000)) == pytest.approx([9000], abs=1)
    assert heard.cut(30_000, 10_000).peak == pytest.approx(0.2, rel=0.2)
