"""What is measured of played stories: who is in them, and how their seams look."""

from __future__ import annotations

import torch

from . import world
from .player import Played
from .statistics import difference, mean, rate


def see(referee, played: Played, visible: torch.Tensor) -> torch.Tensor:
    """The looks that the judge sees, int64 [S, K, P, 4]; -1 where nobody is asked for."""
    seen = torch.full((*visible.shape, 4), -1)
    given = torch.tensor(played.given)
    for count in given.unique().tolist():  # shots of one length at a time
        places = (given == count).nonzero().tolist()
        clips = torch.stack([played.shots[s][k] for s, k in places]).float() / 255
        found = referee.identify(clips, torch.stack([visible[s, k] for s, k in places])).cpu()
        for (s, k), looks in zip(places, found, strict=True):
            seen[s, k] = looks
    return seen


def first_seen(seen: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """The look at a character's first appearance, [S, P, 4], and nothing later."""
    first = visible.int().argmax(1)  # [S, P]
    index = first[:, None, :, None].expand(-1, 1, -1, 4)
    return seen.gather(1, index)[:, 0]


def identity(seen: torch.Tensor, look: torch.Tensor, visible: torch.Tensor) -> dict:
    """Rates of the looks that were asked for: by attribute, joint, by shot and by character.

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
    found["by_shot"] = [rate(joint[:, k], visible[:, k]) for k in range(visible.shape[1])]
    return found


def kept(seen: torch.Tensor, visible: torch.Tensor) -> dict:
    """Rates of later appearances that show the look of the first one."""
    later = visible & (visible.int().cumsum(1) > 1)
    return identity(seen, first_seen(seen, visible), later)


def compare(one: torch.Tensor, other: torch.Tensor, look, visible) -> dict:
    """Joint identity of one case less that of another, on the same stories."""
    right = [(seen == look[:, None]).all(-1) for seen in (one, other)]
    return difference(*right, visible)


def memory_shows(played: Played, stories: world.Stories, kind: int) -> torch.Tensor:
    """Whether the memory that a shot saw held a picture of a shot with this character, [S, K].

    A portrait counts for its own character.
    """
    place = stories.cast[:, :kind].sum(-1).tolist()  # of the kind's portrait
    return torch.tensor(
        [
            [
                any(
                    f.frame == place[s] if f.shot < 0 else bool(stories.visible[s, f.shot, kind])
                    for f in frames
                )
                for frames in shots
            ]
            for s, shots in enumerate(played.memory)
        ]
    )


def seams(played: Played, asked: torch.Tensor) -> dict:
    """How shots join the ones before them, where ``asked`` (bool [S, K]) is set.

    ``step``: mean absolute difference over the seam, in per cent of white; ``motion``: how much
    the step over the seam differs from the step before it. ``usual`` is the step inside shots.
    """
    shape = asked.shape
    step, motion, usual = (torch.zeros(shape) for _ in range(3))
    for s, k in asked.nonzero().tolist():
        earlier, last = played.shots[s][k - 1][-2:].float() / 2.55
        first, second = played.shots[s][k][:2].float() / 2.55
        step[s, k] = (first - last).abs().mean()
        motion[s, k] = ((first - last) - (last - earlier)).abs().mean()
        usual[s, k] = ((last - earlier).abs().mean() + (second - first).abs().mean()) / 2
    parts = {"step": step, "motion": motion, "usual": usual}
    return {name: mean(values, asked) for name, values in parts.items()}
