"""Memory positions in real time: a frame is put where it happened, as latent frames before the
shot, where S = 5 puts frames at even steps."""

from __future__ import annotations

import math

import pytest
import torch

from storymem.memory.frame import MemoryFrame
from storymem.tiny import dit, world
from storymem.tiny.lab import corpus, player

SHOTS = 4


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    built = dit.build(layers=2, ffn=64, heads=1).eval().requires_grad_(False)
    built.rope = dit.KnownPositions(built.rope)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return built


def predicted(model, rows=slice(None), **how):
    g = torch.Generator().manual_seed(1)
    x, known = (torch.randn(2, 8, 16, 4, 4, generator=g)[rows] for _ in range(2))
    mask = torch.zeros(2, 8)[rows]
    words, sigma = torch.randn(2, 5, 4096, generator=g)[rows], torch.tensor([0.3, 0.8])[rows]
    return dit.predict(model, x, mask, known, sigma, words, memory_frames=3, **how)


def test_moments_five_apart_are_what_s_5_is_and_others_are_not(model):
    five = predicted(model, rope_shift=5)
    assert torch.equal(predicted(model, moments=torch.tensor([[-15, -10, -5]] * 2)), five)
    for other in ([-15, -10, -6], [15, 10, 5], [-512, -10, -5]):
        assert (predicted(model, moments=torch.tensor([other] * 2)) - five).abs().max() > 1e-4


def test_every_row_has_moments_of_its_own(model):
    moments = torch.tensor([[-512, -40, -3], [-9, -7, -1]])
    both = predicted(model, moments=moments)
    for row in range(2):
        one = predicted(model, slice(row, row + 1), moments=moments[row : row + 1])
        torch.testing.assert_close(both[row : row + 1], one, rtol=1e-4, atol=1e-5)


def test_without_moments_the_positions_of_s_are_back(model):
    before = predicted(model)
    predicted(model, moments=torch.tensor([[-512, -40, -3]] * 2))
    assert torch.equal(predicted(model), before)


def test_the_tables_are_rotations_by_the_moments(model):
    moments = torch.tensor([[-512, -40], [-9, -1]])
    cosines, sines = dit._tables_at(model.rope.original, (4, 4, 6), moments)
    table = model.rope.original
    sizes = (table.t_dim, table.h_dim, table.w_dim)
    rates = [10_000.0 ** (-torch.arange(0, d, 2, dtype=torch.float64) / d) for d in sizes]
    row = 0
    for sample, times in enumerate([[-512, -40, 0, 1], [-9, -1, 0, 1]]):
        row = 0
        for time in times:
            for y in range(2):
                for x in range(3):
                    angles = torch.cat([p * r for p, r in zip((time, y, x), rates, strict=True)])
                    angles = angles.repeat_interleave(2)
                    for found, meant in ((cosines, angles.cos()), (sines, angles.sin())):
                        apart = (found[sample, row, 0].double() - meant).abs().max()
                        assert apart < 1e-4, (sample, time, y, x)
                    row += 1
    assert row == cosines.shape[1]


def test_a_remembered_frame_is_put_where_it_happened():
    def frame(shot, at):
        return MemoryFrame(torch.zeros(2, 2, 3, dtype=torch.uint8), story="s", shot=shot, frame=at)

    shots = [torch.zeros(17, 2, 2, 3), torch.zeros(12, 2, 2, 3)]  # the second repeated five
    memory = (frame(-1, 0), frame(0, 0), frame(0, 16), frame(1, 11))
    # A cut begins at frame 29, latent 7; a shot that repeats five frames at 24, latent 6.
    assert player.moments_of(memory, shots, 0) == (-512, -7, -3, -1)
    assert player.moments_of(memory, shots, 5) == (-512, -6, -2, -1)
    long = [torch.zeros(3000, 1, 1, 1), torch.zeros(17, 1, 1, 1)]
    assert player.moments_of((frame(0, 0), frame(0, 2999)), long, 0) == (-512, -5)


def small_corpus() -> corpus.Corpus:
    """Two stories whose latents tell their story, shot and image."""
    tells = torch.arange(2 * SHOTS * corpus.IMAGES).float().view(2, SHOTS, corpus.IMAGES)
    images = tells[..., None, None, None].expand(-1, -1, -1, 16, 2, 2).contiguous()
    return corpus.Corpus(
        stories=None,
        shots=torch.zeros(2, SHOTS, 5, 16, 2, 2),
        known=torch.zeros(2, SHOTS, 5, 16, 2, 2),
        images=images,
        moments=torch.tensor([0, 5, 16]).expand(2, SHOTS, -1),
        portraits=torch.full((2, 3, 16, 2, 2), -1.0),
        cast=torch.ones(2, 3, dtype=torch.bool),
        grey=torch.zeros(5, 16, 2, 2),
        near=torch.zeros(2, SHOTS, 5, 2, 2),
        words=torch.zeros(2, SHOTS, 5, 2, dtype=torch.long),
        begins=torch.zeros(2, SHOTS, dtype=torch.long),
        visible=torch.zeros(2, SHOTS, 3, dtype=torch.bool),
    )


def test_training_sees_moments_in_the_past_at_their_distance_or_further():
    drawn = corpus.draw(
        small_corpus(), 400, 5, torch.Generator().manual_seed(0), strangers=0.0, real_time=True
    )
    told = drawn.clean[:, :5, 0, 0, 0].round().long()
    is_portrait = told < 0
    assert is_portrait.any()
    assert not is_portrait.all()
    assert (drawn.moments[is_portrait] == -dit.FURTHEST).all()
    shot, image = told // corpus.IMAGES % SHOTS, told % corpus.IMAGES
    at = torch.tensor([0, 5, 16])[image]
    ago = (drawn.shot[:, None] - shot) % SHOTS * world.FRAMES - at
    near = -(ago / 4).ceil().long()
    own = ~is_portrait
    is_near = ((drawn.moments == near) | is_portrait).all(1)
    assert 0.4 < is_near.float().mean() < 0.65  # half of the samples, and a few more by rounding
    assert (drawn.moments <= near)[own].all()
    longest = math.ceil(SHOTS * world.FRAMES * corpus.LONGER / 4)
    assert drawn.moments[own].min() >= -longest
    assert drawn.moments[own].min() < -100
    assert (drawn.moments < 0).all()


def test_positions_by_s_draw_no_moments():
    drawn = corpus.draw(small_corpus(), 8, 3, torch.Generator().manual_seed(0))
    assert drawn.moments is None
