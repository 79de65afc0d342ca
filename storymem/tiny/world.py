"""The story world, as numbers: one to three characters in two or three places.

A character's *kind* (big with two eyes, small with one eye, tall with legs and a visor) follows
from its name in the prompt; a story has at most one of each kind, a shot shows at most two.
Its *look* (hue, pattern, shape, accessory: 162 identities) is drawn for every story and never said,
so that only memory can tell how a character looks. A place has a look of its own, too (tint and
landmark: 16), drawn for every story. ``staging`` draws stories from a seed; ``picture`` draws their
pictures on any device.
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
CAST_SHARES = (0.15, 0.35, 0.5)  # of stories with 1, 2 and 3 characters
EMPTY_SHARE = 0.05  # of the shots that begin with a cut: nobody is there
ON_STAGE = 2  # characters that a shot shows at most: the prompt has two slots for names
NAMES = (
    ("Bomo", "Boru", "Dalgo", "Gorba", "Hobor", "Lumbo", "Morgo", "Obero", "Rumbo", "Tolbo"),
    ("Fipi", "Kiki", "Lini", "Mitzi", "Nipi", "Pimi", "Riki", "Siri", "Tili", "Zizi"),
    ("Anka", "Elko", "Janto", "Katzu", "Panko", "Sanda", "Tanko", "Vanto", "Wenko", "Yanda"),
)
STAYING = ("stands", "advances", "retreats", "jumps", "hops", "sways", "shakes", "circles")
ACTIONS = (*STAYING, "enters", "leaves", "crosses")
STANDS, ADVANCES, RETREATS, SWAYS, CIRCLES, ENTERS, LEAVES, CROSSES = (
    ACTIONS.index(name)
    for name in (
        "stands",
        "advances",
        "retreats",
        "sways",
        "circles",
        "enters",
        "leaves",
        "crosses",
    )
)
PLACES = ("meadow", "beach", "city", "forest", "snow", "night")
TINTS = ("rose", "amber", "teal", "violet")  # of ground and hills
LANDMARKS = ("sun", "moon", "kite", "cloud")  # in the sky
PLACE_ATTRIBUTES = {"tint": TINTS, "landmark": LANDMARKS}
CAMERAS = ("still", "panleft", "panright", "zoom")
FRAMINGS = ("wide", "medium", "close")  # how near the camera is; prompts leave medium out
MEDIUM = FRAMINGS.index("medium")
SAID_FRAMINGS = tuple(name for name in FRAMINGS if name != "medium")
FRAMING_ZOOM = (0.72, 1.0, 1.5)
STUDIO = len(PLACES)  # the plain backdrop of portraits; no prompt names it
GROUND = 74.0  # the y where characters stand, pixels
CENTRE = (48.0, 56.0)  # x, y that zooming keeps in place
MAX_ZOOM = 1.2  # of the camera's zoom, times the framing's
PORTRAIT_ZOOM = 1.5
SIDE_REACH = 0.9  # of a body on either side of its centre, radii
EDGE = 2.0  # pixels of a body that may be out of the picture, for it to be wholly in view
CUT, FIRST_FRAME, FIVE_FRAMES = 0, 1, 2  # how a shot begins: M2V, MI2V, MM2V


@dataclasses.dataclass(frozen=True)
class Scenes:
    """``N`` clips as numbers. ``P`` are the kinds; a look is (hue, pattern, shape, accessory)."""

    look: torch.Tensor  # int64 [N, P, 4]
    visible: torch.Tensor  # bool [N, P]
    x: torch.Tensor  # float32 [N, P, T], sprite centre in pixels before zoom
    y: torch.Tensor  # float32 [N, P, T]
    place: torch.Tensor  # int64 [N]
    place_look: torch.Tensor  # int64 [N, 2]: tint and landmark
    framing: torch.Tensor  # int64 [N]: how near the camera is, as the prompt says
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

    def in_view(self) -> torch.Tensor:
        """In which frames a visible character is wholly in the picture and stands clear of the
        other, bool [N, P, T]."""
        radii = torch.tensor(RADII, device=self.x.device)[:, None]
        zoom = self.zoom[:, None]
        reach = ((self.x - CENTRE[0]).abs() + SIDE_REACH * radii) * zoom
        seen = (reach <= SIZE / 2 + EDGE) & self.visible[..., None]
        for one, other in ((0, 1), (0, 2), (1, 2)):
            apart = (self.x[:, one] - self.x[:, other]).abs()
            both = self.visible[:, [one, other]].all(1)
            clear = (apart >= RADII[one] + RADII[other]) | ~both[:, None]
            seen[:, [one, other]] &= clear[:, None]
        return seen


@dataclasses.dataclass(frozen=True)
class Stories:
    """``S`` stories of ``K`` shots: what the prompts say, and the scenes ([S * K], story-major)."""

    look: torch.Tensor  # int64 [S, P, 4]
    place_look: torch.Tensor  # int64 [S, places, 2]
    name: torch.Tensor  # int64 [S, P]
    cast: torch.Tensor  # bool [S, P]: who is in the story
    visible: torch.Tensor  # bool [S, K, P]: who is named; they may enter or leave in the shot
    is_left: torch.Tensor  # bool [S, K, P]: of two, the one on the left, before they cross
    action: torch.Tensor  # int64 [S, K, P]
    place: torch.Tensor  # int64 [S, K]
    camera: torch.Tensor  # int64 [S, K]
    framing: torch.Tensor  # int64 [S, K]
    begins: torch.Tensor  # int64 [S, K]: CUT, FIRST_FRAME or FIVE_FRAMES
    scenes: Scenes

    def prompt(self, story: int, shot: int) -> str:
        """What the artist would type, e.g. ``Bomo jumps, Fipi stands, meadow, still, wide``; of two
        characters the one on the left comes first."""
        words = []
        shown = self.visible[story, shot].nonzero()[:, 0].tolist()
        for kind in sorted(shown, key=lambda kind: not self.is_left[story, shot, kind]):
            name = NAMES[kind][int(self.name[story, kind])]
            words.append(f"{name} {ACTIONS[int(self.action[story, shot, kind])]}")
        words.append(PLACES[int(self.place[story, shot])])
        words.append(CAMERAS[int(self.camera[story, shot])])
        framing = int(self.framing[story, shot])
        return ", ".join(words + [FRAMINGS[framing]] * (framing != MEDIUM))


def look_number(look: torch.Tensor) -> torch.Tensor:
    """int64 [..., 4] -> [...], in 0 ... LOOKS - 1."""
    number = torch.zeros_like(look[..., 0])
    for column, count in enumerate(LOOK_COUNTS):
        number = number * count + look[..., column]
    return number


def all_looks() -> torch.Tensor:
    """int64 [LOOKS, 4], in the order of ``look_number``."""
    return torch.cartesian_prod(*(torch.arange(count) for count in LOOK_COUNTS))


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
        place_look=torch.zeros(n, len(PLACE_ATTRIBUTES), dtype=torch.long, device=look.device),
        framing=torch.full((n,), FRAMINGS.index("close"), device=look.device),
        scroll=constant(0.0),
        zoom=constant(PORTRAIT_ZOOM),
    )
