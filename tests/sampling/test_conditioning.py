"""Sizes, resizing, masks, caches and noise of a shot's conditioning."""

from __future__ import annotations

import gc

import pytest
import torch

from helpers.fakes import noise_image
from storymem.memory.frame import MemoryFrame
from storymem.sampling.conditioning import (
    LatentCache,
    ShotEncoder,
    check_size,
    draw_memory_noise,
    fit_size,
    latent_frames,
    resize_frames,
)
from storymem.sampling.continuity import ShotPlan, resolve_mode, take_overlap_frames
from storymem.script.story import Shot

WIDTH, HEIGHT = 48, 32


class CountingVae:
    """Encodes to block means in 16 channels, and counts what it was asked for."""

    def __init__(self):
        self.lengths: list[int] = []

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        self.lengths.append(pixels.shape[0])
        frames = latent_frames(pixels.shape[0])
        means = pixels[:: max(1, 4)][:frames].mean(-1)
        means = torch.nn.functional.avg_pool2d(means, 8)
        return means[None, None].expand(1, 16, -1, -1, -1).clone()


def frame(seed: int, height: int = HEIGHT, width: int = WIDTH) -> MemoryFrame:
    return MemoryFrame(noise_image(seed, height, width))


def encoder(vae: CountingVae, cache: LatentCache | None = None, **kwargs) -> ShotEncoder:
    return ShotEncoder(vae.encode, cache or LatentCache(), vae, **kwargs)


def condition(source: ShotEncoder, memory=(), given=None, length=17, width=WIDTH, height=HEIGHT):
    return source.condition(memory, given, width=width, height=height, length=length)


def test_sizes_follow_the_released_rule(golden):
    for case in golden("size.json"):
        height, width = fit_size(case["h"], case["w"], case["max_area"])
        assert [height // 8, width // 8] == case["lat"], case


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((50, 32, 17), "^width must be a multiple of 16, but it is 50; use 48"),
        ((48, 8, 17), "^height must be a multiple of 16, but it is 8; use 16"),
        ((48, 32, 16), r"^length must be 4n\+1 .* but it is 16; use 17"),
        ((48, 32, 0), r"^length must be 4n\+1 .* but it is 0; use 1"),
    ],
)
def test_impossible_sizes_say_what_to_use(size, words):
    with pytest.raises(ValueError, match=words):
        check_size(*size)


@pytest.mark.parametrize(
    ("length", "frames"), [(1, 1), (4, 1), (5, 2), (7, 2), (8, 2), (17, 5), (81, 21)]
)
def test_latent_frames_of_pixel_frames(length, frames):
    assert latent_frames(length) == frames


def cubic_weights(source: int, target: int) -> torch.Tensor:
    """Bicubic (a = -0.75, half-pixel centres, edges repeated) as a matrix, in float64."""
    weights = torch.zeros(target, source, dtype=torch.float64)
    for row in range(target):
        centre = (row + 0.5) * source / target - 0.5
        first = int(centre // 1)
        for tap in range(first - 1, first + 3):
            d, a = abs(centre - tap), -0.75
            if d <= 1:
                w = (a + 2) * d**3 - (a + 3) * d**2 + 1
            else:
                w = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
            weights[row, min(max(tap, 0), source - 1)] += w
    return weights


def test_memory_is_resized_bicubic_without_crop_antialias_or_clamp():
    pixels = (noise_image(5, 45, 71).float() / 255 > 0.5).float()  # hard edges overshoot
    expected = torch.einsum(
        "yh,xw,hwc->yxc", cubic_weights(45, HEIGHT), cubic_weights(71, WIDTH), pixels.double()
    )
    resized = resize_frames(pixels[None], WIDTH, HEIGHT)[0]
    assert (resized - expected).abs().max() < 1e-5
    assert resized.min() < -0.01
    assert resized.max() > 1.01


@pytest.mark.parametrize(
    ("given", "memory", "known"), [(0, 3, 3), (1, 3, 4), (5, 3, 5), (1, 0, 1), (0, 0, 0)]
)
@pytest.mark.parametrize("length", [17, 81])
def test_mask_knows_memory_and_given_frames(given, memory, known, length):
    frames = torch.rand(given, HEIGHT, WIDTH, 3) if given else None
    shot = condition(encoder(CountingVae()), [frame(i) for i in range(memory)], frames, length)
    expected = [1.0] * known + [0.0] * (memory + latent_frames(length) - known)
    assert shot.mask.shape == (1, 1, len(expected), HEIGHT // 8, WIDTH // 8)
    assert shot.mask[0, 0, :, 0, 0].tolist() == expected
    assert torch.equal(shot.mask, shot.mask[..., :1, :1].expand_as(shot.mask))
    assert shot.latents.shape[2] == len(expected)


def test_memory_frames_are_encoded_alone_and_the_shot_as_one_video():
    vae = CountingVae()
    condition(encoder(vae), [frame(1), frame(2)], torch.rand(5, HEIGHT, WIDTH, 3))
    assert vae.lengths == [1, 1, 17]


def test_memory_and_grey_are_encoded_once_over_many_shots():
    vae, cache = CountingVae(), LatentCache()
    for count in (1, 2, 3):
        condition(encoder(vae, cache), [frame(i) for i in range(count)])
    assert vae.lengths == [1, 17, 1, 1]


def test_the_same_picture_in_another_frame_object_is_encoded_once():
    vae, cache = CountingVae(), LatentCache()
    condition(encoder(vae, cache), [frame(1)])
    condition(encoder(vae, cache), [MemoryFrame(noise_image(1, HEIGHT, WIDTH), shot=4)])
    assert vae.lengths == [1, 17]


def test_another_size_length_or_dtype_is_encoded_again():
    vae, cache = CountingVae(), LatentCache()
    condition(encoder(vae, cache), [frame(1)])
    condition(encoder(vae, cache), [frame(1)], width=64)
    condition(encoder(vae, cache), [frame(1)], length=21)
    condition(encoder(vae, cache, variant=("bf16",)), [frame(1)])
    assert vae.lengths == [1, 17, 1, 17, 21, 1, 17]


def test_two_vaes_never_share_latents():
    cache, first, second = LatentCache(), CountingVae(), CountingVae()
    condition(encoder(first, cache), [frame(1)])
    condition(encoder(second, cache), [frame(1)])
    assert second.lengths == [1, 17]


def test_latents_of_a_vae_without_an_owner_are_not_kept():
    vae, cache = CountingVae(), LatentCache()
    for _ in range(2):
        condition(ShotEncoder(vae.encode, cache, None), [frame(1)])
    assert vae.lengths == [1, 17, 1, 17]


def test_the_cache_lets_go_of_a_vae_and_of_the_oldest_latents():
    vae, cache = CountingVae(), LatentCache(max_bytes=12000)
    for seed in range(20):
        condition(encoder(vae, cache), [frame(seed)])
    kept = next(iter(cache._owners.values()))
    assert sum(latent.nbytes for latent in kept.values()) <= 12000
    del vae, kept
    gc.collect()
    assert len(cache._owners) == 0


def asked(cache, *keys, owner, size=4):
    """Which of these latents of ``size`` bytes were computed, asked for in this order."""
    computed = []
    for key in keys:
        cache.get(owner, (key,), lambda k=key: computed.append(k) or torch.zeros(size // 4))
    return "".join(computed)


def test_what_was_used_last_stays_longest():
    cache, vae = LatentCache(max_bytes=8), CountingVae()
    assert asked(cache, *"abacab", owner=vae) == "abcb"  # c takes the place of b, and b of c
    assert asked(cache, *"abc", owner=vae) == "c"


def test_a_cache_is_full_at_its_size_and_not_before():
    cache, vae = LatentCache(max_bytes=12), CountingVae()
    assert asked(cache, *"abcabc", owner=vae) == "abc"
    assert asked(cache, *"d", owner=vae) == "d"
    assert asked(cache, *"bcd", owner=vae) == ""


def test_a_latent_larger_than_the_cache_is_kept_alone():
    cache, vae = LatentCache(max_bytes=8), CountingVae()
    assert asked(cache, *"aab", owner=vae, size=400) == "ab"
    assert asked(cache, *"ba", owner=vae, size=400) == "a"


def test_each_vae_has_a_cache_of_that_size():
    cache, first, second = LatentCache(max_bytes=8), CountingVae(), CountingVae()
    assert asked(cache, *"ab", owner=first) == "ab"
    assert asked(cache, *"cd", owner=second) == "cd"
    assert asked(cache, *"ab", owner=first) == asked(cache, *"cd", owner=second) == ""


def test_kept_latents_hold_no_gradients():
    cache, vae = LatentCache(), CountingVae()
    kept = cache.get(vae, ("a",), lambda: torch.ones(2, requires_grad=True) * 2)
    assert not kept.requires_grad
    assert kept.grad_fn is None


def test_what_a_caller_does_to_latents_does_not_reach_the_cache():
    vae, cache = CountingVae(), LatentCache()
    first = condition(encoder(vae, cache), [frame(1)])
    before = first.latents.clone()
    first.latents.zero_()
    assert torch.equal(condition(encoder(vae, cache), [frame(1)]).latents, before)


def test_a_vae_of_another_kind_is_refused():
    def encode(pixels):
        return torch.zeros(1, 48, pixels.shape[0], HEIGHT // 16, WIDTH // 16)

    with pytest.raises(ValueError, match=r"Wan 2\.1 VAE"):
        condition(ShotEncoder(encode, LatentCache(), None), [frame(1)])


def test_a_shot_shorter_than_its_given_frames_is_refused():
    with pytest.raises(ValueError, match="length is 1 frames, but 5"):
        condition(encoder(CountingVae()), (), torch.rand(5, HEIGHT, WIDTH, 3), length=1)


def test_memory_noise_of_a_frame_does_not_depend_on_how_many_there_are():
    three, ten = (draw_memory_noise(7, count, (1, 16, 4, 6)) for count in (3, 10))
    assert torch.equal(three, ten[:, :, :3])
    assert not torch.equal(three[:, :, 0], three[:, :, 1])
    assert not torch.equal(three, draw_memory_noise(8, 3, (1, 16, 4, 6)))
    assert draw_memory_noise(7, 0, (1, 16, 4, 6)).shape == (1, 16, 0, 4, 6)


def test_memory_noise_is_that_of_every_film_so_far():
    drawn = draw_memory_noise(7, 2, (1, 16, 4, 6))
    assert drawn[0, 0, 0, 0, :3].tolist() == pytest.approx([1.19904, 1.56937, 0.68621], abs=1e-5)
    assert drawn[0, 0, 1, 0, :3].tolist() == pytest.approx([1.30000, -1.22529, -0.12568], abs=1e-5)
    assert float(drawn[0, 15, 1, 3, 5]) == pytest.approx(-1.60095, abs=1e-5)
    other = draw_memory_noise(7, 1, (2, 16, 4, 6))[1, 0, 0, 0, :3]  # another row of a batch
    assert other.tolist() == pytest.approx([-1.21991, -0.44576, 0.40634], abs=1e-5)


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_memory_noise_is_not_what_a_shot_of_any_seed_near_it_draws(seed):
    """Noise that memory and shot share would tie the shot's first frame to the memory."""
    memory = draw_memory_noise(seed, 3, (1, 16, 4, 6))
    for near in {max(seed - 1, 0), seed, min(seed + 1, 2**64 - 1)}:
        shot = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(near))
        for part in (memory.flatten(), memory.transpose(1, 2).flatten()):
            both = torch.stack([part, shot.flatten()])
            assert abs(float(both.corrcoef()[0, 1])) < 0.15
        assert not set(memory.flatten().tolist()) & set(shot.flatten().tolist())


def test_row_0_of_a_batch_is_what_a_batch_of_one_gets():
    single, batch = (draw_memory_noise(7, 3, (count, 16, 4, 6)) for count in (1, 4))
    assert batch.shape == (4, 16, 3, 4, 6)
    assert torch.equal(batch[:1], single)
    assert len({row.numpy().tobytes() for row in batch}) == 4
    more = draw_memory_noise(7, 10, (4, 16, 4, 6))
    assert torch.equal(more[:, :, :3], batch), "in each row whatever the number of memory frames"


def test_rows_of_a_batch_are_found_again_by_their_number():
    batch = draw_memory_noise(7, 2, (5, 16, 4, 6))
    assert torch.equal(draw_memory_noise(7, 2, (3, 16, 4, 6), [3, 0, 3]), batch[[3, 0, 3]])
    assert torch.equal(draw_memory_noise(7, 2, (1, 16, 4, 6), [4]), batch[4:])
    assert draw_memory_noise(7, 0, (3, 16, 4, 6), [3, 0, 3]).shape == (3, 16, 0, 4, 6)


def plan(mode: str, cut: bool = False) -> ShotPlan:
    shot = Shot(index=1, scene=1, number=2, prompt="a cat", cut=cut)
    return ShotPlan(shot=shot, story="tale", prompt="a cat", mode=mode)


@pytest.mark.parametrize(
    ("choice", "shot", "has_previous", "mode"),
    [
        ("auto", None, False, "m2v"),
        ("auto", None, True, "mi2v"),
        ("auto", plan("mm2v"), True, "mm2v"),
        ("auto", plan("m2v", cut=True), True, "m2v"),
        ("cut", None, True, "m2v"),
        ("last_frame", None, True, "mi2v"),
        ("last_five_frames", None, True, "mm2v"),
        ("last_five_frames", plan("mm2v"), True, "mm2v"),
    ],
)
def test_the_mode_of_a_sampled_shot(choice, shot, has_previous, mode):
    assert resolve_mode(choice, shot, has_previous=has_previous) == mode


@pytest.mark.parametrize(
    ("choice", "shot", "has_previous", "words"),
    [
        ("last_frame", plan("mm2v"), True, "planned as mm2v"),
        ("last_frame", None, False, "previous_frames is not connected"),
        ("auto", plan("mi2v"), False, "previous_frames is not connected"),
        ("sometimes", None, True, "continuity must be one of"),
    ],
)
def test_contradictions_are_refused(choice, shot, has_previous, words):
    with pytest.raises(ValueError, match=words):
        resolve_mode(choice, shot, has_previous=has_previous)


def test_given_frames_are_the_last_of_the_previous_shot():
    frames = torch.arange(7.0).view(7, 1, 1, 1)
    assert take_overlap_frames("m2v", frames) is None
    assert take_overlap_frames("mi2v", frames).flatten().tolist() == [6]
    assert take_overlap_frames("mm2v", frames).flatten().tolist() == [2, 3, 4, 5, 6]


def test_five_frames_cannot_be_taken_from_four():
    with pytest.raises(ValueError, match=r"last 5 frames .* holds 4"):
        take_overlap_frames("mm2v", torch.zeros(4, 1, 1, 3))
