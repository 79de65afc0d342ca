"""What is measured of played stories: who is in them, and how their seams look."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from ...sampling.colour_match import lab_statistics
from ...selection.preprocess import in_batches
from .. import world
from ..place_judge import identify_places
from .player import Played
from .statistics import difference, mean, rate, ratio

JUDGED_AT_ONCE = 64  # clips
AGAIN = ("error", "drift")  # figures of the frames that a continuing shot repeats


def see(referee, played: Played, stories: world.Stories) -> torch.Tensor:
    """The looks that the judge sees, int64 [S, K, P, 4]; -1 where nobody is asked for."""
    visible = stories.visible
    seen = torch.full((*visible.shape, 4), -1)
    in_view = stories.scenes.in_view().unflatten(0, visible.shape[:2])
    device = getattr(referee, "device", "cpu")
    for s, k, count, clips in _alike(played, visible.any(-1), device):
        moments = slice(count, count + clips.shape[1])  # a still ends before its scene does
        how = {"in_view": in_view[s, k, :, moments], "framing": stories.framing[s, k]}
        seen[s, k] = referee.identify(clips, visible[s, k], **how).cpu()
    return seen


def see_places(played: Played, stories: world.Stories, device="cpu") -> torch.Tensor:
    """Tint and landmark of every shot's place, int64 [S, K, 2]; -1 where it cannot be seen."""
    place = stories.place
    seen = torch.full((*place.shape, len(world.PLACE_ATTRIBUTES)), -1)
    zoom = stories.scenes.zoom.unflatten(0, place.shape)
    for s, k, count, clips in _alike(played, torch.ones_like(place, dtype=torch.bool), device):
        seen[s, k] = identify_places(clips, place[s, k], zoom[s, k, count:]).cpu()
    return seen


def _alike(played: Played, asked: torch.Tensor, device):
    """The shots that are asked for (bool [S, K]), some of one length at a time: which they are, how
    many frames came off their beginning, and the rest, float32 [N, T, H, W, 3] in 0 ... 1."""
    given = torch.tensor(played.given)
    for count in given.unique().tolist():
        places = (asked & (given == count)).nonzero().tolist()
        for some in in_batches(places, JUDGED_AT_ONCE):
            clips = torch.stack([played.shots[s][k] for s, k in some]).to(device)
            s, k = torch.tensor(some).T
            yield s, k, count, clips.float() / 255


def places_kept(seen: torch.Tensor, stories: world.Stories) -> dict:
    """How often a place that comes back after a cut looks as it did when it was first seen.

    Args:
        seen: int64 [S, K, 2]; -1 where it cannot be seen, which counts neither way.
    """
    shots = seen.shape[1]
    right = torch.ones_like(seen, dtype=torch.bool)
    asked = torch.zeros_like(right)
    for k in range(1, shots):
        same = (stories.place[:, :k] == stories.place[:, k : k + 1])[..., None] & (seen[:, :k] >= 0)
        first = same.int().argmax(1, keepdim=True)
        before = seen[:, :k].gather(1, first)[:, 0]
        is_back = stories.begins[:, k] == world.CUT
        asked[:, k] = same.any(1) & (seen[:, k] >= 0) & is_back[:, None]
        right[:, k] = before == seen[:, k]
    joint = (right | ~asked).all(-1)
    found = {
        name: rate(right[..., i], asked[..., i]) for i, name in enumerate(world.PLACE_ATTRIBUTES)
    }
    return found | {"joint": rate(joint, asked.any(-1))}


def first_seen(seen: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """The look at a character's first appearance, [S, P, 4], and nothing later."""
    first = visible.int().argmax(1)  # [S, P]
    index = first[:, None, :, None].expand(-1, 1, -1, 4)
    return seen.gather(1, index)[:, 0]


def identity(seen: torch.Tensor, look: torch.Tensor, visible: torch.Tensor) -> dict:
    """Rates of the looks that were asked for: by attribute, joint, and the joint one by character,
    by shot, of those ``alone`` in their shot and of those who share it (``together``).

    Args:
        seen: [S, K, P, 4].
        look: [S, P, 4].
        visible: bool [S, K, P], which of them are counted.
    """
    right = seen == look[:, None]
    joint = right.all(-1)
    found = {name: rate(right[..., i], visible) for i, name in enumerate(world.ATTRIBUTES)}
    found["joint"] = rate(joint, visible)
    for kind, name in enumerate(world.KINDS):
        found[name] = rate(joint[..., kind], visible[..., kind])
    is_alone = visible.sum(-1, keepdim=True) == 1
    found["alone"] = rate(joint, visible & is_alone)
    found["together"] = rate(joint, visible & ~is_alone)
    found["by_shot"] = [rate(joint[:, k], visible[:, k]) for k in range(visible.shape[1])]
    return found


def later_appearances(visible: torch.Tensor) -> torch.Tensor:
    """All but everybody's first, bool [S, K, P]."""
    return visible & (visible.int().cumsum(1) > 1)


def is_kept(seen: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Whether an appearance shows the look of the character's first one, bool [S, K, P]."""
    return (seen == first_seen(seen, visible)[:, None]).all(-1)


def kept(seen: torch.Tensor, visible: torch.Tensor, asked: torch.Tensor | None = None) -> dict:
    """Rates of later appearances that show the look of the first one; ``asked`` picks some."""
    asked = later_appearances(visible) if asked is None else asked
    return identity(seen, first_seen(seen, visible), asked)


def compare(one: torch.Tensor, other: torch.Tensor, look, visible) -> dict:
    """Joint identity of one case less that of another, on the same stories."""
    right = [(seen == look[:, None]).all(-1) for seen in (one, other)]
    return difference(*right, visible)


def memory_shows(played: Played, stories: world.Stories) -> torch.Tensor:
    """Whether the memory that a shot saw held a picture of a shot with a character, [S, K, P].

    A portrait counts for its own character.
    """
    shows = torch.zeros_like(stories.visible)
    kinds = [cast.nonzero()[:, 0] for cast in stories.cast]  # of the portraits, in order
    for s, shots in enumerate(played.memory):
        for k, frames in enumerate(shots):
            for shot in {frame.shot for frame in frames if frame.shot >= 0}:
                shows[s, k] |= stories.visible[s, shot]
            shows[s, k, kinds[s][[frame.frame for frame in frames if frame.shot < 0]]] = True
    return shows


def bank_shows(played: Played, stories: world.Stories) -> torch.Tensor:
    """Whether the bank as a whole held a picture of an earlier shot with a character, [S, K, P]."""
    shows = torch.zeros_like(stories.visible)
    for s, bank in enumerate(played.banks):
        for shot in {frame.shot for frame in bank.frames if frame.shot >= 0}:
            shows[s, shot + 1 :] |= stories.visible[s, shot]
    return shows


def seams(played: Played, asked: torch.Tensor) -> dict:
    """How shots join the ones before them, where ``asked`` (bool [S, K]) is set.

    ``step``: mean absolute difference over the seam, in per cent of white; ``motion``: how much
    the step over the seam differs from the step before it. ``usual`` is the step inside shots,
    ``ratio`` is step by usual. ``error`` is how far the repeated frames, which came off, are from
    the frames that they repeat, and ``drift`` how far their mean colour is, in CIE Lab.
    """
    names = ("step", "motion", "usual", *AGAIN)
    parts = {name: torch.zeros(asked.shape) for name in names}
    knows_lab = find_spec("kornia") is not None
    for s, k in asked.nonzero().tolist():
        earlier, last = played.shots[s][k - 1][-2:].float() / 2.55
        first, second = played.shots[s][k][:2].float() / 2.55
        parts["step"][s, k] = (first - last).abs().mean()
        parts["motion"][s, k] = ((first - last) - (last - earlier)).abs().mean()
        inside = (last - earlier).abs().mean() + (second - first).abs().mean()
        parts["usual"][s, k] = inside / 2
        again = played.repeated[s][k].float()
        if len(again):
            meant = played.shots[s][k - 1][-len(again) :].float()
            parts["error"][s, k] = (again - meant).abs().mean() / 2.55
            if knows_lab:
                colours = [lab_statistics(clip / 255)[0] for clip in (again, meant)]
                parts["drift"][s, k] = (colours[0] - colours[1]).norm()
    repeats = asked & (torch.tensor(played.given) > 0)
    found = {n: mean(parts[n], repeats if n in AGAIN else asked) for n in parts}
    found["ratio"] = ratio(parts["step"], parts["usual"], asked)
    return found if knows_lab else found | {"drift": "not measured: it needs kornia"}
