"""What the model gets of a shot that ends with a picture, read plainly and in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.fakes import noise_image
from storymem.headless.sampling import lay_out_condition
from storymem.memory.frame import MemoryFrame
from storymem.memory.picture import Picture
from storymem.sampling.conditioning import LatentCache, ShotEncoder
from storymem.sampling.continuity import ShotPlan
from storymem.sampling.draft import Draft
from storymem.sampling.request import end_frame, request_shot
from storymem.script.story import Shot

WIDTH, HEIGHT = 32, 16
SHOT = Shot(2, 1, 3, "Mara sits.", True)


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    frames = [noise_image(seed + i, HEIGHT, WIDTH) for i in range(count)]
    return torch.stack(frames).float() / 255


def blocks(picture: np.ndarray) -> np.ndarray:
    """Means of the 8x8 blocks of a picture ``[H, W, 3]``: ``[H/8, W/8]``."""
    rows = [picture[y : y + 8] for y in range(0, HEIGHT, 8)]
    return np.array([[row[:, x : x + 8].mean() for x in range(0, WIDTH, 8)] for row in rows])


def telling_vae(pixels: torch.Tensor) -> torch.Tensor:
    """A VAE whose channels 0 to 3 are the four pixel frames of a latent frame, the others 0."""
    video = pixels.double().numpy()
    count = (len(video) - 1) // 4 + 1
    latents = np.zeros((1, 16, count, HEIGHT // 8, WIDTH // 8))
    latents[0, :4, 0] = blocks(video[0])
    for f in range(1, count):
        for i in range(4):
            latents[0, i, f] = blocks(video[4 * f - 3 + i])
    return torch.from_numpy(latents)


def condition(memory: int, given: torch.Tensor | None, length: int, end: torch.Tensor | None):
    frames = [MemoryFrame(noise_image(50 + i, HEIGHT, WIDTH)) for i in range(memory)]
    encoder = ShotEncoder(telling_vae, LatentCache(), None)
    return encoder.condition(
        frames, given, width=WIDTH, height=HEIGHT, length=length, end=end
    ), frames


def plainly(memory, given, length, end) -> tuple[np.ndarray, np.ndarray]:
    """Latents and mask by their definition, one pixel frame after the other.

    A pixel frame is known or not. Wan folds that into four channels of a latent frame: those of
    pixel frames 4f - 3 to 4f, the first pixel frame counting four times. A known beginning is known
    as a whole latent frame.
    """
    video = [np.full((HEIGHT, WIDTH, 3), 0.5) for _ in range(length)]
    known = [False] * length
    for i, picture in enumerate([] if given is None else given.double().numpy()):
        video[i], known[i] = picture, True
    if end is not None:
        video[length - 1], known[length - 1] = end[0].double().numpy(), True
    folded = [known[0]] * 3 + known  # pixel frames of the four channels, in their order
    latents, masks = [], []
    for frame in memory:
        latents.append([blocks(frame.pixels().double().numpy())] * 4)
        masks.append([1.0] * 4)
    for f in range((length - 1) // 4 + 1):
        four = [video[0]] * 4 if f == 0 else video[4 * f - 3 : 4 * f + 1]
        latents.append([blocks(picture) for picture in four])
        masks.append([float(one) for one in folded[4 * f : 4 * f + 4]])
    mask = np.array(masks).T[:, :, None, None] * np.ones((HEIGHT // 8, WIDTH // 8))
    return np.array(latents).transpose(1, 0, 2, 3), mask


@pytest.mark.parametrize("memory", [0, 1, 3])
@pytest.mark.parametrize(("given", "length"), [(0, 5), (0, 13), (1, 5), (1, 9), (5, 9), (5, 17)])
def test_the_last_pixel_frame_is_the_picture_and_one_mask_channel_says_so(memory, given, length):
    first = pictures(given, 10) if given else None
    end = pictures(1, 99)
    made, frames = condition(memory, first, length, end)
    latents, mask = plainly(frames, first, length, end)
    laid = lay_out_condition(made, lambda raw: raw)[0].double().numpy()
    np.testing.assert_array_equal(laid[:4], mask)
    np.testing.assert_allclose(laid[4:8], latents, rtol=0, atol=1e-6)
    assert not laid[8:].any()
    assert made.memory_frames == memory
    assert mask[:, -1].mean(axis=(1, 2)).tolist() == [0, 0, 0, 1]


def test_without_an_end_the_mask_is_one_channel_as_before():
    for given in (None, pictures(1), pictures(5)):
        made, _ = condition(2, given, 9, None)
        assert list(made.mask.shape) == [1, 1, 2 + 3, HEIGHT // 8, WIDTH // 8]
        known = 0 if given is None else (len(given) - 1) // 4 + 1
        assert made.mask[0, 0, :, 0, 0].tolist() == [1] * (2 + known) + [0] * (3 - known)


def test_an_end_of_another_size_is_resized_as_a_start_image_is():
    large = torch.stack([noise_image(5, 2 * HEIGHT, 2 * WIDTH)]).float() / 255
    as_end, _ = condition(0, None, 5, large)
    as_start, _ = condition(0, large, 5, None)
    assert torch.equal(as_end.latents[0, 3, 1], as_start.latents[0, 0, 0])
    assert as_end.latents[0, :3, 1].unique().tolist() == [0.5]


def test_a_grey_shot_is_not_mixed_up_with_one_that_ends():
    encoder = ShotEncoder(telling_vae, LatentCache(), telling_vae)
    how = {"width": WIDTH, "height": HEIGHT, "length": 5}
    plain = encoder.condition((), None, **how)
    ended = encoder.condition((), None, **how, end=pictures(1))
    again = encoder.condition((), None, **how)
    assert torch.equal(plain.latents, again.latents)
    assert not torch.equal(plain.latents, ended.latents)


@pytest.mark.parametrize(("given", "length"), [(0, 1), (1, 1), (5, 5)])
def test_no_room_for_an_end_is_refused(given, length):
    with pytest.raises(ValueError, match="no room for a last frame"):
        condition(0, pictures(given) if given else None, length, pictures(1))


# --- whose end it is ------------------------------------------------------------------------------


def ask(**changes):
    defaults = {
        "memory": (), "shot": None, "previous_frames": None, "start_image": None, "width": WIDTH,
        "height": HEIGHT, "length": 9, "size_rule": "exact", "seed": 0,
    }  # fmt: skip
    return request_shot(**{**defaults, **changes})


def ending(picture: torch.Tensor, **plan) -> ShotPlan:
    return ShotPlan(SHOT, "Tale", "p", **plan, end=Picture(picture))


def test_a_shots_own_end_wins_over_the_nodes():
    own = noise_image(3, HEIGHT, WIDTH)
    wired = pictures(1, 77)
    assert ask().end is None
    assert torch.equal(ask(end_image=wired).end, wired)
    assert torch.equal(ask(end_image=wired, shot=ShotPlan(SHOT, "Tale", "p")).end, wired)
    for end_image in (None, wired):
        asked = ask(shot=ending(own), end_image=end_image)
        assert torch.equal(asked.end, own[None].float() / 255)
        assert asked.given is None
        assert not asked.is_from_text, "text to video has no place for a picture"


def test_an_end_goes_with_a_beginning():
    own, previous = noise_image(3, HEIGHT, WIDTH), pictures(9, 30)
    for mode, count in (("mi2v", 1), ("mm2v", 5)):
        asked = ask(shot=ending(own, mode=mode), previous_frames=previous)
        assert torch.equal(asked.given, previous[-count:])
        assert torch.equal(asked.end, own[None].float() / 255)
    start = pictures(1, 44)
    asked = ask(shot=ending(own, has_start=True), start_image=start)
    assert torch.equal(asked.given, start)
    assert asked.end is not None


def test_a_still_has_no_end_and_a_shot_of_one_frame_is_refused():
    still = ending(noise_image(3, HEIGHT, WIDTH), draft=Draft("stills"))
    assert ask(shot=still).end is None
    assert ask(shot=still).length == 1
    with pytest.raises(ValueError, match=r"length is 1, but .* needs at least 5 frames"):
        ask(end_image=pictures(1), length=1)
    assert ask(end_image=pictures(1), length=5).end is not None
    assert end_frame(None, None, 1) is None


def test_a_draft_keeps_the_end():
    plan = ending(noise_image(3, HEIGHT, WIDTH), draft=Draft("draft", size=0.5))
    assert ask(shot=plan, width=64, height=32).end is not None


def test_ends_that_are_no_picture_are_refused():
    with pytest.raises(ValueError, match="end_image must be one picture, but it holds 2; pick one"):
        ask(end_image=pictures(2))
    with pytest.raises(ValueError, match="end_image holds NaN"):
        ask(end_image=pictures(1) * float("nan"))


def test_the_size_follows_first_the_beginning_then_the_end_then_memory():
    wide, tall, flat = (
        torch.zeros(1, height, width, 3) for height, width in ((32, 64), (64, 32), (16, 80))
    )
    memory = (MemoryFrame(noise_image(1, 32, 32)),)
    asked = {"size_rule": "memory_aspect", "width": 64, "height": 64}

    def shape(**given) -> float:
        found = ask(**asked, **given)
        return found.width / found.height

    assert shape(memory=memory) == 1
    assert shape(memory=memory, end_image=tall) < 1
    assert shape(memory=memory, start_image=flat, end_image=tall) > 2
    assert shape(end_image=wide) > 1
