"""The artist's clicks on the memory, from the Memory Bank node through the shot loop."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from helpers.fakes import noise_image
from helpers.loop_graphs import edited, lines_of, loop_graph, ran, story
from helpers.m2v_helpers import M2V

COUNT = 6
CLIENT = {"client_id": "test"}  # somebody looks on


@pytest.fixture(autouse=True)
def fresh(host):
    for name in ("output", "input"):
        shutil.rmtree(host.base / name, ignore_errors=True)
        (host.base / name).mkdir()
    host.restart()


def memory(edits="", **inputs) -> dict:
    """A Memory Bank with room for four frames, of which the first stays."""
    edits = edits if isinstance(edits, str) else json.dumps(edits)
    values = {"max_frames": 4, "sink": 1, "pin_references": True, "edits": edits, **inputs}
    return {"class_type": "StoryMemMemoryBank", "inputs": values}


def graph(log, edits="", script=None, **inputs) -> dict:
    made = loop_graph(script or story(COUNT), log, opened={"bank": ["memory", 0]})
    return {**made, "memory": memory(edits, **inputs)}


def frame_of(bank, shot):
    return next(f for f in (*bank.frames, *bank.dropped) if f.shot == shot - 1)


def show(host, edits) -> object:
    record = {"class_type": "StoryMemTestRecord", "inputs": {"value": ["memory", 0], "key": "bank"}}
    return host.run({"memory": memory(edits), "record": record})["bank"]


@pytest.mark.parametrize("cache", ["ram", "classic"])
def test_a_click_makes_exactly_the_shots_that_it_can_affect(host, log, cache):
    host.restart(cache)
    plain = host.run(graph(log))
    assert ran(log) == [1, 2, 3, 4, 5, 6]
    pin = {"pin": [frame_of(plain["bank"], 2).digest[:12]]}
    pinned = host.run(graph(log, pin))
    assert ran(log) == [6]  # shots 3 to 5 see the second shot's frame anyway
    assert [f.pinned for f in pinned["bank"].frames] == [False, True] + [False] * 4
    assert frame_of(pinned["bank"], 6).digest != frame_of(plain["bank"], 6).digest
    assert frame_of(pinned["bank"], 5).digest == frame_of(plain["bank"], 5).digest
    drop = {**pin, "drop": [frame_of(plain["bank"], 3).digest]}
    dropped = host.run(graph(log, drop))
    assert ran(log) == [4, 5, 6]
    gone = frame_of(dropped["bank"], 3)
    assert [f.digest for f in dropped["bank"].dropped] == [gone.digest]
    assert gone.why == "dropped by hand"
    saved = host.pack("storymem.memory.bank_folder").load_bank(Path(dropped["folder"]) / "bank")
    assert [f.digest for f in saved.frames] == [f.digest for f in dropped["bank"].frames]
    assert [(f.digest, f.edited) for f in saved.dropped] == [(gone.digest, "drop")]
    for edits, expected in ((drop, dropped), (pin, pinned), ("", plain)):
        for _ in range(2):  # within the session, and after a restart
            out = host.run(graph(log, edits))
            assert ran(log) == []
            assert [(f.digest, f.pinned) for f in out["bank"].frames] == [
                (f.digest, f.pinned) for f in expected["bank"].frames
            ]
            host.restart(cache)


def test_clicks_made_before_a_story_give_what_clicks_after_it_give(host, log):
    plain = host.run(graph(log))["bank"]
    edits = {"pin": [frame_of(plain, 2).digest], "drop": [frame_of(plain, 3).digest]}
    after = host.run(graph(log, edits))
    lines_of(log)
    shutil.rmtree(host.base / "output")
    (host.base / "output").mkdir()
    host.restart()
    fresh = host.run(graph(log, edits))
    assert ran(log) == [1, 2, 3, 4, 5, 6]
    assert [f.digest for f in fresh["bank"].frames] == [f.digest for f in after["bank"].frames]


@pytest.mark.parametrize("cache", ["ram", "classic", "lru", "none"])
def test_a_shot_that_was_lost_is_made_alone_though_later_keys_were_not_known(host, log, cache):
    host.restart(cache)
    plain = host.run(graph(log))["bank"]
    edits = {"drop": [frame_of(plain, 1).digest]}
    outside = {"class_type": "StoryMemTestCounter", "inputs": {"name": "load", "log": str(log)}}
    made = {**graph(log, edits), "outside": outside}
    made["body"]["inputs"]["outside"] = ["outside", 0]
    before = host.run(made)
    assert lines_of(log).count("ran load") == 1
    manifest = json.loads((Path(before["folder"]) / "story.json").read_text())
    for lost in ("01_03", "01_05"):
        key = manifest["shots"][lost]["key"]
        shutil.rmtree(next((host.base / "output" / ".storymem" / "shots").glob(f"*/{key}")))
    host.restart(cache)
    after = host.run(made)
    lines = lines_of(log)
    assert [line.split()[1] for line in lines if line.startswith("end")] == ["3", "5"]
    assert lines.count("ran load") == 1
    assert [f.digest for f in after["bank"].frames] == [f.digest for f in before["bank"].frames]


def test_a_run_that_stops_in_the_middle_goes_on_there(host, log):
    plain = host.run(graph(log))["bank"]
    ran(log)
    edits = {"drop": [frame_of(plain, 1).digest]}
    switch = log.with_name("switch")
    broken = graph(log, edits)
    broken["body"]["inputs"]["fail_on"] = f"@{switch}"
    host.run({**graph(log), "body": broken["body"]})
    assert ran(log) == [1, 2, 3, 4, 5, 6]  # another body
    switch.write_text("number 4")
    with pytest.raises(RuntimeError, match="stopped in shot 4"):
        host.run(broken)
    assert ran(log) == [2, 3]
    switch.unlink()
    host.restart()
    host.run(broken)
    assert ran(log) == [4, 5, 6]
    host.run(broken)
    assert ran(log) == []


def test_more_pins_than_places_is_told_before_anything_runs(host, log):
    plain = host.run(graph(log))["bank"]
    ran(log)
    pins = {"pin": [f.digest for f in plain.frames[:5]]}
    with pytest.raises(RuntimeError, match="5 frames are pinned but only max_frames = 4"):
        host.run(graph(log, pins))
    assert lines_of(log) == []


@pytest.mark.http
@pytest.mark.slow
def test_a_server_that_is_killed_goes_on_with_the_same_records(start_server, tmp_path):
    log, base = tmp_path / "log", tmp_path / "base0"
    server = start_server("--disable-api-nodes")
    body = {"seconds": 0.3}

    def clicked(edits):
        return {**(made := graph(log, edits)), "body": {**made["body"], "inputs": {
            **made["body"]["inputs"], **body}}}  # fmt: skip

    server.run(clicked(""))
    store = base / "output" / ".storymem" / "shots"
    first = {path.name for path in store.glob("*/*")}
    saved = json.loads((base / "output" / "loop" / "Tale" / "bank" / "bank.json").read_text())
    edits = {"drop": [saved["frames"][1]["sha256"]]}
    lines_of(log)
    server.queue(clicked(edits))
    server.wait_until(lambda: log.exists() and "end 4" in log.read_text())
    server.kill()
    finished = len({path.name for path in store.glob("*/*")} - first)  # of shots 3, 4, 5 and 6
    assert finished >= 1
    lines_of(log)
    server.start()
    server.run(clicked(edits))
    assert ran(log) == [3, 4, 5, 6][finished:]
    server.run(clicked(""))
    assert ran(log) == []


# --- the node --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ("{", "not valid JSON"),
        ({"pin": ["zz"]}, "hexadecimal digits"),
        ({"images": ["nobody.png"]}, "not in the input folder"),
        ({"images": ["../outside.png"]}, "not in the input folder"),
        ({"images": ["/etc/hostname"]}, "not in the input folder"),
        ({"images": ["link.png"]}, "not in the input folder"),
    ],
)
def test_wrong_edits_are_told_before_anything_runs(host, edits, words):
    Image.new("RGB", (8, 8)).save(host.base / "outside.png")
    (host.base / "input" / "link.png").symlink_to(host.base / "outside.png")
    with pytest.raises(RuntimeError, match=words):
        show(host, edits)


def test_pictures_that_were_dragged_in_are_references_after_the_others(host):
    for i, name in enumerate(("b.png", "a.jpg")):
        Image.new("RGB", (8 + i, 8), (9, 9, 9)).save(host.base / "input" / name)
    bank = show(host, {"images": ["b.png", "a.jpg"]})
    assert [(f.shot, f.frame, f.name, f.pinned) for f in bank.frames] == [
        (-1, 0, "b.png", True), (-1, 1, "a.jpg", True),
    ]  # fmt: skip
    Image.new("RGB", (8, 8), (200, 0, 0)).save(host.base / "input" / "b.png")
    changed = show(host, {"images": ["b.png", "a.jpg"]})
    assert changed.frames[0].digest != bank.frames[0].digest  # not the host's old result
    (host.base / "input" / "b.png").unlink()
    with pytest.raises(RuntimeError, match=r"'b.png', which is not in the input folder"):
        show(host, {"images": ["b.png", "a.jpg"]})


def test_a_picture_that_was_dragged_in_makes_every_shot(host, log):
    Image.new("RGB", (8, 8), (9, 9, 9)).save(host.base / "input" / "hero.png")
    host.run(graph(log))
    ran(log)
    host.run(graph(log, {"images": ["hero.png"]}))
    assert ran(log) == [1, 2, 3, 4, 5, 6]
    host.run(graph(log))
    assert ran(log) == []


def test_the_model_gets_another_memory_after_a_click(host):
    pictures = [noise_image(i, 48, 64) for i in range(3)]
    for i, picture in enumerate(pictures):
        Image.fromarray(picture.numpy()).save(host.base / "input" / f"{i}.png")
    images = {"images": ["0.png", "1.png", "2.png"]}
    bank = show(host, images)
    m2v = M2V(host)
    whole = m2v.condition(bank=bank)
    without = m2v.condition(bank=show(host, {**images, "drop": [bank.frames[1].digest]}))
    again = m2v.condition(bank=show(host, images))
    assert (whole[4], without[4], again[4]) == (3, 2, 3)

    def latents(conditioned):
        return conditioned[0][0][1]["concat_latent_image"]

    assert torch.equal(latents(whole)[:, :, [0, 2]], latents(without)[:, :, :2])
    assert torch.equal(latents(whole), latents(again))


# --- progress --------------------------------------------------------------------------------


@pytest.fixture
def page(host, monkeypatch):
    """What the page is told of a story, in order."""
    server = SimpleNamespace(PromptServer=SimpleNamespace(instance=host))
    monkeypatch.setitem(sys.modules, "server", server)

    def told() -> list[dict]:
        return [data for event, data in host.messages if event == "storymem.progress"]

    return told


def test_the_page_is_told_which_shot_decides_about_another(host, log, page):
    host.run(loop_graph(story(4), log))
    host.run(loop_graph(edited(4, 2), log), extra_data=CLIENT)
    first, *_ = page()
    assert list(first["states"].values()) == ["done", "running", "depends 2", "depends 2"]
    third = next(list(e["states"].values()) for e in page() if e["position"] == 3)
    assert third == ["done", "done", "running", "depends 3"]


def test_the_page_is_told_how_far_the_story_is(host, log, page):
    host.run(loop_graph(story(3), log), extra_data=CLIENT, prompt_id="the prompt")
    assert {event["prompt_id"] for event in page()} == {"the prompt"}
    steps = [(e["state"], e["position"], e["finished"], e["states"]) for e in page()]
    states = [(state, place, finished) for state, place, finished, _ in steps]
    assert states == [
        ("started", 1, 0), ("shot", 1, 0), ("finished", 1, 1), ("shot", 2, 1),
        ("finished", 2, 2), ("shot", 3, 2), ("finished", 3, 3), ("done", 3, 3),
    ]  # fmt: skip
    assert [list(shown.values()) for *_, shown in steps] == [
        ["running", "waiting", "waiting"], ["running", "waiting", "waiting"],
        ["done", "waiting", "waiting"], ["done", "running", "waiting"],
        ["done", "done", "waiting"], ["done", "done", "running"],
        ["done", "done", "done"], ["done", "done", "done"],
    ]  # fmt: skip
    first = page()[1]
    assert {name: first[name] for name in ("node", "open", "story", "folder", "shot", "label")} == {
        "node": "close", "open": "open", "story": "Tale", "folder": "loop/Tale",
        "shot": 1, "label": "01_01",
    }  # fmt: skip
    assert (first["of"], first["prompt"], first["message"]) == (3, "shot number 1", "")
    host.run(loop_graph(story(3, lock=[None, True, None]), log), extra_data=CLIENT)
    assert [(e["state"], e["finished"]) for e in page()] == [("started", 3), ("done", 3)]
    assert page()[0]["states"] == {"01_01": "done", "01_02": "locked", "01_03": "done"}


def test_the_page_is_told_where_and_why_a_story_stopped(host, log, page):
    prompts = ["one", "a very long prompt " * 9]
    broken = loop_graph(story(prompts=prompts), log, body={"fail_on": "very long"})
    with pytest.raises(RuntimeError, match="on purpose"):
        host.run(broken, extra_data=CLIENT)
    last = page()[-1]
    assert (last["state"], last["position"], last["finished"]) == ("stopped", 2, 1)
    assert last["states"] == {"01_01": "done", "01_02": "failed"}
    assert "the body broke on purpose" in last["message"]
    assert last["prompt"] == prompts[1][:60]


def test_nobody_is_told_when_nobody_looks_on(host, log, page):
    host.run(loop_graph(story(1), log))
    assert page() == []
