"""Colour of a shot that continues another: the frames that repeat say how far it drifted.

A continued shot begins with the last frames of the one before, sampled and decoded again. What
differs in those frames is drift, not motion, so that matching their mean and spread in CIE Lab, and
moving the whole shot by the same amount, takes the drift off and leaves the shot's own light alone.
"""

from __future__ import annotations

import torch
from einops import rearrange

MAX_STRETCH = 2.0  # of a channel's spread: a flat picture must not become a noisy one
FLAT = 0.1  # Lab units; a channel with less spread than this is only moved


def match_overlap_frames(
    frames: torch.Tensor,
    previous_frames: torch.Tensor,
    repeated: int,
    *,
    strength: float = 1.0,
) -> torch.Tensor:
    """``frames`` with the colours of the shot before (Reinhard's transfer in CIE Lab, D65).

    Args:
        frames: float ``[T, H, W, 3]`` in [0, 1], the decoded shot, repeated frames included.
        previous_frames: float ``[N, h, w, 3]``; the last ``repeated`` of them are what the first
            ``repeated`` of ``frames`` should look like. Sizes may differ.
        repeated: 0 gives ``frames`` back as they are.
        strength: 0 ... 1; how much of the difference comes off.

    Returns:
        New frames of the same shape and type; the argument itself when nothing is to be done.

    Raises:
        ValueError: for fewer frames than ``repeated`` on either side, and a strength outside 0 ...
            1.
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength must be between 0 and 1, but it is {strength}")
    if repeated == 0 or strength == 0.0:
        return frames
    for name, given in (("frames", frames), ("previous_frames", previous_frames)):
        if given.shape[0] < repeated:
            raise ValueError(
                f"the shot repeats {repeated} frames of the one before, but {name} holds "
                f"{given.shape[0]}; connect the decoded frames of both shots as they are"
            )
    mean, spread = lab_statistics(frames[:repeated])
    wanted_mean, wanted_spread = lab_statistics(previous_frames[-repeated:])
    stretch = (wanted_spread / spread).clamp(1 / MAX_STRETCH, MAX_STRETCH)
    stretch = torch.where((spread < FLAT) | (wanted_spread < FLAT), 1.0, stretch)
    matched = torch.empty_like(frames)
    for i, frame in enumerate(frames):  # one at a time: Lab of a whole shot is gigabytes
        lab = to_lab(frame)
        target = (lab - mean) * stretch + wanted_mean
        matched[i] = from_lab(torch.lerp(lab, target, strength)).to(frames.dtype)
    return matched


def lab_statistics(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of L, a and b over all pixels of ``[T, H, W, 3]``; ``[3]``
    each."""
    lab = to_lab(frames).reshape(-1, 3).double()
    return lab.mean(0).float(), lab.std(0, correction=0).float()


def to_lab(pixels: torch.Tensor) -> torch.Tensor:
    """sRGB ``[..., H, W, 3]`` in [0, 1] as CIE Lab: L 0 ... 100, a and b about -100 ... 100."""
    from kornia.color import rgb_to_lab

    lab = rgb_to_lab(rearrange(pixels.float().clamp(0, 1), "... h w c -> ... c h w"))
    return rearrange(lab, "... c h w -> ... h w c")


def from_lab(lab: torch.Tensor) -> torch.Tensor:
    """CIE Lab as sRGB, clipped to [0, 1]."""
    from kornia.color import lab_to_rgb

    rgb = lab_to_rgb(rearrange(lab, "... h w c -> ... c h w"), clip=True)
    return rearrange(rgb, "... c h w -> ... h w c")
