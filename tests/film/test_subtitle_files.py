"""Subtitles beside a film: to the letter, in both forms, and who may change them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from storymem.files.video import as_rate
from storymem.film.subtitle_files import Cue, cue_of, is_own_vtt, put_vtt, srt_text, vtt_text
from storymem.script.reader import load_story

SAID = [
    {"prompt": "one", "dialogue": "Mara: Hello, @Pip.\nPip: Hi --> there & <here>."},
    {"prompt": "two", "dialogue": "Mara: Alone.", "subtitle": "Read & <i>heard</i>\n\n --> end "},
    {"prompt": "three", "dialogue": "Mara: Alone."},
    {"prompt": "four"},
    {"prompt": "five", "dialogue": "Nobody says it."},
]


def story_of(*shots):
    scene = {"video_prompts": list(shots), "cut": [True] * len(shots)}
    return load_story({"story_name": "Tale", "scenes": [scene]})


def cues_of(story, *, prompts=False, length=81):
    cues = [
        cue_of(story, shot, shot.index * length, (shot.index + 1) * length, prompts=prompts)
        for shot in story.shots
    ]
    return [cue for cue in cues if cue]


def test_an_srt_file_to_the_letter():
    assert srt_text(cues_of(story_of(*SAID)), 16) == (
        "1\n00:00:00,000 --> 00:00:05,062\nMara: Hello, Pip.\nPip: Hi -> there & <here>.\n\n"
        "2\n00:00:05,062 --> 00:00:10,125\nRead & <i>heard</i>\n-> end\n\n"
        "3\n00:00:10,125 --> 00:00:15,188\nAlone.\n\n"
        "4\n00:00:20,250 --> 00:00:25,312\nNobody says it.\n"
    )


def test_a_webvtt_file_to_the_letter():
    text = vtt_text(cues_of(story_of(*SAID)), 16)
    head, note, *cues = text.split("\n\n")
    assert head == "WEBVTT"
    assert note.startswith("NOTE by StoryMem ")
    assert cues == [
        "00:00:00.000 --> 00:00:05.062\n<v Mara>Hello, Pip.\n"
        "<v Pip>Hi --&gt; there &amp; &lt;here&gt;.",
        "00:00:05.062 --> 00:00:10.125\nRead &amp; &lt;i&gt;heard&lt;/i&gt;\n--&gt; end",
        "00:00:10.125 --> 00:00:15.188\n<v Mara>Alone.",
        "00:00:20.250 --> 00:00:25.312\nNobody says it.\n",
    ]


def test_prompts_stand_there_only_where_they_are_asked_for():
    story = story_of(*SAID)
    assert len(cues_of(story)) == 4
    lines = [cue.lines for cue in cues_of(story, prompts=True)]
    assert lines[3] == ("four",)
    assert lines[2] == ("Alone.",)


@pytest.mark.parametrize("fps", [16.0, 23.976, 24.0, 30.0])
def test_times_do_not_drift(fps):
    """Two hours in, a cue still begins at its frame."""
    frame = int(7200 * fps)
    exact = Fraction(frame) / as_rate(fps)
    text = vtt_text([Cue(frame, frame + 1, ("x",))], fps)
    begin = text.split("\n\n")[2].split(" --> ")[0]
    hours, minutes, seconds = begin.split(":")
    found = int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    assert abs(found - exact) <= Fraction(1, 2000)


def test_lines_of_blanks_make_no_cue():
    story = story_of({"prompt": "a", "dialogue": [{"says": "\u2028"}]}, "b")
    assert cues_of(story) == []


def test_an_artists_own_webvtt_file_stays(tmp_path):
    film = tmp_path / "Tale_00001_.mp4"
    path = film.with_suffix(".vtt")
    one, other = (vtt_text([Cue(0, 9, (text,))], 16) for text in ("one", "other"))
    put_vtt(film, one)
    assert path.read_text() == one
    assert is_own_vtt(path)
    put_vtt(film, other)
    assert path.read_text() == other
    for mine in (other.replace("other", "mine"), "WEBVTT\n\n", "", "\ufeffWEBVTT"):
        path.write_text(mine)
        assert not is_own_vtt(path)
        put_vtt(film, one)
        put_vtt(film, None)
        assert path.read_text() == mine
    path.write_text(one)
    put_vtt(film, None)
    assert not path.exists()
    put_vtt(film, None)  # none was there
