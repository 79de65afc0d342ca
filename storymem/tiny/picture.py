"""The story world drawn: pure tensor arithmetic, the same on every device to rounding."""

from __future__ import annotations

import dataclasses
import math

import torch

from .world import CENTRE, FEET, LANDMARKS, RADII, SIZE, STUDIO, Scenes

CREAM = (0.97, 0.94, 0.86)
# Per place: sky top, sky bottom, hills, ground; then horizon y; hill height and period; three
# weights of the hills' shape (sine, triangle, block); light on characters. The studio comes last.
# fmt: off
_PLACES = (
    ((0.55, 0.70, 0.80), (0.70, 0.77, 0.78), (0.55, 0.65, 0.52), (0.62, 0.70, 0.54),
     62, 12, 64, 1, 0, 0, 1),
    ((0.60, 0.72, 0.78), (0.76, 0.76, 0.70), (0.48, 0.60, 0.68), (0.76, 0.70, 0.58),
     58, 3, 32, 1, 0, 0, 1),
    ((0.66, 0.66, 0.70), (0.72, 0.70, 0.70), (0.52, 0.52, 0.56), (0.60, 0.60, 0.60),
     64, 26, 48, 0, 0, 1, 1),
    ((0.58, 0.68, 0.66), (0.66, 0.72, 0.66), (0.42, 0.52, 0.44), (0.54, 0.56, 0.46),
     64, 28, 32, 0, 1, 0, 1),
    ((0.62, 0.68, 0.76), (0.70, 0.74, 0.78), (0.64, 0.66, 0.72), (0.76, 0.78, 0.80),
     60, 16, 96, 0, 1, 0, 1),
    ((0.32, 0.34, 0.48), (0.42, 0.42, 0.54), (0.36, 0.38, 0.46), (0.40, 0.42, 0.46),
     62, 14, 64, 1, 0, 0, 0.9),
    ((0.68, 0.68, 0.68), (0.68, 0.68, 0.68), (0.68, 0.68, 0.68), (0.58, 0.58, 0.58),
     76, 0, 64, 1, 0, 0, 1),
)
# fmt: on
_HUE_COLOURS = (
    (0.88, 0.16, 0.14),
    (0.93, 0.80, 0.10),
    (0.14, 0.68, 0.18),
    (0.10, 0.82, 0.86),
    (0.14, 0.26, 0.86),
    (0.84, 0.20, 0.80),
)


# What a tint adds to the colours of hills and ground.
_TINT_COLOURS = (
    (0.13, -0.07, -0.03),
    (0.11, 0.04, -0.13),
    (-0.13, 0.03, 0.04),
    (0.03, -0.11, 0.11),
)
_LANDMARK_COLOURS = ((0.98, 0.94, 0.78), (0.86, 0.90, 0.98), (0.22, 0.22, 0.28), (0.95, 0.95, 0.97))
LANDMARK_AT = (72.0, 13.0)  # x, y at zoom 1; it is far away and does not scroll
LANDMARK_RADIUS = 9.0  # pixels at zoom 1


def _cover(distance: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Soft coverage of a signed distance; ``scale`` is pixels per unit, an edge 1.5 pixels wide."""
    return (0.5 - distance * (scale / 1.5)).clamp(0, 1)


def _box(u, v, half_u, half_v):
    return torch.maximum(u.abs() - half_u, v.abs() - half_v)


def _disc(u, v, radius):
    return (u * u + v * v + 1e-12).sqrt() - radius


@dataclasses.dataclass(frozen=True)
class Palette:
    """The world's constants on a device; made once, since a copy to the device waits for it."""

    hues: torch.Tensor  # float32 [6, 3]
    places: torch.Tensor  # float32 [7, 19]
    tints: torch.Tensor  # float32 [4, 3]
    landmarks: torch.Tensor  # float32 [4, 3]


def palette(device) -> Palette:
    """The world's hues and places as tensors on ``device``."""
    places = [[*sum(row[:4], ()), *row[4:]] for row in _PLACES]
    parts = (_HUE_COLOURS, places, _TINT_COLOURS, _LANDMARK_COLOURS)
    return Palette(*(torch.tensor(part, device=device) for part in parts))


def draw_sprite(u, v, look, kind: int, scale, hues) -> tuple[list[torch.Tensor], torch.Tensor]:
    """A character at sprite coordinates (body -1 ... 1, v down): premultiplied colour, coverage.

    ``look`` is int64 [4, ...] broadcastable with ``u``; ``scale`` is the radius in pixels;
    ``hues`` is [6, 3].
    """
    hue, pattern, shape, accessory = look[0], look[1], look[2], look[3]
    triangle = torch.maximum(v - 0.92, 0.873 * u.abs() - 0.488 * (v + 1.05))
    body = torch.where(shape == 0, _disc(u, v, 1.0), _box(u, v, 0.88, 0.88))
    body = torch.where(shape == 2, triangle, body)
    top = -0.95 + 0.11 * (shape == 1) + 0.15 * (shape == 2)
    mark = torch.where(pattern == 1, 0.38 - v, u.abs() - 0.3)
    mark = torch.where(pattern == 0, torch.full_like(mark, 9.0), mark)
    mark = _cover(mark, scale)

    w = v - top  # accessories stand on the top; up is negative
    hat = torch.minimum(_box(u, w + 0.05, 0.62, 0.10), _box(u, w + 0.4, 0.38, 0.36))
    ball = _disc(u, w + 0.62, 0.29)
    antenna = torch.minimum(ball, _box(u, w + 0.2, 0.09, 0.22))
    cone = torch.maximum(w, 0.857 * u.abs() - 0.515 * (w + 0.85))
    extra = torch.where(accessory == 0, hat, torch.where(accessory == 1, antenna, cone))
    # The antenna's ball is orange, its stem and the hat nearly black, the cone white.
    is_ball = (accessory == 1) * _cover(ball, scale)
    extra_cover, body_cover = _cover(extra, scale), _cover(body, scale)
    legs = torch.zeros_like(body_cover)
    if kind == 2:  # a visor, and legs
        white = _cover(_box(u, v - 0.02, 0.62, 0.25), scale)
        dark = _cover(_box(u, v - 0.02, 0.48, 0.12), scale)
        legs = _cover(_box(u.abs() - 0.38, v - FEET[2] + 0.55, 0.14, 0.55), scale)
    else:
        eye_u, eye, pupil = (u.abs() - 0.31, 0.21, 0.11) if kind == 0 else (u, 0.30, 0.16)
        white = _cover(_disc(eye_u, v - 0.02, eye), scale)
        dark = _cover(_disc(eye_u, v - 0.02, pupil), scale)
    legs = legs * (1 - body_cover)
    channels = []
    for c in range(3):
        colour = hues[:, c][hue]
        colour = colour + (CREAM[c] - colour) * mark
        colour = colour + (0.98 - colour) * white
        colour = colour + (0.06 - colour) * dark
        thing = torch.where(accessory == 2, (0.98, 0.98, 1.0)[c], 0.07)
        thing = thing + ((1.0, 0.55, 0.05)[c] - thing) * is_ball
        colour = colour * body_cover + 0.07 * legs
        channels.append(colour * (1 - extra_cover) + thing * extra_cover)
    body_cover = body_cover + legs
    return channels, body_cover + extra_cover - body_cover * extra_cover


def draw_landmark(u, v, landmark, scale) -> torch.Tensor:
    """Coverage of a landmark at its own coordinates (-1 ... 1, v down); ``landmark`` is its number,
    broadcastable with ``u``, ``scale`` its radius in pixels."""
    sun = _disc(u, v, 0.9)
    moon = torch.maximum(sun, -_disc(u - 0.55, v + 0.1, 0.8))
    kite = 0.75 * u.abs() + 0.55 * v.abs() - 0.55
    cloud = torch.minimum(
        _disc(u * 0.8 + 0.45, v - 0.15, 0.5), _disc(u * 0.8 - 0.45, v - 0.15, 0.5)
    )
    cloud = torch.minimum(cloud, _disc(u * 0.9, v + 0.05, 0.6))
    shapes = (sun, moon, kite, cloud)
    chosen = shapes[-1]
    for number in range(len(LANDMARKS) - 1):
        chosen = torch.where(landmark == number, shapes[number], chosen)
    return _cover(chosen, scale)


def render(scenes: Scenes, colours: Palette | None = None) -> torch.Tensor:
    """float32 [N, T, H, W, 3] in 0 ... 1. Pure arithmetic: compile it with ``colours`` given."""
    device = scenes.x.device
    colours = palette(device) if colours is None else colours
    axis = torch.arange(SIZE, device=device) + 0.5
    zoom = scenes.zoom[:, :, None, None]  # [N, T, 1, 1]
    px = (axis.view(1, 1, 1, -1) - CENTRE[0]) / zoom + CENTRE[0]
    py = (axis.view(1, 1, -1, 1) - CENTRE[1]) / zoom + CENTRE[1]
    row = colours.places[scenes.place][:, :, None, None, None]  # [N, 19, 1, 1, 1]
    horizon, height, period = row[:, 12], row[:, 13], row[:, 14]
    phase = (px + scenes.scroll[:, :, None, None]) / period
    wave = (2 * math.pi * phase).sin()
    saw = 1 - 4 * (phase - (phase + 0.5).floor()).abs()  # -1 ... 1, a triangle wave
    block = (saw * period / 6).clamp(-1, 1)
    hill = 0.5 + 0.5 * (row[:, 15] * wave + row[:, 16] * saw + row[:, 17] * block)
    on_hill = ((py - (horizon - height * hill)) * zoom / 1.5 + 0.5).clamp(0, 1)
    on_ground = ((py - horizon) * zoom / 1.5 + 0.5).clamp(0, 1)
    up = (py / horizon).clamp(0, 1)
    outdoors = (scenes.place != STUDIO)[:, None]
    tint = (colours.tints[scenes.place_look[:, 0]] * outdoors)[..., None, None, None]  # [N, 3, ...]
    landmark = scenes.place_look[:, 1, None, None, None]
    far = [(p - at) / LANDMARK_RADIUS for p, at in zip((px, py), LANDMARK_AT, strict=True)]
    mark = draw_landmark(*far, landmark, LANDMARK_RADIUS * zoom) * outdoors[..., None, None]
    mark_colour = colours.landmarks[scenes.place_look[:, 1]][..., None, None, None]
    channels = []
    for c in range(3):
        value = row[:, c] + (row[:, 3 + c] - row[:, c]) * up
        value = value + (mark_colour[:, c] * row[:, 18] - value) * mark
        value = value + (row[:, 6 + c] + tint[:, c] - value) * on_hill
        channels.append(value + (row[:, 9 + c] + tint[:, c] - value) * on_ground)
    light = row[:, 18]
    for kind in range(len(RADII)):
        u = (px - scenes.x[:, kind, :, None, None]) / RADII[kind]
        v = (py - scenes.y[:, kind, :, None, None]) / RADII[kind]
        look = scenes.look[:, kind].T[..., None, None, None]  # [4, N, 1, 1, 1]
        sprite, cover = draw_sprite(u, v, look, kind, RADII[kind] * zoom, colours.hues)
        seen = scenes.visible[:, kind, None, None, None]
        channels = [
            value + (light * colour - value * cover) * seen
            for value, colour in zip(channels, sprite, strict=True)
        ]
    return torch.stack(channels, -1)


def foreground(scenes: Scenes) -> torch.Tensor:
    """float32 [N, T, H, W]: 1 on and around a visible character, else 0."""
    axis = torch.arange(SIZE, device=scenes.x.device) + 0.5
    zoom = scenes.zoom[:, :, None, None]
    px = (axis.view(1, 1, 1, -1) - CENTRE[0]) / zoom + CENTRE[0]
    py = (axis.view(1, 1, -1, 1) - CENTRE[1]) / zoom + CENTRE[1]
    inside = torch.zeros_like(px + py)
    for kind in range(len(RADII)):
        u = (px - scenes.x[:, kind, :, None, None]) / RADII[kind]
        v = (py - scenes.y[:, kind, :, None, None]) / RADII[kind]
        low, high = -2.0, FEET[kind] + 0.4  # from above the accessory to below the feet
        near = (_box(u, v - (low + high) / 2, 1.15, (high - low) / 2) < 0) & scenes.visible[
            :, kind, None, None, None
        ]
        inside = torch.maximum(inside, near.to(px))
    return inside
