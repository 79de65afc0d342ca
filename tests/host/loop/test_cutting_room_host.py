"""A story for editing programs, and its finishing, in the host."""

from __future__ import annotations

from itertools import chain

import av
import numpy as np
import pytest

from helpers.finishing import finishing
from helpers.loop_graphs import decoded, loop_graph, one_wire, ran, story
from storymem.files.disk import host_mark

PRORES = {"codec": "prores", "timeline": "otio"}
CUTS = [True, False, True]


pytestmark = pytest.mark.usefixtures("fresh")


def folder_of(host, prefix="loop", name="Tale"):
    return host.base / "output" / prefix / name


@pytest.fixture
def made(host, log):
    """A story of three shots in ProRes, the second of which repeats frames."""
    host.run(loop_graph(story(3, cuts=CUTS), log, closed=PRORES))
    ran(log)
    return folder_of(host)


def keys(host):
    return sorted(p.name for p in (host.base / "output" / ".storymem" / "shots").glob("*/*"))


def test_codec_and_timeline_make_no_shot_again(host, log):
    host.run(loop_graph(story(3, cuts=CUTS), log))
    assert ran(log) == [1, 2, 3]
    host.run(loop_graph(story(3, cuts=CUTS), log, closed={"codec": "ffv1", "timeline": "fcpxml"}))
    assert ran(log) == []
    folder = folder_of(host)
    assert (folder / "masters" / "shot_01_02.mkv").is_file()
    assert (folder / "Tale_00001_.fcpxml").is_file()


@pytest.mark.parametrize("wires", [False, True])
def test_what_a_killed_process_left_of_a_master_goes(host, log, wires):
    graph = one_wire(story(1), log, 1) if wires else loop_graph(story(1), log)
    left = folder_of(host, "wire" if wires else "loop") / "masters"
    left.mkdir(parents=True)
    (left / f".Tale_00001_.mov.{host_mark()}-{2**31 - 1}-{'0' * 12}.part").write_bytes(b"half")
    host.run(graph)
    assert list(left.iterdir()) == []


def test_masters_of_new_shots_hold_the_frames_that_repeat(made):
    from storymem.files.video import read_info
    from storymem.film.timeline import read_timeline

    assert read_info(made / "masters" / "shot_01_02.mov").frames == 13
    assert [clip.head for clip in read_timeline(made).clips] == [0, 5, 0]


@pytest.mark.parametrize(
    ("closed", "told"),
    [({"timeline": "edl"}, "SMPTE timecode, which knows no 16"), ({"codec": "h265"}, "libx265")],
)
def test_what_cannot_be_written_is_told_before_the_first_shot(host, log, monkeypatch, closed, told):
    known = av.Codec

    def without(name, mode):
        if name == "libx265":
            raise ValueError("none")
        return known(name, mode)

    monkeypatch.setattr(av, "Codec", without)
    wired = one_wire(story(2), log, 2)
    wired["join"]["inputs"].update(closed)
    for graph in (loop_graph(story(2), log, closed=closed), wired):
        with pytest.raises(RuntimeError, match=told):
            host.run(graph)
    assert ran(log) == []


def test_one_wire_writes_masters_and_a_timeline(host, log):
    graph = one_wire(story(2), log, 2)
    for i in range(2):
        graph[f"finish{i}"]["inputs"]["codec"] = "prores"
    graph["join"]["inputs"] |= PRORES
    host.run(graph)
    folder = folder_of(host, "wire")
    names = sorted(p.name for p in (folder / "masters").iterdir())
    assert names == ["Tale_00001_.mov", "shot_01_01.mov", "shot_01_02.mov"]
    assert (folder / "Tale_00001_.otio").is_file()


def test_a_finished_story_is_worked_on_further_beside_it(host, made):
    from storymem.files.video import read_info

    before, bank = keys(host), sorted(p.name for p in (made / "bank").iterdir())
    host.run(finishing("loop/Tale", **PRORES))
    done = folder_of(host, name="Tale finished")
    shots = [read_info(done / f"shot_01_0{n}.mp4") for n in (1, 2, 3)]
    assert [(i.frames, i.width, i.height) for i in shots] == [
        (13, 128, 96), (8, 128, 96), (13, 128, 96),
    ]  # fmt: skip
    assert (done / "Tale finished_00001_.mp4").is_file()
    assert (done / "Tale finished_00001_.otio").is_file()
    assert sorted(p.name for p in (made / "bank").iterdir()) == bank
    assert set(before) < set(keys(host))


@pytest.mark.parametrize(("codec", "suffix"), [("h264", ".mp4"), ("ffv1", ".mkv")])
def test_parts_give_what_the_whole_shot_gives(host, made, codec, suffix):
    def pixels():
        place = folder_of(host, name="Tale finished") / ("masters" if codec == "ffv1" else "")
        shots = [decoded(place / f"shot_01_0{n}{suffix}") for n in (1, 2, 3)]
        assert [len(frames) for frames in shots] == [13, 8, 13]
        return [np.frombuffer(frame, np.uint8).astype(int) for frame in chain(*shots)]

    closed = {"codec": codec, "timeline": "otio"}
    host.run(finishing("loop/Tale", scale=1.5, **closed))
    whole = pixels()
    graph = finishing("loop/Tale", at_once=4, scale=1.5, **closed)
    graph["open"]["inputs"] |= {"redo_shots": "1-3", "redo_take": 7}
    host.run(graph)
    most = 0 if codec == "h264" else 1  # between the parts and a master are half floats
    assert all(abs(a - b).max() <= most for a, b in zip(pixels(), whole, strict=True))
    assert list((host.base / "temp").glob("storymem_parts_*")) == []


def test_the_sound_of_a_shot_goes_along(host, made, log):
    path = made / "shot_01_03.mp4"
    frames = [np.frombuffer(f, np.uint8).reshape(48, 64, 3) for f in decoded(path)]
    with av.open(str(path), "w", format="mp4") as container:  # as an editing program gives it back
        video = container.add_stream("libx264", rate=16)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="stereo")
        for pixels in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 39000)).astype(np.float32)
        samples = av.AudioFrame.from_ndarray(noise, "fltp", "stereo")
        samples.rate = 48000
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    host.run(loop_graph(story(3, cuts=CUTS), log, closed=PRORES))
    host.run(finishing("loop/Tale", at_once=4, shot_audio=["shots", 6]))
    done = folder_of(host, name="Tale finished")
    heard = []
    for n in (1, 2, 3):
        with av.open(str(done / f"shot_01_0{n}.mp4")) as container:
            heard.append(len(container.streams.audio))
    assert heard == [0, 0, 1]


def test_another_take_is_finished_again_and_no_other(host, made, log):
    host.run(finishing("loop/Tale"))
    before = keys(host)
    again = {"redo_shots": "3", "redo_take": 2}
    host.run(loop_graph(story(3, cuts=CUTS), log, opened=again, closed=PRORES))
    assert ran(log) == [3]
    host.run(finishing("loop/Tale"))
    assert len(keys(host)) == len(before) + 2  # the new take, and what was made of it


def test_story_shots_gives_one_shot_or_a_part_of_it(host, made):
    graph = {
        "shots": {
            "class_type": "StoryMemStoryShots",
            "inputs": {
                "folder": "loop/Tale", "index": 2, "first_frame": 2, "frame_count": 3,
                "overlap": True,
            },
        },
        **{
            f"r{slot}": {
                "class_type": "StoryMemTestRecord",
                "inputs": {"value": ["shots", slot], "key": key},
            }
            for slot, key in enumerate(("frames", "fps", "name", "count"))
        },
    }  # fmt: skip
    out = host.run(graph)
    assert out["frames"].shape == (3, 48, 64, 3)
    assert (out["fps"], out["name"], out["count"]) == (16.0, "shot_01_02", 3)
    for change, told in (
        ({"index": 4}, "index is 4, but 'Tale' has 3 shots"),
        ({"first_frame": 13}, "has frames 0 to 12"),
        ({"folder": "../elsewhere"}, "inside the output folder"),
    ):
        wrong = {**graph, "shots": {**graph["shots"]}}
        wrong["shots"]["inputs"] = {**graph["shots"]["inputs"], **change}
        with pytest.raises(RuntimeError, match=told):
            host.run(wrong)


@pytest.mark.parametrize(
    ("given", "size", "came", "drop"),
    [
        (5, 4, 5, 1),  # upscaled: as many
        (5, 4, 10, 2),  # each one twice
        (5, 4, 9, 1),  # with those in between: 2 x 4 + 1
        (5, 4, 13, 1),  # with two in between
        (17, 16, 33, 1),
        (4, 4, 7, 0),  # the last part keeps all
    ],
)
def test_a_part_gives_up_the_frames_of_the_next_one(host, given, size, came, drop):
    count_to_drop = host.pack("nodes.loop.shot_parts").count_to_drop
    assert count_to_drop(given, size, came) == drop
