"""The evaluation measures what it says: with a painter that copies looks out of its memory."""

from __future__ import annotations

import json

import pytest
import torch

from storymem.memory.embedders import Embedder
from storymem.memory.frame import REFERENCE_SHOT
from storymem.tiny import staging, text, world
from storymem.tiny.lab import evaluate, flow, measures, player, returns

pytestmark = pytest.mark.slow

SIDE = 16  # the code of each kind's look fills a square of this many pixels


class CopyingPainter:
    """Shows the look that the newest memory frame has of a kind, else one drawn from the seed.

    Looks are written side by side into the top as flat colours: hue and pattern as shares of red,
    shape and accessory of green. The rest is a colour of the shot's own.
    """

    def __init__(self, stories: list[world.Stories]):
        self.faces, self.given = {}, []
        for drawn in stories:
            for s in range(len(drawn.look)):
                kinds = drawn.cast[s].nonzero()[:, 0].tolist()
                for kind, pixels in zip(kinds, player.portraits(drawn, s), strict=True):
                    frame = player.MemoryFrame.from_pixels(pixels)
                    self.faces[frame.digest] = (kind, drawn.look[s, kind])

    def __call__(self, requests, rope_shift):
        return torch.stack([self._paint(request, rope_shift) for request in requests])

    def _paint(self, request, rope_shift):
        draw = torch.Generator().manual_seed(request.seed)
        clip = torch.rand(1, 1, 1, 3, generator=draw).expand(world.FRAMES, 96, 96, 3).clone()
        clip[:, ::8] *= 0.5  # stripes: sharp enough for the scorer
        words = text.parse(request.prompt)
        for kind in range(len(world.KINDS)):
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
    """Values as steps of 25 in the square of the kind; 255 in blue says that somebody is there."""
    square = clip[:, :SIDE, kind * SIDE : (kind + 1) * SIDE]
    square[..., 0] = (look[0] * 25 + look[1]) / 255
    square[..., 1] = (look[2] * 25 + look[3]) / 255
    square[..., 2] = 1


def read(image, kind):
    pixel = image[SIDE // 2, kind * SIDE + SIDE // 2].long()
    if pixel[2] < 255 or pixel[0] // 25 > 5 or pixel[1] // 25 > 2:
        return None
    look = torch.stack([pixel[0] // 25, pixel[0] % 25, pixel[1] // 25, pixel[1] % 25])
    return look if (look < torch.tensor(world.LOOK_COUNTS)).all() else None


class CodeReader:
    """Stands where the judge would: reads the top of the picture."""

    def identify(self, clips, visible, **how):
        seen = torch.full((len(clips), len(world.KINDS), 4), -1)
        for i, kind in visible.nonzero().tolist():
            frame = (clips[i, -1] * 255).round().to(torch.uint8)
            look = read(frame, kind)
            seen[i, kind] = 9 if look is None else look
        return seen


class WhoIsThere(Embedder):
    """Knows which kinds a picture of the copying painter shows, and which a prompt names."""

    name = "who_is_there"

    def _embed(self, frames):
        kinds = range(len(world.KINDS))
        return torch.tensor([[read(f, kind) is not None for kind in kinds] + [0.1]
                             for f in frames]).float()  # fmt: skip

    def _embed_text(self, words):
        said = set(text.parse(words))
        named = [bool({n.lower() for n in names} & said) for names in world.NAMES]
        return torch.tensor([*named, 0.1]).float()


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two stories played in every way but the seams', by the copying painter."""
    out = tmp_path_factory.mktemp("evaluation")
    names = ["full", "none", "generated", "s0", "spoilt_filtered", "sink3", "sink0"]
    options = ["--out", str(out), "--stories", "2", "--shots", "3", "--long-shots", "10"]
    options = evaluate.parse([*options, "--device", "cpu", "--workers", "1", "--cases", *names])
    stories = [
        staging.sample_stories(2, shots=3, seed=evaluate.EVALUATION_SEED),
        player.returning(2, shots=10, absent=8, seed=evaluate.RETURN_SEED)[0],
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
    stories = staging.sample_stories(3, shots=3, seed=4)
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


def test_colours_that_drift_are_matched_and_the_drift_is_measured():
    pytest.importorskip("kornia")
    stories = staging.sample_stories(3, shots=3, seed=4)

    class Drifts(CopyingPainter):
        def _paint(self, request, rope_shift):
            clip = super()._paint(request, rope_shift)
            return (clip * 0.6 + 0.3) if request.given is None else clip + 0.08

    found = {}
    for matches in (False, True):
        case = player.Case("a", remembers=False, begins=world.FIRST_FRAME, matches_colour=matches)
        played = player.play(stories, case, Drifts([stories]))
        found[matches] = measures.seams(played, stories.begins != world.CUT)
    assert found[False]["error"]["mean"] > 5
    assert found[True]["error"]["mean"] < 1.5
    assert found[True]["drift"]["mean"] < found[False]["drift"]["mean"] / 5
    assert found[True]["drift"]["count"] == int((stories.begins != world.CUT).sum())


def test_a_cut_repeats_nothing_so_that_nothing_of_it_can_drift():
    stories = staging.sample_stories(3, shots=3, seed=4)
    case = player.Case("cut", remembers=False, begins=world.CUT)
    played = player.play(stories, case, CopyingPainter([stories]))
    found = measures.seams(played, stories.begins != world.CUT)
    assert found["step"]["count"] > 0
    assert found["error"]["count"] == found["drift"]["count"] == 0


def test_the_frames_around_seams_come_back_from_their_file_and_are_measured(tmp_path):
    pytest.importorskip("cv2")
    stories = staging.sample_stories(4, shots=4, seed=3)
    options = evaluate.parse(["--out", str(tmp_path), "--stories", "4", "--shots", "4"])
    work = evaluate.Evaluation(options, None, None)
    work.stories = stories
    work.true_seams("cpu")
    goes_on = stories.begins == world.FIVE_FRAMES
    measured = work.found["flow"]["truth_mm2v"]
    assert measured["flow_jump"]["count"] == int(goes_on.sum()) > 0
    step = work.found["true_seams"]["mm2v"]["step"]["mean"]
    assert measured["pixel_step"]["mean"] == pytest.approx(step, rel=1e-3)
    assert work.found["true_seams"]["mm2v"]["error"]["mean"] < 0.01  # drawn alike
    assert measured["pixel_ratio"]["ratio"] < 3
    shots = [[torch.randint(0, 255, (8, 9, 9, 3), dtype=torch.uint8)] * 2]
    noise = player.Played(shots, [], [], [])
    kept = flow.cut_out(noise, torch.tensor([[False, True]]))
    kept.save(tmp_path / "seams_noise.npz")
    again = flow.Windows.load(tmp_path / "seams_noise.npz")
    assert (again.frames == kept.frames).all()
    assert again.places.tolist() == [[0, 1]]


def test_stories_are_told_to_the_librarys_own_parser():
    stories = staging.sample_stories(4, shots=7, seed=9)
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
    from storymem.selection.preprocess import ShotFrames
    from storymem.selection.scorers import SharpnessScorer

    stories = staging.sample_stories(1, shots=2, seed=2)
    frames = (player.picture.render(stories.scenes[[0]])[0] * 255).round().to(torch.uint8)
    spoilt = player.corrupt(frames)
    assert torch.equal(spoilt[player.CORRUPTED_FRAMES :], frames[player.CORRUPTED_FRAMES :])
    scorer = SharpnessScorer()
    small = ShotFrames(spoilt)
    scores = scorer.score(torch.stack([small.small(i) for i in (0, 8, 9, 16)]))
    assert [scorer.is_good(score) for score in scores] == [False, False, True, True]


# --- who is known on coming back -----------------------------------------------------------------


def play_returns(tmp_path, *cases, absent=8, stories=2):
    """Stories played by the copying painter."""
    options = ["--out", str(tmp_path), "--stories", str(stories), "--absent", str(absent)]
    options += ["--device", "cpu", "--workers", "1", "--cases", *cases]
    work = returns.Returns(returns.parse(options), CopyingPainter([]), CodeReader())
    work.embedder = WhoIsThere()
    work.run(case for case in returns.CASES if case.name in cases)
    work.write()
    work.draw()
    return work


@pytest.fixture(scope="module")
def came_back(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cases = ("window_3", "entities_3", "relevant_3", "window_10", "entities_10")
    yield play_returns(tmp_path_factory.mktemp("returns"), *cases)
    torch.set_num_threads(threads)


def kept(work, case, cast, moment="return"):
    return work.found["cases"][case][f"characters_{cast}"][moment]["joint"]["rate"]


@pytest.mark.slow
@pytest.mark.parametrize("cast", returns.CASTS)
@pytest.mark.parametrize("budget", [3, 10])
def test_the_window_loses_the_one_who_returns_and_entities_does_not(came_back, cast, budget):
    assert kept(came_back, f"window_{budget}", cast) < 0.5
    assert kept(came_back, f"entities_{budget}", cast) == 1
    assert kept(came_back, f"entities_{budget}", cast, "afterwards") == 1
    for case, shows in ((f"window_{budget}", 0), (f"entities_{budget}", 1)):
        at_return = came_back.found["cases"][case][f"characters_{cast}"]["return"]
        assert at_return["in_memory"]["rate"] == shows
        assert at_return["joint"]["count"] == 2  # one in each story


@pytest.mark.slow
@pytest.mark.parametrize("cast", [1, 2])  # among three, the other one's pictures may come first
def test_relevant_finds_the_one_who_returns_by_the_prompt(came_back, cast):
    assert kept(came_back, "relevant_3", cast) == 1


@pytest.mark.slow
def test_nothing_is_lost_elsewhere_and_the_differences_say_so(came_back):
    assert kept(came_back, "entities_3", 3, "elsewhere") == 1
    assert kept(came_back, "entities_3", 1, "elsewhere") is None  # nobody else is there
    found = came_back.found["comparisons"]["entities_3 - window_3, characters 3"]
    assert found["return"]["difference"] > 0.5
    assert found["elsewhere"]["difference"] >= 0
    assert "entities_3 - window_10, characters 3" not in came_back.found["comparisons"]


@pytest.mark.slow
def test_what_was_found_is_written_and_drawn(came_back):
    out = came_back.options.out
    found = json.loads((out / "returns.json").read_text())
    assert found["cases"]["entities_3"]["case"]["sink"] == 1
    assert found["cases"]["entities_3"]["seconds"]["all"] > 0
    assert found["cases"]["window_10"]["memory_frames"] > 5
    assert "stand-in" in found["relevant"]
    drawn = {path.name for path in out.glob("*.png")}
    assert {"return_1.png", "return_3.png", "elsewhere_3.png"} <= drawn
    row = (out / "returns.md").read_text().splitlines()[-1]
    assert row.startswith("| 3 | 10 | ")
    assert "1.000 (" in row


@pytest.mark.slow
def test_a_larger_budget_holds_those_who_were_away_for_less_long(tmp_path):
    work = play_returns(tmp_path, "window_3", "window_10", absent=6, stories=1)
    for cast in returns.CASTS:
        assert kept(work, "window_3", cast) == 0
        assert kept(work, "window_10", cast) == 1


@pytest.mark.slow
def test_a_case_that_fails_is_told_and_takes_no_other_with_it(tmp_path):
    class Fails(CopyingPainter):
        def __call__(self, requests, rope_shift):
            if len(requests[0].memory) > 4:
                raise RuntimeError("no room")
            return super().__call__(requests, rope_shift)

    options = ["--out", str(tmp_path), "--stories", "1", "--absent", "2", "--device", "cpu"]
    work = returns.Returns(returns.parse(options), Fails([]), CodeReader())
    by_name = {case.name: case for case in returns.CASES}
    work.run([by_name["window_6"], by_name["window_3"]])
    assert "no room" in work.found["left_out"]["window_6"]
    assert list(work.found["cases"]) == ["window_3"]
    work.options.seconds = 0
    work.run([by_name["window_4"]])
    assert work.found["left_out"]["window_4"] == "no time was left"
