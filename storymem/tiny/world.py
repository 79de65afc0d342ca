"""The story world: seeded stories about two characters, as numbers and as rendered clips.

A character's *kind* (big with two eyes, small with one eye) follows from its name in the prompt. Its
*look* (hue, pattern, shape, accessory: 162 identities) is drawn anew in every story and never said,
so that only memory can tell how a character looks. Everything follows from an integer seed: stories
are drawn on the CPU, and ``render`` is pure tensor arithmetic for any device.
"""

from __future__ import annotations

import dataclasses
import math

import torch

SIZE = 96  # pixels, height and width
FRAMES = 17  # T: five latent frames
HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")
PATTERNS = ("plain", "belly", "stripe")
SHAPES = ("circle", "square", "triangle")
ACCESSORIES = ("hat", "antenna", "cone")
ATTRIBUTES = {"hue": HUES, "pattern": PATTERNS, "shape": SHAPES, "accessory": ACCESSORIES}
LOOK_COUNTS = tuple(len(values) for values in ATTRIBUTES.values())
LOOKS = math.prod(LOOK_COUNTS)
KINDS = ("big", "small")
RADII = (16.0, 11.0)  # pixels at zoom 1, by kind
NAMES = (
    ("Bomo", "Boru", "Dalgo", "Gorba", "Hobor", "Lumbo", "Morgo", "Obero", "Rumbo", "Tolbo"),
    ("Fipi", "Kiki", "Lini", "Mitzi", "Nipi", "Pimi", "Riki", "Siri", "Tili", "Zizi"),
)
ACTIONS = ("stands", "advances", "retreats", "jumps", "hops", "sways", "shakes", "circles")
PLACES = ("meadow", "beach", "city", "forest", "snow", "night")
CAMERAS = ("still", "panleft", "panright", "zoom")
STUDIO = len(PLACES)  # the plain backdrop of portraits; no prompt names it
GROUND = 74.0  # the y where characters stand, pixels
CENTRE = (48.0, 56.0)  # x, y that zooming keeps in place
MAX_ZOOM = 1.2
PORTRAIT_ZOOM = 1.5
CUT, FIRST_FRAME, FIVE_FRAMES = 0, 1, 2  # how a shot begins: M2V, MI2V, MM2V

CREAM = (0.97, 0.94, 0.86)
# Per place: sky top, sky bottom, hills, ground; horizon y; hill height, period and three shape weights
# (sine, triangle, block); light on characters. The last row is the studio.
_PLACES = (
    ((0.55, 0.70, 0.80), (0.70, 0.77, 0.78), (0.55, 0.65, 0.52), (0.62, 0.70, 0.54), 62, 12, 64, 1, 0, 0, 1),
    ((0.60, 0.72, 0.78), (0.76, 0.76, 0.70), (0.48, 0.60, 0.68), (0.76, 0.70, 0.58), 58, 3, 32, 1, 0, 0, 1),
    ((0.66, 0.66, 0.70), (0.72, 0.70, 0.70), (0.52, 0.52, 0.56), (0.60, 0.60, 0.60), 64, 26, 48, 0, 0, 1, 1),
    ((0.58, 0.68, 0.66), (0.66, 0.72, 0.66), (0.42, 0.52, 0.44), (0.54, 0.56, 0.46), 64, 28, 32, 0, 1, 0, 1),
    ((0.62, 0.68, 0.76), (0.70, 0.74, 0.78), (0.64, 0.66, 0.72), (0.76, 0.78, 0.80), 60, 16, 96, 0, 1, 0, 1),
    ((0.32, 0.34, 0.48), (0.42, 0.42, 0.54), (0.36, 0.38, 0.46), (0.40, 0.42, 0.46), 62, 14, 64, 1, 0, 0, 0.9),
    ((0.68, 0.68, 0.68), (0.68, 0.68, 0.68), (0.68, 0.68, 0.68), (0.58, 0.58, 0.58), 76, 0, 64, 1, 0, 0, 1),
)
_HUE_COLOURS = (
    (0.88, 0.16, 0.14),
    (0.93, 0.80, 0.10),
    (0.14, 0.68, 0.18),
    (0.10, 0.82, 0.86),
    (0.14, 0.26, 0.86),
    (0.84, 0.20, 0.80),
)


@dataclasses.dataclass(frozen=True)
class Scenes:
    """``N`` clips as numbers. ``P`` is (big, small); a look is (hue, pattern, shape, accessory)."""

    look: torch.Tensor  # int64 [N, P, 4]
    visible: torch.Tensor  # bool [N, P]
    x: torch.Tensor  # float32 [N, P, T], sprite centre in pixels before zoom
    y: torch.Tensor  # float32 [N, P, T]
    place: torch.Tensor  # int64 [N]
    scroll: torch.Tensor  # float32 [N, T], pixels
    zoom: torch.Tensor  # float32 [N, T]

    def __len__(self) -> int:
        return self.place.shape[0]

    def map(self, change) -> Scenes:
        return Scenes(*(change(getattr(self, f.name)) for f in dataclasses.fields(self)))

    def to(self, device) -> Scenes:
        return self.map(lambda value: value.to(device))

    def __getitem__(self, index) -> Scenes:
        return self.map(lambda value: value[index])

    def at(self, frames) -> Scenes:
        """The same clips at other moments: ``frames`` is int64 [N, T']."""
        pick2 = frames[:, None].expand(-1, 2, -1)
        return dataclasses.replace(
            self,
            x=self.x.gather(2, pick2),
            y=self.y.gather(2, pick2),
            scroll=self.scroll.gather(1, frames),
            zoom=self.zoom.gather(1, frames),
        )


@dataclasses.dataclass(frozen=True)
class Stories:
    """``S`` stories of ``K`` shots: what the prompts say, and the scenes ([S * K], story-major)."""

    look: torch.Tensor  # int64 [S, P, 4]
    name: torch.Tensor  # int64 [S, P]
    visible: torch.Tensor  # bool [S, K, P]
    action: torch.Tensor  # int64 [S, K, P]
    place: torch.Tensor  # int64 [S, K]
    camera: torch.Tensor  # int64 [S, K]
    begins: torch.Tensor  # int64 [S, K]: CUT, FIRST_FRAME or FIVE_FRAMES
    scenes: Scenes

    def prompt(self, story: int, shot: int) -> str:
        """What the artist would type, e.g. ``Bomo jumps, Fipi stands, meadow, still``."""
        words = []
        for kind in range(2):
            if self.visible[story, shot, kind]:
                name = NAMES[kind][int(self.name[story, kind])]
                words.append(f"{name} {ACTIONS[int(self.action[story, shot, kind])]}")
        words.append(PLACES[int(self.place[story, shot])])
        words.append(CAMERAS[int(self.camera[story, shot])])
        return ", ".join(words)


def look_number(look: torch.Tensor) -> torch.Tensor:
    """int64 [..., 4] -> [...], in 0 ... LOOKS - 1."""
    number = torch.zeros_like(look[..., 0])
    for column, count in enumerate(LOOK_COUNTS):
        number = number * count + look[..., column]
    return number


def all_looks() -> torch.Tensor:
    """int64 [LOOKS, 4], in the order of ``look_number``."""
    return torch.cartesian_prod(*(torch.arange(count) for count in LOOK_COUNTS))


def _action_paths() -> torch.Tensor:
    """Offset from the start, float32 [actions, 2, T]; every path begins at zero."""
    t = torch.arange(FRAMES, dtype=torch.float32)
    turn = 2 * math.pi * t / 16
    zero = torch.zeros_like(t)
    paths = {
        "stands": (zero, zero),
        "advances": (1.1 * t, zero),
        "retreats": (-1.1 * t, zero),
        "jumps": (zero, -14 * (turn / 2).sin().abs()),
        "hops": (zero, -6 * (2 * turn).sin().abs()),
        "sways": (6 * turn.sin(), zero),
        "shakes": (2.5 * (4 * turn).sin(), zero),
        "circles": (6 * turn.sin(), -6 * (1 - turn.cos())),
    }
    return torch.stack([torch.stack(paths[name]) for name in ACTIONS])


# Where a character may be, by (alone / left of the other / right of the other) and kind: low, high x.
_LANES = torch.tensor([[[26, 70], [20, 76]], [[24, 34], [19, 34]], [[62, 72], [62, 77]]]).float()


def sample_stories(count: int, *, shots: int = 7, seed: int) -> Stories:
    """Draw stories on the CPU. The same seed gives the same stories; a prefix of shots stays the same."""
    g = torch.Generator().manual_seed(seed)

    def integers(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, (count, *shape), generator=g)

    look = torch.stack([integers(n, 2) for n in LOOK_COUNTS], -1)
    name = integers(len(NAMES[0]), 2)
    paths = _action_paths()
    rest = torch.tensor([GROUND - radius for radius in RADII])
    columns: dict[str, list[torch.Tensor]] = {}
    before: dict[str, torch.Tensor] = {}
    for shot in range(shots):
        begins = torch.tensor([CUT, CUT, CUT, FIRST_FRAME, FIVE_FRAMES])[integers(5)]
        cast, place, side = integers(4), integers(len(PLACES)), integers(2)
        if shot == 0:
            begins = torch.zeros_like(begins)
            before = {"visible": torch.zeros(count, 2, dtype=torch.bool), "place": place, "side": side}
        cut = begins == CUT
        # Cast 0 is the big one alone, 1 the small one, 2 and 3 both.
        drawn = torch.stack([cast != 1, cast != 0], -1)
        visible = torch.where(cut[:, None], drawn, before["visible"])
        place = torch.where(cut, place, before["place"])
        side = torch.where(cut, side, before["side"])
        action, camera = integers(len(ACTIONS), 2), integers(len(CAMERAS))
        both = visible.all(-1, keepdim=True)
        lane = torch.where(both, 1 + torch.stack([side, 1 - side], -1), torch.zeros_like(action))
        low, high = _LANES[lane, torch.arange(2)].unbind(-1)
        start = torch.rand(count, 2, generator=g)
        start = torch.where(action == 1, start * 0.4, torch.where(action == 2, 1 - start * 0.4, start))
        x0, y0 = low + start * (high - low), rest.expand(count, 2)
        zoom0, scroll0 = torch.ones(count), torch.rand(count, generator=g) * 96
        if shot:
            keep = cut[:, None]
            x0, y0 = torch.where(keep, x0, before["x"][..., -1]), torch.where(keep, y0, before["y"][..., -1])
            zoom0 = torch.where(cut, zoom0, before["zoom"][:, -1])
            scroll0 = torch.where(cut, scroll0, before["scroll"][:, -1])
        path = paths[action]  # [S, P, 2, T]
        x = (x0[..., None] + path[:, :, 0]).clamp(low[..., None], high[..., None])
        y = y0[..., None] + path[:, :, 1]
        s = torch.arange(FRAMES) / (FRAMES - 1)
        target = torch.where(zoom0 < (1 + MAX_ZOOM) / 2, MAX_ZOOM, 1.0)
        target = torch.where(camera == 3, target, zoom0)
        zoom = zoom0[:, None] + (target - zoom0)[:, None] * s
        speed = torch.tensor([0.0, -1.5, 1.5, 0.0])[camera]
        scroll = scroll0[:, None] + speed[:, None] * s * (FRAMES - 1)
        now = {"x": x, "y": y, "zoom": zoom, "scroll": scroll}
        if shot:  # MM2V: the previous shot's last five frames, then the new motion
            five = begins == FIVE_FRAMES
            for key, value in now.items():
                joined = torch.cat([before[key][..., -5:], value[..., 1 : FRAMES - 4]], -1)
                now[key] = torch.where(five.view(-1, *[1] * (value.ndim - 1)), joined, value)
        now |= {"visible": visible, "place": place, "camera": camera, "action": action, "begins": begins}
        before = now | {"side": side}
        for key, value in now.items():
            columns.setdefault(key, []).append(value)
    told = {key: torch.stack(values, 1) for key, values in columns.items()}
    scenes = Scenes(
        look=look[:, None].expand(-1, shots, -1, -1).flatten(0, 1),
        **{k: told[k].flatten(0, 1) for k in ("visible", "x", "y", "place", "scroll", "zoom")},
    )
    told = {key: told[key] for key in ("visible", "action", "place", "camera", "begins")}
    return Stories(look=look, name=name, scenes=scenes, **told)


def portraits(look: torch.Tensor, kind: int, *, frames: int = 1) -> Scenes:
    """Each look (int64 [N, 4]) alone in the studio, large: the reference images of a story."""
    n = look.shape[0]
    visible = torch.zeros(n, 2, dtype=torch.bool, device=look.device)
    visible[:, kind] = True

    def constant(value: float, *shape: int) -> torch.Tensor:
        return torch.full((n, *shape, frames), value, device=look.device)

    return Scenes(
        look=look[:, None].expand(-1, 2, -1),
        visible=visible,
        x=constant(CENTRE[0], 2),
        y=constant(CENTRE[1], 2),
        place=torch.full((n,), STUDIO, device=look.device),
        scroll=constant(0.0),
        zoom=constant(PORTRAIT_ZOOM),
    )


def _cover(distance: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Soft coverage of a signed distance; ``scale`` is pixels per unit, the edge is 1.5 pixels wide."""
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


def palette(device) -> Palette:
    places = [[*sum(row[:4], ()), *row[4:]] for row in _PLACES]
    return Palette(torch.tensor(_HUE_COLOURS, device=device), torch.tensor(places, device=device))


def draw_sprite(u, v, look, kind: int, scale, hues) -> tuple[list[torch.Tensor], torch.Tensor]:
    """A character at sprite coordinates (body within -1 ... 1, v down): premultiplied colour, coverage.

    ``look`` is int64 [4, ...] broadcastable with ``u``; ``scale`` the radius in pixels; ``hues`` [6, 3].
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
    if kind == 0:
        eye_u, eye, pupil = u.abs() - 0.31, 0.21, 0.11
    else:
        eye_u, eye, pupil = u, 0.30, 0.16
    white = _cover(_disc(eye_u, v - 0.02, eye), scale)
    dark = _cover(_disc(eye_u, v - 0.02, pupil), scale)
    channels = []
    for c in range(3):
        colour = hues[:, c][hue]
        colour = colour + (CREAM[c] - colour) * mark
        colour = colour + (0.98 - colour) * white
        colour = colour + (0.06 - colour) * dark
        thing = torch.where(accessory == 2, (0.98, 0.98, 1.0)[c], 0.07)
        thing = thing + ((1.0, 0.55, 0.05)[c] - thing) * is_ball
        channels.append(colour * body_cover * (1 - extra_cover) + thing * extra_cover)
    return channels, body_cover + extra_cover - body_cover * extra_cover


def render(scenes: Scenes, colours: Palette | None = None) -> torch.Tensor:
    """float32 [N, T, H, W, 3] in 0 ... 1. Pure arithmetic: may be compiled, with ``colours`` given."""
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
    channels = []
    for c in range(3):
        value = row[:, c] + (row[:, 3 + c] - row[:, c]) * up
        value = value + (row[:, 6 + c] - value) * on_hill
        channels.append(value + (row[:, 9 + c] - value) * on_ground)
    light = row[:, 18]
    for kind in range(2):
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
    """float32 [N, T, H, W]: 1 within 1.6 radii of a visible character, else 0."""
    axis = torch.arange(SIZE, device=scenes.x.device) + 0.5
    zoom = scenes.zoom[:, :, None, None]
    px = (axis.view(1, 1, 1, -1) - CENTRE[0]) / zoom + CENTRE[0]
    py = (axis.view(1, 1, -1, 1) - CENTRE[1]) / zoom + CENTRE[1]
    inside = torch.zeros_like(px + py)
    for kind in range(2):
        u = (px - scenes.x[:, kind, :, None, None]) / RADII[kind]
        v = (py - scenes.y[:, kind, :, None, None]) / RADII[kind] + 0.3
        near = (_box(u, v, 1.15, 1.7) < 0) & scenes.visible[:, kind, None, None, None]
        inside = torch.maximum(inside, near.to(px))
    return inside
