"""Sound beside pictures: packets copied, clicks in their place, equal bytes."""

import numpy as np
import pytest

from helpers.sounds import click_track, clicks_in, tone
from storymem.files.video import join_videos, read_frames, read_info, write_video
from storymem.sound.files import for_film, has_sound, read_sound, read_sound_info
from storymem.sound.join import join_sounds
from storymem.sound.mux import copy_packets, put_sound
from storymem.sound.sound import follow, samples_of_frames


def _video(path, frames, fps=16, size=(32, 48)):
    random = np.random.default_rng(frames)
    pictures = (random.integers(0, 255, (*size, 3), dtype=np.uint8) for _ in range(frames))
    write_video(path, pictures, fps=fps)
    return path


@pytest.mark.parametrize("fps", [16, 24, 30_000 / 1001])
def test_pictures_are_copied_and_the_sound_begins_with_them(tmp_path, fps):
    video = _video(tmp_path / "video.mp4", 50)
    frames = [0, 7, 33, 49]
    places = [samples_of_frames(n, fps) for n in frames]
    sound = click_track([p + 40 for p in places], samples_of_frames(50, fps))
    put_sound(video, tmp_path / "film.mp4", [sound], fps=fps, metadata={"prompt": "{}"})
    assert copy_packets(tmp_path / "film.mp4") == copy_packets(video)
    info = read_info(tmp_path / "film.mp4")
    assert info.frames == 50
    assert all(
        np.array_equal(a, b)
        for a, b in zip(read_frames(video), read_frames(tmp_path / "film.mp4"), strict=True)
    )
    heard = read_sound(tmp_path / "film.mp4")
    assert np.abs(np.subtract(clicks_in(heard), [p + 40 for p in places])).max() <= 1
    assert read_sound_info(tmp_path / "film.mp4").seconds == pytest.approx(50 / fps, abs=0.0011)


def test_equal_pictures_and_sounds_give_equal_bytes(tmp_path):
    video, sound = _video(tmp_path / "video.mp4", 20), tone(60_000)
    put_sound(video, tmp_path / "a.mp4", [sound], fps=16)
    parts = [sound.cut(0, 1), sound.cut(1, 40_000), sound.cut(40_001, 19_999)]
    put_sound(video, tmp_path / "b.mp4", parts, fps=16)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_new_sound_is_put_to_a_film_without_encoding_a_picture(tmp_path):
    video = _video(tmp_path / "video.mp4", 20)
    put_sound(video, tmp_path / "a.mp4", [tone(60_000)], fps=16)
    put_sound(tmp_path / "a.mp4", tmp_path / "b.mp4", [tone(60_000, hertz=880)], fps=16)
    assert copy_packets(tmp_path / "b.mp4") == copy_packets(video)
    assert has_sound(tmp_path / "b.mp4")
    assert not has_sound(video)


def test_a_joined_film_keeps_its_sound_out_of_later_joins(tmp_path):
    video = _video(tmp_path / "video.mp4", 20)
    put_sound(video, tmp_path / "a.mp4", [tone(60_000)], fps=16)
    assert join_videos([tmp_path / "a.mp4", video], tmp_path / "film.mp4")
    assert read_info(tmp_path / "film.mp4").frames == 40
    assert not has_sound(tmp_path / "film.mp4")


@pytest.mark.parametrize("fps", [16, 24, 23.976])
@pytest.mark.parametrize("is_faded", [False, True], ids=["cuts", "fades"])
def test_clicks_stay_at_their_frames_over_twelve_shots(tmp_path, fps, is_faded):
    """12 shots of mixed lengths, some at other rates, joined, encoded and decoded again: every
    click is where its frame is, to one sample of 48 kHz."""
    counts = [81, 80, 76, 33, 32, 28, 49, 81, 17, 13, 80, 45]
    cuts = [True, False, False, True, False, False, True, True, False, True, False, True]
    fades = [8 * (is_faded and is_cut and i > 0) for i, is_cut in enumerate(cuts)]
    rates = [48_000, 44_100, 24_000, 16_000]
    clicked = [10, 11, 9, 20, 8, 12, 30, 40, 9, 4, 60, 22]  # a frame of each shot, in no fade

    def sound_of(i):
        rate = rates[i % len(rates)]
        place = samples_of_frames(clicked[i], fps, rate)
        return for_film(click_track([place], samples_of_frames(counts[i], fps, rate), rate=rate))

    starts = np.cumsum([0, *counts[:-1]]) - np.cumsum(fades)
    expected = [samples_of_frames(s + c, fps) for s, c in zip(starts, clicked, strict=True)]
    parts = list(join_sounds(counts, fades, sound_of, fps=fps))
    joined = follow(parts)
    above = 0.2  # a click of one sample at 16 kHz is lower, and wider, at 48
    assert np.abs(np.subtract(clicks_in(joined, above=above), expected)).max() <= 1
    video = _video(tmp_path / "video.mp4", int(sum(counts) - sum(fades)), size=(16, 16))
    put_sound(video, tmp_path / "film.mp4", parts, fps=fps)
    heard = clicks_in(read_sound(tmp_path / "film.mp4"), above=0.15)
    assert np.abs(np.subtract(heard, expected)).max() <= 1
