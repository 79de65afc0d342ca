"""Write Story in the real host: with pasted answers, a fake language model, and Generate Text."""

from __future__ import annotations

import asyncio
import json

import pytest

from helpers.writer import LOOK, PROMPTS, Writer, script_of

pytestmark = pytest.mark.usefixtures("fresh")


class Encoder:
    """A text encoder of the host that cannot write: it has ``generate``, and nothing below it."""

    def tokenize(self, text, **_):
        return text

    def generate(self, tokens, **_):
        raise AttributeError("'UMT5XXlModel' object has no attribute 'generate'")


def graph(answer="", clip=None, clips=None, **values) -> dict:
    inputs = {
        "idea": "A lamp is found.", "shots": 2, "minutes": 0.0, "style": "",
        "cast": f"Mara: {LOOK}", "language": "english", "dialogue": False, "seed": 5,
        "answer": answer, **values,
    }  # fmt: skip
    prompt = {
        "1": {"class_type": "StoryMemWriteStory", "inputs": inputs},
        "3": {"class_type": "StoryMemTestRecord", "inputs": {"value": ["1", 2], "key": "request"}},
    }
    for number, slot, key in (("2", 1, "script"), ("4", 0, "story")):
        inputs_of = {"value": ["1", slot], "key": key}
        prompt[number] = {"class_type": "StoryMemTestRecord", "inputs": inputs_of}
    if clip is not None:
        clips["writer"] = clip
        prompt["9"] = {"class_type": "StoryMemTestClip", "inputs": {"name": "writer"}}
        inputs["clip"] = ["9", 3]
    return prompt


def only_request(prompt: dict) -> dict:
    return {key: prompt[key] for key in ("1", "3")}


def test_without_model_and_answer_there_is_the_request(host):
    host.run(only_request(graph()), extra_data={"client_id": "test"})
    assert "A lamp is found." in host.recorded["request"]
    assert host.ui("1")["text"][0] == host.recorded["request"]


def test_a_story_that_is_not_written_yet_stops_what_needs_it_and_says_what_to_do(host):
    host.recorded.clear()
    host.run(graph(), extra_data={"client_id": "test"})
    assert list(host.recorded) == ["request"]
    errors = [data for event, data in host.messages if event == "execution_error"]
    assert "copy the request output" in errors[-1]["exception_message"]


def test_a_pasted_answer_becomes_a_story_and_a_script_that_load_story_takes(host):
    prompt = graph(f"Sure!\n```json\n{script_of()}\n```\nEnjoy!")
    prompt["5"] = {
        "class_type": "StoryMemLoadStory",
        "inputs": {"script": ["1", 1], "file": "none", "character": ""},
    }
    prompt["6"] = {"class_type": "StoryMemTestRecord", "inputs": {"value": ["5", 0], "key": "read"}}
    host.run(prompt)
    story, read = host.recorded["story"], host.recorded["read"]
    assert [shot.prompt for shot in story.shots] == list(PROMPTS)
    assert story.shots == read.shots
    assert story.shots[0].remember[0].weight == 3
    assert story.warnings == ()


def test_a_bad_answer_is_told_on_the_node(host):
    with pytest.raises(Exception, match=r"answer holds no script: .*not valid JSON"):
        host.run(graph(script_of()[:80]))


def test_a_language_model_is_asked_again_with_what_is_wrong(host, clips):
    writer = Writer(script_of()[:90], f"```json\n{script_of(1)}\n```", script_of())
    host.run(graph(clip=writer, clips=clips))
    assert len(host.recorded["story"].shots) == 2
    assert [sampling["seed"] for sampling in writer.sampled] == [5, 6, 7]
    assert writer.sampled[0]["max_length"] == 1440
    assert writer.options["skip_template"] is False
    assert "2 are wanted" in writer.asked[2]


def test_answers_that_are_no_script_are_kept_in_the_output_folder(host, clips):
    with pytest.raises(Exception, match=r"kept in output/storymem_answers/answer_\w{12}\.txt"):
        host.run(graph(clip=Writer("{", "{", '{"scenes": "the last"}'), clips=clips))
    (kept,) = (host.base / "output" / "storymem_answers").glob("answer_*.txt")
    assert kept.read_text(encoding="utf-8") == '{"scenes": "the last"}'


@pytest.mark.parametrize("encoder", [Encoder(), object()], ids=["cannot", "too old"])
def test_an_encoder_that_cannot_write_is_told(host, clips, encoder):
    with pytest.raises(Exception, match="connect a language model, such as Gemma"):
        host.run(graph(clip=encoder, clips=clips))


def test_the_host_s_own_generate_text_feeds_the_answer(host, clips):
    import nodes

    if "TextGenerate" not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this ComfyUI has no Generate Text")
    writer = Writer(f"Here it is:\n{script_of()}")
    prompt = graph(clip=writer, clips=clips)
    del prompt["1"]["inputs"]["clip"]
    prompt["1"]["inputs"]["answer"] = ["8", 0]
    prompt["7"] = {
        "class_type": "StoryMemWriteStory",
        "inputs": {**graph()["1"]["inputs"]},
    }
    prompt["8"] = {
        "class_type": "TextGenerate",
        "inputs": {
            "clip": ["9", 3], "prompt": ["7", 2], "max_length": 2000, "sampling_mode": "off",
            "thinking": False,
        },
    }  # fmt: skip
    host.run(prompt)
    assert len(host.recorded["story"].shots) == 2
    assert "A lamp is found." in writer.asked[0]


def test_what_a_pasted_answer_makes_is_known_before_a_run_and_what_a_model_writes_is_not(host):
    from comfy_execution.graph import DynamicPrompt

    known = host.pack("nodes.loop.known_values")
    for answer in (script_of(), ""):
        node = graph(answer)["1"]
        prompt = DynamicPrompt({"1": node})
        values = known.KnownValues(prompt)
        if answer:
            story, script, request = (asyncio.run(values.value(["1", slot])) for slot in range(3))
            assert [shot.prompt for shot in story.shots] == list(PROMPTS)
            assert json.loads(script)["story_name"] == "Lamp"
            assert "exactly 2 shots" in request
        else:
            with pytest.raises(known.NotKnownError):
                asyncio.run(values.value(["1", 0]))
