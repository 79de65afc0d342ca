"""Who is in the picture: template matching against every possible look, with nothing learned.

For each look, scale and position the squared colour difference under the sprite is summed, less
``AREA_COST`` for every covered pixel: a pixel that no template explains costs that much, so a
larger template wins only where it fits. The best position and scale count per frame; frames of a
shot add up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange

from . import picture, world

AREA_COST = (
    0.12  # squared RGB distance, 0 ... 3: between an edge's blur and the distance to a backdrop
)
SCALES = (1.0, 1.1, 1.2)
JUDGED_FRAMES = (0, 4, 8, 12, 16)  # one per latent frame
APART = 16.0  # pixels: no two characters' centres are this near to each other on both axes
LOOKED_FOR = (0, 2, 1)  # kinds from the largest to the smallest, which may fit a part of another
FRAMES_AT_ONCE = 8  # 486 maps of 48x48 each: 36 MB in float32
SIDE = (
    world.SIZE // 2
)  # matching runs at half size: four times faster, and still exact on the truth


def _halve(pixels: torch.Tensor) -> torch.Tensor:
    """Mean of 2x2 pixels of [..., H, W]."""
    return pixels.unflatten(-1, (-1, 2)).mean(-1).unflatten(-2, (-1, 2)).mean(-2)


def _centre(shift: torch.Tensor) -> torch.Tensor:
    """Pixel position of a sprite's centre, by its template's shift in half-size pixels."""
    return ((shift + SIDE // 2) % SIDE).float() * 2 + 1


def lowest(costs: torch.Tensor, avoid: torch.Tensor) -> torch.Tensor:
    """The least of ``Judge.costs_by_place`` away from another's centre [N, 2], [N, LOOKS]."""
    centre = _centre(torch.arange(SIDE, device=costs.device))
    near_x = (centre - avoid[:, :1]).abs() < APART
    near_y = (centre - avoid[:, 1:]).abs() < APART
    closed = near_y[:, :, None] & near_x[:, None, :]
    return costs.masked_fill(closed[:, None], torch.inf).amin((2, 3))


class Judge:
    """Templates of all looks of all kinds, as spectra on one device."""

    def __init__(self, device: torch.device | str = "cpu", *, scales: tuple[float, ...] = SCALES):
        self.device = torch.device(device)
        self._spectra = [self._templates(kind, scales) for kind in range(len(world.KINDS))]

    def _templates(self, kind: int, scales: tuple[float, ...]):
        axis = torch.arange(world.SIZE, device=self.device, dtype=torch.float32)
        offset = (
            axis - world.SIZE // 2 - 0.5
        )  # the sprite's centre in the middle of a half-size pixel
        looks = world.all_looks().to(self.device).T[..., None, None]
        hues = picture.palette(self.device).hues
        masks, colours = [], []
        for scale in scales:
            radius = torch.tensor(world.RADII[kind] * scale, device=self.device)
            u, v = offset.view(1, 1, -1) / radius, offset.view(1, -1, 1) / radius
            channels, cover = picture.draw_sprite(u, v, looks, kind, radius, hues)
            masks.append(cover.expand(world.LOOKS, -1, -1))
            colours.append(torch.stack([c.expand(world.LOOKS, -1, -1) for c in channels], 1))
        mask, colour = (
            _halve(torch.stack(masks, 1)),
            _halve(torch.stack(colours, 1)),
        )  # [L, S, (3,) h, w]
        # sum m (I - c)^2 = sum m I^2 - 2 sum (m c) I + sum (m c)^2 / m
        constant = (colour.square().sum(2) / mask.clamp_min(1e-3)).sum((-1, -2))
        constant = constant - AREA_COST * mask.sum((-1, -2))
        spectrum = torch.cat([mask[:, :, None], -2 * colour], 2)
        return torch.fft.rfft2(spectrum).conj().resolve_conj(), constant

    def _maps(self, frames: torch.Tensor, kind: int, looks: torch.Tensor | None = None):
        """Costs by look, scale and shift, [n, L, S, h, w]; ``looks`` [n] picks one per frame."""
        spectrum, constant = self._spectra[kind]
        image = rearrange(frames.to(self.device, torch.float32), "n h w c -> n c h w")
        image = _halve(image)
        image = torch.cat([image.square().sum(1, keepdim=True), image], 1)
        seen = torch.fft.rfft2(image)  # [n, 4, h, w/2+1]
        if looks is None:
            joined = torch.einsum("nchw,lschw->nlshw", seen, spectrum)
        else:
            joined = torch.einsum("nchw,nschw->nshw", seen, spectrum[looks])[:, None]
            constant = constant[looks][:, None]
        maps = torch.fft.irfft2(joined, s=(SIDE, SIDE))
        return maps + constant[..., None, None]

    @torch.no_grad()
    def locate(self, frames: torch.Tensor, kind: int, looks: torch.Tensor) -> torch.Tensor:
        """Where a known look (its number, int64 [N]) fits best: centre x, y, float32 [N, 2]."""
        flat = torch.cat(
            [
                self._maps(part, kind, look).amin((1, 2)).flatten(1).argmin(-1)
                for part, look in zip(
                    frames.split(FRAMES_AT_ONCE), looks.split(FRAMES_AT_ONCE), strict=True
                )
            ]
        )
        return _centre(torch.stack([flat % SIDE, flat // SIDE], -1))

    @torch.no_grad()
    def costs(
        self, frames: torch.Tensor, kind: int, *, avoid: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The best cost of each look in each frame.

        Args:
            frames: [N, 96, 96, 3], 0 ... 1.
            kind: index into ``world.KINDS``.
            avoid: [N, 2], another character's centre, which is not this one's;
                NaN where there is none.

        Returns:
            float32 [N, LOOKS]; lower fits better, below zero is better than no character at all.
        """
        if avoid is None:
            avoid = torch.full((frames.shape[0], 2), torch.nan, device=self.device)
        parts = zip(frames.split(FRAMES_AT_ONCE), avoid.split(FRAMES_AT_ONCE), strict=True)
        return torch.cat([lowest(self.costs_by_place(part, kind), away) for part, away in parts])

    @torch.no_grad()
    def costs_by_place(self, frames: torch.Tensor, kind: int) -> torch.Tensor:
        """The best cost of each look at each shift, float32 [N, LOOKS, h, w].

        Of ``FRAMES_AT_ONCE`` frames at most: a frame takes 6 MB.
        """
        if frames.shape[1:] != (world.SIZE, world.SIZE, 3):
            raise ValueError(
                f"the judge sees {world.SIZE}x{world.SIZE} RGB frames, not {tuple(frames.shape)}"
            )
        return self._maps(frames, kind).amin(2)

    def identify(
        self,
        clips: torch.Tensor,
        visible: torch.Tensor,
        *,
        at: Sequence[int] | None = JUDGED_FRAMES,
    ) -> torch.Tensor:
        """The looks in each clip.

        Args:
            clips: [N, T, 96, 96, 3], 0 ... 1.
            visible: bool [N, P], which kinds the prompt asks for; two at most.
            at: the frames that are looked at; ``None``: all.

        Returns:
            int64 [N, P, 4]; -1 for a kind that is not asked for.
        """
        visible = visible.to(self.device)
        length = clips.shape[1]
        frames = [t for t in (range(length) if at is None else at) if t < length]
        looks = world.all_looks().to(self.device)
        found = torch.full((*visible.shape, 4), -1, device=self.device)
        centre = torch.full((len(clips), len(frames), 2), torch.nan, device=self.device)
        for kind in LOOKED_FOR:
            who = visible[:, kind].nonzero()[:, 0]
            if not len(who):
                continue
            picked = clips[who.to(clips.device)][:, frames].flatten(0, 1).to(self.device)
            costs = self.costs(picked, kind, avoid=centre[who].flatten(0, 1))
            best = costs.unflatten(0, (-1, len(frames))).sum(1).argmin(-1)
            found[who, kind] = looks[best]
            if kind != LOOKED_FOR[-1]:
                at = self.locate(picked, kind, best.repeat_interleave(len(frames)))
                centre[who] = at.unflatten(0, (-1, len(frames)))
        return found


def agreement(judge: Judge, clips: torch.Tensor, scenes: world.Scenes) -> dict[str, float]:
    """How often the judge sees the look that the scene says, over all visible characters.

    Returns:
        fractions by attribute, ``joint`` (all four right), ``characters`` (the count).
    """
    seen = judge.identify(clips, scenes.visible)
    who = scenes.visible.to(judge.device)
    right = (seen == scenes.look.to(judge.device))[who].float()
    result = {name: right[:, i].mean().item() for i, name in enumerate(world.ATTRIBUTES)}
    result["joint"] = right.amin(-1).mean().item()
    result["characters"] = len(right)
    return result
