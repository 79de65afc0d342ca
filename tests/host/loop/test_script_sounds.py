"""What a script says of sound, in the host: lengths of files, the dialogue on its wire, keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.keyframe_graphs import record
from helpers.loop_graphs import decoded, loop_graph, one_wire, ran, story
from helpers.sounds import tone
from storymem.sound.files import write_sound

pytestmark = pytest.mark.usefixtures("fresh")


def put_tone(host, name: str, samples: int) -> str:
    folder = host.base / "input" / "voices"
    folder.mkdir(exist_ok=True)
    write_sound(folder / name, tone(samples))
    return f"voices/{name}"


def frames_of(folder: str, *labels: str) -> list[int]:
    return [len(decoded(Path(folder) / f"shot_{label}.mp4")) for label in labels]


def test_shots_last_as_long_as_their_sounds(host, log):
    files = [put_tone(host, "one.wav", 45_000), put_tone(host, "two.wav", 48_000)]
    script = story(3, audio=[*files, None], length=["audio", "audio", 9])
    out = host.run(loop_graph(script, log))
    assert ran(log) == [1, 2, 3]
    # 15 frames in the 17 of a cut, 16 in 17 beside the 5 that repeat the shot before.
    assert frames_of(out["folder"], "01_01", "01_02", "01_03") == [17, 16, 4]
    said = {"dialogue": ["Mara: Hello.", None, "Bye."], "subtitle": [None, "Ha", "Bye!"]}
    assert not list(Path(out["folder"]).glob("*.srt"))  # nobody said anything
    spoken = loop_graph(story(3, audio=[None, *files], length=[17, 21, 9], **said), log)
    (subtitles,) = Path(host.run(spoken)["folder"]).glob("*.srt")
    assert ran(log) == []  # the frames count, and neither the file nor what is said
    assert subtitles.read_text().splitlines()[1:3] == [
        "00:00:00,000 --> 00:00:01,062", "Hello.",
    ]  # fmt: skip
    assert "Ha\n" in subtitles.with_suffix(".vtt").read_text()
    host.run(loop_graph(script, log, closed={"fps": 8.0}))
    assert ran(log) == [1, 2, 3]  # half the frames
    put_tone(host, "two.wav", 49_000)
    host.run(loop_graph(script, log))
    assert ran(log) == [2, 3]  # another frame began, and so another length
    wired = host.run(one_wire(script, log, 3))
    assert ran(log) == []
    assert frames_of(wired["folder"], "01_02") == [20]
    slower = one_wire(script, log, 3)
    slower["join"]["inputs"]["fps"] = 8.0
    host.run(slower)
    assert ran(log) == [2, 3]  # the loop made the first one at that rate


@pytest.mark.parametrize("build", [loop_graph, lambda script, log: one_wire(script, log, 2)])
def test_a_sound_that_cannot_be_used_is_told_before_the_first_shot(host, log, build):
    (host.base / "input" / "noise.wav").write_text("no sound")
    put_tone(host, "cut_off.wav", 48_000)
    damaged = host.base / "input" / "voices" / "cut_off.wav"
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"\x00\x00\xc0\x7f")  # not a number
    for script, told in (
        (story(2, audio=[None, "voices/cut_off.wav"]), "names the sound 'voices/cut_off.wav', whi"),
        (story(2, audio=[None, "away.wav"]), "shot 2 .* names the sound 'away.wav', which is not"),
        (story(2, audio=[None, "../../x.wav"]), "names the sound '../../x.wav', which is not in"),
        (story(2, audio=[None, "noise.wav"]), "names the sound 'noise.wav', which cannot be used"),
        (
            story(2, audio=put_tone(host, "long.wav", 25 * 48_000), length="audio"),
            "which lasts 25 s, 400 frames at 16 a second; length: audio makes shots of at most",
        ),
    ):
        with pytest.raises(RuntimeError, match=told):
            host.run(build(script, log))
    assert ran(log) == []


def test_what_is_said_comes_out_of_the_loop_and_of_next_shot(host, log):
    script = story(2, dialogue=[["@Mara: Hello, @Pip.", "Pip: Hi."], None])
    graph = one_wire(script, log, 2)
    for i in (0, 1):
        graph[f"said{i}"] = record([f"next{i}", 8], f"said{i}")
    found = host.run(graph)
    assert found["said0"] == "Hello, Pip.\nHi."
    assert "said1" not in found  # nothing is said, so what speaks does not run
    assert ran(log) == [1, 2]


def test_pictures_that_are_made_from_the_dialogue_follow_it(host, log):
    def run(*said):
        graph = loop_graph(story(2, cuts=[True, True], dialogue=[*said]), log)
        graph["body"]["inputs"]["prompt"] = ["open", 8]
        host.run(graph)
        return ran(log)

    assert run("One.", "Two.") == [1, 2]
    assert run("One.", "Two.") == []
    assert run("One.", "Mara: Three.")[-1:] == [2]
