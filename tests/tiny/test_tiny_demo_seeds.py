"""Whether a shot of the demo is right: the look, nobody else, nobody twice."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from storymem.tiny import demo, judge, picture, staging, stand_in, world
from storymem.tiny.lab import demo_seeds

pytestmark = pytest.mark.slow
PROMPT = "Bomo sways, meadow, still"


@pytest.fixture(scope="module")
def eyes():
    return stand_in.StandIn()


@pytest.fixture(scope="module")
def referee():
    return judge.Judge()


def drawn(*, x=40.0, look=(1, 1, 0, 0), others=()) -> torch.Tensor:
    """A still clip of the big one, uint8 [17, 96, 96, 3]; ``others`` are kinds on the right."""
    scenes = staging.sample_stories(1, shots=1, seed=3, characters=3).scenes
    visible = torch.zeros(1, len(world.KINDS), dtype=torch.bool)
    visible[0, [0, *others]] = True
    places = torch.tensor([x, 74.0, 74.0])[None, :, None]
    rest = [world.GROUND - f * r for f, r in zip(world.FEET, world.RADII, strict=True)]
    scenes = dataclasses.replace(
        scenes,
        look=torch.tensor([list(look)] * len(world.KINDS))[None],
        visible=visible,
        x=scenes.x * 0 + places,
        y=scenes.y * 0 + torch.tensor(rest)[None, :, None],
        place=torch.tensor([0]),
        framing=torch.tensor([world.MEDIUM]),
        zoom=torch.ones_like(scenes.zoom),
    )
    return (picture.render(scenes)[0] * 255).round().to(torch.uint8)


def verdict(clip, referee, eyes, prompt=PROMPT):
    looks = torch.tensor([[1, 1, 0, 0]] * len(world.KINDS))
    return demo_seeds.is_right(clip, prompt, looks, referee, eyes)


def test_a_shot_with_the_right_look_and_nobody_else_is_right(referee, eyes):
    assert verdict(drawn(), referee, eyes) == ""
    together = drawn(x=26, others=[1])
    assert verdict(together, referee, eyes, "Bomo sways, Fipi hops, meadow, still") == ""


def test_what_is_wrong_is_told(referee, eyes):
    assert verdict(drawn(look=(2, 1, 0, 0)), referee, eyes) == "look"
    assert verdict(drawn(x=26, others=[2]), referee, eyes) == "stranger"
    nobody = drawn(x=-60)
    twice = torch.where((drawn(x=74).int() - nobody.int()).abs() > 4, drawn(x=74), drawn(x=24))
    assert verdict(twice, referee, eyes) == "twice"


def test_only_the_frames_in_which_an_action_shows_somebody_are_looked_at():
    whole = demo_seeds.frames_in_view("Bomo enters, Fipi leaves, snow, still", 17)
    assert whole[0].nonzero()[:, 0].tolist() == list(range(11, 17))
    assert whole[1].nonzero()[:, 0].tolist() == [0, 1]
    assert not whole[2].any()
    assert demo_seeds.frames_in_view("Bomo hops", 12).sum().item() == 12
    story = staging.sample_stories(60, shots=1, seed=9)
    for s in range(60):  # as the world itself has it
        told = demo_seeds.frames_in_view(story.prompt(s, 0), world.FRAMES)
        assert not (told & ~story.scenes.in_view()[s]).any()


def test_every_seeds_shots_are_judged_and_written(tmp_path, referee):
    class Paints:
        """Draws what is asked for, and with odd seeds nobody."""

        def __call__(self, requests, rope_shift):
            return torch.stack([self.clip(request) for request in requests])

        def clip(self, request):
            draw = torch.Generator().manual_seed(request.seed)
            return torch.rand(world.FRAMES, 96, 96, 3, generator=draw)

    parser = demo_seeds.trials.parser("demo_seeds", "", ())
    options = parser.parse_args(["--out", str(tmp_path), "--device", "cpu"])
    options.seeds = 2
    found = demo_seeds.measure(options, Paints(), referee)
    assert found["of"] == 2
    assert found["whole_stories"] == 0
    written = json.loads((tmp_path / "demo_seeds.json").read_text())
    assert [len(shots) for shots in written["wrong"].values()] == [8, 8]
    assert (tmp_path / "demo_seeds.png").stat().st_size > 1000
    assert len(demo.LOOKS) == 2
