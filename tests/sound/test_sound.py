"""Samples and frames: cutting, fades, gain, mixing, and files without loss."""

import numpy as np
import pytest

from helpers.sounds import click_track, clicks_in, noise, tone
from storymem.sound.files import (
    check_sound,
    for_film,
    read_sound,
    read_sound_info,
    resampled,
    write_sound,
)
from storymem.sound.join import join_sounds
from storymem.sound.sound import Sound, follow, mix, samples_of_frames, silence
from storymem.sound.track import Meter, lay_track, mix_under


def test_a_frame_begins_at_the_nearest_sample_of_its_own_time():
    assert [samples_of_frames(n, 16) for n in (0, 1, 81)] == [0, 3000, 243_000]
    assert samples_of_frames(1, 24, 44_100) == 1838  # 1837.5
    assert samples_of_frames(30_000, 30_000 / 1001) == 1001 * 48_000


def test_lengths_add_up_however_often_a_film_is_cut():
    fps, frames = 30_000 / 1001, 77
    lengths = [
        samples_of_frames(n + frames, fps) - samples_of_frames(n, fps)
        for n in range(0, 200 * frames, frames)
    ]
    assert sum(lengths) == samples_of_frames(200 * frames, fps)
    assert len(set(lengths)) == 2  # one alone would drift


def test_cutting_beyond_a_sound_gives_silence():
    sound = tone(10)
    cut = sound.cut(-3, 20)
    assert cut.length == 20
    assert np.array_equal(cut.samples[:, 3:13], sound.samples)
    assert not cut.samples[:, :3].any()
    assert not cut.samples[:, 13:].any()
    assert sound.cut(40, 5).samples.shape == (2, 5)


def test_a_gain_of_six_decibels_is_twice_as_loud_and_minus_sixty_is_silence():
    sound = tone(100, level=0.25)
    assert sound.gained(6.0206).peak == pytest.approx(2 * sound.peak, rel=1e-4)
    assert sound.gained(0) is sound
    assert sound.gained(-60).peak == 0


def test_fades_rise_and_fall_within_their_length():
    sound = Sound(np.ones((2, 1000), np.float32), 48_000).faded(100, 200)
    samples = sound.samples[0]
    assert (np.diff(samples[:100]) > 0).all()
    assert (samples[100:800] == 1).all()
    assert (np.diff(samples[800:]) < 0).all()
    assert 0 < samples[0] < 0.01
    assert sound.faded(5000, 5000).length == 1000  # longer than the sound


def test_sounds_mix_and_follow_only_on_their_like():
    one, other = tone(100, level=0.25), tone(40, level=0.5)
    assert mix([one, other]).length == 100
    assert follow([one, other]).length == 140
    strange = tone(40, rate=44_100)
    for together in (mix, follow):
        with pytest.raises(ValueError, match="rates"):
            together([one, strange])


@pytest.mark.parametrize(
    "samples",
    [np.zeros((2, 4)), np.zeros(4, np.float32), np.zeros((0, 4), np.float32)],
    ids=["float64", "one axis", "no channel"],
)
def test_what_is_no_sound_is_refused(samples):
    with pytest.raises(ValueError, match="sound"):
        Sound(samples, 48_000)


def test_samples_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="finite"):
        Sound(np.full((2, 4), np.nan, np.float32), 48_000)


def test_a_written_sound_is_read_back_bit_by_bit(tmp_path):
    for channels, rate in ((1, 44_100), (2, 48_000), (6, 8_000)):
        sound = noise(3 * rate + 17, channels=channels, rate=rate)
        write_sound(tmp_path / "a.wav", sound)
        write_sound(tmp_path / "b.wav", sound)
        assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
        info = read_sound_info(tmp_path / "a.wav")
        assert (info.rate, info.channels, info.seconds) == (rate, channels, sound.seconds)
        if channels <= 2:
            again = read_sound(tmp_path / "a.wav")
            assert again.rate == rate
            assert np.array_equal(again.samples, sound.samples)
        else:
            assert read_sound(tmp_path / "a.wav").channels == 2


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 96_000])
def test_a_click_stays_where_it_is_at_another_rate(rate):
    places = [0.25, 1.0, 2.125]
    sound = click_track([round(p * rate) for p in places], 3 * rate, rate=rate, width=1)
    again = resampled(sound)
    assert again.length == 3 * 48_000
    found = clicks_in(again, above=0.5 * again.peak)
    expected = [round(round(p * rate) / rate * 48_000) for p in places]
    assert len(found) == 3
    assert np.abs(np.subtract(found, expected)).max() <= 1


@pytest.mark.parametrize("length", [0, 1, 7, 40])
def test_a_sound_of_a_few_samples_has_its_length_at_another_rate(length):
    short = Sound(np.full((1, length), 0.5, np.float32), 44_100)
    assert for_film(short).samples.shape == (2, round(length * 48_000 / 44_100))


def test_a_file_that_is_damaged_further_on_is_told_by_its_name(tmp_path):
    write_sound(tmp_path / "a.wav", noise(16_000, channels=1, rate=16_000))
    check_sound(tmp_path / "a.wav")
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[:-4] + np.float32("nan").tobytes())
    for read in (check_sound, read_sound):
        with pytest.raises(ValueError, match=r"a\.wav has samples that are no finite numbers"):
            read(tmp_path / "a.wav")
    assert read_sound_info(tmp_path / "a.wav").seconds == 1


def test_one_channel_is_heard_on_both_sides_at_its_own_level():
    mono = tone(4_800, channels=1, level=0.5)
    film = for_film(mono)
    assert film.samples.shape == (2, 4_800)
    assert np.array_equal(film.samples[0], mono.samples[0])
    assert np.array_equal(film.samples[1], mono.samples[0])


def test_a_file_of_another_kind_is_refused_by_its_ending(tmp_path):
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")
    with pytest.raises(ValueError, match=r"\.wav"):
        read_sound(tmp_path / "list.m3u8")
    (tmp_path / "list.wav").write_text("#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")
    with pytest.raises(ValueError, match="cannot be read as a sound"):
        read_sound(tmp_path / "list.wav")


def test_a_track_is_cut_to_the_film_or_padded_and_fades_where_it_is_heard():
    long, short = tone(48_000 * 4, level=0.5), tone(48_000, level=0.5)
    cut = lay_track(long, 96_000, fade_in=0.5, fade_out=1.0)
    assert cut.length == 96_000
    assert abs(cut.samples[0, -1]) < 0.001
    padded = lay_track(short, 96_000, fade_out=0.5)
    assert padded.length == 96_000
    assert not padded.samples[:, 48_000:].any()
    assert np.abs(padded.samples[:, 47_900:48_000]).max() < 0.01  # faded out, not cut off


def test_what_is_too_loud_is_cut_off_and_told():
    parts = [tone(4_800, level=0.25), tone(4_800, level=0.9)]
    meter = Meter(mix_under(parts, tone(9_600, level=0.9)))
    heard = follow(list(meter))
    assert heard.peak == 1
    assert meter.peak == pytest.approx(1.8, rel=0.01)
    assert meter.over == pytest.approx(5.1, abs=0.1)
    assert 0.1 <= meter.loudest < 0.2
    assert Meter([]).over == 0


def test_a_film_is_as_long_as_its_frames_whatever_its_shots_hold():
    counts, fades = [81, 80, 33, 5], [0, 8, 0, 2]
    sounds = {0: tone(10), 2: tone(48_000 * 60)}
    joined = follow(list(join_sounds(counts, fades, sounds.get, fps=23.976)))
    assert joined.length == samples_of_frames(sum(counts) - sum(fades), 23.976)


def test_a_hard_cut_does_not_click_and_keeps_all_but_a_few_milliseconds():
    counts = [16, 16]
    loud = Sound(np.full((2, 48_000), 0.8, np.float32), 48_000)
    joined = follow(list(join_sounds(counts, [0, 0], lambda i: loud, fps=16))).samples[0]
    assert np.abs(np.diff(joined)).max() < 0.02  # no step
    quiet = np.flatnonzero(joined < 0.79)
    assert quiet.min() > 48_000 - 240
    assert quiet.max() < 48_000 + 240


def test_sound_fades_along_with_the_pictures_at_equal_power():
    counts, fades = [16, 16], [0, 8]
    sounds = [noise(48_000, seed=1), noise(48_000, seed=2)]
    joined = follow(list(join_sounds(counts, fades, sounds.__getitem__, fps=16)))
    assert joined.length == 24 * 3000
    first, second = (sound.samples for sound in sounds)
    assert np.array_equal(joined.samples[:, :24_000], first[:, :24_000])
    assert np.array_equal(joined.samples[:, 48_000:], second[:, 24_000:])
    middle = joined.samples[:, 24_000:48_000]
    power = (middle.reshape(2, 10, -1) ** 2).mean((0, 2))
    assert power == pytest.approx((first**2).mean(), rel=0.1)


def test_silence_has_no_samples_but_zeros():
    assert silence(5).samples.tolist() == [[0.0] * 5] * 2
    assert silence(0).peak == 0
