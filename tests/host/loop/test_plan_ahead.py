"""What is said before a run is what the run then does: asked, then queued, change by change."""

from __future__ import annotations

import copy
import json
import logging
import os
import random
import shutil
import threading

import pytest
import torch
from PIL import Image

from helpers.loop_graphs import edited, loop_graph, ran, renamed, story
from helpers.plan_ahead import ask_plan, checker, forget_all
from helpers.record_files import body_of

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture
def check(host, log, caplog):
    return checker(host, log, caplog)


def with_bank(graph: dict, host, *, picture="ref.png", **inputs) -> dict:
    """The graph with a Memory Bank made of a picture in the input folder."""
    graph["picture"] = {"class_type": "LoadImage", "inputs": {"image": picture}}
    values = {"images": ["picture", 0], "max_frames": 10, "sink": 3, "pin_references": True}
    graph["memory"] = {"class_type": "StoryMemMemoryBank", "inputs": {**values, **inputs}}
    graph["open"]["inputs"]["bank"] = ["memory", 0]
    return graph


def draw(host, name: str, colour: str, size=(32, 16)) -> None:
    path = host.base / "input" / name
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_a_new_story_then_a_finished_one(check, log):
    graph = loop_graph(story(3), log)
    first = check(graph)
    assert first.of("make") == first.made == [1, 2, 3]
    assert {shot["why"] for shot in first.answer["shots"]} == {"new"}
    assert 0 < first.answer["disk"]["needed"] < 2**20 < first.answer["disk"]["free"]
    assert first.answer["loop"] == {"open": "open", "close": "close"}
    again = check(graph)
    assert (again.of("finished"), again.made) == ([1, 2, 3], [])
    assert again.answer["summary"] == "nothing to make, 3 shots finished"
    assert again.answer["disk"] is None


def test_an_edited_prompt_and_the_shots_that_depend_on_it(check, log):
    check(loop_graph(story(4), log))
    said = check(loop_graph(edited(4, 2), log))
    first = said.shot(1)
    assert first["took"] >= 0
    assert first["video"]["subfolder"].startswith(".storymem/shots/")
    told = {name: value for name, value in first.items() if name not in ("took", "video")}
    assert told == {
        "number": 1, "label": "01_01", "words": "shot number 1", "state": "finished", "why": "",
        "elsewhere": False,
    }  # fmt: skip
    assert said.shot(2)["state"] == "make"
    assert said.shot(2)["why"] == "again"
    (reason,) = said.shot(2)["reasons"]
    assert reason == "its prompt changed from 'shot number 2' to 'shot number 2, edited'"
    assert [(said.shot(n)["state"], said.shot(n)["on"]) for n in (3, 4)] == [("depends", 2)] * 2
    assert said.answer["changes"] == [{"shots": [2], "reasons": [reason], "edited": True}]
    assert said.answer["summary"] == (
        "1 shot to make, 2 shots that depend on shot 2, 1 shot finished"
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"body": {"seed": 8}}, "seed of 'StoryMemTestBody' changed from 7 to 8"),
        ({"body": {"seed": 8.0}}, "seed of 'StoryMemTestBody' changed from 7 to 8"),  # host: an int
        ({"body": {"width": 96}}, "width of 'StoryMemTestBody' changed from 64 to 96"),
        ({"body": {"log": "@log"}}, None),
        ({"opened": {"negative": "fog"}}, "its negative prompt changed from '' to 'fog'"),
        ({"opened": {"continuity": "last_frame"}}, "how it begins changed"),
        ({"opened": {"filename_prefix": "elsewhere"}}, ""),
        ({"closed": {"fps": 24.0, "crf": 30, "transition": "cross_fade"}}, ""),
    ],
)
def test_widgets(check, log, change, told):
    check(loop_graph(story(3), log))
    graph = loop_graph(story(3), log, **change)
    if told is None:  # a text of the body that is another one
        graph["body"]["inputs"]["log"] = str(log)
        graph["body"]["inputs"]["fail_on"] = "never"
        told = "fail_on of 'StoryMemTestBody' changed from '' to 'never'"
    said = check(graph)
    if told:
        assert any(told in one["reasons"][0] for one in said.answer["changes"])
    else:
        assert said.answer["changes"] == []


@pytest.mark.parametrize(
    "opened",
    [
        {"start_shot": 3},
        {"end_shot": 2},
        {"preview": True},
        {"redo_shots": "2"},
        {"redo_shots": "2-3", "redo_take": 2},
        {"redo_shots": "2", "after_redo": "keep_later"},
        {"redo_shots": "9"},
        {"start_shot": 9},
    ],
)
@pytest.mark.parametrize("is_edited", [False, True])
def test_what_shot_loop_open_asks_for(host, check, log, opened, is_edited):
    check(loop_graph(story(4), log))
    script = edited(4, 1) if is_edited else story(4)
    graph = loop_graph(script, log, opened=opened)
    if "9" in map(str, opened.values()):
        wrong = ask_plan(host, graph)
        with pytest.raises(RuntimeError) as told:
            host.run(graph)
        assert wrong["error"] == str(told.value).removeprefix("ValueError: ")
        return
    said = check(graph)
    if opened.get("redo_shots", "").startswith("2") and not is_edited:
        assert (said.shot(2)["state"], said.shot(2)["why"]) == ("make", "redo")
        assert said.shot(4)["state"] == ("finished" if "after_redo" in opened else "depends")
    if "end_shot" in opened:
        assert said.of("left out") == [3, 4]
    if "start_shot" in opened and is_edited:
        assert said.of("left out") == [1]
    if opened.get("after_redo") and not is_edited:
        assert said.shot(3)["why"] == "kept: only shots before it changed"


def test_locks_moves_insertions_and_titles(check, log):
    prompts = [f"shot number {i + 1}" for i in range(4)]
    cuts = [True] * 4
    check(loop_graph(story(prompts=prompts, cuts=cuts), log))
    locked = check(
        loop_graph(story(prompts=["another", *prompts[1:]], cuts=cuts, lock=[1] + [0] * 3), log)
    )
    assert locked.shot(1)["state"] in ("finished", "make")
    moved = [prompts[1], prompts[0], *prompts[2:]]
    check(loop_graph(story(prompts=moved, cuts=cuts), log))
    check(loop_graph(story(prompts=[*prompts[:2], "put in", *prompts[2:]], cuts=[True] * 5), log))
    check(loop_graph(story(prompts=prompts[:2], cuts=cuts[:2]), log))
    titled = check(loop_graph(story(prompts=prompts, cuts=cuts, name="Another"), log))
    assert titled.of("make") == [1, 2, 3, 4]


def test_locked_shots_stay_and_their_warning_comes_first(check, host, log):
    def locked(texts):
        script = json.loads(story(prompts=texts))
        script["scenes"][0]["lock"] = [False, True, False]
        return json.dumps(script)

    prompts = ["one", "two", "three"]
    draw(host, "ref.png", "red")
    check(with_bank(loop_graph(locked(prompts), log), host))
    said = check(with_bank(loop_graph(locked(["other", "two", "three"]), log), host))
    assert (said.shot(2)["state"], said.shot(2)["why"]) == ("finished", "locked")
    assert any("locked" in line for line in said.answer["warnings"])
    missing = check(with_bank(loop_graph(locked(["other", "2", "3"]), log), host))
    assert any("although its prompt has changed" in line for line in missing.answer["warnings"])


def test_takes_that_the_script_names(check, host, log):
    def chosen(name, prompts):
        script = json.loads(story(prompts=prompts))
        script["scenes"][0]["use_take"] = [None, name, None]
        return loop_graph(json.dumps(script), log)

    prompts = ["one", "two", "three"]
    check(loop_graph(story(prompts=prompts), log))
    records = (host.base / "output").glob(".storymem/shots/*/*/record.json")
    (key,) = [path.parent.name for path in records if body_of(path.parent)["facts"]["shot"] == 1]
    check(loop_graph(story(prompts=["one", "another", "three"]), log))
    said = check(chosen(key[:16], ["one", "another", "three"]))
    assert (said.shot(2)["state"], said.shot(2)["why"]) == ("finished", "chosen")
    said = check(chosen(key[:16], ["other", "another", "three"]))
    assert said.of("finished")[0] == 2
    said = check(chosen("0123456789abcdef", prompts))
    assert any("take 0123456789abcdef" in line for line in said.answer["warnings"])


def test_the_memory_bank_and_its_pictures(check, host, log):
    draw(host, "ref.png", "red")
    draw(host, "other.png", "blue")
    check(with_bank(loop_graph(story(3), log), host))
    same = check(with_bank(loop_graph(story(3), log), host, max_frames=6))
    assert same.made == []
    fewer = check(with_bank(loop_graph(story(3), log), host, max_frames=1, sink=0))
    assert fewer.answer["changes"][0]["reasons"][0].startswith("max_frames of the memory bank")
    other = check(with_bank(loop_graph(story(3), log), host, picture="other.png"))
    because = other.answer["changes"][0]["reasons"]
    assert "the reference pictures of the memory bank changed" in because
    draw(host, "other.png", "green")
    assert check(with_bank(loop_graph(story(3), log), host, picture="other.png")).of("make")
    added = json.dumps({"images": ["ref.png"]})
    assert check(with_bank(loop_graph(story(3), log), host, edits=added)).of("make")
    graph = with_bank(loop_graph(story(3), log), host)
    graph["small"] = {
        "class_type": "ImageScale",
        "inputs": {
            "image": ["picture", 0], "width": 16, "height": 16, "crop": "disabled",
            "upscale_method": "bicubic",
        },
    }  # fmt: skip
    graph["memory"]["inputs"]["images_2"] = ["small", 0]
    assert check(graph).of("make")
    graph["edit"] = {
        "class_type": "StoryMemEditMemoryBank",
        "inputs": {"bank": ["memory", 0], "pin": "", "unpin": "", "forget": "1", "restore": ""},
    }
    graph["open"]["inputs"]["bank"] = ["edit", 0]
    assert check(graph).of("make")


def test_a_bank_from_a_folder(check, host, log):
    draw(host, "people/a.png", "red")
    graph = loop_graph(story(2), log, opened={"bank": ["memory", 0]})
    graph["memory"] = {
        "class_type": "StoryMemLoadMemoryBank",
        "inputs": {"folder": "people", "skip_damaged": False},
    }
    check(graph)
    assert check(graph).made == []
    draw(host, "people/b.png", "blue")
    assert check(graph).of("make")[0] == 1


def test_references_and_start_images(check, host, log):
    draw(host, "mara.png", "red")
    for label, colour in (("01_01", "white"), ("01_02", "black"), ("01_03", "gray")):
        draw(host, f"keys/shot_{label}.png", colour, (64, 48))
    script = json.loads(story(3))
    script["scenes"][0]["reference_images"] = [["mara.png"], [], []]
    referred = json.dumps(script)
    check(loop_graph(referred, log))
    draw(host, "mara.png", "blue")
    said = check(loop_graph(referred, log))
    assert said.shot(1)["reasons"] == ["its reference images or its start image changed"]
    graph = loop_graph(referred, log, opened={"start_images": ["keys", 0]})
    inputs = {"story": ["story", 0], "folder": "keys"}
    graph["keys"] = {"class_type": "StoryMemLoadStartImages", "inputs": inputs}
    assert check(graph).of("make") == [1, 2, 3]
    draw(host, "keys/shot_01_02.png", "orange", (64, 48))
    said = check(graph)
    assert said.of("finished")[0] == 1
    draw(host, "keys/shot_01_02.png", "orange", (32, 48))
    wrong = ask_plan(host, graph)
    with pytest.raises(RuntimeError) as told:
        host.run(graph)
    assert wrong["error"] in str(told.value)
    (host.base / "input" / "mara.png").unlink()
    assert "which is not in the input folder" in ask_plan(host, loop_graph(referred, log))["error"]


def test_records_that_are_lost_or_damaged(check, host, log):
    check(loop_graph(story(3), log))
    records = sorted((host.base / "output").glob(".storymem/shots/*/*"))
    facts = {json.loads(json.loads((r / "record.json").read_text())["record"])["facts"]["shot"]: r
             for r in records}  # fmt: skip
    (facts[1] / "shot.mp4").unlink()
    said = check(loop_graph(story(3), log))
    assert said.shot(2)["state"] == "make"
    assert said.shot(2)["why"] == "lost"
    (facts[2] / "tail_0.png").write_bytes(b"no picture")
    assert check(loop_graph(story(3), log)).of("make")[-1] == 3


def test_an_edited_file_of_a_shot(check, host, log):
    graph = loop_graph(story(3), log)
    check(graph)
    folder = host.base / "output" / "loop" / "Tale"
    shutil.copy(folder / "shot_01_03.mp4", folder / "shot_01_01.mp4")
    later = (folder / "story.json").stat().st_mtime + 10
    os.utime(folder / "shot_01_01.mp4", (later, later))
    said = check(graph)
    assert said.of("make") == [2]
    assert check(graph).made == []


def with_portrait(clips, log, script=None, **inputs) -> dict:
    """The graph with a Memory Bank of a picture that a node of nobody's makes."""
    clips["portrait"] = torch.rand(1, 16, 32, 3)
    graph = loop_graph(script or story(3), log, opened={"bank": ["memory", 0]})
    graph["paint"] = {
        "class_type": "StoryMemTestClip",
        "inputs": {"name": "portrait"},
        "_meta": {"title": "Portrait"},
    }
    values = {"images": ["paint", 0], "max_frames": 10, "sink": 3, "pin_references": True}
    graph["memory"] = {"class_type": "StoryMemMemoryBank", "inputs": {**values, **inputs}}
    return graph


def test_what_only_a_run_can_tell_is_taken_from_the_host_where_it_has_it(check, host, log, clips):
    graph = with_portrait(clips, log)
    answer = ask_plan(host, graph)
    assert answer["unknown"] == [
        {"node": "paint", "name": "'Portrait' (node paint)", "why": "computed", "input": "bank"}
    ]
    assert [shot["state"] for shot in answer["shots"]] == ["unknown"] * 3
    assert (answer["error"], answer["summary"], answer["changes"]) == ("", "", [])
    host.run(graph)
    assert ran(log) == [1, 2, 3]
    graph["memory"]["inputs"]["sink"] = 2
    assert check(graph).of("finished") == [1, 2, 3]  # the host still has the portrait
    graph["memory"]["inputs"]["edits"] = json.dumps({"names": {"0" * 12: "Mara"}})
    assert check(graph).made == []
    forget_all(host)
    assert ask_plan(host, graph)["unknown"]


def test_what_is_certain_whatever_the_memory_is(host, log, clips):
    script = json.loads(story(3))
    script["scenes"][0]["lock"] = [True, False, False]
    graph = with_portrait(clips, log, json.dumps(script))
    host.run(graph)
    forget_all(host)
    states = [shot["state"] for shot in ask_plan(host, graph)["shots"]]
    assert states == ["finished", "unknown", "unknown"]
    graph["open"]["inputs"]["start_shot"] = 3
    shots = ask_plan(host, graph)["shots"]
    assert [shot["state"] for shot in shots] == ["finished", "finished", "unknown"]
    graph["open"]["inputs"] |= {"start_shot": 1, "after_redo": "keep_later"}
    assert [s["state"] for s in ask_plan(host, graph)["shots"]] == ["finished"] * 3
    del graph["memory"]["inputs"]["images"]
    graph["memory"]["inputs"]["policy"] = "relevant"
    (unknown,) = ask_plan(host, graph)["unknown"]
    assert (unknown["node"], unknown["why"]) == ("memory", "relevant")


def test_a_story_that_another_node_makes(host, log):
    graph = loop_graph("", log)
    pattern = {"string": story(2), "regex_pattern": "x{9}", "replace": "y"}
    graph["writer"] = {"class_type": "RegexReplace", "inputs": pattern}
    graph["story"]["inputs"]["script"] = ["writer", 0]
    answer = ask_plan(host, graph)
    assert answer["unknown"][0]["node"] == "writer"
    assert answer["shots"] == []
    graph["writer"] = {"class_type": "PrimitiveStringMultiline", "inputs": {"value": story(2)}}
    assert len(ask_plan(host, graph)["shots"]) == 2


def test_a_loop_in_a_subgraph_and_beside_another(check, host, log):
    inside = {"story": "9:1", "open": "9:12:2", "body": "9:12:3", "close": "9:12:4"}
    graph = loop_graph(story(2), log)
    moved = {inside.get(name, name): node for name, node in graph.items()}
    for node in moved.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][name] = [inside[value[0]], value[1]]
    moved |= renamed(loop_graph(story(3, name="Other"), log, prefix="beside"), "_x")
    assert check(moved, node="9:12:2", others=True).of("make") == [1, 2]
    both = check(moved, node="open_x", others=True)
    assert both.of("finished") == [1, 2, 3]
    assert ask_plan(host, moved, "9:12:4")["loop"] == {"open": "9:12:2", "close": "9:12:4"}


def test_an_answer_for_what_is_no_prompt(host, log):
    graph = loop_graph(story(2), log)

    def changed(**nodes):
        return {**copy.deepcopy(graph), **nodes}

    broken = [
        None, [], {}, "x", {"open": 1}, {"open": {"class_type": "X"}}, {"open": {"inputs": {}}},
        changed(open={"class_type": "NoSuchNode", "inputs": {}}),
        changed(open={"class_type": "StoryMemShotLoopOpen", "inputs": {"story": ["gone", 0]}}),
        changed(body={"class_type": "StoryMemTestBody", "inputs": {"shot": ["open", 1]}}),
        {k: v for k, v in graph.items() if k != "close"},
        changed(story={"class_type": "StoryMemLoadStory",
                       "inputs": {"script": ["story", 0], "file": "none"}}),
        changed(story={"class_type": "StoryMemLoadStory",
                       "inputs": {"script": "", "file": "none"}}),
        changed(story={"class_type": "StoryMemLoadStory",
                       "inputs": {"script": "x", "file": "../secret.txt"}}),
        changed(open={"class_type": "StoryMemShotLoopOpen",
                      "inputs": {**graph["open"]["inputs"], "start_shot": "many"}}),
        changed(open={"class_type": "StoryMemShotLoopOpen",
                      "inputs": {**graph["open"]["inputs"], "start_shot": ["story", 77]}}),
    ]  # fmt: skip
    for prompt in broken:
        answer = ask_plan(host, prompt) if isinstance(prompt, dict) else None
        answer = answer or host.pack("nodes.loop.plan_ahead").look_ahead(prompt, "open")
        assert is_told(answer), prompt
        assert not answer["shots"]
    assert ask_plan(host, graph)["runs"] is True
    assert ask_plan(host, graph, node="nowhere")["runs"] is False
    assert host.pack("nodes.loop.plan_ahead").look_ahead(graph, None)["runs"] is False


def is_told(answer: dict) -> bool:
    """Whether an answer says why there are no shots."""
    return bool(answer["error"] or answer["failed"] or answer["unknown"] or not answer["runs"])


def test_no_prompt_breaks_it(host, log):
    """Pieces of a prompt are replaced by anything; there is an answer, and it is for the page."""
    draw(host, "ref.png", "red")
    whole = with_bank(loop_graph(story(2), log), host)
    chance = random.Random(3)
    odd = [
        None, True, -1, 0.5, 10**400, float("nan"), "", "x" * 10_000, [], {}, ["open", 0],
        ["memory", 99], ["gone", 0], ["body", -1], ["close", 0.5], [["open", 0], 0], "\ud800",
        {"class_type": "StoryMemShotLoopClose", "inputs": {"flow": ["open", 0]}},
    ]  # fmt: skip
    seen = set()
    for _ in range(150):
        prompt = copy.deepcopy(whole)
        for _ in range(chance.choice([1, 1, 2])):
            node = prompt[chance.choice(list(prompt))]
            if not isinstance(node, dict) or not isinstance(node.get("inputs"), dict):
                continue
            value = chance.choice(odd)
            if chance.random() < 0.75:
                node["inputs"][chance.choice([*node["inputs"], "more"])] = value
            elif chance.random() < 0.5:
                node[chance.choice(["inputs", "class_type", "_meta"])] = value
            else:
                prompt[chance.choice(list(prompt))] = value
        answer = host.pack("nodes.loop.plan_ahead").look_ahead(prompt, "open")
        json.dumps(answer).encode()
        seen.add(bool(answer["error"]))
        assert answer["shots"] or is_told(answer)
    assert seen == {True, False}


def test_what_others_log_meanwhile_is_logged(host, caplog):
    hush = host.pack("nodes.host.hush")
    logger = logging.getLogger(f"{hush.PACK}.storymem.loop.shots")
    with caplog.at_level(logging.INFO), hush.hushed() as heard:
        logger.warning("kept back")
        logger.info("not even kept")
        other = threading.Thread(target=logger.warning, args=("of a run",))
        other.start()
        other.join()
    logger.warning("afterwards")
    assert heard == ["kept back"]
    assert [record.getMessage() for record in caplog.records] == ["of a run", "afterwards"]
