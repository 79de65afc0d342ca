"""Draws seeded stories of the tiny world: who is where, does what, and how the camera sees it."""

from __future__ import annotations

import math

import torch

from .world import (
    ACTIONS,
    ADVANCES,
    CAMERAS,
    CAST_SHARES,
    CENTRE,
    CIRCLES,
    CROSSES,
    CUT,
    EMPTY_SHARE,
    ENTERS,
    FEET,
    FIRST_FRAME,
    FIVE_FRAMES,
    FRAMES,
    FRAMING_ZOOM,
    FRAMINGS,
    GROUND,
    KINDS,
    LEAVES,
    LOOK_COUNTS,
    MAX_ZOOM,
    MEDIUM,
    NAMES,
    ON_STAGE,
    PLACE_ATTRIBUTES,
    PLACES,
    RADII,
    RETREATS,
    SIZE,
    STANDS,
    SWAYS,
    Scenes,
    Stories,
)

TOGETHER_SHARE = 0.6  # of the shots that show somebody: two of them
NEWCOMER_SHARE = 0.4  # of the continuing shots with room for one: somebody enters
FRAMING_SHARES = (0.25, 0.5, 0.25)  # of the cuts; a close shot of two is a medium one
PLACES_OF_A_STORY = (2, 3)
CLOSE = FRAMINGS.index("close")
MIDDLE = 8.0  # pixels on either side of the centre: who stands there leaves no room for another
OUTSIDE = 1.3  # radii from the picture's edge to the centre of somebody who is out of it
# Where a character may be, by (alone, left of the other, right of it, close) and kind: low, high x.
_LANES = torch.tensor(
    [
        [[34, 62], [32, 64], [32, 64]],
        [[24, 34], [19, 34], [20, 34]],
        [[62, 72], [62, 77], [62, 76]],
        [[42, 54], [40, 56], [40, 56]],
    ]
).float()
_ALONE, _LEFT, _RIGHT, _CLOSE = range(4)
_IN_SCENES = ("visible", "x", "y", "place", "framing", "scroll", "zoom")
FAR_LEFT = 28.0  # x, at most, at one end of the way of somebody alone who crosses


def _action_paths() -> torch.Tensor:
    """Offset from the start, float32 [actions, 2, T]; every path begins at zero.

    Whoever enters, leaves or crosses has none: that path depends on where the ends are.
    """
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
    return torch.stack([torch.stack(paths.get(name, (zero, zero))) for name in ACTIONS])


def _share_done(action: int) -> torch.Tensor:
    """How much of the way is done at each frame, float32 [T]; twelve frames suffice for all."""
    start, length = {ENTERS: (1, 9), LEAVES: (2, 10), CROSSES: (2, 10)}[action]
    return ((torch.arange(FRAMES) - start) / length).clamp(0, 1)


class _Draw:
    """Random numbers of ``count`` stories."""

    def __init__(self, count: int, seed: int):
        self.count, self.generator = count, torch.Generator().manual_seed(seed)

    def integers(self, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, (self.count, *shape), generator=self.generator)

    def even(self, *shape: int) -> torch.Tensor:
        return torch.rand(self.count, *shape, generator=self.generator)

    def share(self, shares) -> torch.Tensor:
        """An index, as often as its share."""
        return (self.even(1) >= torch.tensor(shares).cumsum(0)[:-1]).sum(-1)

    def some_of(self, allowed: torch.Tensor) -> torch.Tensor:
        """A rank for each of those that are allowed, in random order; the others come last."""
        return torch.where(allowed, self.even(allowed.shape[1]), 2.0).argsort(-1).argsort(-1)


def sample_stories(
    count: int,
    *,
    shots: int = 7,
    seed: int,
    characters: int | None = None,
    visible: torch.Tensor | None = None,
) -> Stories:
    """Draw stories on the CPU; fewer ``shots`` give the beginnings of the same stories.

    Args:
        characters: how many each story has, 1 to 3; drawn (``CAST_SHARES``) without it.
        visible: bool [S, K, P], who is named in each shot, of the stories' casts; every shot is a
            cut then.
    """
    draw = _Draw(count, seed)
    kinds = len(KINDS)
    look = torch.stack([draw.integers(n, kinds) for n in LOOK_COUNTS], -1)
    place_look = torch.stack(
        [draw.integers(len(values), len(PLACES)) for values in PLACE_ATTRIBUTES.values()], -1
    )
    name = draw.integers(len(NAMES[0]), kinds)
    size = 1 + draw.share(CAST_SHARES)[:, None]
    if characters is not None:
        size = torch.full_like(size, characters)
    cast = draw.even(kinds).argsort(-1).argsort(-1) < size
    homes = draw.even(len(PLACES)).argsort(-1)[:, : max(PLACES_OF_A_STORY)]
    home_count = torch.tensor(PLACES_OF_A_STORY)[draw.integers(len(PLACES_OF_A_STORY))]
    columns: dict[str, list[torch.Tensor]] = {}
    before: dict[str, torch.Tensor] | None = None
    for shot in range(shots):
        place = homes.gather(1, (draw.integers(6) % home_count)[:, None])[:, 0]
        there = None if visible is None else visible[:, shot]
        before = _stage(draw, cast, place, there, before)
        for key, value in before.items():
            columns.setdefault(key, []).append(value)
    told = {key: torch.stack(values, 1) for key, values in columns.items()}
    here = told["place"][..., None, None].expand(-1, -1, 1, len(PLACE_ATTRIBUTES))
    hidden = place_look[:, None].expand(-1, shots, -1, -1).gather(2, here)[:, :, 0]
    scenes = Scenes(
        look=look[:, None].expand(-1, shots, -1, -1).flatten(0, 1),
        place_look=hidden.flatten(0, 1),
        **{k: told[k].flatten(0, 1) for k in _IN_SCENES},
    )
    kept = ("visible", "is_left", "action", "place", "camera", "framing", "begins")
    told = {key: told[key] for key in kept}
    return Stories(look=look, place_look=place_look, name=name, cast=cast, scenes=scenes, **told)


def _stage(draw: _Draw, cast, place, there, before) -> dict[str, torch.Tensor]:
    """One shot of every story, after ``before``."""
    is_first, kinds = before is None, len(KINDS)
    begins = torch.tensor([CUT, CUT, CUT, FIRST_FRAME, FIVE_FRAMES])[draw.integers(5)]
    side, camera = draw.integers(2), draw.integers(len(CAMERAS))
    framing = draw.share(FRAMING_SHARES)
    on_stage = 1 + (draw.even() < TOGETHER_SHARE).long() * (ON_STAGE - 1)
    on_stage *= draw.even() >= EMPTY_SHARE
    rank, newcomer = draw.some_of(cast), draw.even() < NEWCOMER_SHARE
    action, start = draw.integers(len(ACTIONS), kinds), draw.even(kinds)
    scroll0, guest = draw.even() * 96, draw.even(kinds)
    if is_first or there is not None:
        begins = torch.zeros_like(begins)
    else:  # whoever leaves in a shot that repeats five frames is gone in its last frame only
        late = (before["begins"] == FIVE_FRAMES) & _any(before, LEAVES)
        begins = torch.where(late & (begins == FIVE_FRAMES), FIRST_FRAME, begins)
    cut = begins == CUT
    shown = cast & (rank < on_stage[:, None]) if there is None else there
    framing = torch.where((framing == CLOSE) & (shown.sum(-1) > 1), MEDIUM, framing)
    came = torch.zeros_like(cast)
    last_x = torch.full((draw.count, kinds), CENTRE[0])
    if not is_first:
        last_x = before["x"][..., -1]
        framing = torch.where(cut, framing, before["framing"])
        place = torch.where(cut, place, before["place"])
        stays = before["visible"] & (before["action"] != LEAVES)
        came, last_x = _newcomers(
            cast & ~before["visible"], stays, last_x, newcomer & ~cut & (framing != CLOSE), guest
        )
        shown = torch.where(cut[:, None], shown, stays | came)
    both = shown.sum(-1, keepdim=True) == 2
    first = shown & (shown.int().cumsum(-1) == 1)  # of the two
    first_x = (last_x * first).sum(-1, keepdim=True)
    other_x = (last_x * (shown & ~first)).sum(-1, keepdim=True)
    first_is_left = torch.where(cut[:, None], side[:, None] == 0, first_x < other_x)
    is_left = both & shown & (first == first_is_left)
    action = _possible(action, came, cut, framing, shown, first, both)
    lane = torch.where(both, torch.where(is_left, _LEFT, _RIGHT), _ALONE)
    lane = torch.where((framing == CLOSE)[:, None], _CLOSE, lane)
    low, high = _LANES[lane, torch.arange(kinds)].unbind(-1)
    start = torch.where(action == ADVANCES, start * 0.4, start)
    start = torch.where(action == RETREATS, 1 - start * 0.4, start)
    x0 = low + start * (high - low)
    # Alone, everybody crosses from left to right, comes from the left and leaves to the right, and
    # stands about the middle: what a prompt leaves open, a model has to guess.
    x0 = torch.where((action == CROSSES) & ~both, FAR_LEFT - 4 * start, x0)
    is_new = cut[:, None] | came
    x0 = torch.where(is_new, x0, last_x)
    rest = torch.tensor([GROUND - f * r for f, r in zip(FEET, RADII, strict=True)])
    y0, zoom0 = rest.expand(draw.count, kinds), torch.tensor(FRAMING_ZOOM)[framing]
    if not is_first:
        y0 = torch.where(is_new, y0, before["y"][..., -1])
        zoom0 = torch.where(cut, zoom0, before["zoom"][:, -1])
        scroll0 = torch.where(cut, scroll0, before["scroll"][:, -1])
    now = _camera(camera, framing, zoom0, scroll0)
    widest = (
        now["zoom"].amin(-1)
        if is_first
        else torch.minimum(now["zoom"].amin(-1), before["zoom"][:, -5:].amin(-1))
    )
    goes_left = torch.where(both, is_left, action == ENTERS)
    out = SIZE / 2 / widest[:, None] + OUTSIDE * torch.tensor(RADII)
    out = CENTRE[0] + torch.where(goes_left, -out, out)
    now |= _paths(action, x0, y0, low, high, out)
    if not is_first:  # MM2V: the previous shot's last five frames, then the new motion
        five = begins == FIVE_FRAMES
        for key, value in now.items():
            earlier = before[key][..., -5:]
            if key == "x":
                earlier = torch.where(came[..., None], out[..., None], earlier)
            elif key == "y":
                earlier = torch.where(came[..., None], y0[..., None], earlier)
            joined = torch.cat([earlier, value[..., 1 : FRAMES - 4]], -1)
            now[key] = torch.where(five.view(-1, *[1] * (value.ndim - 1)), joined, value)
    return now | {
        "visible": shown,
        "is_left": is_left,
        "place": place,
        "camera": camera,
        "framing": framing,
        "action": action,
        "begins": begins,
    }


def _any(before, action: int) -> torch.Tensor:
    return (before["visible"] & (before["action"] == action)).any(-1)


def _newcomers(candidates, stays, last_x, wanted, guest):
    """Who enters a continuing shot, and where everybody was: a newcomer opposite the other one."""
    room = stays.sum(-1) < ON_STAGE
    other = (last_x * stays).sum(-1)
    room &= ~stays.any(-1) | ((other - CENTRE[0]).abs() >= MIDDLE)
    chosen = torch.where(candidates, guest, 2.0).argmin(-1)
    came = torch.nn.functional.one_hot(chosen, len(KINDS)).bool() & candidates
    came &= (wanted & room)[:, None]
    return came, torch.where(came, SIZE - other[:, None], last_x)


def _possible(action, came, cut, framing, shown, first, both) -> torch.Tensor:
    """The drawn actions, without those that cannot be done: nobody enters who is there already,
    two cross each other or neither does, nobody crosses a close shot."""
    close = (framing == CLOSE)[:, None]
    action = torch.where((action == ENTERS) & ~cut[:, None], STANDS, action)
    action = torch.where((action == CROSSES) & close, SWAYS, action)
    leads = (action == CROSSES) & first & both & ~came.any(-1, keepdim=True)
    together = leads.any(-1, keepdim=True)
    action = torch.where((action == CROSSES) & both, CIRCLES, action)
    action = torch.where(together & shown, CROSSES, action)
    return torch.where(came, ENTERS, action)


def _camera(camera, framing, zoom0, scroll0) -> dict[str, torch.Tensor]:
    s = torch.arange(FRAMES) / (FRAMES - 1)
    near = torch.tensor(FRAMING_ZOOM)[framing]
    target = torch.where(zoom0 < near * (1 + MAX_ZOOM) / 2, MAX_ZOOM * near, near)
    target = torch.where(camera == CAMERAS.index("zoom"), target, zoom0)
    speed = torch.tensor([0.0, -1.5, 1.5, 0.0])[camera]
    return {
        "zoom": zoom0[:, None] + (target - zoom0)[:, None] * s,
        "scroll": scroll0[:, None] + speed[:, None] * s * (FRAMES - 1),
    }


def _paths(action, x0, y0, low, high, out) -> dict[str, torch.Tensor]:
    """x and y of everybody, float32 [S, P, T]."""
    path = _action_paths()[action]  # [S, P, 2, T]
    low, high = torch.minimum(low, x0)[..., None], torch.maximum(high, x0)[..., None]
    x = (x0[..., None] + path[:, :, 0]).clamp(low, high)
    other_side = SIZE - x0
    other_side = torch.where(
        x0 < CENTRE[0],
        other_side.clamp(min=SIZE - FAR_LEFT),
        other_side.clamp(max=FAR_LEFT),
    )
    ways = {ENTERS: (out, x0), LEAVES: (x0, out), CROSSES: (x0, other_side)}
    for number, (here, there) in ways.items():
        moved = here[..., None] + (there - here)[..., None] * _share_done(number)
        x = torch.where((action == number)[..., None], moved, x)
    return {"x": x, "y": y0[..., None] + path[:, :, 1]}
