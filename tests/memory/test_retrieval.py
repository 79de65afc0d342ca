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


def test_a_policy_is_asked_when_there_are_more_frames_than_places():
    for policy in ("relevant", "entities"):
        assert not has_to_choose(bank_of(4, max_frames=4, policy=policy))
        assert has_to_choose(bank_of(5, max_frames=4, policy=policy))
    assert not has_to_choose(bank_of(5, max_frames=4))


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
