"""What a VAE is asked to encode of a shot, how the latents are laid out, and which are kept."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

from helpers.fakes import noise_image
from storymem.memory.frame import MemoryFrame
from storymem.sampling.conditioning import (
    LatentCache,
    ShotEncoder,
    check_size,
    draw_memory_noise,
    draw_noise_before,
    fit_size,
    resize_frames,
)

WIDTH, HEIGHT = 48, 32


class Recorder:
    """An encoder whose latents say the mean of the pixels that each stands for."""

    def __init__(self, dtype=torch.float32):
        self.dtype = dtype
        self.videos: list[torch.Tensor] = []

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.videos.append(pixels)
        starts = range(1, len(pixels), 4)
        frames = [pixels[0].mean(), *(pixels[i : i + 4].mean() for i in starts)]
        latents = torch.stack(frames).view(1, 1, -1, 1, 1)
        height, width = (size // 8 for size in pixels.shape[1:3])
        return latents.expand(1, 16, -1, height, width).to(self.dtype)


def condition(encode, memory=(), given=None, cache=None, owner=None, **size):
    size = {"width": WIDTH, "height": HEIGHT, "length": 9} | size
    encoder = ShotEncoder(encode, cache or LatentCache(), owner)
    return encoder.condition(memory, given, **size)


def even(value: float, count: int = 1, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    return torch.full((count, height, width, 3), value)


def test_memory_comes_first_then_the_given_frames_then_middle_grey():
    memory = [MemoryFrame.from_pixels(even(v)[0]) for v in (0.0, 1.0)]
    shot = condition(Recorder(), memory, even(0.25, 5), length=13)
    assert shot.memory_frames == 2
    assert shot.latents.shape == (1, 16, 2 + 4, HEIGHT // 8, WIDTH // 8)
    assert shot.latents[0, 0, :, 0, 0].tolist() == [0, 1, 0.25, 0.25, 0.5, 0.5]
    assert shot.mask[0, 0, :, 0, 0].tolist() == [1, 1, 1, 1, 0, 0]


def test_a_shot_from_memory_alone_is_middle_grey_throughout():
    encode = Recorder()
    shot = condition(encode, [MemoryFrame.from_pixels(even(1.0)[0])])
    assert shot.latents[0, 0, :, 0, 0].tolist() == [1, 0.5, 0.5, 0.5]
    assert [tuple(video.shape) for video in encode.videos] == [(1, 32, 48, 3), (9, 32, 48, 3)]


def test_frames_of_other_sizes_fill_the_whole_picture():
    """Stretched, not cropped: both edges of the picture are still there."""
    wide = torch.linspace(0, 1, 96).view(1, 1, 96, 1).expand(1, 16, 96, 3)
    encode = Recorder()
    condition(encode, [MemoryFrame.from_pixels(wide[0])], wide)
    for video in encode.videos:
        assert video.shape[1:] == (HEIGHT, WIDTH, 3)
        assert float(video[0, :, 0].mean()) < 0.03
        assert float(video[0, :, -1].mean()) > 0.97
    assert torch.equal(encode.videos[1][1:], even(0.5, 8))


def test_latents_are_float32_on_the_cpu_whatever_the_vae_computes_in():
    shot = condition(Recorder(torch.bfloat16), [MemoryFrame(noise_image(0))])
    assert shot.latents.dtype == shot.mask.dtype == torch.float32


def test_as_many_frames_may_be_given_as_the_shot_is_long():
    assert condition(Recorder(), (), even(0.0, 5), length=5).mask.flatten().tolist() == [1] * 48
    with pytest.raises(ValueError, match="length is 1 frames, but 5"):
        condition(Recorder(), (), even(0.0, 5), length=1)


def test_what_a_shot_is_told_stays_as_it_is():
    with pytest.raises(FrozenInstanceError):
        condition(Recorder()).memory_frames = 3


def test_an_impossible_size_is_told_before_anything_is_encoded():
    encode = Recorder()
    with pytest.raises(ValueError, match="multiple of 16"):
        condition(encode, width=50)
    assert encode.videos == []


@pytest.mark.parametrize(
    "shape",
    [(1, 48, 3, 4, 6), (2, 16, 3, 4, 6), (1, 16, 9, 4, 6), (1, 16, 3, 2, 6), (1, 16, 3, 4, 3)],
)
def test_latents_of_another_shape_than_wans_are_refused(shape):
    with pytest.raises(ValueError, match=r"needs \[1, 16, 3, 4, 6\]; load the Wan 2\.1 VAE"):
        condition(lambda pixels: torch.zeros(shape))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((60, 32, 9), "width must be .* it is 60; use 64"),
        ((0, 32, 9), "width must be .* it is 0; use 16"),
        ((48, 40, 9), "height must be .* it is 40; use 32"),
        ((48, 32, 14), "length must be .* it is 14; use 13"),
        ((48, 32, 7), "length must be .* it is 7; use 9"),
        ((48, 32, -3), "length must be .* it is -3; use 1"),
    ],
)
def test_the_nearest_size_that_can_be_is_named(size, words):
    with pytest.raises(ValueError, match=words):
        check_size(*size)


def test_the_smallest_shot_is_a_token_and_a_frame():
    check_size(16, 16, 1)
    assert fit_size(1, 1000, 256 * 256) == (16, 8080)
    assert fit_size(1, 1, 1) == (16, 16)


@pytest.mark.parametrize("sizes", [(0, 9, 9), (9, 0, 9), (9, 9, 0), (9, 9, -1)])
def test_sizes_of_nothing_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes must be positive"):
        fit_size(*sizes)


def test_frames_of_the_right_size_are_not_touched():
    frames = torch.rand(2, HEIGHT, WIDTH, 3)
    assert torch.equal(resize_frames(frames, WIDTH, HEIGHT), frames)
    assert resize_frames(frames.double(), WIDTH, HEIGHT).dtype == torch.float32
    for width, height in ((WIDTH, 16), (16, HEIGHT), (HEIGHT, WIDTH), (WIDTH, WIDTH)):
        assert resize_frames(frames, width, height).shape == (2, height, width, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_frames_of_any_precision_are_resized_in_float32(dtype):
    """Halves would round what lies between two pixels."""
    frames = torch.rand(1, 20, 30, 3).to(dtype)
    resized = resize_frames(frames, WIDTH, HEIGHT)
    assert resized.dtype == torch.float32
    assert torch.equal(resized, resize_frames(frames.float(), WIDTH, HEIGHT))


# --- what is kept --------------------------------------------------------------------------------


class Owner:
    pass


def test_every_part_of_a_shots_size_makes_other_latents():
    owner, cache, encode = Owner(), LatentCache(), Recorder()
    frame = [MemoryFrame(noise_image(0))]
    for size in ({}, {"width": 64}, {"height": 48}, {"width": 32, "height": 48}, {"length": 13}):
        before = len(encode.videos)
        condition(encode, frame, cache=cache, owner=owner, **size)
        assert len(encode.videos) - before == (1 if "length" in size else 2), size
        condition(encode, frame, cache=cache, owner=owner, **size)
        assert len(encode.videos) - before == (1 if "length" in size else 2), size


def test_given_frames_are_never_kept():
    owner, cache, encode = Owner(), LatentCache(), Recorder()
    for value in (0.25, 0.75):
        shot = condition(encode, (), even(value), cache=cache, owner=owner)
        assert shot.latents[0, 0, 0, 0, 0] == value
    assert len(encode.videos) == 2


def latent(count: int = 1) -> torch.Tensor:
    """Of memory frames at 832x480, without the memory that they would take."""
    return torch.zeros(1).expand(1, 16, count, 60, 104)


def test_the_memory_of_a_long_story_stays_encoded():
    owner, cache = Owner(), LatentCache()
    for i in range(600):
        cache.get(owner, ("frame", i), latent)
    for i in range(600):
        cache.get(owner, ("frame", i), lambda: pytest.fail("it was encoded again"))
    assert latent(600).nbytes < cache.max_bytes == 256 * 1024 * 1024


def test_what_was_not_used_for_longest_is_let_go():
    owner, cache = Owner(), LatentCache(max_bytes=2 * latent().nbytes)
    asked = []

    def get(key: str) -> None:
        cache.get(owner, (key,), lambda: asked.append(key) or latent())

    for key in "abacabb":  # c takes the place of b, then b that of c
        get(key)
    assert "".join(asked) == "abcb"


def test_latents_larger_than_all_room_are_kept_until_the_next():
    owner, cache = Owner(), LatentCache(max_bytes=1)
    for _ in range(2):
        assert cache.get(owner, ("big",), latent).shape == (1, 16, 1, 60, 104)
    assert list(cache._owners[owner]) == [("big",)]
    cache.get(owner, ("next",), latent)
    assert list(cache._owners[owner]) == [("next",)]


def test_kept_latents_hold_no_graph_of_the_vae():
    owner, cache = Owner(), LatentCache()
    kept = cache.get(owner, ("a",), lambda: torch.ones(2, requires_grad=True) * 2)
    assert not kept.requires_grad


def test_an_identity_frame_is_grey_by_itself_first_and_unknown():
    memory, encode = [MemoryFrame.from_pixels(even(1.0)[0])], Recorder()
    shot = condition(encode, memory, even(0.25), has_identity=True)
    assert shot.memory_frames == 2
    assert shot.latents[0, 0, :, 0, 0].tolist() == [0.5, 1, 0.25, 0.5, 0.5]
    assert shot.mask[0, 0, :, 0, 0].tolist() == [0, 1, 1, 0, 0]
    assert [len(video) for video in encode.videos].count(1) == 2
    without = condition(Recorder(), memory, even(0.25))
    assert torch.equal(shot.latents[:, :, 1:], without.latents)
    assert torch.equal(shot.mask[:, :, 1:], without.mask)


def test_noise_of_the_memory_is_the_same_beside_an_identity_frame():
    shape = (2, 16, 4, 6)
    memory = draw_memory_noise(7, 3, shape)
    beside = draw_noise_before(7, 4, shape, has_identity=True)
    assert torch.equal(beside[:, :, 1:], memory)
    assert torch.equal(draw_noise_before(7, 3, shape), memory)
    first = beside[:, :, :1]
    assert not any(torch.equal(first, memory[:, :, i : i + 1]) for i in range(3))
    assert torch.equal(draw_noise_before(7, 1, shape, has_identity=True), first)
    assert torch.equal(draw_noise_before(7, 1, (1, *shape[1:]), has_identity=True), first[:1])


def test_memory_alone_is_encoded_frame_by_frame_and_once_for_a_shot_that_sees_it_later():
    memory = [MemoryFrame.from_pixels(even(v)[0]) for v in (0.0, 0.2, 1.0)]
    encode, cache, owner = Recorder(), LatentCache(), Recorder()
    encoder = ShotEncoder(encode, cache, owner)
    latents = encoder.memory(memory, WIDTH, HEIGHT)
    assert latents.shape == (1, 16, 3, HEIGHT // 8, WIDTH // 8)
    assert latents[0, 0, :, 0, 0].tolist() == pytest.approx([0, 0.2, 1])
    assert [len(video) for video in encode.videos] == [1, 1, 1]
    shot = condition(encode, memory[1:], cache=cache, owner=owner)
    assert torch.equal(shot.latents[:, :, :2], latents[:, :, 1:])
    assert [len(video) for video in encode.videos] == [1, 1, 1, 9]  # and the grey of the shot
