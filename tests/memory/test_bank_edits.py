"""An artist's clicks on the memory: read from JSON, applied, undone, kept on disk."""

from __future__ import annotations

import json
import random
from dataclasses import fields, replace

import pytest

from helpers.fakes import noise_image
from storymem.files.hashing import digest_of
from storymem.loop.shot_record import describe_bank
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import MAX_DROPPED, MemoryBank
from storymem.memory.bank_folder import load_bank, save_bank
from storymem.memory.edits import NO_EDITS, BankEdits
from storymem.memory.frame import MemoryFrame
from storymem.views.contact_sheet import caption


def frame(seed: int, **provenance) -> MemoryFrame:
    provenance = {"shot": seed // 10, "frame": seed % 10, "reason": f"because {seed}", **provenance}
    return MemoryFrame(noise_image(seed, 4, 6), **provenance)


def bank(kept=(0, 10, 20, 30), dropped=(5, 15), **settings) -> MemoryBank:
    return MemoryBank(tuple(map(frame, kept)), dropped=tuple(map(frame, dropped)), **settings)


def name(seed: int, digits: int = 64) -> str:
    return frame(seed).digest[:digits]


def clicks(**seeds) -> BankEdits:
    return BankEdits(**{kind: tuple(map(name, which)) for kind, which in seeds.items()})


def seen(bank: MemoryBank):
    """Everything of a bank but its clicks, as text."""
    return describe_bank(bank)


def places(frames) -> list[int]:
    return [f.shot * 10 + f.frame for f in frames]


# --- what is read ---------------------------------------------------------------------------


def test_nothing_is_no_change():
    for text in ("", "  \n", "{}", '{"pin": []}'):
        assert BankEdits.parse(text) == NO_EDITS
    assert not NO_EDITS.names_frames


def test_clicks_are_read_by_digest_or_its_first_digits():
    text = json.dumps({"pin": [name(0), name(10, 12).upper()], "images": ["hero.png", "b c.jpg"]})
    edits = BankEdits.parse(text)
    assert edits.pin == (name(0), name(10, 12))
    assert edits.images == ("hero.png", "b c.jpg")
    assert BankEdits.parse('{"images": ["x.png"]}').names_frames is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "must be a JSON object"),
        ('{"pins": []}', "images and names, but it also has 'pins'"),
        ('{"pin": "abc"}', "pin must be a list of texts"),
        ('{"drop": [3]}', "drop must be a list of texts"),
        ('{"drop": ["1f2e3d4c5b6"]}', "first 12 or more hexadecimal digits"),
        ('{"keep": ["not a digest!"]}', "is no frame"),
        ('{"images": [" "]}', "is no file name"),
        ('{"images": {}}', "images must be a list"),
        ('{"pin": ["1f2e3d4c5b6a"], "unpin": ["1f2e3d4c5b6a77"]}', "both pin and unpin"),
        ('{"drop": ["1f2e3d4c5b6a"], "keep": ["1f2e3d4c5b6a"]}', "both drop and keep"),
        ('{"unpin": ["1f2e3d4c5b6a"], "pin": ["1f2e3d4c5b6a77"]}', "1f2e3d4c5b6a under both pin"),
        ('{"keep": ["1f2e3d4c5b6a"], "drop": ["1f2e3d4c5b6a77"]}', "both drop and keep"),
        ('{"drop": ["' + "a" * 65 + '"]}', "is no frame"),
        ('{"images": [""]}', "is no file name"),
        ('{"images": ["a\\u0000.png"]}', "is no file name"),
        ('{"images": ["\\ud800.png"]}', "is no file name"),
        ('{"names": []}', "names must give a text for each frame"),
        ('{"names": {"1f2e3d4c5b6a": 3}}', "names must give a text for each frame"),
        ('{"names": {"1f2e3d4c5b6a": "a", "2f2e3d4c5b6a": "\\ud800"}}', "not valid Unicode"),
        ('{"names": {"1f2e3d4c5b6": "a"}}', "edits, names: .* is no frame"),
    ],
)
def test_what_is_no_list_of_clicks_is_told(text, words):
    with pytest.raises(ValueError, match=words):
        BankEdits.parse(text)


def test_a_frame_may_be_pinned_and_kept_and_another_unpinned_and_dropped():
    one, other = name(0, 12), name(10, 12)
    text = json.dumps({"pin": [one], "keep": [one], "unpin": [other], "drop": [other]})
    edits = BankEdits.parse(text)
    assert (edits.pin, edits.keep, edits.unpin, edits.drop) == ((one,), (one,), (other,), (other,))


def test_a_click_told_twice_is_one_and_the_first_name_counts():
    digest = name(0)
    text = json.dumps(
        {
            "drop": [digest, f"  {digest.upper()} ", name(10, 12)],
            "images": ["b.png", "a.png", "b.png"],
            "names": {digest: "Mara", digest.upper(): "Pip", name(10): ""},
        }
    )
    edits = BankEdits.parse(text)
    assert edits.drop == (digest, name(10, 12))
    assert edits.images == ("b.png", "a.png")
    assert edits.names == ((digest, "Mara"), (name(10), ""))
    assert not BankEdits.parse('{"names": {"1f2e3d4c5b6a": "Mara"}}').names_frames


def test_what_was_written_about_a_frame_is_found_by_its_first_digits():
    edits = BankEdits(names=((name(0, 20), "Mara"), (name(0, 12), "Pip"), (name(10), "")))
    assert edits.label_of(name(0)) == "Mara", "the first one counts"
    assert BankEdits(names=edits.names[1:]).label_of(name(0)) == "Pip"
    assert edits.label_of(name(10)) == ""
    assert edits.label_of(name(20)) is None
    assert NO_EDITS.label_of(name(0)) is None


@pytest.mark.parametrize("kind", ["pin", "unpin", "drop", "keep"])
def test_every_kind_of_click_names_a_frame_and_can_be_taken_back(kind):
    edits = BankEdits(**{kind: (name(0, 12), name(10, 12), name(0, 30))}, images=("a.png",))
    assert edits.names_frames
    left = edits.without([name(0), name(99)])
    assert getattr(left, kind) == (name(10, 12),)
    assert left.images == ("a.png",)
    assert edits.without([name(99)]) == edits
    assert not left.without([name(10)]).names_frames


# --- what a click does ----------------------------------------------------------------------


def test_each_click_does_what_it_says():
    start = bank().with_pins(pin=[1])
    edited = start.with_edits(clicks(pin=[0], unpin=[10], drop=[20], keep=[15]))
    assert [(places([f])[0], f.pinned, f.edited) for f in edited.frames] == [
        (0, True, "pin"), (10, False, "unpin"), (15, False, "keep"), (30, False, ""),
    ]  # fmt: skip
    assert [(places([f])[0], f.edited) for f in edited.dropped] == [(5, ""), (20, "drop")]
    assert [f.why for f in edited.dropped] == ["because 5", "dropped by hand"]
    assert edited.dropped[1].reason == "because 20"
    assert edited.frames[2].why == "kept by hand"
    assert "dropped by hand" in caption(edited.dropped[1])


def test_a_click_on_what_is_so_already_or_on_nobody_changes_nothing():
    start = bank().with_pins(pin=[1])
    for edits in (clicks(pin=[10]), clicks(unpin=[0]), clicks(drop=[99, 5]), clicks(keep=[0, 99])):
        assert seen(start.with_edits(edits)) == seen(start)


def test_a_frame_can_be_kept_and_pinned_and_a_dropped_pin_is_out():
    kept = bank().with_edits(clicks(keep=[5], pin=[5]))
    assert [(f.pinned, f.edited) for f in kept.frames][1] == (True, "keep")
    assert seen(kept.with_edits(NO_EDITS)) == seen(bank())
    assert places(bank().with_edits(clicks(pin=[10], drop=[10])).frames) == [0, 20, 30]


def test_clicks_hold_for_frames_that_come_later():
    edits = clicks(pin=[40], drop=[41], keep=[42])
    later = bank().with_edits(edits).remember([frame(40), frame(41)], dropped=[frame(42)])
    assert places(later.frames) == [0, 10, 20, 30, 40, 42]
    assert [f.pinned for f in later.frames] == [False] * 4 + [True, False]
    assert places(later.dropped) == [5, 15, 41]
    plain = bank().remember([frame(40), frame(41)], dropped=[frame(42)])
    assert seen(later.with_edits(NO_EDITS)) == seen(plain)


def test_any_clicks_after_any_others_are_as_if_made_first():
    chance = random.Random(4)
    for _ in range(200):
        start = bank().with_pins(pin=chance.sample(range(4), 2))
        one, other = (_some_clicks(chance) for _ in range(2))
        assert seen(start.with_edits(one).with_edits(NO_EDITS)) == seen(start)
        assert seen(start.with_edits(one).with_edits(one)) == seen(start.with_edits(one))
        assert seen(start.with_edits(one).with_edits(other)) == seen(start.with_edits(other))


def _some_clicks(chance) -> BankEdits:
    seeds = (0, 10, 20, 30, 5, 15, 99)
    pinned = {seed: chance.choice(["pin", "unpin", ""]) for seed in seeds}
    there = {seed: chance.choice(["drop", "keep", ""]) for seed in seeds}
    kinds = {
        kind: [s for s in seeds if kind in (pinned[s], there[s])]
        for kind in ("pin", "unpin", "drop", "keep")
    }
    return clicks(**kinds)


def test_frames_that_a_click_brings_back_stand_where_the_story_has_them():
    """Among frames of the same place after those that were there; in an odd order, as early as
    nothing later comes before."""
    start = bank(kept=(10, 30), dropped=())
    twin = replace(frame(10), picture=frame(11).picture)
    start = replace(start, dropped=(frame(20), frame(0), twin, frame(40)))
    edits = BankEdits(keep=tuple(f.digest for f in start.dropped))
    kept = start.with_edits(edits).frames
    assert places(kept) == [0, 10, 10, 20, 30, 40]
    assert [f.digest for f in kept[1:3]] == [frame(10).digest, frame(11).digest]
    odd = replace(start, frames=(frame(30), frame(10)), dropped=(frame(20),))
    assert places(odd.with_edits(edits).frames) == [20, 30, 10]


def test_a_picture_that_is_there_already_is_kept_once():
    start = replace(bank(), dropped=(frame(5), frame(5, shot=8), frame(0, shot=7)))
    kept = start.with_edits(clicks(keep=[5, 0]))
    assert places(kept.frames) == [0, 5, 10, 20, 30]
    assert [f.shot for f in kept.dropped] == [8, 7]


def test_what_a_click_dropped_is_never_forgotten():
    edited = bank().with_edits(clicks(drop=[0, 10]))
    for shot in range(5, 5 + MAX_DROPPED + 9):
        edited = edited.remember([], dropped=[frame(10 * shot)])
    assert len(edited.dropped) == MAX_DROPPED + 2
    assert places(edited.with_edits(NO_EDITS).frames) == [0, 10, 20, 30]


def test_more_pins_than_places_is_the_known_error():
    edited = bank(max_frames=2).with_edits(clicks(pin=[0, 10, 20]))
    with pytest.raises(ValueError, match="3 frames are pinned but only max_frames = 2"):
        edited.used_indices()


def test_a_change_by_number_counts_instead_of_an_earlier_click():
    edited = bank().with_edits(clicks(pin=[0], drop=[10]))
    by_number = edited.edit(unpin=[0], restore=[list(places(edited.dropped)).index(10)])
    assert places(by_number.frames) == [0, 10, 20, 30]
    assert not by_number.edits.names_frames
    assert not by_number.remember([frame(40)]).frames[0].pinned
    forgotten = bank().with_edits(clicks(keep=[15])).edit(forget=[2])
    assert places(forgotten.with_edits(NO_EDITS).frames) == [0, 10, 20, 30]


# --- on disk --------------------------------------------------------------------------------


def same_but_for_absent_digests(one: MemoryBank, other: MemoryBank) -> bool:
    return seen(one) == seen(other) and one.edits == other.edits


def test_clicks_survive_a_saved_bank_and_can_be_undone_after(tmp_path):
    edits = clicks(pin=[0], drop=[20], keep=[15])
    edited = bank().with_edits(edits)
    save_bank(tmp_path, edited)
    loaded = load_bank(tmp_path)
    assert same_but_for_absent_digests(loaded, edited)
    assert seen(loaded.with_edits(NO_EDITS)) == seen(bank())


def test_a_saved_bank_without_clicks_and_an_older_one_load(tmp_path):
    save_bank(tmp_path, bank())
    path = tmp_path / "bank.json"
    document = json.loads(path.read_text())
    for entry in (*document["frames"], *document["dropped"]):
        del entry["edited"]
    path.write_text(json.dumps(document))
    assert same_but_for_absent_digests(load_bank(tmp_path), bank())


def test_a_wrong_word_in_a_saved_bank_is_named(tmp_path):
    save_bank(tmp_path, bank())
    path = tmp_path / "bank.json"
    document = json.loads(path.read_text())
    document["frames"][0]["edited"] = "drop"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match='"edited" must be one of'):
        load_bank(tmp_path)


def test_a_frame_dropped_by_a_click_and_moved_back_by_hand_is_kept(tmp_path):
    save_bank(tmp_path, bank().with_edits(clicks(drop=[20])))
    picture = next((tmp_path / "dropped").glob("shot_0003*"))
    picture.rename(tmp_path / picture.name)
    loaded = load_bank(tmp_path)
    assert places(loaded.frames) == [0, 10, 20, 30]
    assert places(loaded.remember([frame(40)]).frames) == [0, 10, 20, 30, 40]


def test_clicks_survive_a_finished_shot(tmp_path):
    import torch

    store = ShotStore(tmp_path)
    edited = bank().with_pins(pin=[3]).with_edits(clicks(pin=[0], unpin=[30], drop=[20], keep=[15]))
    record, _ = store.commit(digest_of("x"), torch.rand(2, 16, 16, 3), edited, {})
    loaded = store.load(store.find(record.key)).bank
    assert same_but_for_absent_digests(loaded, edited)
    assert seen(loaded.with_edits(NO_EDITS)) == seen(bank().with_pins(pin=[3]))
    outline = store.outline(record)
    assert [f.digest for f in outline.used()] == [f.digest for f in edited.used()]
    plain = [(f.digest, f.pinned) for f in outline.with_edits(NO_EDITS).frames]
    assert plain == [(f.digest, f.pinned) for f in loaded.with_edits(NO_EDITS).frames]


def test_a_bank_without_clicks_is_described_as_it_was_before_there_were_any():
    later = ("picture", "edited", "prompt", "moment", "pool")
    known = [field.name for field in fields(MemoryFrame) if field.name not in later]
    for entry in describe_bank(bank())["frames"]:
        assert sorted(entry) == sorted(["sha256", *known])
    assert "edited" in describe_bank(replace(bank(), frames=(frame(0, edited="pin"),)))["frames"][0]
