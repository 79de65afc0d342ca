"""Who is in the picture: template matching against every possible look, with nothing learned.

For each look, scale and position the squared colour difference under the sprite is summed, less
``AREA_COST`` for every covered pixel: a pixel that no template explains costs that much, so a
larger template wins only where it fits. The best position and scale count per frame; frames of a
shot add up. Only frames in which a character should be wholly in view count: ``Scenes.in_view``
knows them from the story, as ``framing`` is known from the prompt.
"""

from __future__ import annotations

import torch
from einops import rearrange

from . import picture, world

AREA_COST = (
    0.12  # squared RGB distance, 0 ... 3: between an edge's blur and the distance to a backdrop
)
SCALES = (1.0, 1.06, 1.13, 1.2)  # times the framing's
ALL_SCALES = tuple(near * scale for near in world.FRAMING_ZOOM for scale in SCALES)
JUDGED = 5  # frames of a shot: as many as it has latents
APART = 16.0  # pixels: no two characters' centres are this near to each other on both axes
LOOKED_FOR = (0, 2, 1)  # kinds from the largest to the smallest, which may fit a part of another
FRAMES_AT_ONCE = 8  # 648 maps of 48x48 each, of 96x96 in a wide shot: 48 and 191 MB in float32
# Matching runs at half size, four times faster and still exact on the truth; characters of a wide
# shot are too small for that.
WIDE = world.FRAMINGS.index("wide")


def _halve(pixels: torch.Tensor) -> torch.Tensor:
    """Mean of 2x2 pixels of [..., H, W]."""
    return pixels.unflatten(-1, (-1, 2)).mean(-1).unflatten(-2, (-1, 2)).mean(-2)


def _centre(shift: torch.Tensor, side: int) -> torch.Tensor:
    """Position of a sprite's centre in pixels, by its template's shift on a grid of ``side``."""
    return (((shift + side // 2) % side).float() + 0.5) * (world.SIZE / side)


def _shrink(pixels: torch.Tensor, framing: int | None) -> torch.Tensor:
    """Pictures or templates of a framing, at the size at which they are matched."""
    return pixels if framing == WIDE else _halve(pixels)


def least_area(kind: int, framing: int | None = None) -> float:
    """Of a kind's smallest body, in pixels of the size at which it is matched."""
    zoom = 1.0 if framing is None else world.FRAMING_ZOOM[framing]
    return 1.8 * (world.RADII[kind] * zoom / (1 if framing == WIDE else 2)) ** 2


def lowest(costs: torch.Tensor, avoid: torch.Tensor) -> torch.Tensor:
    """The least of ``Judge.costs_by_place`` away from another's centre [N, 2], [N, LOOKS]."""
    side = costs.shape[-1]
    centre = _centre(torch.arange(side, device=costs.device), side)
    near_x = (centre - avoid[:, :1]).abs() < APART
    near_y = (centre - avoid[:, 1:]).abs() < APART
    closed = near_y[:, :, None] & near_x[:, None, :]
    return costs.masked_fill(closed[:, None], torch.inf).amin((2, 3))


class Judge:
    """Templates of all looks of all kinds, as spectra on one device.

    ``scales``: of frames whose framing is not told.
    """

    def __init__(self, device: torch.device | str = "cpu", *, scales: tuple[float, ...] = SCALES):
        self.device, self._scales = torch.device(device), scales
        self._spectra: dict = {}

    def _of(self, kind: int, framing: int | None):
        """Spectra and constants of a kind, made at their first use."""
        if (kind, framing) not in self._spectra:
            scales = self._scales
            if framing is not None:
                scales = tuple(world.FRAMING_ZOOM[framing] * scale for scale in SCALES)
            self._spectra[kind, framing] = self._templates(kind, scales, framing)
        return self._spectra[kind, framing]

    def _templates(self, kind: int, scales: tuple[float, ...], framing: int | None):
        axis = torch.arange(world.SIZE, device=self.device, dtype=torch.float32)
        # The sprite's centre is in the middle of a pixel, of the size at which it is matched.
        offset = axis - world.SIZE // 2 - (0.0 if framing == WIDE else 0.5)
        looks = world.all_looks().to(self.device).T[..., None, None]
        hues = picture.palette(self.device).hues
        masks, colours = [], []
        for scale in scales:
            radius = torch.tensor(world.RADII[kind] * scale, device=self.device)
            u, v = offset.view(1, 1, -1) / radius, offset.view(1, -1, 1) / radius
            channels, cover = picture.draw_sprite(u, v, looks, kind, radius, hues)
            masks.append(cover.expand(world.LOOKS, -1, -1))
            colours.append(torch.stack([c.expand(world.LOOKS, -1, -1) for c in channels], 1))
        # [L, S, (3,) h, w]
        mask, colour = (_shrink(torch.stack(part, 1), framing) for part in (masks, colours))
        # sum m (I - c)^2 = sum m I^2 - 2 sum (m c) I + sum (m c)^2 / m
        constant = (colour.square().sum(2) / mask.clamp_min(1e-3)).sum((-1, -2))
        constant = constant - AREA_COST * mask.sum((-1, -2))
        spectrum = torch.cat([mask[:, :, None], -2 * colour], 2)
        return torch.fft.rfft2(spectrum).conj().resolve_conj(), constant

    def _maps(self, frames, kind: int, framing: int | None, looks: torch.Tensor | None = None):
        """Costs by look, scale and shift, [n, L, S, h, w]; ``looks`` [n] picks one per frame."""
        spectrum, constant = self._of(kind, framing)
        image = rearrange(frames.to(self.device, torch.float32), "n h w c -> n c h w")
        image = _shrink(image, framing)
        image = torch.cat([image.square().sum(1, keepdim=True), image], 1)
        seen = torch.fft.rfft2(image)  # [n, 4, h, w/2+1]
        if looks is None:
            joined = torch.einsum("nchw,lschw->nlshw", seen, spectrum)
        else:
            joined = torch.einsum("nchw,nschw->nshw", seen, spectrum[looks])[:, None]
            constant = constant[looks][:, None]
        maps = torch.fft.irfft2(joined, s=tuple(image.shape[-2:]))
        return maps + constant[..., None, None]

    @torch.no_grad()
    def locate(
        self, frames: torch.Tensor, kind: int, looks: torch.Tensor, *, framing: int | None = None
    ) -> torch.Tensor:
        """Where a known look (its number, int64 [N]) fits best: centre x, y, float32 [N, 2]."""
        found = []
        for part, look in zip(
            frames.split(FRAMES_AT_ONCE), looks.split(FRAMES_AT_ONCE), strict=True
        ):
            maps = self._maps(part, kind, framing, look).amin((1, 2))
            side = maps.shape[-1]
            flat = maps.flatten(1).argmin(-1)
            found.append(_centre(torch.stack([flat % side, flat // side], -1), side))
        return torch.cat(found)

    @torch.no_grad()
    def costs(
        self,
        frames: torch.Tensor,
        kind: int,
        *,
        avoid: torch.Tensor | None = None,
        framing: int | None = None,
    ) -> torch.Tensor:
        """The best cost of each look in each frame.

        Args:
            frames: [N, 96, 96, 3], 0 ... 1.
            kind: index into ``world.KINDS``.
            avoid: [N, 2], another character's centre, which is not this one's;
                NaN where there is none.
            framing: index into ``world.FRAMINGS``; without it the judge's own scales are tried.

        Returns:
            float32 [N, LOOKS]; lower fits better, below zero is better than no character at all.
        """
        if avoid is None:
            avoid = torch.full((frames.shape[0], 2), torch.nan, device=self.device)
        parts = zip(frames.split(FRAMES_AT_ONCE), avoid.split(FRAMES_AT_ONCE), strict=True)
        return torch.cat(
            [lowest(self.costs_by_place(part, kind, framing), away) for part, away in parts]
        )

    @torch.no_grad()
    def costs_by_place(
        self, frames: torch.Tensor, kind: int, framing: int | None = None
    ) -> torch.Tensor:
        """The best cost of each look at each shift, float32 [N, LOOKS, h, w].

        Of ``FRAMES_AT_ONCE`` frames at most: a frame takes 6 MB.
        """
        if frames.shape[1:] != (world.SIZE, world.SIZE, 3):
            raise ValueError(
                f"the judge sees {world.SIZE}x{world.SIZE} RGB frames, not {tuple(frames.shape)}"
            )
        return self._maps(frames, kind, framing).amin(2)

    def identify(
        self,
        clips: torch.Tensor,
        visible: torch.Tensor,
        *,
        in_view: torch.Tensor | None = None,
        framing: torch.Tensor | None = None,
        judged: int | None = JUDGED,
    ) -> torch.Tensor:
        """The looks in each clip.

        Args:
            clips: [N, T, 96, 96, 3], 0 ... 1.
            visible: bool [N, P], which kinds the prompt asks for; two at most.
            in_view: bool [N, P, T], in which frames they should be wholly seen (where nowhere, all
                count); all of them without it.
            framing: int64 [N], index into ``world.FRAMINGS``; without it the judge's own scales
                are tried.
            judged: frames that are looked at, evenly among those in view; ``None``: all.

        Returns:
            int64 [N, P, 4]; -1 for a kind that is not asked for.
        """
        visible = visible.to(self.device)
        count, length = clips.shape[:2]
        if in_view is None:
            in_view = torch.ones(count, len(world.KINDS), length, dtype=torch.bool)
        in_view = in_view.to(self.device)
        in_view = in_view | ~in_view.any(-1, keepdim=True)
        moments = evenly(in_view, length if judged is None else min(judged, length))
        best = torch.full(visible.shape, -1, device=self.device)
        groups = {None: visible.any(-1)}
        if framing is not None:
            framing = framing.to(self.device)
            groups = {group: framing == group for group in framing.unique().tolist()}
        for group, members in groups.items():
            for kind in LOOKED_FOR:
                who = (members & visible[:, kind]).nonzero()[:, 0]
                if not len(who):
                    continue
                at = moments[who, kind]
                frames = clips[who.to(clips.device)[:, None], at.to(clips.device)].flatten(0, 1)
                frames = frames.to(self.device)
                there = in_view[who].gather(2, at[:, None].expand(-1, len(world.KINDS), -1))
                away = self._centre_of_others(frames, best[who], there, group)
                costs = self.costs(frames, kind, avoid=away, framing=group)
                best[who, kind] = costs.unflatten(0, at.shape).sum(1).argmin(-1)
        found = world.all_looks().to(self.device)[best]
        return found.masked_fill(best[..., None] < 0, -1)

    def _centre_of_others(self, frames, best, there, framing: int | None) -> torch.Tensor:
        """Where those are whose look is known already (int64 [N, P], else -1), in the frames
        [N * T, ...] in which they are ``there`` (bool [N, P, T]); else NaN, float32 [N * T, 2]."""
        away = torch.full((len(frames), 2), torch.nan, device=self.device)
        for kind in LOOKED_FOR:
            known = best[:, kind].repeat_interleave(there.shape[2])
            seen = there[:, kind].flatten() & (known >= 0)
            if seen.any():
                away[seen] = self.locate(frames[seen], kind, known[seen], framing=framing)
        return away


def evenly(allowed: torch.Tensor, count: int) -> torch.Tensor:
    """``count`` of the allowed frames, from the first to the last, int64 [..., count].

    ``allowed`` is bool [..., T], one frame at least; where there are fewer, some come twice.
    """
    order = (~allowed).to(torch.uint8).argsort(dim=-1, stable=True)
    last = allowed.sum(-1, keepdim=True) - 1
    steps = torch.linspace(0, 1, count, device=allowed.device) if count > 1 else last.new_zeros(1)
    return order.gather(-1, (last * steps).round().long())


def agreement(judge: Judge, clips: torch.Tensor, scenes: world.Scenes) -> dict[str, float]:
    """How often the judge sees the look that the scene says, over all visible characters.

    A clip shorter than its scene is its beginning; who is nowhere in view there does not count.

    Returns:
        fractions by attribute, ``joint`` (all four right), ``characters`` (the count).
    """
    in_view = scenes.in_view()[..., : clips.shape[1]]
    who = scenes.visible & in_view.any(-1)
    seen = judge.identify(clips, who, in_view=in_view, framing=scenes.framing)
    who = who.to(judge.device)
    right = (seen == scenes.look.to(judge.device))[who].float()
    result = {name: right[:, i].mean().item() for i, name in enumerate(world.ATTRIBUTES)}
    result["joint"] = right.amin(-1).mean().item()
    result["characters"] = len(right)
    return result
