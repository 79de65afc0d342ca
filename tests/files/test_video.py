"""Video files: what is written is what is read, joined without loss, faded and captioned as
told."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from storymem.files.video import (
    clip_fades,
    join_videos,
    read_frames,
    read_info,
    subtitles_text,
    write_video,
)
from storymem.film.finished_story import watch
from storymem.views.posters import read_poster


def clip(count, seed, height=48, width=64):
    """Smooth frames that drift, as pictures do."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 120, 3)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    for i in range(count):
        frame = corner + 60 * x[..., None] + 40 * y[..., None] + i
        yield frame.round().astype(np.uint8)


@pytest.fixture
def shots(tmp_path):
    paths = []
    for i, count in enumerate((17, 12, 9)):
        write_video(tmp_path / f"{i}.mp4", clip(count, i), metadata={"prompt": f'{{"n": {i}}}'})
        paths.append(tmp_path / f"{i}.mp4")
    return paths


def test_every_frame_arrives_close_to_what_it_was(tmp_path):
    original = list(clip(17, 0))
    assert write_video(tmp_path / "a.mp4", iter(original)) == 17
    read = list(read_frames(tmp_path / "a.mp4"))
    assert len(read) == 17
    worst = max(np.abs(a.astype(int) - b).mean() for a, b in zip(original, read, strict=True))
    assert worst < 2  # the noise floor of 8-bit YUV 4:2:0 at crf 17; a neighbour frame is no closer
    assert np.abs(original[0].astype(int) - read[8]).mean() > 4


def test_the_same_frames_give_the_same_file_whatever_was_in_memory_before(tmp_path):
    """x264 with its macroblock tree on fails this: see REPEATABLE."""
    library = Path(sys.modules["storymem"].__file__).parent
    code = f"""
        import hashlib, sys
        import numpy as np
        sys.path.insert(0, {str(library.parent)!r})
        from storymem.files.video import write_video
        random = np.random.default_rng(0)
        ends = np.repeat(np.repeat(random.uniform(0, 255, (2, 15, 26, 3)), 16, 1), 16, 2)
        frames = [(ends[0] * (1 - t) + ends[1] * t).round().astype(np.uint8)
                  for t in np.linspace(0, 1, 5)]
        path = {str(tmp_path)!r} + "/" + sys.argv[1] + ".mp4"
        write_video(path, iter(frames))
        print(hashlib.sha256(open(path, "rb").read()).hexdigest())
    """
    seen = set()
    for filling in ("1", "85", "170"):
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), filling],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "MALLOC_PERTURB_": filling},
        )
        seen.add(run.stdout)
    assert len(seen) == 1


def test_wan_makes_sixteen_frames_a_second(shots):
    import av

    with av.open(str(shots[0])) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.frames, stream.codec_context.name) == (16, 17, "h264")
        assert stream.duration * stream.time_base == Fraction(17, 16)
        assert container.metadata["prompt"] == '{"n": 0}'


def test_joining_copies_every_frame_bit_for_bit(shots, tmp_path):
    target = tmp_path / "story.mp4"
    assert join_videos(shots, target, metadata={"workflow": "w"}) is True
    apart = [frame for path in shots for frame in read_frames(path)]
    joined = list(read_frames(target))
    assert len(joined) == 17 + 12 + 9
    assert all(np.array_equal(a, b) for a, b in zip(apart, joined, strict=True))


def test_times_of_a_joined_video_are_even(shots, tmp_path):
    import av

    join_videos(shots, tmp_path / "story.mp4", fps=24)
    with av.open(str(tmp_path / "story.mp4")) as container:
        stream = container.streams.video[0]
        times = [frame.pts * stream.time_base for frame in container.decode(stream)]
        assert stream.average_rate == 24
    assert times == [Fraction(i, 24) for i in range(38)]


def test_shots_of_different_sizes_are_scaled_to_the_first(shots, tmp_path):
    write_video(tmp_path / "large.mp4", clip(5, 9, 96, 128))
    copied = join_videos([shots[0], tmp_path / "large.mp4"], tmp_path / "story.mp4")
    assert copied is False
    assert read_info(tmp_path / "story.mp4")[:3] == (22, 64, 48)


def test_a_cross_fade_blends_the_end_into_the_beginning(tmp_path):
    black = [np.zeros((48, 64, 3), np.uint8)] * 8
    white = [np.full((48, 64, 3), 255, np.uint8)] * 8
    write_video(tmp_path / "black.mp4", iter(black), crf=0)
    write_video(tmp_path / "white.mp4", iter(white), crf=0)
    paths = [tmp_path / "black.mp4", tmp_path / "white.mp4"]
    assert join_videos(paths, tmp_path / "story.mp4", fades=[0, 3], crf=0) is False
    means = [frame.mean() for frame in read_frames(tmp_path / "story.mp4")]
    assert len(means) == 8 + 8 - 3
    assert means == pytest.approx([0] * 5 + [63.75, 127.5, 191.25] + [255] * 5, abs=2)


@pytest.mark.parametrize(
    ("counts", "wanted", "expected"),
    [
        ([10, 10, 10], [8, 4, 4], [0, 4, 4]),  # nothing fades into the first shot
        ([10, 10], [0, 50], [0, 9]),
        ([3, 3, 3], [0, 9, 9], [0, 2, 0]),  # a frame belongs to one fade at most
        ([1, 5], [0, 4], [0, 0]),
    ],
)
def test_fades_fit_into_their_shots(counts, wanted, expected):
    assert clip_fades(counts, wanted) == expected


def test_sizes_that_are_not_even_are_kept(tmp_path):
    write_video(tmp_path / "odd.mp4", clip(5, 0, 33, 47))
    assert read_info(tmp_path / "odd.mp4")[:5] == (5, 47, 33, "h264", "yuv444p")


def test_subtitles_stand_at_their_shots(tmp_path):
    path = tmp_path / "a.srt"
    entries = [(0, 81, "A cat.\n\nIt --> jumps."), (81, 161, "🐉"), (57_600, 57_601, "late")]
    path.write_text(subtitles_text(entries))
    assert path.read_text(encoding="utf-8") == (
        "1\n00:00:00,000 --> 00:00:05,062\nA cat.\nIt -> jumps.\n\n"
        "2\n00:00:05,062 --> 00:00:10,062\n🐉\n\n"
        "3\n01:00:00,000 --> 01:00:00,062\nlate\n"
    )


@pytest.mark.parametrize(
    ("frames", "fps", "words"),
    [
        ([], 16, "no frame to write"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 16, 3), np.uint8)], 16, "frame 1 is 16x8"),
        ([np.zeros((8, 8, 3), np.uint8)], 0, "fps must be between"),
    ],
)
def test_what_cannot_be_a_video_is_told(tmp_path, frames, fps, words):
    with pytest.raises(ValueError, match=words):
        write_video(tmp_path / "a.mp4", iter(frames), fps=fps)


def test_a_file_that_is_no_video_is_told(tmp_path):
    (tmp_path / "a.mp4").write_text("text")
    with pytest.raises(ValueError, match="cannot be read as a video"):
        read_info(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="no finished shot"):
        join_videos([], tmp_path / "b.mp4")


@pytest.mark.parametrize("lengths", [(13, 1, 13), (1, 9), (9, 1), (1, 1), (2, 1, 3)])
@pytest.mark.parametrize("fps", [16, 23.976])
def test_shots_of_one_frame_join_without_a_step_in_time(tmp_path, lengths, fps):
    import av

    paths = [tmp_path / f"{i}.mp4" for i in range(len(lengths))]
    rng = np.random.default_rng(0)
    for path, length in zip(paths, lengths, strict=True):
        frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(length)]
        write_video(path, frames)
    joined = tmp_path / "joined.mp4"
    assert join_videos(paths, joined, fps=fps)
    want = [frame for path in paths for frame in read_frames(path)]
    got = list(read_frames(joined))
    assert len(got) == len(want)
    assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
    with av.open(str(joined)) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert np.allclose(np.diff(times) * fps, 1, atol=0.01)
    assert times[0] == 0


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile secret.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "secret.mp4",
    ],
)
def test_a_video_that_names_other_files_opens_none_of_them(tmp_path, content):
    write_video(tmp_path / "secret.mp4", clip(4, 0))
    (tmp_path / "shot_01_01.mp4").write_text(content)
    with pytest.raises(ValueError, match=r"shot_01_01\.mp4 cannot be read as a video") as refused:
        read_info(tmp_path / "shot_01_01.mp4")
    assert str(refused.value).count(str(tmp_path)) == 1
    assert read_poster(tmp_path / "shot_01_01.mp4", tmp_path / "temp") is None
    with pytest.raises(ValueError, match="cannot be read as a video"):
        list(watch(tmp_path / "shot_01_01.mp4", lambda _: True, 3))


@pytest.mark.parametrize("suffix", [".mp4", ".MP4", ".mov", ".mkv", ".webm", ".avi"])
def test_videos_of_every_listed_ending_are_opened(tmp_path, suffix):
    import av

    path = tmp_path / f"a{suffix}"
    kind = {".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}.get(suffix, "mp4")
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream("mpeg4", rate=16)
        stream.width, stream.height = 32, 32
        for pixels in clip(4, 0, 32, 32):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    assert len(list(read_frames(path))) == 4
