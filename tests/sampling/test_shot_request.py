"""What a shot is asked for, by the nodes and by the headless runner alike."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.memory.frame import MemoryFrame
from storymem.sampling.continuity import ShotPlan
from storymem.sampling.draft import Draft
from storymem.sampling.request import SIZE_RULES, memory_size, request_shot
from storymem.script.reader import load_story
from storymem.script.story import Shot

START = torch.rand(1, 24, 32, 3)
PREVIOUS = torch.rand(9, 16, 32, 3)


def plan(index=0, mode="m2v", **fields) -> ShotPlan:
    """A shot of a story with two shots in each scene: its number is not its place in the story."""
    has_start = fields.pop("has_start", False)
    shot = Shot(index, 1 + index // 2, 1 + index % 2, "p", True, **fields)
    return ShotPlan(shot, "Tale", "p", mode, has_start)


def memory(count: int, height=16, width=16) -> list[MemoryFrame]:
    return [MemoryFrame(noise_image(i, height, width)) for i in range(count)]


def spoilt(images: torch.Tensor) -> torch.Tensor:
    """One pixel of the last picture is no number."""
    images = images.clone()
    images[-1, 3, 3, 1] = float("nan")
    return images


def ask(**changes):
    settings = {
        "memory": (), "shot": None, "previous_frames": None, "start_image": None, "width": 64,
        "height": 32, "length": 13, "size_rule": "exact", "seed": 7,
    }  # fmt: skip
    return request_shot(**{**settings, **changes})


@pytest.mark.parametrize(
    ("shot", "continuity", "begins"),
    [
        (None, "auto", True),
        (plan(0), "auto", True),
        (plan(1), "auto", False),
        (plan(1, has_start=True), "auto", True),
        (plan(1), "cut", True),
    ],
)
def test_which_shots_a_start_image_begins(shot, continuity, begins):
    request = ask(shot=shot, start_image=START, continuity=continuity)
    assert (request.given is not None) is begins
    assert request.is_from_text is not begins


def test_a_shot_that_continues_begins_with_the_frames_before_and_not_with_the_start_image():
    request = ask(shot=plan(0, "mm2v"), previous_frames=PREVIOUS, start_image=START)
    assert torch.equal(request.given, PREVIOUS[-5:])
    with pytest.raises(ValueError, match="start_image and previous_frames are both connected"):
        ask(previous_frames=PREVIOUS, start_image=START)


def test_a_shots_own_length_and_seed_win():
    request = ask(shot=plan(2))
    assert (request.length, request.seed) == (13, 9)
    request = ask(shot=plan(2, length=5, seed=3))
    assert (request.length, request.seed) == (5, 3)
    assert request.latent_shape == [1, 16, 2, 4, 8]
    assert torch.zeros(request.latent_shape).shape == (1, 16, 2, 4, 8), "whole numbers"
    assert ask(shot=plan(2, seed=0)).seed == 0, "0 is a seed like any other"
    with pytest.raises(FrozenInstanceError):
        request.seed = 4


def test_a_shot_is_from_text_only_without_memory_and_without_frames():
    assert ask().is_from_text is True
    assert ask(memory=memory(1)).is_from_text is False
    assert ask(start_image=START).is_from_text is False
    assert ask(memory=memory(1), start_image=START).is_from_text is False
    assert ask(previous_frames=PREVIOUS).is_from_text is False


def test_one_frame_may_be_all_of_a_shot_that_continues_nothing():
    assert ask(length=1).length == 1
    assert ask(length=1, start_image=START).length == 1
    with pytest.raises(ValueError, match=r"the first 1 frames repeat .* set length to 5 or more"):
        ask(length=1, previous_frames=PREVIOUS)
    assert ask(length=5, previous_frames=PREVIOUS).length == 5


def test_the_size_rules_are_those_of_saved_workflows():
    assert SIZE_RULES == ("exact", "memory_aspect")


def test_seeds_go_on_through_the_scenes_and_a_shots_own_seed_wins():
    """Every shot of a story has its own noise, whatever the numbers of scenes and shots."""
    own = [[None, 0], [None, None, 7], [0, 2**64 - 1, None]]
    scenes = [
        {"scene_num": number, "video_prompts": ["p"] * len(seeds), "cut": [True] * len(seeds),
         "seed": seeds}
        for number, seeds in zip((1, 2, 9), own, strict=True)
    ]  # fmt: skip
    shots = load_story({"story_name": "Tale", "scenes": scenes}).shots
    assert [shot.label for shot in shots] == [
        "01_01", "01_02", "02_01", "02_02", "02_03", "09_01", "09_02", "09_03",
    ]  # fmt: skip
    asked = [ask(shot=ShotPlan(shot, "Tale", "p"), seed=100).seed for shot in shots]
    assert asked == [100, 0, 102, 103, 7, 0, 2**64 - 1, 107]
    largest = [ask(shot=ShotPlan(shot, "Tale", "p"), seed=2**64 - 2).seed for shot in shots]
    assert largest == [2**64 - 2, 0, 0, 1, 7, 0, 2**64 - 1, 5]
    assert [ask(seed=seed).seed for seed in (0, 100)] == [0, 100]
    plain = load_story("[seed: 0]\np\n---\np\n---\n[seed: 7]\np").shots
    assert [ask(shot=ShotPlan(shot, "Tale", "p"), seed=100).seed for shot in plain] == [0, 101, 7]


def test_the_size_follows_the_given_frame_else_the_first_memory_frame():
    tall = memory(2, height=64, width=32)
    assert (ask(memory=tall).width, ask(memory=tall).height) == (64, 32)
    request = ask(memory=tall, size_rule="memory_aspect")
    assert (request.width, request.height) == (32, 64)
    request = ask(memory=tall, size_rule="memory_aspect", start_image=START)
    assert (request.width, request.height) == (48, 32)
    request = ask(size_rule="memory_aspect", start_image=START)
    assert (request.width, request.height) == (48, 32)
    mixed = [*memory(1, height=64, width=32), *memory(1, height=16, width=64)]
    request = ask(memory=mixed, size_rule="memory_aspect")
    assert (request.width, request.height) == (32, 64)
    request = ask(size_rule="memory_aspect")
    assert (request.width, request.height) == (64, 32)


def test_more_than_ten_memory_frames_are_used():
    """They are warned about with the memory's settings, before the first shot."""
    assert len(ask(memory=memory(11)).memory) == 11


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_image": START.expand(2, -1, -1, -1)}, "must be one picture, but it holds 2"),
        ({"start_image": START * float("nan")}, "^start_image holds NaN or infinite pixels"),
        ({"start_image": spoilt(START)}, "^start_image holds NaN or infinite pixels"),
        ({"previous_frames": spoilt(PREVIOUS)}, "^previous_frames holds NaN or infinite pixels"),
        (
            {"previous_frames": PREVIOUS * float("inf")},
            "previous_frames holds NaN or infinite pixels",
        ),
        ({"width": 60}, "width must be a multiple of 16"),
        ({"length": 12}, "length must be 4n"),
        (
            {"previous_frames": PREVIOUS, "continuity": "last_five_frames", "length": 5},
            "the first 5 frames repeat the previous shot .* set length to 9 or more",
        ),
    ],
)
def test_what_does_not_fit_together_is_told(changes, message):
    with pytest.raises(ValueError, match=message):
        ask(**changes)


def test_memory_that_is_chosen_from_is_encoded_at_the_size_of_the_shot():
    """As ``request_shot`` has it, so that nothing is encoded twice."""
    portrait = MemoryFrame(noise_image(1, 64, 16))  # the artist's, of another aspect
    film = [MemoryFrame(noise_image(i, 16, 32), shot=0, frame=i) for i in range(2)]
    for rule in SIZE_RULES:
        for shot, given in ((plan(0), None), (plan(1, "mi2v"), PREVIOUS)):
            for frames in ((), film, [portrait, *film]):
                size = {"width": 64, "height": 32, "size_rule": rule}
                asked = ask(memory=frames, shot=shot, previous_frames=given, **size)
                found = memory_size(frames, shot, **size)
                assert found == (asked.width, asked.height) or not frames, (rule, shot, frames)
    drafted = replace(plan(0), draft=Draft(size=0.5))
    assert memory_size(film, drafted, width=64, height=32, size_rule="exact") == (32, 16)
    with pytest.raises(ValueError, match="width must be a multiple of 16"):
        memory_size(film, None, width=65, height=32, size_rule="exact")
