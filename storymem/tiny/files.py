"""Where the tiny model's files lie: with the pack, or in a folder of your own."""

from __future__ import annotations

import os
from pathlib import Path

EDITION = 2  # of the tiny world: its words, its pictures, and so the files that know them
MADE_BY = "storymem.tiny.lab"
VARIABLE = "STORYMEM_TINY_WEIGHTS"  # a folder that is looked into first
SHIPPED = Path(__file__).parent / "weights"
# The host's name of each kind, which is also the folder below ``SHIPPED``, so that no loader lists
# the other's file.
FILES = {
    "diffusion_models": "storymem_tiny_m2v.safetensors",
    "vae": "storymem_tiny_vae.safetensors",
}


def folders(own: Path | None = None) -> list[Path]:
    """The folders that are looked into, in order; ``own`` stands for the environment variable."""
    own = own or os.environ.get(VARIABLE, "").strip()
    return [*([Path(own).expanduser()] if own else []), SHIPPED]


def check_own(own: Path | None = None) -> None:
    """Raise ValueError for a folder of one's own that has none of the files: the shipped model in
    their place would be taken for it."""
    for folder in folders(own)[:-1]:
        if not any((folder / k / n).is_file() or (folder / n).is_file() for k, n in FILES.items()):
            raise ValueError(
                f"{folder} has no file of a tiny model, neither {' nor '.join(FILES.values())}; "
                f"check --tiny-weights or {VARIABLE}"
            )


def metadata(module: str) -> dict[str, str]:
    """What the header of a file says that ``storymem.tiny.lab.<module>`` has trained."""
    made_by = f"{MADE_BY}.{module}"
    return {"format": "pt", "license": "Apache-2.0", "made_by": made_by, "edition": str(EDITION)}


def check_edition(path: Path) -> None:
    """Raise ValueError for a trained file of another edition: it has learnt other words and another
    world, and would draw noise. A file that this pack's training did not make is not judged."""
    from ..files.weights_file import read_metadata  # the installer reads this file before torch

    told = read_metadata(path)
    edition = told.get("edition", "1")
    if told.get("made_by", "").startswith("storymem.tiny.") and edition != str(EDITION):
        raise ValueError(
            f"{path} is a tiny model of edition {edition}, and this pack speaks to edition "
            f"{EDITION}: its words and its pictures are others; train it again, or take the file "
            "away to use the one that comes with the pack"
        )


def find(kind: str, own: Path | None = None) -> Path | None:
    """The file of a kind (``diffusion_models`` or ``vae``), in a folder of that name or flat."""
    name = FILES[kind]
    places = (path for folder in folders(own) for path in (folder / kind / name, folder / name))
    return next((path.absolute() for path in places if path.is_file()), None)


def require(kind: str, own: Path | None = None) -> Path:
    """Like ``find``.

    Raises:
        ValueError: when the file is nowhere, saying where it belongs and how to make it.
    """
    path = find(kind, own)
    if path is None:
        module = {"diffusion_models": "train_dit", "vae": "train_vae"}[kind]
        raise ValueError(
            f"the tiny model's file {FILES[kind]} is not in {SHIPPED / kind}; put it there or set "
            f"{VARIABLE} to the folder that has it (python -m storymem.tiny.lab.{module} makes it)"
        )
    return path
