"""Writes a set of stories for ``storymem compare``: ``python -m storymem.tiny.lab.scripts --out
DIR``.

The stories are drawn from the tiny world with seeds that training never met; everybody in them
returns at least once. In DIR are ``scripts/story_01.json`` and so on; ``references/<script>/``, a
portrait of each character (what they look like is said nowhere else); ``start_images/<script>/``, a
key image for each shot; and ``truth/<script>/``, the world's own drawing of the story, which says
what the best possible system would measure.

Key images are the first frames that the tiny model makes of every shot from the portraits alone, as
an image model that takes reference pictures would; ``--key-images drawn`` takes the world's own.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import fields
from pathlib import Path

import torch
from PIL import Image

from ...files.video import write_video
from .. import demo, files, picture, staging, world
from .painter import load_painter
from .player import Case, names, play, portraits, script_of

SEED = 950_000  # never in training, nor in choosing anything
DRAWN_FOR_ONE = 40  # stories to choose from for each one that is written
MIN_SHOTS = 4  # in fewer, nearly nobody goes and comes back
KEY_IMAGES = ("made", "drawn")
FROM_PORTRAITS = Case("key_images", remembers=False, begins=world.CUT)
KEY_IMAGE_SEED = 1  # of the noise: key images are no frames of the full method's shots
logger = logging.getLogger(__name__)


def returning_casts(count: int, *, shots: int, seed: int) -> list[tuple[world.Stories, int]]:
    """Drawn stories of two and three characters by turns, all of whom are seen twice or more, and
    somebody of whom after an absence; each with its number among those drawn with it.

    Raises:
        ValueError: when there are too few, as with very few shots.
    """
    found: list[list[tuple[world.Stories, int]]] = []
    for cast in (2, 3):
        drawn = staging.sample_stories(
            count * DRAWN_FOR_ONE, shots=shots, seed=seed + cast, characters=cast
        )
        there = drawn.visible.int()
        is_back = (there[:, 1:] > there[:, :-1]) & (there.cumsum(1)[:, :-1] > 0)
        good = ((there.sum(1) > 1) | ~drawn.cast).all(1) & is_back.flatten(1).any(1)
        good &= there.any(2).all(1)  # and no shot is empty
        found.append([(drawn, number) for number in good.nonzero()[:, 0].tolist()])
    pairs = [story for pair in zip(*found, strict=False) for story in pair]
    if len(pairs) < count:
        raise ValueError(
            f"too few stories of {shots} shots in which everybody returns; "
            f"take {MIN_SHOTS} shots or more"
        )
    return pairs[:count]


def write_stories(out: Path, count: int, *, shots: int, seed: int = SEED, paint=None) -> list[Path]:
    """Everything that the module's text says; the scripts' paths.

    Args:
        paint: makes key images, as ``player.play`` wants it; without it they are the world's own.
    """
    written = []
    for place, (stories, number) in enumerate(returning_casts(count, shots=shots, seed=seed), 1):
        name = f"story_{place:02d}"
        script = script_of(stories, number, Case("script")) | {"story_name": name}
        labels = [f"shot_01_{k:02d}" for k in range(1, shots + 1)]
        clips = _drawn(stories, number)
        told = json.dumps(script, indent=1)
        for folder in (out / "scripts", out / "truth" / name):
            folder.mkdir(parents=True, exist_ok=True)
        written.append(out / "scripts" / f"{name}.json")
        written[-1].write_text(told)
        (out / "truth" / name / "script.json").write_text(told)
        for label, clip in zip(labels, clips, strict=True):
            write_video(out / "truth" / name / f"{label}.mp4", clip.numpy())
        faces = zip(names(stories, number), portraits(stories, number), strict=True)
        for turn, (who, face) in enumerate(faces, 1):  # in the order that training knows
            _save(out / "references" / name / f"{turn}_{who}.png", _in_eight_bits(face))
        firsts = [clip[0] for clip in clips]
        if paint is not None:
            played = play(_one(stories, number), FROM_PORTRAITS, paint, seed=KEY_IMAGE_SEED)
            firsts = [clip[0] for clip in played.shots[0]]
        for label, image in zip(labels, firsts, strict=True):
            _save(out / "start_images" / name / f"{label}.png", image)
        logger.info("%s: %s", name, ", ".join(names(stories, number)))
    return written


def _one(stories: world.Stories, number: int) -> world.Stories:
    """One of the stories, as stories."""
    shots = stories.place.shape[1]
    told = {
        field.name: getattr(stories, field.name)[[number]]
        for field in fields(world.Stories)
        if field.name != "scenes"
    }
    scenes = stories.scenes[torch.arange(number * shots, (number + 1) * shots)]
    return world.Stories(**told, scenes=scenes)


def _drawn(stories: world.Stories, number: int) -> list[torch.Tensor]:
    """The world's own shots, uint8 [T, H, W, 3], without the frames that repeat the one before."""
    one = _one(stories, number)
    clips = _in_eight_bits(picture.render(one.scenes))
    repeated = {world.CUT: 0, world.FIRST_FRAME: 1, world.FIVE_FRAMES: 5}
    return [c[repeated[b] :] for c, b in zip(clips, one.begins[0].tolist(), strict=True)]


def _in_eight_bits(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels * 255).round().to(torch.uint8)


def _save(path: Path, pixels: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.numpy()).save(path)


def main(argv: list[str] | None = None) -> None:
    """Run the program: write the set of stories that its options ask for."""
    parser = argparse.ArgumentParser(prog="storymem.tiny.lab.scripts", description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the stories")
    add("--stories", type=int, default=12)
    add("--shots", type=int, default=5, help="of a story")
    add("--seed", type=int, default=SEED, help="of the stories")
    add("--key-images", default=KEY_IMAGES[0], choices=KEY_IMAGES)
    options = parser.parse_args(argv)
    if options.stories < 1:
        parser.error("--stories must be 1 or more")
    if options.shots < MIN_SHOTS:
        parser.error(f"--shots must be {MIN_SHOTS} or more: everybody returns")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out cannot be made: {error}")
    paint = None
    if options.key_images == "made":
        model, vae = files.require("diffusion_models"), files.require("vae")
        recipe = {name: demo.RECIPE[name] for name in ("steps", "cfg")}
        paint = load_painter(model, vae, "cpu", **recipe)
    write_stories(options.out, options.stories, shots=options.shots, seed=options.seed, paint=paint)


if __name__ == "__main__":
    main()
