"""The evaluation measures what it says: with a painter that copies looks out of its memory."""

from __future__ import annotations

import json

import pytest
import torch

from storymem.memory_bank import REFERENCE_SHOT
from storymem.tiny import evaluate, measures, player, statistics, text, world

SIDE = 16  # the code of each kind's look fills a corner of this many pixels


class CopyingPainter:
    """Shows the look that the newest memory frame has of a kind, else one drawn from the seed.

    Looks are written into the corners as flat colours: attribute values as shares of red and green
    (hue, pattern) and, below, shape and accessory. The rest is a colour of the shot's own.
    """

    def __init__(self, stories: list[world.Stories]):
        self.faces, self.given = {}, []
        for drawn in stories:
            for s in range(len(drawn.look)):
                for kind, pixels in enumerate(player.portraits(drawn, s)):
                    frame = player.MemoryFrame.from_pixels(pixels)
                    self.faces[frame.digest] = (kind, drawn.look[s, kind])

    def __call__(self, requests, rope_shift):
        return torch.stack([self._paint(request, rope_shift) for request in requests])

    def _paint(self, request, rope_shift):
        draw = torch.Generator().manual_seed(request.seed)
        clip = torch.rand(1, 1, 1, 3, generator=draw).expand(world.FRAMES, 96, 96, 3).clone()
        clip[:, ::8] *= 0.5  # stripes: sharp enough for the scorer
        words = text.parse(request.prompt)
        for kind in range(2):
            names = {name.lower() for name in world.NAMES[kind]}
            if not names & {words[0], words[2]}:
                continue
            look = torch.stack([torch.randint(n, (1,), generator=draw)[0]
                                for n in world.LOOK_COUNTS])  # fmt: skip
            for frame in request.memory if rope_shift == 5 else ():
                found = self._look(frame, kind)
                look = look if found is None else found
            write(clip, kind, look)
        if request.given is not None:
            clip[: len(request.given)] = request.given
        self.given.append(0 if request.given is None else len(request.given))
        return clip

    def _look(self, frame, kind):
        if frame.shot == REFERENCE_SHOT:
            owner, look = self.faces[frame.digest]
            return look if owner == kind else None
        return read(frame.image, kind)


def write(clip, kind, look):
    """Values as steps of 25 in the corner; 255 in blue says that somebody is there."""
    corner = clip[:, :SIDE, :SIDE] if kind == 0 else clip[:, :SIDE, -SIDE:]
    corner[..., 0] = (look[0] * 25 + look[1]) / 255
    corner[..., 1] = (look[2] * 25 + look[3]) / 255
    corner[..., 2] = 1


def read(image, kind):
    pixel = image[SIDE // 2, SIDE // 2 if kind == 0 else -SIDE // 2].long()
    if pixel[2] < 255 or pixel[0] // 25 > 5 or pixel[1] // 25 > 2:
        return None
    look = torch.stack([pixel[0] // 25, pixel[0] % 25, pixel[1] // 25, pixel[1] % 25])
    return look if (look < torch.tensor(world.LOOK_COUNTS)).all() else None


class CodeReader:
    """Stands where the judge would: reads the corners."""

    def identify(self, clips, visible):
        seen = torch.full((len(clips), 2, 4), -1)
        for i, kind in visible.nonzero().tolist():
            frame = (clips[i, -1] * 255).round().to(torch.uint8)
            look = read(frame, kind)
            seen[i, kind] = 9 if look is None else look
        return seen


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two stories played in every way but the seams', by the copying painter."""
    out = tmp_path_factory.mktemp("evaluation")
    names = ["full", "none", "generated", "s0", "spoilt_filtered", "sink3", "sink0"]
    options = ["--out", str(out), "--stories", "2", "--shots", "3", "--long-shots", "10"]
    options = evaluate.parse([*options, "--device", "cpu", "--workers", "1", "--cases", *names])
    stories = [
        world.sample_stories(2, shots=3, seed=evaluate.EVALUATION_SEED),
        player.returning(2, shots=10, absent=8, seed=evaluate.RETURN_SEED),
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the workers have the cores
    yield evaluate.evaluate(options, CopyingPainter(stories), CodeReader())
    torch.set_num_threads(threads)


def joint(work, case, measure="as_drawn"):
    return work.found["cases"][case][measure]["joint"]["rate"]


@pytest.mark.slow
def test_memory_keeps_every_look_and_without_it_none_is_kept(work):
    assert joint(work, "full") == 1
    assert joint(work, "full", "kept") == 1
    assert joint(work, "generated", "kept") == 1
    assert joint(work, "generated") < 0.5  # no portrait, so nobody knows the story's own look
    assert joint(work, "none") < 0.5
    assert joint(work, "s0") < 0.5  # the painter looks at its memory with S = 5 only


@pytest.mark.slow
def test_the_filter_keeps_spoilt_frames_out_of_memory(work):
    assert joint(work, "spoilt_filtered", "kept") == 1
    seen = work.found["cases"]["spoilt_filtered"]["memory_frames"]
    assert seen > 0


@pytest.mark.slow
def test_a_returning_character_is_known_by_the_sink_alone(work):
    cases = work.found["cases"]
    assert joint(work, "sink3") == 1
    assert joint(work, "sink0") < 0.5
    assert cases["sink3"]["returns_with_the_character_in_memory"] == 1
    assert cases["sink0"]["returns_with_the_character_in_memory"] == 0
    assert cases["sink3"]["as_drawn"]["joint"]["count"] == 2


@pytest.mark.slow
def test_what_was_found_is_written_with_intervals_and_drawn(work):
    out = work.options.out
    found = json.loads((out / "evaluation.json").read_text())
    full = found["cases"]["full"]["as_drawn"]
    assert set(world.ATTRIBUTES) < set(full)
    assert full["joint"]["wilson"][0] < 1
    assert len(full["by_shot"]) == 3
    assert found["bars"]["portrait_memory"]
    assert found["comparisons"]["full - none"]["difference"] > 0.5
    pictures = {path.name for path in out.glob("*.png")}
    assert {"identity.png", "kept.png", "by_shot.png", "attributes.png", "story_0.png"} <= pictures


def test_seams_are_measured_where_a_shot_goes_on(monkeypatch):
    stories = world.sample_stories(3, shots=3, seed=4)
    goes_on = stories.begins != world.CUT
    assert goes_on.any()
    found = {}
    for begins in (world.CUT, world.FIVE_FRAMES):
        painter = CopyingPainter([stories])
        case = player.Case("seam", remembers=False, begins=begins)
        played = player.play(stories, case, painter)
        expected = 0 if begins == world.CUT else 5
        given = torch.tensor(played.given)
        assert (given[goes_on] == expected).all()
        assert (given[~goes_on] == 0).all()
        for s, k in goes_on.nonzero().tolist():
            assert len(played.shots[s][k]) == world.FRAMES - expected
        found[begins] = measures.seams(played, goes_on)
    assert found[world.CUT]["step"]["count"] == int(goes_on.sum())
    assert found[world.CUT]["step"]["mean"] > 0
    assert found[world.CUT]["usual"]["mean"] == 0  # this painter's shots stand still


def test_stories_are_told_to_the_librarys_own_parser():
    stories = world.sample_stories(4, shots=7, seed=9)
    for s in range(4):
        tale = player.tell(stories, s, evaluate.FULL)
        assert [shot.prompt for shot in tale.shots] == [stories.prompt(s, k) for k in range(7)]
        assert [shot.cut for shot in tale.shots] == (stories.begins[s] == world.CUT).tolist()
        assert not tale.warnings


def test_random_frames_are_as_many_and_from_anywhere():
    grain = torch.randint(0, 60, (17, 96, 96, 3), generator=torch.Generator().manual_seed(0))
    views = torch.tensor([(180, 10, 10), (10, 180, 10), (10, 10, 180)]).repeat_interleave(6, 0)
    frames = (views[:17, None, None] + grain).to(torch.uint8)  # three views, no frame like another
    semantic = player.remember(frames, player.MemoryBank(), player.Case("a"), 0, 0)
    case = player.Case("b", selection="random")
    random = player.remember(frames, player.MemoryBank(), case, 0, 0)
    assert len(random) == len(semantic) == 3
    assert [f.frame for f in random.frames] != [f.frame for f in semantic.frames]
    for frame in random.frames:
        assert torch.equal(frame.image, frames[frame.frame])


def test_spoilt_frames_are_below_the_scorers_threshold_and_the_others_are_untouched():
    from storymem.aesthetics import SharpnessScorer
    from storymem.frames import ShotFrames

    stories = world.sample_stories(1, shots=2, seed=2)
    frames = (player.picture.render(stories.scenes[[0]])[0] * 255).round().to(torch.uint8)
    spoilt = player.corrupt(frames)
    assert torch.equal(spoilt[player.CORRUPTED_FRAMES :], frames[player.CORRUPTED_FRAMES :])
    scorer = SharpnessScorer()
    small = ShotFrames(spoilt)
    scores = scorer.score(torch.stack([small.small(i) for i in (0, 8, 9, 16)]))
    assert [scorer.is_good(score) for score in scores] == [False, False, True, True]


# --- intervals -----------------------------------------------------------------------------------


def test_wilson_is_the_published_interval():
    low, high = statistics.wilson(81, 263)  # Newcombe 1998, table I
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert statistics.wilson(0, 20)[0] == 0
    assert statistics.wilson(20, 20)[1] == 1


def test_the_interval_over_stories_is_wider_when_a_storys_characters_go_together():
    draw = torch.Generator().manual_seed(0)
    stories = torch.rand(200, 1, generator=draw) < 0.5
    together = statistics.rate(stories.expand(-1, 10), torch.ones(200, 10, dtype=torch.bool))
    apart = torch.rand(200, 10, generator=draw) < 0.5
    apart = statistics.rate(apart, torch.ones(200, 10, dtype=torch.bool))
    width = [high - low for low, high in (together["stories"], apart["stories"])]
    assert 2 < width[0] / width[1] < 4.5  # sqrt(10)
    # 95 % of a mean of 200 coins: 2 * 1.96 * 0.5 / sqrt(200)
    assert abs(width[0] - 0.1386) < 0.015
    assert apart["wilson"][1] - apart["wilson"][0] < 0.05


def test_trials_that_were_not_asked_for_do_not_count():
    right = torch.tensor([[True, True], [False, True]])
    asked = torch.tensor([[True, False], [True, False]])
    found = statistics.rate(right, asked)
    assert (found["rate"], found["count"]) == (0.5, 2)
    assert statistics.difference(right, ~right, asked)["difference"] == 0
    assert statistics.mean(torch.tensor([[3.0, 9.0]]), torch.tensor([[True, False]]))["mean"] == 3
