"""The story world: seeded stories about one to three characters, as numbers.

A character's *kind* (big with two eyes, small with one eye, tall with legs and a visor) follows
from its name in the prompt; a story has at most one of each kind, a shot shows at most two.
Its *look* (hue, pattern, shape, accessory: 162 identities) is drawn for every story and never said,
so that only memory can tell how a character looks. Everything follows from an integer seed:
stories are drawn on the CPU; ``picture`` draws them on any device.
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
KINDS = ("big", "small", "tall")
RADII = (16.0, 11.0, 12.0)  # of the body, pixels at zoom 1, by kind
FEET = (1.0, 1.0, 23 / 12)  # how far below the body's centre the ground is, radii, by kind
CAST_SHARES = (0.2, 0.4, 0.4)  # of stories with 1, 2 and 3 characters
EMPTY_SHARE = 0.05  # of the shots that begin with a cut: nobody is there
ON_STAGE = 2  # characters that a shot shows at most: the prompt has two slots for names
NAMES = (
    ("Bomo", "Boru", "Dalgo", "Gorba", "Hobor", "Lumbo", "Morgo", "Obero", "Rumbo", "Tolbo"),
    ("Fipi", "Kiki", "Lini", "Mitzi", "Nipi", "Pimi", "Riki", "Siri", "Tili", "Zizi"),
    ("Anka", "Elko", "Janto", "Katzu", "Panko", "Sanda", "Tanko", "Vanto", "Wenko", "Yanda"),
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


@dataclasses.dataclass(frozen=True)
class Scenes:
    """``N`` clips as numbers. ``P`` are the kinds; a look is (hue, pattern, shape, accessory)."""

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
        """The clips with ``change`` applied to each of their tensors."""
        return Scenes(*(change(getattr(self, f.name)) for f in dataclasses.fields(self)))

    def to(self, device) -> Scenes:
        """The same clips on ``device``."""
        return self.map(lambda value: value.to(device))

    def __getitem__(self, index) -> Scenes:
        return self.map(lambda value: value[index])

    def at(self, frames) -> Scenes:
        """The same clips at other moments: ``frames`` is int64 [N, T']."""
        by_kind = frames[:, None].expand(-1, len(KINDS), -1)
        return dataclasses.replace(
            self,
            x=self.x.gather(2, by_kind),
            y=self.y.gather(2, by_kind),
            scroll=self.scroll.gather(1, frames),
            zoom=self.zoom.gather(1, frames),
        )


@dataclasses.dataclass(frozen=True)
class Stories:
    """``S`` stories of ``K`` shots: what the prompts say, and the scenes ([S * K], story-major)."""

    look: torch.Tensor  # int64 [S, P, 4]
    name: torch.Tensor  # int64 [S, P]
    cast: torch.Tensor  # bool [S, P]: who is in the story
    visible: torch.Tensor  # bool [S, K, P]
    action: torch.Tensor  # int64 [S, K, P]
    place: torch.Tensor  # int64 [S, K]
    camera: torch.Tensor  # int64 [S, K]
    begins: torch.Tensor  # int64 [S, K]: CUT, FIRST_FRAME or FIVE_FRAMES
    scenes: Scenes

    def prompt(self, story: int, shot: int) -> str:
        """What the artist would type, e.g. ``Bomo jumps, Fipi stands, meadow, still``."""
        words = []
        for kind in range(len(KINDS)):
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


# Where a character may be, by (alone, left of the other, right of it) and kind: low, high x.
_LANES = torch.tensor(
    [
        [[26, 70], [20, 76], [21, 75]],
        [[24, 34], [19, 34], [20, 34]],
        [[62, 72], [62, 77], [62, 76]],
    ]
).float()


def sample_stories(
    count: int, *, shots: int = 7, seed: int, characters: int | None = None
) -> Stories:
    """Draw stories on the CPU; fewer ``shots`` give the beginnings of the same stories.

    Args:
        characters: how many each story has, 1 to 3; drawn (``CAST_SHARES``) without it.
    """
    g = torch.Generator().manual_seed(seed)

    def integers(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, (count, *shape), generator=g)

    kinds = len(KINDS)
    look = torch.stack([integers(n, kinds) for n in LOOK_COUNTS], -1)
    name = integers(len(NAMES[0]), kinds)
    shares = torch.tensor(CAST_SHARES).cumsum(0)
    size = 1 + (torch.rand(count, 1, generator=g) >= shares[:-1]).sum(-1)
    if characters is not None:
        size = torch.full_like(size, characters)
    cast = torch.rand(count, kinds, generator=g).argsort(-1).argsort(-1) < size[:, None]
    paths = _action_paths()
    rest = torch.tensor([GROUND - f * r for f, r in zip(FEET, RADII, strict=True)])
    columns: dict[str, list[torch.Tensor]] = {}
    before: dict[str, torch.Tensor] = {}
    for shot in range(shots):
        begins = torch.tensor([CUT, CUT, CUT, FIRST_FRAME, FIVE_FRAMES])[integers(5)]
        place, side = integers(len(PLACES)), integers(2)
        on_stage = 1 + integers(ON_STAGE)
        on_stage *= torch.rand(count, generator=g) >= EMPTY_SHARE
        if shot == 0:
            begins = torch.zeros_like(begins)
            before = {
                "visible": torch.zeros(count, kinds, dtype=torch.bool),
                "place": place,
                "side": side,
            }
        cut = begins == CUT
        order = torch.where(cast, torch.rand(count, kinds, generator=g), 2.0).argsort(-1)
        drawn = cast & (order.argsort(-1) < on_stage[:, None])
        visible = torch.where(cut[:, None], drawn, before["visible"])
        place = torch.where(cut, place, before["place"])
        side = torch.where(cut, side, before["side"])
        action, camera = integers(len(ACTIONS), kinds), integers(len(CAMERAS))
        both = visible.sum(-1, keepdim=True) == 2
        first = visible.int().cumsum(-1) == 1  # of the two
        lane = torch.where(both, 1 + (first.int() + side[:, None]) % 2, 0)
        low, high = _LANES[lane, torch.arange(kinds)].unbind(-1)
        start = torch.rand(count, kinds, generator=g)
        start = torch.where(
            action == 1, start * 0.4, torch.where(action == 2, 1 - start * 0.4, start)
        )
        x0, y0 = low + start * (high - low), rest.expand(count, kinds)
        zoom0, scroll0 = torch.ones(count), torch.rand(count, generator=g) * 96
        if shot:
            keep = cut[:, None]
            x0, y0 = (
                torch.where(keep, x0, before["x"][..., -1]),
                torch.where(keep, y0, before["y"][..., -1]),
            )
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
        now |= {
            "visible": visible,
            "place": place,
            "camera": camera,
            "action": action,
            "begins": begins,
        }
        before = now | {"side": side}
        for key, value in now.items():
            columns.setdefault(key, []).append(value)
    told = {key: torch.stack(values, 1) for key, values in columns.items()}
    scenes = Scenes(
        look=look[:, None].expand(-1, shots, -1, -1).flatten(0, 1),
        **{k: told[k].flatten(0, 1) for k in ("visible", "x", "y", "place", "scroll", "zoom")},
    )
    told = {key: told[key] for key in ("visible", "action", "place", "camera", "begins")}
    return Stories(look=look, name=name, cast=cast, scenes=scenes, **told)


def portraits(look: torch.Tensor, kind: int, *, frames: int = 1) -> Scenes:
    """Each look (int64 [N, 4]) alone in the studio, large: the reference images of a story."""
    n = look.shape[0]
    visible = torch.zeros(n, len(KINDS), dtype=torch.bool, device=look.device)
    visible[:, kind] = True

    def constant(value: float, *shape: int) -> torch.Tensor:
        return torch.full((n, *shape, frames), value, device=look.device)

    return Scenes(
        look=look[:, None].expand(-1, len(KINDS), -1),
        visible=visible,
        x=constant(CENTRE[0], len(KINDS)),
        y=constant(CENTRE[1], len(KINDS)),
        place=torch.full((n,), STUDIO, device=look.device),
        scroll=constant(0.0),
        zoom=constant(PORTRAIT_ZOOM),
    )
