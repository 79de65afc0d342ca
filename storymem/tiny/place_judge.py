"""How a place looks in a picture: its tint and its landmark, with nothing learned.

The tint is the nearest to the median colour of the ground's lowest rows, where nobody stands. The
landmark is the one whose drawing, before the place's own sky, differs least from the picture around
the point where landmarks are. Frames of a shot add up.
"""

from __future__ import annotations

import torch

from . import picture, world
from .judge import evenly

LOWEST_ROWS = 6  # of the ground: nobody's feet are there, however near the camera is
JUDGED = 5  # frames of a shot
WINDOW = 1.3  # radii around a landmark's centre that are compared
NEAREST = 1.25  # zoom up to which the landmark is in the picture
UNSEEN = -1  # the landmark of a shot in which the camera is always nearer


def _landmarks(place, zoom, colours: picture.Palette) -> tuple[torch.Tensor, torch.Tensor]:
    """The sky with each landmark, [N, landmarks, H, W, 3], and where it is compared, [N, H, W]."""
    device = place.device
    axis = torch.arange(world.SIZE, device=device) + 0.5
    zoom = zoom[:, None, None]
    px = (axis.view(1, 1, -1) - world.CENTRE[0]) / zoom + world.CENTRE[0]
    py = (axis.view(1, -1, 1) - world.CENTRE[1]) / zoom + world.CENTRE[1]
    at = zip((px, py), picture.LANDMARK_AT, strict=True)
    u, v = ((p - where) / picture.LANDMARK_RADIUS for p, where in at)
    row = colours.places[place][..., None, None]  # [N, 19, 1, 1]
    up = (py / row[:, 12]).clamp(0, 1)
    skies = []
    for landmark in range(len(world.LANDMARKS)):
        number = torch.tensor(landmark, device=device)
        cover = picture.draw_landmark(u, v, number, picture.LANDMARK_RADIUS * zoom)
        channels = []
        for c in range(3):
            sky = row[:, c] + (row[:, 3 + c] - row[:, c]) * up
            channels.append(sky + (colours.landmarks[landmark, c] * row[:, 18] - sky) * cover)
        skies.append(torch.stack(channels, -1))
    return torch.stack(skies, 1), ((u.abs() < WINDOW) & (v.abs() < WINDOW)).float()


@torch.no_grad()
def identify_places(clips: torch.Tensor, place: torch.Tensor, zoom: torch.Tensor) -> torch.Tensor:
    """The looks of the places in each clip.

    Args:
        clips: [N, T, 96, 96, 3], 0 ... 1.
        place: int64 [N], which place the prompt names; not the studio.
        zoom: float32 [N, T], how near the camera is, as the story says.

    Returns:
        int64 [N, 2]: tint, landmark (``UNSEEN`` where the camera was always too near).
    """
    device = clips.device
    place, zoom = place.to(device), zoom.to(device)
    colours = picture.palette(device)
    ground = clips[:, :, -LOWEST_ROWS:].flatten(1, 3).float().median(1).values  # [N, 3]
    known = colours.places[place][:, None, 9:12] + colours.tints  # [N, tints, 3]
    tint = (ground[:, None] - known).square().sum(-1).argmin(1)
    far = zoom <= NEAREST
    seen = far.any(1)
    moments = evenly(far | ~seen[:, None], min(JUDGED, clips.shape[1]))
    cost = torch.zeros(len(clips), len(world.LANDMARKS), device=device)
    for at in moments.T:
        frames = clips.gather(1, at.view(-1, 1, 1, 1, 1).expand(-1, 1, *clips.shape[2:]))[:, 0]
        skies, window = _landmarks(place, zoom.gather(1, at[:, None])[:, 0], colours)
        error = (frames[:, None].float() - skies).square().sum(-1)
        cost += (error * window[:, None]).sum((2, 3))
    return torch.stack([tint, torch.where(seen, cost.argmin(1), UNSEEN)], 1)


def place_agreement(clips: torch.Tensor, scenes: world.Scenes) -> dict[str, float]:
    """How often the look of the place is the one that the scene says: by attribute, and joint;
    a landmark that is out of the picture does not count. ``places`` is the count."""
    seen = identify_places(clips, scenes.place, scenes.zoom[:, : clips.shape[1]]).cpu()
    right = (seen == scenes.place_look.cpu()) | (seen == UNSEEN)
    result = {
        name: right[:, i].float().mean().item() for i, name in enumerate(world.PLACE_ATTRIBUTES)
    }
    return result | {"joint": right.all(1).float().mean().item(), "places": len(right)}
