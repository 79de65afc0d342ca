"""The memory nodes in a real host: a bank that grows over two shots, looked at, saved, loaded."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.fakes import label_frames, noise_image
from helpers.keyframe_graphs import (
    WATCHED,
    clip_of,
    detailed,
    filter_by,
    node,
    record,
    scorer,
    select,
    start,
)


def test_the_bank_grows_over_two_shots_and_shows_itself(host, clips):
    clips["hero"] = noise_image(50, 40, 40)[None].float() / 255
    clips["one"] = torch.cat([detailed(1, 6), detailed(2, 6)])
    clips["two"] = torch.cat([detailed(2, 6), detailed(3, 6)])  # begins as shot one ended
    values = host.run(
        {
            "hero": clip_of("hero"),
            "bank": start(images=["hero", 0]),
            "embedder": node("StoryMemLoadEmbedder", embedder="no_weights", clip_name="auto"),
            "scorer": scorer(),
            "one": clip_of("one"),
            "select1": select(
                ["one", 0], embedder=["embedder", 0], scorer=["scorer", 0], bank=["bank", 0]
            ),
            "remember1": node("StoryMemRemember", keyframes=["select1", 0], bank=["bank", 0]),
            "two": clip_of("two"),
            "select2": select(
                ["two", 0], embedder=["embedder", 0], scorer=["scorer", 0], bank=["remember1", 0]
            ),
            "remember2": node("StoryMemRemember", keyframes=["select2", 0], bank=["remember1", 0]),
            "preview": node("StoryMemPreviewMemoryBank", bank=["remember2", 0]),
            "r1": record(["remember1", 0], "first"),
            "r2": record(["remember2", 0], "second"),
            "r3": record(["preview", 0], "sheet"),
            "r4": record(["remember2", 1], "report"),
            "r5": record(["select2", 1], "images"),
            "r6": record(["select2", 2], "decision"),
        },
        extra_data=WATCHED,
    )
    first, second = values["first"], values["second"]
    assert [frame.order for frame in first.frames] == [(-1, 0), (0, 0), (0, 6)]
    assert [frame.order for frame in second.frames] == [(-1, 0), (0, 0), (0, 6), (1, 6)]
    assert second.frames[0].pinned
    new = second.frames[3]
    assert new.scorer == "sharpness"
    assert new.score > 1
    assert 0 < new.similarity < 0.9
    assert "to the last keyframe" in new.reason
    (dropped,) = second.dropped
    assert dropped.order == (1, 0)
    assert "already in the bank" in dropped.reason
    assert "to shot 1, frame 6" in dropped.reason
    assert "kept shot 2, frame 6" in values["report"]
    assert "not kept shot 2, frame 0" in values["report"]
    assert torch.equal(values["images"][0], new.pixels())
    sheet, decision = values["sheet"], values["decision"]
    for picture in (sheet, decision):
        assert picture.ndim == 4
        assert picture.shape[-1] == 3
        assert picture.shape[1] > 300
        assert 0 <= picture.min() < picture.max() <= 1
    (shown,) = host.ui("preview")["images"]
    on_disk = Image.open(host.base / "temp" / shown["filename"])
    assert np.array_equal(np.asarray(on_disk), (sheet[0] * 255).round().byte().numpy())


def test_what_every_shot_would_repeat_is_said_once_in_a_run(host, clips, caplog):
    clips["one"] = torch.cat([detailed(1, 3), detailed(2, 3)])
    clips["two"] = torch.cat([detailed(3, 3), detailed(4, 3)])
    graph = {"one": clip_of("one"), "two": clip_of("two")}
    graph |= {f"select_{name}": select([name, 0]) for name in ("one", "two")}
    graph |= {f"r_{name}": record([f"select_{name}", 0], name) for name in ("one", "two")}
    for runs in (1, 2):
        with caplog.at_level(logging.WARNING):
            host.run(graph)
        assert caplog.text.count("is calibrated for CLIP ViT-B/32") == runs
        clips["one"], clips["two"] = clips["two"] + 0, clips["one"] + 0


def test_without_an_embedder_it_works_and_says_what_the_threshold_is_for(host, clips, caplog):
    clips["one"] = torch.cat([detailed(1, 3), detailed(2, 3)])
    with caplog.at_level(logging.WARNING):
        values = host.run(
            {
                "one": clip_of("one"),
                "select": select(["one", 0]),
                "r": record(["select", 0], "keyframes"),
            }
        )
    assert [frame.frame for frame in values["keyframes"].frames] == [0, 3]
    assert "0.9 is calibrated for CLIP ViT-B/32" in caplog.text


def test_frames_that_repeat_the_previous_shot_are_skipped(host, clips):
    story = host.pack("storymem.script.story")
    continuity = host.pack("storymem.sampling.continuity")
    shot = story.Shot(index=4, scene=2, number=1, prompt="x", cut=False)
    clips["plan"] = continuity.ShotPlan(shot=shot, story="Tale", prompt="x", mode="mm2v")
    clips["one"] = torch.cat([detailed(1, 5), detailed(2, 4), detailed(3, 4)])
    values = host.run(
        {
            "one": clip_of("one"),
            "plan": clip_of("plan"),
            "select": select(["one", 0], shot=["plan", 1]),
            "r": record(["select", 0], "keyframes"),
        }
    )
    kept = values["keyframes"].frames
    assert [(frame.story, frame.shot, frame.frame) for frame in kept] == [
        ("Tale", 4, 0),
        ("Tale", 4, 4),
    ]
    clips["one"] = clips["one"][:5]
    host.restart()
    with pytest.raises(RuntimeError, match="first 5 frames repeat the previous shot"):
        host.run(
            {
                "one": clip_of("one"),
                "plan": clip_of("plan"),
                "select": select(["one", 0], shot=["plan", 1]),
                "r": record(["select", 0], "keyframes"),
            }
        )


def test_a_shot_of_bad_frames_leaves_the_memory_as_it_was(host, clips, caplog):
    clips["hero"] = noise_image(50, 40, 40)[None].float() / 255
    clips["bad"] = torch.full((9, 48, 64, 3), 0.5)
    with caplog.at_level(logging.WARNING):
        values = host.run(
            {
                "hero": clip_of("hero"),
                "bank": start(images=["hero", 0]),
                "bad": clip_of("bad"),
                "scorer": scorer(),
                "select": select(["bad", 0], scorer=["scorer", 0], bank=["bank", 0]),
                "remember": node("StoryMemRemember", keyframes=["select", 0], bank=["bank", 0]),
                "r1": record(["remember", 0], "bank"),
                "r2": record(["select", 2], "decision"),
                "images": node("PreviewImage", images=["select", 1]),
            },
            extra_data=WATCHED,
        )
    assert [frame.order for frame in values["bank"].frames] == [(-1, 0)]
    assert 0 < len(values["bank"].dropped) <= 6
    assert "none of the 9 frames" in caplog.text
    assert "select" in host.executed_nodes()
    assert host.ui("images") == {}, "there is nothing to preview"
    assert values["decision"].shape[1] > 300


@pytest.mark.parametrize("count", [1, 2, 241])
def test_batches_of_any_length_select(host, clips, count):
    clips["one"] = torch.rand(count, 32, 48, 3, generator=torch.Generator().manual_seed(0))
    values = host.run(
        {
            "one": clip_of("one"),
            "select": select(["one", 0]),
            "r": record(["select", 0], "keyframes"),
        }
    )
    assert 1 <= len(values["keyframes"].frames) <= 3


def test_the_filter_works_alone_on_pictures_with_the_scorers_own_threshold(host, clips):
    sharp, flat = detailed(1, 1), torch.full((1, 96, 160, 3), 0.5)
    clips["mixed"] = torch.cat([sharp, flat, detailed(2, 1)])
    values = host.run(
        {
            "mixed": clip_of("mixed"),
            "scorer": scorer(),
            "filter": filter_by(["scorer", 0], images=["mixed", 0]),
            "strict": filter_by(["scorer", 0], own=False, threshold=99.0, images=["mixed", 0]),
            "r1": record(["filter", 0], "keyframes"),
            "r2": record(["filter", 1], "kept"),
            "r3": record(["filter", 2], "rejected"),
            "r4": record(["strict", 0], "strict"),
        }
    )
    assert [frame.frame for frame in values["keyframes"].frames] == [0, 2]
    assert list(values["kept"].shape) == [2, 96, 160, 3]
    assert torch.equal(values["rejected"], torch.full((1, 96, 160, 3), 128 / 255))
    assert values["strict"].frames == ()
    assert "sharpness 0.00, below 99" in values["strict"].rejected[1].reason


def test_the_filter_joins_what_it_turns_down_to_what_was_turned_down_before(host, clips):
    clips["one"] = torch.cat([detailed(1, 4), torch.full((4, 96, 160, 3), 0.2)])
    values = host.run(
        {
            "one": clip_of("one"),
            "select": select(["one", 0]),
            "scorer": scorer(),
            "filter": filter_by(["scorer", 0], keyframes=["select", 0]),
            "remember": node("StoryMemRemember", keyframes=["filter", 0], pin=True),
            "r": record(["remember", 0], "bank"),
        }
    )
    bank = values["bank"]
    assert [(frame.frame, frame.pinned) for frame in bank.frames] == [(0, True)]
    assert [frame.frame for frame in bank.dropped] == [4]


@pytest.mark.parametrize("connected", [(), ("keyframes", "images")])
def test_the_filter_wants_one_thing_to_judge(host, clips, connected):
    clips["one"] = detailed(1, 4)
    links = {"keyframes": ["select", 0], "images": ["one", 0]}
    with pytest.raises(RuntimeError, match="either keyframes or images"):
        host.run(
            {
                "one": clip_of("one"),
                "select": select(["one", 0]),
                "scorer": scorer(),
                "filter": filter_by(["scorer", 0], **{name: links[name] for name in connected}),
                "r": record(["filter", 0], "x"),
            }
        )


def test_rgba_frames_lose_their_alpha(host, clips):
    clips["one"] = torch.cat([detailed(1, 3), torch.rand(3, 96, 160, 1)], dim=-1)
    values = host.run(
        {
            "one": clip_of("one"),
            "bank": start(images=["one", 0]),
            "select": select(["one", 0]),
            "r1": record(["select", 1], "images"),
            "r2": record(["bank", 0], "bank"),
        }
    )
    assert list(values["images"].shape) == [1, 96, 160, 3]
    assert len(values["bank"]) == 3


def test_frames_with_nan_are_named(host, clips):
    clips["one"] = detailed(1, 4)
    clips["one"][2, 0, 0, 0] = float("inf")
    graph = {
        "one": clip_of("one"),
        "select": select(["one", 0]),
        "r": record(["select", 0], "x"),
    }
    with pytest.raises(RuntimeError, match="frame 2 holds NaN or infinite"):
        host.run(graph)


def test_more_than_ten_memory_frames_is_said_aloud(host, caplog):
    with caplog.at_level(logging.WARNING):
        host.run({"bank": start(max_frames=16), "r": record(["bank", 0], "bank")})
    assert "max_frames is 16, but the model was trained with up to 10" in caplog.text


def test_a_loaded_bank_of_more_frames_says_so_too(host, caplog):
    saved = {"bank": start(max_frames=16)}
    saved["save"] = node("StoryMemSaveMemoryBank", bank=["bank", 0], folder="storymem/large")
    host.run(saved)
    caplog.clear()
    load = node("StoryMemLoadMemoryBank", folder="storymem/large", skip_damaged=False)
    with caplog.at_level(logging.WARNING):
        host.run({"load": load, "r": record(["load", 0], "bank")})
    assert "max_frames is 16, but the model was trained with up to 10" in caplog.text


def test_a_sink_that_leaves_no_place_for_what_came_after_is_warned_about(host, caplog):
    for max_frames, sink in ((0, 3), (3, 1), (4, 3)):
        host.run({"bank": start(max_frames=max_frames, sink=sink), "r": record(["bank", 0], "b")})
    assert "no shot sees" not in caplog.text
    host.run({"bank": start(max_frames=3, sink=3), "r": record(["bank", 0], "b")})
    assert "3 of them, fill all 3 places" in caplog.text
    assert "opening_frames (sink) to 1" in caplog.text
    caplog.clear()
    entities = start(max_frames=3, sink=3, policy="entities")
    host.run({"bank": entities, "r": record(["bank", 0], "b")})
    assert "so no shot that names nobody of the cast sees anything newer" in caplog.text


def test_more_references_than_places_is_an_error(host, clips):
    clips["many"] = torch.rand(12, 8, 8, 3)
    with pytest.raises(RuntimeError, match="12 frames are pinned but only max_frames = 10"):
        host.run(
            {
                "many": clip_of("many"),
                "bank": start(images=["many", 0]),
                "r": record(["bank", 0], "bank"),
            }
        )


def test_a_bank_is_saved_edited_by_hand_and_loaded_again(host, clips):
    clips["two"] = torch.rand(2, 24, 32, 3, generator=torch.Generator().manual_seed(3))
    save = {
        "two": clip_of("two"),
        "bank": start(images=["two", 0], max_frames=6, sink=2),
        "save": node("StoryMemSaveMemoryBank", bank=["bank", 0], folder="storymem/edited"),
        "r": record(["save", 1], "folder"),
    }
    folder = host.base / "output" / "storymem" / "edited"
    assert host.run(save)["folder"] == str(folder)

    def load(skip=False):
        graph = {
            "load": node("StoryMemLoadMemoryBank", folder="storymem/edited", skip_damaged=skip),
            "r": record(["load", 0], "bank"),
        }
        return host.run(graph)["bank"]

    bank = load()
    assert (len(bank), bank.max_frames, bank.sink) == (2, 6, 2)
    dropped = folder / "dropped" / "moved.png"
    dropped.parent.mkdir(exist_ok=True)
    Image.new("RGB", (20, 10), (1, 2, 3)).save(dropped)
    assert len(load()) == 2
    dropped.rename(folder / "moved.png")  # same name, size and time: only its place changed
    assert [frame.name for frame in load().frames] == ["", "", "moved"]
    (folder / "moved.png").unlink()
    next(folder.glob("reference_0000*")).unlink()
    Image.new("RGB", (20, 10), (9, 9, 9)).save(folder / "villain.png")
    bank = load()  # the same graph: the folder's change must be seen
    assert [frame.name for frame in bank.frames] == ["", "villain"]
    (folder / "villain.png").write_bytes(b"not a picture")
    with pytest.raises(RuntimeError, match=r"villain\.png cannot be read"):
        load()
    assert len(load(skip=True)) == 1


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside", "", " ", "."])
@pytest.mark.parametrize("kind", ["StoryMemSaveMemoryBank", "StoryMemLoadMemoryBank"])
def test_nothing_is_written_or_read_outside_the_hosts_folders(host, kind, name):
    inputs = {"folder": name}
    graph = {"bank": start(), "x": node(kind, **inputs), "r": record(["x", 0], "x")}
    graph["x"]["inputs"] |= {"bank": ["bank", 0]} if "Save" in kind else {"skip_damaged": False}
    with pytest.raises(RuntimeError, match="folder must name a folder inside"):
        host.run(graph)
    assert not (host.base / "outside").exists()


def test_a_missing_bank_folder_is_named(host):
    with pytest.raises(RuntimeError, match=r"no memory bank folder at .*nowhere"):
        host.run(
            {
                "load": node("StoryMemLoadMemoryBank", folder="nowhere", skip_damaged=False),
                "r": record(["load", 0], "bank"),
            }
        )


def test_a_bank_folder_in_the_input_folder_is_found(host):
    folder = host.base / "input" / "my_heroes"
    folder.mkdir()
    Image.fromarray(label_frames([3])[0].numpy()).save(folder / "hero.png")
    bank = host.run(
        {
            "load": node("StoryMemLoadMemoryBank", folder="my_heroes", skip_damaged=False),
            "r": record(["load", 0], "bank"),
        }
    )["bank"]
    assert torch.equal(bank.frames[0].image, label_frames([3])[0])


def test_bank_json_is_plain_to_read(host, clips):
    clips["two"] = torch.rand(1, 24, 32, 3)
    host.run(
        {
            "two": clip_of("two"),
            "bank": start(images=["two", 0]),
            "save": node("StoryMemSaveMemoryBank", bank=["bank", 0], folder="plain"),
        }
    )
    document = json.loads((host.base / "output" / "plain" / "bank.json").read_text())
    assert document["format"] == "storymem-bank"
    assert document["frames"][0]["reason"] == "reference picture"


def test_the_bank_is_overridden_by_the_numbers_of_the_contact_sheet(host, clips):
    clips["three"] = torch.rand(3, 24, 32, 3)
    edits = {"pin": "2", "unpin": "1,3", "forget": "3", "restore": ""}
    graph = {
        "three": clip_of("three"),
        "bank": start(images=["three", 0]),
        "edit": node("StoryMemEditMemoryBank", bank=["bank", 0], **edits),
        "back": node(
            "StoryMemEditMemoryBank",
            bank=["edit", 0],
            **{"pin": "", "unpin": "", "forget": "", "restore": "1"},
        ),
        "r1": record(["edit", 0], "edited"),
        "r2": record(["back", 0], "back"),
        "r3": record(["bank", 0], "bank"),
    }
    values = host.run(graph)
    assert [(f.frame, f.pinned) for f in values["edited"].frames] == [(0, False), (1, True)]
    assert [f.frame for f in values["back"].frames] == [0, 1, 2]
    assert all(frame.pinned for frame in values["bank"].frames), "the input is not changed"
    graph["edit"]["inputs"]["pin"] = "nine"
    with pytest.raises(RuntimeError, match="pin must be numbers of the contact sheet"):
        host.run(graph)


def test_an_empty_bank_with_settings_keeps_them_when_it_remembers(host, clips):
    clips["one"] = torch.rand(5, 24, 32, 3)
    bank = host.run(
        {
            "one": clip_of("one"),
            "bank": node("StoryMemMemoryBank", max_frames=4, sink=1, pin_references=True),
            "select": node(
                "StoryMemKeyframeSelect", frames=["one", 0], threshold=0.9, max_keyframes=1
            ),
            "remember": node("StoryMemRemember", keyframes=["select", 0], bank=["bank", 0]),
            "r": record(["remember", 0], "bank"),
        }
    )["bank"]
    assert (len(bank), bank.max_frames, bank.sink) == (1, 4, 1)
