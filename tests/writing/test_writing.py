"""From an idea to a script: the request, damaged answers, asking again; and shots written anew."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storymem.script.fields import ScriptError
from storymem.script.reader import load_story
from storymem.script.rows import read_script
from storymem.writing.answer import AnswerError, read_answer
from storymem.writing.ask import TRIES, write_story
from storymem.writing.request import again_request, story_request
from storymem.writing.rewrite import read_rewrite, rewrite_faults, rewrite_request
from storymem.writing.wish import MOST_SHOTS, Role, make_wish, read_cast

LOOK = "a woman of thirty with copper hair and a yellow raincoat"
PROMPTS = (
    f"Wide shot, slow push-in: Mara, {LOOK}, walks along a wet pier at dawn, cold blue light.",
    f"Close-up, static: Mara, {LOOK}, lifts a lantern over the wet pier, cold blue dawn light.",
    "Medium shot, pan left: Bo, an old man in a grey coat, rows a boat through the fog at dawn.",
)
WISH = make_wish("A lamp is found.", shots=3, cast=f"Mara [mara.png]: {LOOK}\nBo")


def answer_of(prompts=PROMPTS, **fields) -> dict:
    shots = [{"cut": i != 1, "prompt": prompt} for i, prompt in enumerate(prompts)]
    shots[0]["remember"] = [{"who": "Mara", "weight": 3}]
    scenes = [{"scene_num": 1, "shots": shots}]
    return {"story_name": "Lamp", "cast": ["Mara", "Bo"], "scenes": scenes, **fields}


GOOD = json.dumps(answer_of())
DRESSED = {
    "bare": GOOD,
    "indented": json.dumps(answer_of(), indent=2),
    "fenced": f"```json\n{GOOD}\n```",
    "preface": f"Sure! Here is your script:\n\n{GOOD}\n\nLet me know if you want changes.",
    "thoughts": f"<think>Three shots. {{hm}}</think>\n```\n{GOOD}\n```",
    "trailing comma": GOOD[:-1] + ",}",
    "python": GOOD.replace("true", "True").replace("false", "False"),
    "typographic": GOOD.replace('"story_name"', "“story_name”"),
    "first continues": GOOD.replace('"cut": true', '"cut": false', 1),
}


@pytest.mark.parametrize("name", DRESSED)
def test_an_answer_is_read_whatever_is_around_it(name):
    written = read_answer(DRESSED[name], WISH)
    assert [shot.prompt for shot in written.story.shots] == list(PROMPTS)
    assert [shot.cut for shot in written.story.shots] == [True, False, True]
    assert written.faults == ()
    assert written.story.cast == ("Mara", "Bo")
    assert [entry.weight for entry in written.story.shots[0].remember] == [3]
    # The portrait is seen from the first shot on that names its person.
    assert [shot.references for shot in written.story.shots] == [("mara.png",), (), ()]
    assert load_story(written.text).shots == written.story.shots


def test_an_answer_in_chinese_is_read_as_well():
    wish = make_wish("一盏灯", shots=2, cast="小雨：三十岁，红色短发，黄色雨衣", language="chinese")
    prompts = (
        "远景，镜头缓缓推进：小雨，三十岁，红色短发，穿黄色雨衣，清晨走在潮湿的木码头上，冷蓝色的光。",
        "特写，固定镜头：小雨，三十岁，红色短发，穿黄色雨衣，在雾中举起一盏灯，清晨冷光。",
    )
    shots = [{"cut": True, "prompt": prompt} for prompt in prompts]
    data = {"story_name": "灯", "cast": ["小雨"], "scenes": [{"scene_num": 1, "shots": shots}]}
    text = json.dumps(data, ensure_ascii=False)
    text = f"好的，以下是剧本：\n```json\n{text}\n```\n希望对你有帮助。"
    written = read_answer(text, wish)
    assert [shot.prompt for shot in written.story.shots] == list(prompts)
    assert written.faults == ()


@pytest.mark.parametrize(
    "answer",
    ["", "   ", "I cannot help with that.", GOOD[: len(GOOD) // 2], '{"scenes": []}', "<think>Hm"],
)
def test_what_is_no_script_is_told_and_kept(answer):
    if answer.startswith("I cannot"):  # plain text is one shot, whose faults say the rest
        assert any("wanted" in fault for fault in read_answer(answer, WISH).faults)
        return
    with pytest.raises(AnswerError) as caught:
        read_answer(answer, WISH)
    assert caught.value.answer == answer
    assert str(caught.value)


def test_nothing_of_an_answer_reaches_a_file_a_lock_or_a_take():
    data = answer_of(lock=True, start_image="../../etc/passwd", extra={"run": "rm"})
    shot = data["scenes"][0]["shots"][2]
    shot |= {"reference_images": ["../secret.png"], "use_take": "0" * 16, "id": "x", "seed": 3}
    written = read_answer(json.dumps(data), WISH)
    for shot in written.story.shots:
        assert (shot.lock, shot.start_image, shot.take, shot.row, shot.seed) == (
            False, "", "", "", None,
        )  # fmt: skip
    assert "passwd" not in written.text
    assert "secret" not in written.text
    assert "start_image" in written.left_out[0]


def test_a_look_of_short_words_is_looked_for_too():
    wish = make_wish(idea="A boat.", shots=1, cast="Teo: a boy of ten, red cap")
    prompts = ("Close-up, static: Teo opens a bottle and reads a letter, soft light at dawn.",)
    silent, said = (
        read_answer(json.dumps(answer_of(texts)), wish).faults
        for texts in (prompts, (f"{prompts[0]} He wears a red cap.",))
    )
    assert any(one.startswith("shot 1 does not say what Teo looks like") for one in silent)
    assert not any("looks like" in one for one in said)


@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        (PROMPTS[:2], "it has 2 shots, but 3 are wanted"),
        (PROMPTS[:2], "Bo of the cast appears in no prompt"),
        ((*PROMPTS[:2], "Bo rows."), "shot 3 is too short to stand alone"),
        ((*PROMPTS[:2], f"{PROMPTS[2]} Same as before."), "shot 3 speaks of another shot"),
        ((*PROMPTS[:2], PROMPTS[0]), "shot 3 repeats the prompt of an earlier shot"),
        (
            (PROMPTS[0], "Close-up, static: Mara lifts a lamp over the pier, blue light at dawn.",
             PROMPTS[2]),
            "shot 2 does not say what Mara looks like",
        ),
    ],
)  # fmt: skip
def test_faults_are_named(prompts, told):
    faults = read_answer(json.dumps(answer_of(prompts)), WISH).faults
    assert any(told in fault for fault in faults), faults


def test_weights_of_nobody_and_scenes_that_continue_are_faults():
    data = answer_of()
    data["scenes"][0]["shots"][0]["remember"] = [{"who": "Zoe", "weight": 2}]
    data["scenes"].append({"scene_num": 2, "shots": [{"cut": False, "prompt": PROMPTS[2] + " x"}]})
    faults = " ".join(read_answer(json.dumps(data), WISH).faults)
    assert "Zoe" in faults
    assert "shot 4 begins a new scene" in faults


class Model:
    """Gives recorded answers, and keeps what it was asked."""

    def __init__(self, *answers: str):
        self.answers, self.asked = list(answers), []

    def __call__(self, request: str, number: int) -> str:
        assert number == len(self.asked)
        self.asked.append(request)
        return self.answers[number]


def test_a_good_answer_needs_no_second():
    model = Model(GOOD)
    assert write_story(WISH, model).text == read_answer(GOOD, WISH).text
    assert model.asked == [story_request(WISH)]


def test_a_model_is_asked_again_with_what_is_wrong():
    broken = GOOD[:200]
    model = Model(broken, json.dumps(answer_of(PROMPTS[:2])), GOOD)
    assert write_story(WISH, model).faults == ()
    assert broken in model.asked[1]
    assert "not valid JSON" in model.asked[1]
    assert "it has 2 shots, but 3 are wanted" in model.asked[2]


def test_after_three_answers_the_best_is_taken_with_its_faults():
    two, one = (json.dumps(answer_of(PROMPTS[:n])) for n in (2, 1))
    model = Model(two, "nonsense {", one)
    written = write_story(WISH, model)
    assert len(model.asked) == TRIES
    assert len(written.story.shots) == 2
    assert any("3 are wanted" in warning for warning in written.warnings)


@pytest.mark.parametrize("failure", [RuntimeError("out of memory"), ValueError("too long")])
def test_a_script_is_not_lost_when_the_model_fails_afterwards(failure, caplog):
    two = json.dumps(answer_of(PROMPTS[:2]))

    class Failing(Model):
        def __call__(self, request: str, number: int) -> str:
            if number >= len(self.answers):
                raise failure
            return super().__call__(request, number)

    written = write_story(WISH, Failing(two))
    assert len(written.story.shots) == 2
    assert f"stopped at try 2: {failure}" in caplog.text
    for answers in ((), ("{",)):  # nothing to lose
        with pytest.raises(type(failure), match=str(failure)):
            write_story(WISH, Failing(*answers))


def test_a_cancelled_run_writes_nothing():
    class Cancelled(BaseException):  # as the host's own
        pass

    def model(request, number):
        if number:
            raise Cancelled
        return json.dumps(answer_of(PROMPTS[:2]))

    with pytest.raises(Cancelled):
        write_story(WISH, model)


def test_three_answers_that_are_no_script_are_an_error_with_the_last_one():
    with pytest.raises(AnswerError) as caught:
        write_story(WISH, Model("{", '{"scenes"', '{"scenes": 3}'))
    assert caught.value.answer == '{"scenes": 3}'


def test_the_request_says_all_that_was_wished_for():
    wish = make_wish(
        "A lamp.", minutes=0.5, style="ink drawing", cast="Mara: red hair", language="chinese",
        dialogue=True,
    )  # fmt: skip
    request = story_request(wish)
    assert wish.shots == 6
    for words in ("exactly 6 shots", "A lamp.", "ink drawing", "- Mara: red hair", "中文", "says:"):
        assert words in request
    assert "no spoken words" in story_request(WISH)
    long = again_request("R", "x" * 40_000, ["it is long"])
    assert len(long) < 14_000
    assert "- it is long" in long


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"idea": " ", "shots": 3}, "no idea"),
        ({"idea": "a", "shots": 0}, "1 to"),
        ({"idea": "a", "shots": MOST_SHOTS + 1}, "write it in parts"),
        ({"idea": "a", "minutes": -1}, "minutes"),
        ({"idea": "a", "minutes": float("nan")}, "minutes"),
        ({"idea": "a", "shots": 1, "language": "x"}, "language must be"),
        ({"idea": "a", "shots": 1, "cast": "Mara [run.sh]"}, "no picture file"),
        ({"idea": "a", "shots": 1, "cast": ": red"}, "line 1"),
        ({"idea": "a" * 30_000, "shots": 1}, "at most"),
    ],
)
def test_a_wish_that_nobody_can_write_to_is_told(wish, told):
    with pytest.raises(ScriptError, match=told):
        make_wish(**wish)


def test_a_cast_is_read_line_by_line():
    assert read_cast("- Mara [a/mara.png]: red hair\n\n小雨：黄色雨衣\n@Bo\nmara: twice") == (
        Role("Mara", "red hair", "a/mara.png"),
        Role("小雨", "黄色雨衣"),
        Role("Bo"),
    )


@given(st.integers(0, len(GOOD)), st.integers(0, 60), st.text(max_size=12))
def test_a_damaged_answer_is_read_or_told(at, cut, put):
    damaged = GOOD[:at] + put + GOOD[at + cut :]
    try:
        written = read_answer(damaged, WISH)
    except AnswerError as error:
        kept = error.answer
    else:
        kept = damaged
        assert load_story(written.text).shots == written.story.shots
    assert kept == damaged


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["prompt", "cut", "number", "remember", "shots", "who", "weight", "x"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(values)
def test_any_value_in_an_answer_s_shots_is_read_or_told(value):
    data = answer_of()
    data["scenes"][0]["shots"] = value
    for read in (
        lambda text: read_answer(text, WISH),
        lambda text: read_rewrite(text, SCRIPT, [1]),
    ):
        told = "read"
        try:
            read(json.dumps(data))
        except ScriptError as error:
            told = str(error)
        assert told


# --- shots written anew ---------------------------------------------------------------------------

SCRIPT = read_script(json.dumps(answer_of()))


def test_a_request_to_rewrite_has_the_shots_and_what_is_around_them():
    request = rewrite_request(SCRIPT, [1], "Make the camera closer")
    assert "Make the camera closer" in request
    assert '"number": 2' in request
    assert '"number": 1' not in request
    for prompt in PROMPTS:
        assert prompt[:40] in request
    for shots, words in (([], "closer"), ([9], "closer"), ([1], " "), ([1], "x" * 9999)):
        with pytest.raises(ScriptError):
            rewrite_request(SCRIPT, shots, words)


def test_shots_are_changed_kept_added_and_removed():
    answer = {
        "shots": [
            {"number": 2, "prompt": "Extreme close-up.", "remember": [{"Mara": 2}]},
            {"prompt": "A new shot.", "cut": False},
            {"number": 4, "prompt": "Counted on."},
        ]
    }
    found = read_rewrite(f"Here:\n```json\n{json.dumps(answer)}\n```", SCRIPT, [1, 2])
    assert [(shot.of, shot.prompt, shot.cut) for shot in found] == [
        (1, "Extreme close-up.", False),
        (None, "A new shot.", False),
        (None, "Counted on.", True),
    ]
    assert found[0].remember == [{"who": "Mara", "weight": 2}]


def test_a_number_alone_keeps_a_shot_as_it_is():
    (kept,) = read_rewrite('{"shots": [{"number": 1}]}', SCRIPT, [0])
    assert (kept.of, kept.prompt, kept.cut) == (0, PROMPTS[0], True)
    assert kept.remember == [{"who": "Mara", "weight": 3}]


def test_without_numbers_the_order_tells_and_plain_text_is_a_shot():
    found = read_rewrite('[{"prompt": "One."}, {"prompt": "Two."}]', SCRIPT, [0])
    assert [(shot.of, shot.prompt, shot.cut) for shot in found] == [
        (0, "One.", True),
        (None, "Two.", True),
    ]
    (plain,) = read_rewrite("Close-up of the lamp.", SCRIPT, [1])
    assert (plain.of, plain.prompt, plain.cut) == (1, "Close-up of the lamp.", False)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('{"shots": []}', "no shots"),
        ('{"shots": [{"number": 3, "prompt": "x"}]}', "has the number 3"),
        ('{"shots": [{"number": 2}, {"number": 2}]}', "twice"),
        ('{"shots": [{"prompt": ""}]}', "empty"),
        ('{"shots": [{"number": 2, "cut": "maybe"}]}', "cut must be"),
        ('{"shots": [{"number": 2, "remember": [{"Mara": 9}]}]}', "a weight is"),
        ('{"shots": [{"number": 2, "prompt": 7}]}', "must be text"),
        ('{"shots": [{"number"', "not valid JSON"),
    ],
)
def test_a_rewrite_that_cannot_be_read_is_told(answer, told):
    with pytest.raises(ScriptError, match=told):
        read_rewrite(answer, SCRIPT, [1])


def test_only_what_a_rewrite_brings_is_doubted():
    def doubts(*shots, indices=(1, 2)) -> list[str]:
        found = read_rewrite(json.dumps({"shots": shots}), SCRIPT, indices)
        return rewrite_faults(found, SCRIPT, indices)

    tied = {"number": 3, "prompt": "The same as in the previous shot, closer."}
    stranger = {
        "prompt": "A new shot.",
        "remember": [{"Zoe": 2}, {"place": "the moon"}, {"Mara": 1}],
    }
    assert doubts({"number": 2}, {"number": 3}) == []
    assert doubts({"number": 2}, tied, stranger) == [
        "shot 2 speaks of another shot, which the video model never reads",
        "remember names 'Zoe', who is nobody of the cast; add the name to cast, or correct it",
        "remember names the place 'the moon', which no prompt speaks of; use the words of the "
        "prompts",
    ]
    on_moon = {"prompt": "Mara on the moon.", "remember": [{"place": "the Moon"}]}
    assert doubts(on_moon) == []
    old = replace(
        SCRIPT.rows[1], prompt=tied["prompt"], fields={"remember": [{"who": "Zoe", "weight": 1}]}
    )
    script = replace(SCRIPT, rows=(SCRIPT.rows[0], old, *SCRIPT.rows[2:]))
    assert (
        rewrite_faults(read_rewrite('{"shots": [{"number": 2}]}', script, [1]), script, [1]) == []
    )


# --- what is said ---------------------------------------------------------------------------------


def speaking(**first) -> str:
    data = answer_of()
    data["scenes"][0]["shots"][0] |= first
    return json.dumps(data)


def test_a_request_asks_for_dialogue_only_where_it_is_wanted():
    request = story_request(replace(WISH, dialogue=True))
    assert '"dialogue" lists what is said in the shot' in request
    assert '"says": "It was never this quiet."' in request
    assert 'Mara says: \\"It was never this quiet.\\"' in request
    assert "dialogue" not in story_request(replace(WISH, dialogue=False))


@pytest.mark.parametrize(
    "said",
    [
        [{"who": "MARA", "says": "Hello."}],
        "Mara: Hello.",
        [{"speaker": "Mara", "line": '"Hello."'}],
        {"Mara": "Hello."},
    ],
)
def test_dialogue_of_an_answer_is_kept(said):
    for name in ("dialogue", "dialog"):
        written = read_answer(speaking(**{name: said, "subtitle": "Hi"}), WISH)
        assert [str(line) for line in written.story.shots[0].dialogue] == ["Mara: Hello."]
        assert written.story.shots[0].subtitle == "Hi"
        assert written.left_out == ()
        assert load_story(written.text).shots == written.story.shots


def test_an_answer_names_no_sound_file():
    written = read_answer(speaking(audio="/etc/passwd", length="audio"), WISH)
    assert (written.story.shots[0].audio, written.story.shots[0].length) == ("", None)
    assert written.left_out == ("left out of the answer: 'audio', 'length'",)


def test_what_is_said_is_rewritten_kept_and_taken_away():
    script = read_script(speaking(dialogue="Mara: Hello."))
    assert "dialogue" not in rewrite_request(script, [1], "closer")
    request = rewrite_request(script, [0], "closer")
    assert '"says": "Hello."' in request
    assert '"dialogue" of a shot lists what is said' in request
    assert '"dialogue" of a shot lists' in rewrite_request(script, [1], "Let Bo say something")

    def said(**shot):
        (found,) = read_rewrite(json.dumps({"shots": [{"number": 1, **shot}]}), script, [0])
        return found.dialogue

    assert said() == [{"who": "Mara", "says": "Hello."}]
    assert said(prompt="Closer.") == [{"who": "Mara", "says": "Hello."}]
    assert said(dialogue=["Mara: Bye."]) == [{"who": "Mara", "says": "Bye."}]
    assert said(dialogue=[]) == said(dialogue=None) == []
    with pytest.raises(ScriptError, match="shot 1 of the answer: dialogue must be a list"):
        said(dialogue=5)


def test_the_persons_of_an_answer_in_mementos_form_are_kept():
    data = {**json.loads(speaking()), "reconstruct_target": "[Mara] a girl", "mood": "dark"}
    written = read_answer(json.dumps(data), WISH)
    assert written.story.reconstruct == load_story(written.text).reconstruct == "[Mara] a girl"
    assert written.left_out == ("left out of the answer: 'mood'",)
    nobody = read_answer(json.dumps({**data, "reconstruct_target": "a girl"}), WISH)
    assert nobody.story.reconstruct == ""
    assert "'reconstruct_target'" in nobody.left_out[0]
