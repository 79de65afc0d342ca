"""Sound of shots and films on a real server: made beside finished pictures, never for new ones."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from helpers.loop_graphs import lines_of, loop_graph, one_wire, story
from helpers.not_empty import not_empty
from helpers.server_base import link_base, serving
from helpers.sounds import click_track, clicks_in
from storymem.files.hashing import checksum
from storymem.sound.files import has_sound, read_sound, write_sound
from storymem.sound.mux import copy_packets
from storymem.sound.sound import samples_of_frames

pytestmark = [pytest.mark.http, pytest.mark.slow]

CLICK = 7  # frame of what the voice gets
FILM_CLICKS = [7, 13 + 2, 21 + 2]  # frames of the film: the later shots lose five of theirs


@pytest.fixture(scope="module")
def server(base_folder, host, tmp_path_factory):
    base = link_base(tmp_path_factory.mktemp("sound"), base_folder)
    with serving(base, "--disable-api-nodes") as running:
        yield running


class Tale:
    """One story of three shots of 13 frames, in a folder of its own on the server; the second and
    the third repeat five frames of the shot before."""

    def __init__(self, server, log, prefix):
        self.server, self.log, self.prefix = server, log, prefix
        self.folder = server.base / "output" / prefix / "Tale"

    def graph(self, script=None, voice=None, **closed):
        graph = loop_graph(script or story(3), self.log, prefix=self.prefix, closed=closed)
        if voice is not None:
            inputs = {"number": ["open", 6], "frames": ["body", 0], "click": CLICK, "level": 0.9}
            inputs |= {"silent": "", "log": str(self.log), **voice}
            inputs = {name: value for name, value in inputs.items() if value is not None}
            graph["voice"] = {"class_type": "StoryMemTestVoice", "inputs": inputs}
            graph["close"]["inputs"]["shot_audio"] = ["voice", 0]
        return graph

    def run(self, graph) -> tuple[list[int], list[str]]:
        """Queue a graph; shots whose pictures were made, and what the voice was given."""
        self.server.run(graph)
        lines = lines_of(self.log)
        made = [int(line.split()[1]) for line in lines if line.startswith("end")]
        return made, [line for line in lines if line.startswith("voice")]

    def film(self):
        return self.folder / json.loads((self.folder / "story.json").read_text())["video"]

    def clicks(self) -> list[int]:
        return clicks_in(read_sound(self.film()), above=0.2)

    def files(self) -> dict[str, str]:
        return {path.name: checksum(path) for path in not_empty(self.folder.glob("*.mp4"))}


@pytest.fixture
def tale(server, log):
    return Tale(server, log, log.parent.name)


def at(frames) -> list[int]:
    return [samples_of_frames(frame, 16) for frame in frames]


def near(found, expected) -> bool:
    return len(found) == len(expected) and np.abs(np.subtract(found, expected)).max() <= 1


def test_a_voice_is_heard_at_its_frames_and_a_new_one_makes_no_picture(tale):
    made, heard = tale.run(tale.graph(voice={}))
    assert made == [1, 2, 3]
    assert heard == ["voice 1 13", "voice 2 13", "voice 3 13"]  # frames that are repeated included
    assert near(tale.clicks(), at(FILM_CLICKS))
    shot = clicks_in(read_sound(tale.folder / "shot_01_02.mp4"), above=0.2)
    assert near(shot, at([CLICK - 5]))
    first, pictures = tale.files(), copy_packets(tale.film())
    assert tale.run(tale.graph(voice={})) == ([], [])  # the host has it all

    made, heard = tale.run(tale.graph(voice={"level": 0.5}))
    assert made == []
    assert len(heard) == 3
    assert copy_packets(tale.film()) == pictures
    assert near(tale.clicks(), at(FILM_CLICKS))
    assert tale.film().name == "Tale_00002_.mp4"

    # Back to the first voice, all that is seen lost and another process: the bytes are equal.
    shutil.rmtree(tale.folder)
    tale.server.kill()
    tale.server.start()
    assert tale.run(tale.graph(voice={})) == ([], [])
    again = tale.files()
    assert again == {name: first[name] for name in again}
    assert len(again) == 4

    # One shot is silent: nothing came.
    made, heard = tale.run(tale.graph(voice={"silent": "2"}))
    assert (made, len(heard)) == ([], 3)
    assert near(tale.clicks(), at([FILM_CLICKS[0], FILM_CLICKS[2]]))
    assert not has_sound(tale.folder / "shot_01_02.mp4")
    assert tale.run(tale.graph(voice={"silent": "2", "click": CLICK})) == ([], [])

    # Another take has a sound of its own; the shots after it see another memory and follow.
    made, heard = tale.run(tale.graph(voice={}, fps=16.0) | _opened(tale, redo_shots="3"))
    assert (made, heard) == ([3], ["voice 3 13"])
    assert near(tale.clicks(), at(FILM_CLICKS))


def _opened(tale, **opened) -> dict:
    opened = {"redo_take": 2, **opened}
    return {"open": loop_graph(story(3), prefix=tale.prefix, opened=opened)["open"]}


def test_a_killed_server_goes_on_with_the_sound_that_was_being_made(tale):
    tale.log.with_name(f"{tale.log.name}.die").write_text("2")
    tale.server.queue(tale.graph(voice={}))
    tale.server.process.wait(100)
    lines = lines_of(tale.log)
    assert [line.split()[1] for line in lines if line.startswith("end")] == ["1", "2", "3"]
    assert [line for line in lines if line.startswith("voice")] == ["voice 1 13"]
    tale.log.with_name(f"{tale.log.name}.die").unlink()
    tale.server.start()
    assert tale.run(tale.graph(voice={})) == ([], ["voice 2 13", "voice 3 13"])
    assert near(tale.clicks(), at(FILM_CLICKS))


def test_a_track_and_a_script_make_the_film_heard(tale):
    """The film's track, a sound from the script for one shot, and a voice of what is said."""
    write_sound(tale.server.base / "input" / "knock.wav", click_track([6000], 9000))
    tone = {
        "class_type": "StoryMemTestTone",
        "inputs": {"seconds": 0.5, "hertz": 440.0, "level": 0.1},
    }
    script = json.loads(story(3))
    assert tale.run(tale.graph(json.dumps(script))) == ([1, 2, 3], [])
    pictures = copy_packets(tale.film())
    assert not has_sound(tale.film())

    script["scenes"][0]["audio"] = ["", "knock.wav", ""]
    graph = tale.graph(json.dumps(script), audio=["tone", 0], audio_gain=-6.0)
    graph["tone"] = tone
    assert tale.run(graph) == ([], [])
    sound = read_sound(tale.film())
    assert copy_packets(tale.film()) == pictures
    assert near(clicks_in(sound, above=0.4), [at([13])[0] + 6000])
    assert sound.cut(4000, 20_000).peak == pytest.approx(0.05, rel=0.1)
    assert sound.cut(30_000, 2000).peak < 0.001  # after the track's end

    script["scenes"][0]["dialogue"] = ["", "Hello", ""]
    graph = tale.graph(json.dumps(script), voice={"frames": None, "said": ["open", 8]})
    made, heard = tale.run(graph)
    assert (made, heard) == ([], ["voice 2 13 Hello"])  # and silence where nothing is said
    assert near(tale.clicks(), at([13 + CLICK]))  # from the first frame that is shown


def test_sound_that_would_make_pictures_again_is_refused_before_the_first_shot(tale):
    graph = tale.graph(voice={})
    graph["latent"] = {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 64, "height": 48, "batch_size": ["open", 6]},
    }
    graph["body"]["inputs"]["outside"] = ["latent", 0]
    graph["voice"]["inputs"]["said"] = ["text", 0]
    graph["text"] = {"class_type": "PreviewAny", "inputs": {"source": ["latent", 0]}}
    with pytest.raises(RuntimeError, match="would be made again for every new sound"):
        tale.run(graph)
    with pytest.raises(RuntimeError, match="comes from inside the loop"):
        tale.run(tale.graph(voice={}, audio=["voice", 0]))
    assert lines_of(tale.log) == []


def test_one_wire_hears_the_same(tale):
    script, log = story(3), tale.log

    def graph(level=0.9):
        wired = one_wire(script, log, 3)
        wired["begin"]["inputs"]["filename_prefix"] = tale.prefix
        for i in range(3):
            inputs = {"number": [f"next{i}", 6], "frames": [f"body{i}", 0], "click": CLICK}
            inputs |= {"level": level, "silent": "", "log": str(log)}
            wired[f"voice{i}"] = {"class_type": "StoryMemTestVoice", "inputs": inputs}
            wired[f"finish{i}"]["inputs"]["shot_audio"] = [f"voice{i}", 0]
        return wired

    made, heard = tale.run(graph())
    assert made == [1, 2, 3]
    assert heard == ["voice 1 13", "voice 2 13", "voice 3 13"]
    assert near(tale.clicks(), at(FILM_CLICKS))
    made, heard = tale.run(graph(0.5))
    assert (made, len(heard)) == ([], 3)
    assert near(tale.clicks(), at(FILM_CLICKS))
