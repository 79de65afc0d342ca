"""Whom a frame shows, and what each frame of a bank is to a shot, at the edges."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.memory.bank import MemoryBank
from storymem.memory.edits import BankEdits
from storymem.memory.embedders import Embedder
from storymem.memory.frame import MemoryFrame
from storymem.memory.policies import Choice
from storymem.memory.retrieval import (
    choose_frames,
    frames_to_names,
    has_to_choose,
    known_names,
    names_in_frame,
    shown_by_itself,
)
from storymem.memory.roles import (
    MAX_SHOWN,
    frame_roles,
    left_out_reasons,
    roles_refer_to,
    seen_reasons,
    shown_indices,
)
from storymem.script.reader import load_story

NAMES = ("Mara", "Pip")


def story(prompts=("Mara walks.", "Pip barks."), **fields):
    scene = {"video_prompts": list(prompts), "cut": [True] * len(prompts)}
    return load_story({"story_name": "Sea", "cast": list(NAMES), "scenes": [scene], **fields})


def frame(seed: int = 0, **facts) -> MemoryFrame:
    return MemoryFrame(noise_image(seed, 4, 4), **facts)


def bank_of(count: int, **settings) -> MemoryBank:
    return MemoryBank(tuple(frame(i, shot=i) for i in range(count)), **settings)


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"story": "Sea", "shot": 0}, ("Mara",)),
        ({"story": "Sea", "shot": 1}, ("Pip",)),
        ({"story": "Sea", "shot": 2}, ()),
        ({"story": "Sea", "shot": -1}, ()),
        ({"story": "Land", "shot": 0}, ()),
        ({"story": "Sea", "shot": 0, "prompt": "Pip swims."}, ("Pip",)),
        ({"story": "Sea", "shot": 0, "prompt": "Nobody swims."}, ()),
        ({"story": "Land", "shot": 0, "prompt": "Pip swims."}, ()),
        ({"name": "mara_front"}, ("Mara",)),
        ({"name": "pip02"}, ("Pip",)),
        ({"name": "12-PIP.mara"}, ("Pip", "Mara")),
        ({"name": "pippa"}, ()),
        ({"story": "Sea", "shot": 0, "name": "pip"}, ("Pip",)),
        ({"story": "Sea", "shot": 0, "name": "sunset"}, ("Mara",)),
    ],
)
def test_whom_a_frame_shows_by_its_file_else_by_its_shots_prompt(facts, shown):
    assert shown_by_itself(frame(**facts), story(), NAMES) == shown


def test_a_label_says_all_even_when_it_names_nobody():
    mara = frame(story="Sea", shot=0)
    for label, shown in (("Pip", ("Pip",)), ("", ()), ("a boat", ())):
        bank = MemoryBank((mara,), edits=BankEdits(names=((mara.digest, label),)))
        assert names_in_frame(bank, mara, story(), NAMES) == shown
    assert names_in_frame(MemoryBank((mara,)), mara, story(), NAMES) == ("Mara",)


def test_two_hundred_names_of_a_story_are_looked_for():
    tale = story(cast=[f"N{i}x" for i in range(203)])
    assert known_names(MemoryBank(), tale) == tuple(f"N{i}x" for i in range(200))


def test_whom_kept_and_dropped_frames_show_is_known_by_their_pictures():
    kept, dropped, nobody = (frame(i, name=name) for i, name in enumerate(("mara", "pip", "x")))
    bank = MemoryBank((kept, nobody), dropped=(dropped,))
    assert frames_to_names(bank, story()) == {kept.digest: ("Mara",), dropped.digest: ("Pip",)}


def test_whom_a_shots_own_reference_shows_is_not_guessed_where_nothing_goes_by_it():
    """Its shot's prompt says whom the film shows, and not whom the picture does."""
    facts = {"story": "Sea", "shot": 0}
    kept = frame(1, frame=-2, name="hero.png", **facts)
    named = frame(2, frame=-1, name="pip.png", **facts)
    own = frame(5, frame=5, **facts)
    assert [f.place for f in (kept, own)] == ["reference of shot 1", "shot 1, frame 5"]
    window = frames_to_names(MemoryBank((kept, named, own)), story())
    assert window == {named.digest: ("Pip",), own.digest: ("Mara",)}
    entities = frames_to_names(MemoryBank((kept, named, own), policy="entities"), story())
    assert entities == window | {kept.digest: ("Mara",)}


def test_a_policy_is_asked_when_there_are_more_frames_than_places():
    for policy in ("relevant", "entities"):
        assert not has_to_choose(bank_of(4, max_frames=4, policy=policy))
        assert has_to_choose(bank_of(5, max_frames=4, policy=policy))
    assert not has_to_choose(bank_of(5, max_frames=4))
    assert has_to_choose(bank_of(1, max_frames=4, policy="entities_only"))
    assert not has_to_choose(bank_of(0, max_frames=4, policy="entities_only"))


class Numbers(Embedder):
    """Pictures by their number, texts by the numbers in them."""

    name = "numbers"

    def _embed(self, frames):
        known = {frame(i).digest: i for i in range(9)}
        return torch.eye(9)[[known[MemoryFrame(f).digest] for f in frames]] + 0.3

    def _embed_text(self, text):
        return torch.eye(9)[int(text)] + 0.1


def test_pins_sink_and_the_most_related_under_relevant():
    bank = bank_of(9, max_frames=3, sink=1, policy="relevant").with_pins(pin=[4])
    shot = replace(story().shots[0], prompt="6")
    choice = choose_frames(bank, story(), shot, Numbers())
    assert choice.indices == (0, 4, 6)
    assert (choice.reasons[0][:4], choice.reasons[4]) == ("sink", "pinned")
    assert choice.reasons[6].startswith("related to the prompt (0.")


def test_pins_sink_and_those_who_appear_under_entities():
    bank = bank_of(9, max_frames=3, sink=1, policy="entities").with_pins(pin=[4])
    bank = bank.with_edits(BankEdits(names=((bank.frames[2].digest, "Pip"),)))
    choice = choose_frames(bank, story(), story().shots[1], None)
    assert choice.reasons == {0: "sink: one of the first frames", 2: "shows Pip", 4: "pinned"}


def labelled(count: int, names: dict[int, str], **settings) -> MemoryBank:
    bank = bank_of(count, policy="entities_only", **settings)
    labels = tuple((bank.frames[i].digest, name) for i, name in names.items())
    return bank.with_edits(BankEdits(names=labels))


def test_frames_that_show_only_others_are_no_candidates_under_entities_only():
    names = {0: "Mara", 1: "Pip", 2: "Pip and Mara", 3: "a cat"}
    bank = labelled(6, names, max_frames=9, sink=0).with_pins(pin=[0, 1])
    choice = choose_frames(bank, story(), story().shots[1], None)
    assert choice.reasons == {1: "pinned", 2: "shows Pip", 4: "recent", 5: "recent"}
    assert choice.left_out == {
        0: "shows nobody in the shot, only Mara",
        3: "shows nobody in the shot, only a cat",
    }
    shot = replace(story().shots[1], prompt="She turns around.")
    assert choose_frames(bank, story(), shot, None).left_out == {}


# --- roles ---------------------------------------------------------------------------------------


def test_of_which_shot_the_roles_tell():
    asks = {"max_frames": 2, "policy": "entities"}
    assert roles_refer_to(bank_of(3, max_frames=2)) == "next"
    assert roles_refer_to(bank_of(2, **asks)) == "next"
    assert roles_refer_to(bank_of(3, **asks)) == "open"
    last = replace(bank_of(3, **asks), seen={"a": "recent"})
    assert roles_refer_to(last) == "last"
    assert seen_reasons(last) == {"a": "recent"}
    assert seen_reasons(replace(last, policy="window")) == {}
    chosen = replace(last, choice=Choice((1,), {1: "recent"}))
    assert roles_refer_to(chosen) == "this"
    assert seen_reasons(chosen) == {chosen.frames[1].digest: "recent"}


def test_a_pinned_frame_that_was_left_out_waits():
    bank = bank_of(3, max_frames=4, sink=0, policy="entities_only").with_pins(pin=[0, 1])
    assert frame_roles(bank) == ("pinned", "pinned", "open")
    a, b, c = (frame.digest for frame in bank.frames)
    last = replace(bank, seen={a: "waits: shows nobody in the shot, only Bo", c: "recent"})
    chosen = Choice((2,), {2: "recent"}, {0: "shows nobody in the shot, only Bo"})
    for told in (last, replace(last, choice=chosen, seen={})):
        assert frame_roles(told) == ("waiting", "pinned", "seen")
        assert seen_reasons(told) == {c: "recent"}
        assert left_out_reasons(told) == {a: "shows nobody in the shot, only Bo"}
    assert (roles_refer_to(last), left_out_reasons(bank)) == ("last", {})
    window = replace(last, policy="window")
    assert (frame_roles(window)[0], left_out_reasons(window)) == ("pinned", {})
    assert b not in left_out_reasons(last)


def test_a_picture_that_is_there_twice_is_seen_when_one_of_the_two_is():
    bank = bank_of(2, max_frames=4, policy="entities_only")
    twice = replace(bank, frames=(bank.frames[0], replace(bank.frames[0], shot=1)))
    chosen = replace(twice, choice=Choice((1,), {1: "recent"}, {0: "why"}))
    assert left_out_reasons(chosen) == {}
    assert set(frame_roles(chosen)) == {"seen"}


def test_the_sink_is_no_larger_than_the_memory():
    assert frame_roles(bank_of(3, max_frames=1, sink=2)) == ("sink", "waiting", "waiting")
    assert frame_roles(bank_of(3, max_frames=2, sink=1)) == ("sink", "waiting", "window")
    open_one = bank_of(4, max_frames=2, sink=3, policy="relevant")
    assert frame_roles(open_one) == ("sink", "sink", "open", "open")


@pytest.mark.parametrize(
    ("used", "others", "shown"),
    [
        (3, 2, [*range(5)]),
        (3, 300, [*range(3), *range(303 - 197, 303)]),
        (200, 9, [*range(200)]),
        (199, 9, [*range(199), 207]),
        (210, 9, [*range(200)]),
    ],
)
def test_all_that_a_shot_sees_is_shown_and_the_latest_others(used, others, shown):
    for unseen in ("waiting", "open"):
        assert shown_indices(("window",) * used + (unseen,) * others) == shown
    assert MAX_SHOWN == 200
