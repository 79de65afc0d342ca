"""What the page is told of a memory bank, and the small pictures that it asks for."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from helpers.fakes import noise_image
from storymem.files.names import is_digest
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MemoryBank
from storymem.memory.edits import BankEdits
from storymem.memory.edits_from import edits_at
from storymem.memory.frame import MemoryFrame
from storymem.memory.policies import Choice
from storymem.memory.roles import MAX_SHOWN, frame_roles
from storymem.script.reader import load_story
from storymem.views.bank import shown_frames, view_bank
from storymem.views.same_origin import is_same_origin
from storymem.views.thumbnails import LARGE, PictureFolders, read_small, shrink


def frame(i: int, **facts) -> MemoryFrame:
    return MemoryFrame(noise_image(i, 6, 8), shot=i // 3, frame=i % 3, **facts)


def bank_of(count: int, **settings) -> MemoryBank:
    return MemoryBank(tuple(frame(i) for i in range(count)), **settings)


def test_each_frame_says_what_it_is_to_the_next_shot():
    bank = bank_of(7, max_frames=4, sink=2).with_pins(pin=[3])
    roles = ("sink", "sink", "waiting", "pinned", "waiting", "waiting", "window")
    assert frame_roles(bank) == roles
    view = view_bank(bank)
    assert [shown["role"] for shown in view["frames"]] == list(roles)
    assert [shown["number"] for shown in view["frames"]] == [1, 2, 3, 4, 5, 6, 7]
    assert (view["max_frames"], view["sink"], view["count"]) == (4, 2, 7)
    used = {f.digest for f in bank.used()}
    assert {s["digest"] for s in view["frames"] if s["role"] != "waiting"} == used


def seen_by(indices: dict[int, str], count=6, **settings) -> MemoryBank:
    bank = bank_of(count, max_frames=3, sink=1, **{"policy": "entities", **settings})
    return replace(bank, seen={bank.frames[i].digest: why for i, why in indices.items()})


def test_a_policy_that_asks_the_prompt_tells_what_the_last_shot_saw():
    bank = seen_by({0: "sink: one of the first frames", 2: "shows Mara", 3: "recent"})
    assert frame_roles(bank) == ("sink", "waiting", "seen", "seen", "waiting", "waiting")
    view = view_bank(bank)
    assert (view["tell"], view["policy"]) == ("last", "entities")
    assert [f["seen"] for f in view["frames"]][1:4] == ["", "shows Mara", "recent"]
    assert (
        frame_roles(bank.with_pins(pin=[5]))[5] == "pinned"
    )  # the next shot sees it, whoever asks


def test_a_policy_that_asks_the_prompt_says_so_before_the_first_shot():
    assert view_bank(seen_by({}))["tell"] == "open"
    assert frame_roles(seen_by({}).with_pins(pin=[2])) == ("open", "open", "pinned", *["open"] * 3)
    assert frame_roles(seen_by({}, policy="relevant")) == ("sink", *["open"] * 5)
    with_room = seen_by({0: "there was room for all"}, count=3)
    assert frame_roles(with_room) == ("sink", "window", "window")
    assert view_bank(with_room)["tell"] == "next"
    assert {f["seen"] for f in view_bank(with_room)["frames"]} == {""}


def test_a_bank_on_its_way_to_a_shot_tells_what_was_chosen_for_that():
    chosen = Choice((1, 4, 5), {1: "pinned", 4: "related to the prompt (0.31)", 5: "recent"})
    view = view_bank(replace(seen_by({0: "recent"}), choice=chosen))
    assert view["tell"] == "this"
    assert [f["role"] for f in view["frames"]] == [
        "waiting",
        "seen",
        *["waiting"] * 2,
        *["seen"] * 2,
    ]
    assert [f["seen"] for f in view["frames"]][::4] == ["", "related to the prompt (0.31)"]


def test_a_frame_that_was_left_out_says_why_pinned_or_not():
    why = {0: "pinned", 1: "waits: shows nobody in the shot, only Bo", 2: "recent"}
    bank = seen_by(why, count=4, policy="entities_only").with_pins(pin=[0, 1])
    view = view_bank(bank)
    assert [f["role"] for f in view["frames"]] == ["pinned", "waiting", "seen", "waiting"]
    assert [f["seen"] for f in view["frames"]] == ["pinned", "", "recent", ""]
    told = [f["left_out"] for f in view["frames"]]
    assert told == ["", "shows nobody in the shot, only Bo", "", ""]
    assert (view["tell"], view["frames"][1]["pinned"]) == ("last", True)
    assert view_bank(seen_by({}, count=1, policy="entities_only"))["tell"] == "open"


def test_whom_frames_show_is_told_and_who_says_so():
    bank = bank_of(3)
    digests = [f.digest for f in bank.frames]
    labels = BankEdits(names=((digests[0][:12], "Pip"), (digests[1], "")))
    bank = replace(bank.with_edits(labels), shows={digests[1]: ("Mara", "Pip")})
    told = [(f["label"], f["shows"]) for f in view_bank(bank)["frames"]]
    assert told == [("Pip", ""), ("", "Mara, Pip"), (None, "")]


def test_the_facts_of_a_frame_are_told_and_hold_no_pixels():
    told = dict(score=5.123456, scorer="hpsv3", similarity=0.25, reason="good", name="Mara")
    bank = MemoryBank((frame(4, **told),), dropped=(frame(5, reason="too much alike"),))
    view = view_bank(bank)
    (kept,), (dropped,) = view["frames"], view["dropped"]
    assert kept["digest"] == bank.frames[0].digest
    assert {name: kept[name] for name in told} == {**told, "score": 5.1235}
    assert (kept["shot"], kept["frame"], kept["place"]) == (1, 1, "shot 2, frame 1")
    assert (dropped["role"], dropped["reason"]) == ("dropped", "too much alike")
    assert len(json.dumps(view)) < 1200


def test_what_clicks_changed_is_told():
    bank = bank_of(3)
    digests = [f.digest for f in bank.frames]
    view = view_bank(bank.with_edits(BankEdits(pin=(digests[0],), drop=(digests[1],))))
    assert [(f["digest"], f["edit"]) for f in view["frames"]] == [
        (digests[0], "pin"),
        (digests[2], ""),
    ]
    assert [(f["digest"], f["edit"]) for f in view["dropped"]] == [(digests[1], "drop")]


def test_the_clicks_that_a_bank_was_made_with_are_told_with_those_from_a_shot_on():
    bank = bank_of(3)
    digests = [f.digest for f in bank.frames]
    given = {
        "pin": [digests[0]],
        "from": [{"shot": "01_02", "row": "r2", "drop": [digests[1]], "unpin": [digests[0]]}],
    }
    edits = BankEdits.parse(json.dumps({**given, "images": [], "names": {digests[2]: "Mara"}}))
    scene = {"video_prompts": ["a hill", "a lake", "a town"], "cut": [True, True, True]}
    tale = load_story({"story_name": "Tale", "scenes": [scene]})
    for index in range(3):
        at = bank.with_edits(edits_at(edits, tale, index))
        assert view_bank(at)["edits"] == given
        # A node that changes a frame takes a click back in the bank, but not from Memory Bank.
        assert view_bank(at.with_pins(unpin=[0]))["edits"] == given
    assert view_bank(bank)["edits"] == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_no_json_are_left_out(value):
    view = view_bank(MemoryBank((frame(0, score=value, similarity=value),)))
    assert json.loads(json.dumps(view, allow_nan=False))["frames"][0]["score"] is None


def test_a_long_story_shows_what_is_seen_and_the_latest_of_the_rest():
    bank = bank_of(MAX_SHOWN + 50, max_frames=10, sink=3).with_pins(pin=[20])
    view = view_bank(bank)
    assert view["count"] == MAX_SHOWN + 50
    assert len(view["frames"]) == MAX_SHOWN
    numbers = [shown["number"] for shown in view["frames"]]
    assert numbers == sorted(numbers)
    assert numbers[:4] == [1, 2, 3, 21]
    assert numbers[4:] == list(range(55, MAX_SHOWN + 51))
    assert [f.digest for f in shown_frames(bank)] == [shown["digest"] for shown in view["frames"]]


def test_words_from_files_are_cut_short():
    view = view_bank(MemoryBank((frame(0, reason="a" * 9000, name="b" * 9000),)))
    assert len(view["frames"][0]["reason"]) == len(view["frames"][0]["name"]) == 400


@pytest.fixture
def folders(tmp_path):
    return PictureFolders(tmp_path / "store", tmp_path / "temp")


def test_a_picture_that_is_nowhere_is_kept_small_once(folders):
    large = MemoryFrame(torch.zeros(600, 2000, 3, dtype=torch.uint8))
    assert folders.find(large.digest) is None
    folders.keep([large, large])
    path = folders.find(large.digest)
    assert path.parent == folders.temp / "storymem"
    with Image.open(path) as picture:
        assert picture.size == (LARGE, 307)
    before = path.stat().st_mtime_ns
    folders.keep([large])
    assert path.stat().st_mtime_ns == before
    assert [p.name for p in path.parent.iterdir()] == [f"{large.digest}.jpg"]


def test_a_picture_of_the_shot_store_is_used_as_it_is(folders):
    kept = frame(1)
    ShotStore(folders.store).keep_pictures([kept])
    folders.keep([kept])
    assert folders.find(kept.digest).is_relative_to(folders.store)
    assert not folders.temp.exists()


def test_a_disk_that_refuses_costs_thumbnails_and_nothing_else(folders, caplog):
    folders.temp.parent.joinpath("temp").write_text("a file where the folder should be")
    folders.keep([frame(1), frame(2)])
    assert caplog.text.count("no thumbnails") == 1


@pytest.mark.parametrize("name", ["", "..", "../x", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n"])
def test_only_digests_name_pictures(folders, name):
    assert not is_digest(name)
    with pytest.raises(ValueError, match="64 hexadecimal"):
        folders.find(name)


def test_a_link_out_of_the_folders_leads_nowhere(folders, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(shrink(Image.new("RGB", (8, 8)), 8))
    (folders.temp / "storymem").mkdir(parents=True)
    (folders.temp / "storymem" / f"{'a' * 64}.jpg").symlink_to(secret)
    assert folders.find("a" * 64) is None


@pytest.mark.parametrize(("asked", "side"), [(64, 64), (192, 192), (5000, LARGE), (0, 1), (-5, 1)])
def test_pictures_are_made_small_never_large(tmp_path, asked, side):
    path = tmp_path / "a.png"
    Image.new("RGBA", (1500, 1500), (10, 20, 30, 40)).save(path)
    (tmp_path / "b.jpg").write_bytes(read_small(path, asked))
    with Image.open(tmp_path / "b.jpg") as picture:
        assert (picture.size, picture.mode) == ((side, side), "RGB")


def test_a_damaged_picture_is_none(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    assert read_small(tmp_path / "a.png", 64) is None
    assert read_small(tmp_path / "gone.png", 64) is None


@pytest.mark.parametrize(
    ("headers", "answered"),
    [
        ({}, True),  # a program
        ({"Host": "a:1", "Origin": "http://a:1"}, True),
        ({"Host": "A:1", "Origin": "https://a:1"}, True),  # TLS ends before the server
        ({"Host": "a:1", "Origin": "http://a:2"}, False),
        ({"Host": "a", "Origin": "http://a.evil"}, False),
        ({"Host": "a", "Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Host": "a", "Origin": "http://[broken"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),  # typed into the address line
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Host": "a", "Origin": "http://b"}, True),  # a proxy
    ],
)
def test_only_the_servers_own_page_is_answered(headers, answered):
    assert is_same_origin(headers) is answered
