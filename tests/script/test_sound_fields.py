"""What a script says of a shot's sound: its file, who says what, the subtitle, its length."""

from __future__ import annotations

import contextlib
import json
import random
import string
import time

import pytest

from storymem.script.dialogue import DialogueError, Line, read_dialogue, spoken, with_names, written
from storymem.script.fields import ScriptError
from storymem.script.reader import load_story
from storymem.script.rows import FORMATS, check_written, read_script, write_script
from storymem.script.story import LENGTH_OF_AUDIO
from storymem.views.script import script_of_view, view_script


def shots_of(*shots, **story):
    scene = {"video_prompts": list(shots), "cut": [True] * len(shots)}
    return load_story({"scenes": [scene], **story}).shots


def lines_of(value, **story) -> list[tuple[str, str]]:
    shot = shots_of({"prompt": "a", "dialogue": value}, **story)[0]
    return [(line.who, line.says) for line in shot.dialogue]


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ([{"who": "Mara", "says": "Hello."}], [("Mara", "Hello.")]),
        ({"who": "Mara", "says": "Hello."}, [("Mara", "Hello.")]),
        ({"speaker": "Mara", "text": "Hello."}, [("Mara", "Hello.")]),
        ([{"character": "@Mara", "line": "Hello."}], [("Mara", "Hello.")]),
        ({"Mara": "Hello.", "Pip": "Hi."}, [("Mara", "Hello."), ("Pip", "Hi.")]),
        ([{"Mara": "Hello."}, "Pip: Hi."], [("Mara", "Hello."), ("Pip", "Hi.")]),
        ([{"who": None, "says": "Hello."}, {"says": "Hi."}], [("", "Hello."), ("", "Hi.")]),
        ('[{"who": "Mara", "says": "Hello."}]', [("Mara", "Hello.")]),
        ("Mara: Hello.\n\nPip:  Hi.\n", [("Mara", "Hello."), ("Pip", "Hi.")]),
        ('Mara: "Hello."', [("Mara", "Hello.")]),
        ("Mara: “Hello.”", [("Mara", "Hello.")]),
        ('Mara: "Hello" is what I said, "Hello"', [("Mara", '"Hello" is what I said, "Hello"')]),
        ("**Mara:** Hello.", [("Mara", "Hello.")]),
        ("- **Mara**: Hello.", [("Mara", "Hello.")]),
        ("- Hello.\n- Hi.", [("", "Hello."), ("", "Hi.")]),
        ("@Mara: Hello.", [("Mara", "Hello.")]),
        ("玛拉：你好。", [("玛拉", "你好。")]),
        ("玛拉：“你好。”", [("玛拉", "你好。")]),
        ("The old keeper: No.", [("The old keeper", "No.")]),
        ("Dr. Smith: No.", [("Dr. Smith", "No.")]),
        ("narrator: No.", [("narrator", "No.")]),
        ("Mara:Hello.", [("Mara", "Hello.")]),
        ("Hello there.", [("", "Hello there.")]),
        ("[laughs] No.", [("", "[laughs] No.")]),
        # Sentences with a colon.
        ("We leave at 5:30.", [("", "We leave at 5:30.")]),
        ("At 5:30", [("", "At 5:30")]),
        ("He said: go.", [("", "He said: go.")]),
        ("and so it ends: badly", [("", "and so it ends: badly")]),
        ("See https://example.org", [("", "See https://example.org")]),
        ("Look, Mara: a light!", [("", "Look, Mara: a light!")]),
        ("", []),
        ([], []),
        ("Mara:", []),
        ({"who": "Mara", "says": ""}, []),
    ],
)
def test_dialogue_is_read_however_it_is_written(value, lines):
    assert lines_of(value) == lines


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (5, "scene 1, shot 1: dialogue must be a list such as"),
        ([5], "holds 5; write"),
        ([{"who": "Mara", "mood": 3}], "has a line that says nothing"),
        ([{"says": "a", "text": "b"}], "has a line that says several things"),
        ("x" * 2001, "holds a line of 2001 characters"),
        ([{"who": "x" * 101, "says": "a"}], "holds a name of 101 characters"),
        (["a"] * 101, "holds 101 lines, but at most 100"),
    ],
)
def test_a_dialogue_that_cannot_be_read_is_told(value, told):
    with pytest.raises(ScriptError, match=told):
        shots_of({"prompt": "a", "dialogue": value})


def test_speakers_have_the_names_of_the_cast():
    value = "MARA: One.\npip (whispering): Two.\nNarrator (off): Three."
    assert lines_of(value, cast=["Mara", "Pip"]) == [
        ("Mara", "One."), ("Pip", "(whispering) Two."), ("Narrator (off)", "Three."),
    ]  # fmt: skip
    assert lines_of("MARA: One.", character="Mara is a sailor.") == [("Mara", "One.")]
    assert lines_of("MARA: One.") == [("MARA", "One.")]


def test_whoever_speaks_is_nobody_of_the_cast_by_that():
    """Names decide what the memory keeps, and a voice must not change pictures."""
    silent = load_story({"scenes": [{"video_prompts": ["Mara walks"], "cut": [True]}]})
    shot = {"prompt": "Mara walks", "dialogue": "Mara: Hello."}
    spoken_story = load_story({"scenes": [{"video_prompts": [shot], "cut": [True]}]})
    assert spoken_story.names == silent.names == ()


def test_what_is_said_goes_out_without_names():
    lines = read_dialogue("Mara: Hello.\nPip: Hi.")
    assert spoken(lines) == "Hello.\nHi."
    assert written(lines) == "Mara: Hello.\nPip: Hi."


def test_fields_that_nothing_reads_stay_at_their_line():
    value = [{"who": "Mara", "says": "Hello.", "emotion": "sad"}]
    shot = shots_of({"prompt": "a", "dialogue": value})[0]
    assert [line.as_json() for line in shot.dialogue] == value
    assert with_names(shot.dialogue, ["mara"])[0].as_json()["emotion"] == "sad"


def test_plain_text_has_a_tag_for_each_line():
    text = "[title: T]\n---\n[length: audio]\n[audio: a/b.wav]\n[dialogue: Mara: Hello.]\n" \
        "[dialogue: Pip: Hi.]\n[subtitle: Hello!]\nThey meet.\n"  # fmt: skip
    shot = load_story(text).shots[0]
    assert [str(line) for line in shot.dialogue] == ["Mara: Hello.", "Pip: Hi."]
    assert (shot.audio, shot.subtitle, shot.length) == ("a/b.wav", "Hello!", LENGTH_OF_AUDIO)
    assert write_script(read_script(text), "plain") == text


def test_of_an_exact_tag_and_another_one_the_last_counts():
    exact, short = '[dialogue = ["Mara: A."]]', "[dialogue: Pip: B.]"
    for tags, said in (((exact, short), "B."), ((short, exact), "A."), ((short, short), "B.\nB.")):
        shot = load_story("\n".join([*tags, "They meet.", "---", "x"])).shots[0]
        assert (spoken(shot.dialogue), shot.prompt) == (said, "They meet.")


@pytest.mark.parametrize("name", ["dialog", "dialogues", "Dialogue"])
def test_other_names_of_fields_are_read_in_both_forms(name):
    plain = load_story(f"[{name}: Mara: Hello.]\nShe waves.\n---\nx").shots[0]
    assert [str(line) for line in plain.dialogue] == ["Mara: Hello."]
    if name.islower():
        source = json.dumps({"shots": [{"prompt": "a", name: ["Mara: Hello."]}]})
        assert [str(line) for line in load_story(source).shots[0].dialogue] == ["Mara: Hello."]
        again = write_script(read_script(source), "json")
        assert f'"{name}"' not in again
        assert load_story(again).shots == load_story(source).shots


def test_a_field_that_is_there_under_both_names_keeps_both():
    story = load_story({"shots": [{"prompt": "a", "dialog": "B.", "dialogue": "A."}]})
    assert spoken(story.shots[0].dialogue) == "A."
    assert any("dialog" in warning for warning in story.warnings)


def test_a_scene_gives_a_dialogue_to_each_of_its_shots():
    scene = {"video_prompts": ["a", "b", "c"], "cut": [True] * 3}
    for value in (["Mara: A.", None, "B."], [["Mara: A."], None, ["B."]],
                  [[{"who": "Mara", "says": "A."}], [], "B."]):  # fmt: skip
        shots = load_story({"scenes": [{**scene, "dialogue": value}]}).shots
        assert [spoken(shot.dialogue) for shot in shots] == ["A.", "", "B."]
    with pytest.raises(ScriptError, match="3 video_prompts but 2 dialogue values"):
        load_story({"scenes": [{**scene, "dialogue": ["Mara: A.", "B."]}]})
    only = {"video_prompts": ["a"], "cut": [True], "dialogue": ["Mara: A.", "Pip: B."]}
    assert spoken(load_story({"scenes": [only]}).shots[0].dialogue) == "A.\nB."


def test_one_sound_for_a_whole_scene_is_told():
    scene = {"video_prompts": ["a", "b"], "cut": [True, True]}
    story = load_story({"scenes": [{**scene, "dialogue": "Mara: A.", "audio": "a.wav"}]})
    assert [shot.audio for shot in story.shots] == ["a.wav", "a.wav"]
    told = [warning for warning in story.warnings if "once for its 2 shots" in warning]
    assert told == [
        "scene 1 gives audio, dialogue once for its 2 shots, so each of them has it; if one "
        "shot is meant, put it there"
    ]


@pytest.mark.parametrize("value", ["audio", "Audio", " AUDIO "])
def test_a_length_may_be_that_of_the_sound(value):
    shot = shots_of({"prompt": "a", "audio": "a.wav", "length": value})[0]
    assert shot.length == LENGTH_OF_AUDIO


def test_the_length_of_a_sound_that_is_not_there_is_told():
    with pytest.raises(ScriptError, match="scene 1, shot 1: length is audio, but the shot has no"):
        shots_of({"prompt": "a", "length": "audio"})


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("audio", 5, "audio must be one sound file name"),
        ("audio", ["a.wav"], "audio must be one sound file name"),
        ("subtitle", 5, "subtitle must be text"),
        ("subtitle", "x" * 2001, "subtitle has 2001 characters"),
        ("length", "sound", "length must be a whole number"),
    ],
)
def test_a_wrong_value_is_told(field, value, told):
    with pytest.raises(ScriptError, match=told):
        shots_of({"prompt": "a", field: value})


def test_paths_and_lines_are_read_as_other_tools_write_them():
    shot = shots_of({"prompt": "a", "audio": " voices\\mara.wav ", "subtitle": ["One", "Two"]})[0]
    assert (shot.audio, shot.subtitle) == ("voices/mara.wav", "One\nTwo")


def assert_comes_back(text: str) -> None:
    script, shots = read_script(text), load_story(text).shots
    canonical = write_script(script, "json")
    for form in FORMATS:
        again = write_script(script, form)
        assert load_story(again).shots == shots
        assert write_script(read_script(again), "json") == canonical
        check_written(script, again)
    viewed = script_of_view(json.loads(json.dumps(view_script(script))))
    assert write_script(viewed, "json") == canonical


ODD = (
    "Hello.", "a ] b", "[x]", "two\nlines", "Mara: again: Hello", "“quoted”", '"', "-->", "你好",
    "- dash", "**b**", "{}", "[]", "\u2028", "\t tab", "---", "[lock]", " ", "A: B", "\x00",
)  # fmt: skip


def test_dialogues_of_any_text_come_back():
    random.seed(5)
    letters = string.ascii_letters + " .,:;!?'\"-[]{}()@#*\n\\你好：「」"
    texts = [*ODD, *("".join(random.choices(letters, k=random.randint(1, 20))) for _ in range(80))]
    for who in ("", "Mara", "The old: man", "a.b", "9"):
        lines = [{"who": who, "says": text} if who else {"says": text} for text in texts[:99]]
        shots = [{"prompt": "x", "dialogue": line} for line in lines]
        shots += [{"prompt": "y", "dialogue": lines[i : i + 3]} for i in range(0, 99, 3)]
        shots = [*shots, *({"prompt": "z", "subtitle": text, "audio": text} for text in texts)]
        scenes = [{"video_prompts": [shot], "cut": [True]} for shot in shots]
        assert_comes_back(json.dumps({"scenes": [*scenes, {"video_prompts": shots[:40],
                                                           "cut": [True] * 40}]}))  # fmt: skip


def test_equal_sounds_of_a_scenes_shots_come_back():
    shot = {"prompt": "a", "dialogue": ["Mara: A.", "Pip: B."], "audio": "a.wav", "length": "audio"}
    text = json.dumps({"scenes": [{"video_prompts": [shot, shot], "cut": [True, True]}]})
    assert_comes_back(text)
    again = json.loads(write_script(read_script(text), "json"))["scenes"][0]
    assert again["audio"] == ["a.wav", "a.wav"]
    assert load_story({"scenes": [again]}).warnings == ()


def test_a_line_is_one_line():
    lines = read_dialogue([{"who": "Mara\nJones", "says": "One.\n Two."}])
    assert lines == (Line("Mara Jones", "One. Two."),)


def test_a_sound_in_words_names_no_file():
    shots = [{"prompt": "a", "audio": "soft wind"}, {"prompt": "b", "audio": "soft wind.wav"}]
    story = load_story({"shots": [*shots, {"prompt": "c", "audio": "wind"}]})
    assert [shot.audio for shot in story.shots] == ["", "soft wind.wav", "wind"]
    assert any("ignored: audio_description" in warning for warning in story.warnings)
    text = json.dumps({"shots": shots})
    assert_comes_back(text)
    assert '"audio_description": "soft wind"' in write_script(read_script(text), "json")
    scene = {"video_prompts": ["a"], "cut": [True], "audio": "soft wind"}
    assert load_story({"scenes": [scene]}).shots[0].audio == ""


@pytest.mark.parametrize("piece", [" ", "(", "a ", "*", "a:", "\n", "“", "( a", ": "])
def test_long_dialogues_of_any_kind_are_read_at_once(piece):
    text = "a" + piece * 200_000 + "b: c"
    began = time.process_time()
    for value in (text, [text], [{"who": text, "says": "x"}], [{"says": text}], {"says": text}):
        with contextlib.suppress(DialogueError):
            with_names(read_dialogue(value), ["a"])
    assert time.process_time() - began < 5  # a pattern that tries all ways takes minutes
