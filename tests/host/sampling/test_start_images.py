"""A start image for each shot, and a loop in which every shot begins with a cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.keyframe_graphs import node, record
from helpers.loop_graphs import lines_of, loop_graph, ran, story

RED, GREEN, BLUE, GREY = 0xFF0000, 0x00FF00, 0x0000FF, 0x808080


pytestmark = pytest.mark.usefixtures("fresh")


def with_pictures(log, colours, script=None, **opened) -> dict:
    """A loop whose shots show nothing but their start image; the test body keeps the log."""
    script = script or story(len(colours))
    graph = loop_graph(script, log, opened={"start_images": ["batch", 0], **opened})
    for i, colour in enumerate(colours):
        graph[f"c{i}"] = node("EmptyImage", width=64, height=48, batch_size=1, color=colour)
    last = "c0"
    for i in range(1, len(colours)):
        graph[f"batch{i}"] = node("ImageBatch", image1=[last, 0], image2=[f"c{i}", 0])
        last = f"batch{i}"
    graph["batch"] = graph.pop(last)
    graph["repeat"] = node("RepeatImageBatch", image=["open", 7], amount=9)
    graph["close"]["inputs"]["frames"] = ["repeat", 0]
    return graph


def colours_of(folder: str, count: int) -> list[list[int]]:
    import av

    found = []
    for i in range(1, count + 1):
        with av.open(str(Path(folder) / f"shot_01_{i:02d}.mp4")) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert len(frames) == 9  # nothing repeats the shot before, so nothing comes off
        found.append(np.stack(frames).reshape(-1, 3).mean(axis=0).round(-1).astype(int).tolist())
    return found


def test_every_shot_begins_with_its_own_picture(host, log):
    out = host.run(with_pictures(log, [RED, GREEN, BLUE]))
    shown = colours_of(out["folder"], 3)
    assert [int(np.argmax(colour)) for colour in shown] == [0, 1, 2]
    # The script goes on without cuts; a shot with a picture of its own begins with one.
    assert lines_of(log)[::2] == ["begin 1 m2v", "begin 2 m2v", "begin 3 m2v"]


def test_only_the_shot_whose_picture_changed_is_made_again(host, log):
    host.run(with_pictures(log, [RED, GREEN, BLUE], after_redo="keep_later"))
    ran(log)
    out = host.run(with_pictures(log, [RED, GREY, BLUE], after_redo="keep_later"))
    assert ran(log) == [2]
    assert max(colours_of(out["folder"], 3)[1]) < 150
    host.run(with_pictures(log, [RED, GREEN, BLUE], after_redo="keep_later"))
    assert ran(log) == []  # that take is still on disk
    host.run(with_pictures(log, [RED, GREY, GREEN]))
    assert ran(log) == [3]  # shot 2 is found again, and what follows it is new


def test_the_script_names_the_pictures_of_its_shots(host, log):
    folder = host.base / "input" / "starts"
    folder.mkdir(exist_ok=True)
    pictures = {"red.png": (250, 0, 0), "green.png": (0, 250, 0), "blue.png": (0, 0, 250)}
    for name, colour in pictures.items():
        Image.new("RGB", (64, 48), colour).save(folder / name)
    names = [f"starts/{name}" for name in pictures]
    script = story(3, start_image=names, cuts=[True, False, False])
    graph = loop_graph(script, log, opened={"after_redo": "keep_later"})
    graph["repeat"] = node("RepeatImageBatch", image=["open", 7], amount=9)
    graph["close"]["inputs"]["frames"] = ["repeat", 0]
    shown = colours_of(host.run(graph)["folder"], 3)
    assert [int(np.argmax(colour)) for colour in shown] == [0, 1, 2]
    assert lines_of(log)[::2] == ["begin 1 m2v", "begin 2 m2v", "begin 3 m2v"]
    ran(log)
    Image.new("RGB", (64, 48), (0, 0, 240)).save(folder / "green.png")  # another one of that name
    shown = colours_of(host.run(graph)["folder"], 3)
    assert ran(log) == [2]
    assert int(np.argmax(shown[1])) == 2
    (folder / "green.png").unlink()
    with pytest.raises(RuntimeError, match=r"shot 2 .* names the start image 'starts/green.png'"):
        host.run(graph)


def test_the_script_has_its_way_where_pictures_are_wired_too(host, log):
    Image.new("RGB", (64, 48), (0, 0, 250)).save(host.base / "input" / "own_start.png")
    script = story(2, start_image=[None, "own_start.png"])
    shown = colours_of(host.run(with_pictures(log, [RED, GREEN], script=script))["folder"], 2)
    assert [int(np.argmax(colour)) for colour in shown] == [0, 2]


def test_a_picture_for_every_shot_or_none(host, log):
    with pytest.raises(
        Exception, match="start_images holds 2 pictures, but the story 'Tale' has 3"
    ):
        host.run(with_pictures(log, [RED, GREEN], script=story(3)))


def test_without_pictures_keys_are_what_they_were(host, log):
    """The new input changes no key of a story that does not use it."""
    out = host.run(loop_graph(story(2), log))
    entry = json.loads((Path(out["folder"]) / "story.json").read_text())["shots"]["01_01"]
    keys = host.pack("storymem.loop.cache_keys")
    loops = host.pack("storymem.loop.plan")
    tale = host.pack("storymem.script.reader").load_story(story(2))
    settings = loops.LoopSettings("last_five_frames")
    plan = loops.plan_shot(tale, settings, tale.shots[0], has_previous=False)
    bank = host.pack("storymem.memory.bank").MemoryBank()
    loop = loops.Loop(tale, settings, bank, "body", None)
    own = keys.own_key(loop, plan)
    described = {
        "shot": {k: v for k, v in vars(plan.shot).items() if k not in keys.NO_PIXELS},
        "story": "Tale",
        "prompt": plan.prompt,
        "mode": "m2v",
    }
    digest_of = host.pack("storymem.files.hashing").digest_of
    assert own == digest_of(["shot", described, [], "body"])
    assert entry["key"]


def test_every_shot_begins_anew_when_continuity_is_cut(host, log):
    out = host.run(loop_graph(story(3), log, opened={"continuity": "cut"}))
    assert lines_of(log)[::2] == ["begin 1 m2v", "begin 2 m2v", "begin 3 m2v"]
    assert out["bank"].frames


def test_pictures_come_from_a_folder_by_their_shots(host, log):
    folder = host.base / "input" / "keys of this test"
    folder.mkdir(exist_ok=True)
    for name, colour in (("shot_01_01.png", (250, 0, 0)), ("01_02.jpg", (0, 250, 0))):
        Image.new("RGB", (32, 16), colour).save(folder / name)
    graph = {
        "story": node("StoryMemLoadStory", script=story(2), file="none"),
        "load": node("StoryMemLoadStartImages", story=["story", 0], folder="keys of this test"),
        "r": record(["load", 0], "images"),
    }
    images = host.run(graph)["images"]
    assert list(images.shape) == [2, 16, 32, 3]
    assert images[0, 0, 0, 0] > 0.9
    assert images[1, 0, 0, 1] > 0.9
    Image.new("RGB", (64, 16), (0, 250, 0)).save(folder / "01_02.jpg")
    with pytest.raises(Exception, match="make all of one size"):
        host.run(graph)
    (folder / "01_02.jpg").unlink()
    with pytest.raises(Exception, match="lacks a picture for 1 of the 2 shots of 'Tale': 01_02"):
        host.run(graph)
    for bad in ("../output", "", "nowhere"):
        graph["load"]["inputs"]["folder"] = bad
        with pytest.raises(Exception, match="folder must be a folder of pictures inside"):
            host.run(graph)


def test_which_shots_a_start_image_begins(host):
    request, plans = (
        host.pack("storymem.sampling.request"),
        host.pack("storymem.sampling.continuity"),
    )
    shots = host.pack("storymem.script.reader").load_story(story(2)).shots
    image = torch.rand(1, 16, 16, 3)

    def given(shot, continuity="auto", **plan):
        plan = plans.ShotPlan(shots[shot], "Tale", "p", **plan)
        asked = request.request_shot(
            memory=(), shot=plan, previous_frames=None, start_image=image, width=32, height=32,
            length=9, size_rule="exact", seed=0, continuity=continuity,
        )  # fmt: skip
        return asked.given is not None

    assert given(0)
    assert not given(1), "one picture for the whole loop begins its first shot"
    assert given(1, has_start=True)
    assert given(1, "cut"), "a picture that the loop's body makes for each shot"
