"""The frames around seams, and what the library's own measure of seams says of them.

``python -m storymem.tiny.lab.flow DIR`` adds the optical flow to an evaluation that was made where
OpenCV is missing: the evaluation leaves the frames around its seams in ``seams_*.npz``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ...metrics.seams import measure_seam
from .player import Played
from .statistics import mean, ratio

AROUND = 6  # frames on each side of a seam
STORIES = 32  # of which seams are kept and measured
FIGURES = ("pixel_step", "usual_pixel_step", "flow_jump", "usual_flow_jump")
RATIOS = {"pixel_ratio": FIGURES[:2], "flow_ratio": FIGURES[2:]}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Windows:
    """Frames around the seams of stories."""

    frames: np.ndarray  # uint8 [N, 2 * AROUND, H, W, 3]
    places: np.ndarray  # int64 [N, 2]: story, and shot after the seam

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file that holds each frame as its change from the one before."""
        steps = self.frames.copy()
        steps[:, 1:] -= self.frames[:, :-1]  # modulo 256: most of a frame is as it was
        np.savez_compressed(path, steps=steps, places=self.places)

    @classmethod
    def load(cls, path: Path) -> Windows:
        """The windows of a file that ``save`` wrote."""
        with np.load(path) as stored:
            frames = np.cumsum(stored["steps"], axis=1, dtype=np.uint8)
            return cls(frames, stored["places"])


def cut_out(played: Played, asked: torch.Tensor) -> Windows:
    """The frames around the seams where ``asked`` (bool [S, K]) is set, of the first stories."""
    places = asked[:STORIES].nonzero().tolist()
    shots = played.shots
    frames = [torch.cat([shots[s][k - 1][-AROUND:], shots[s][k][:AROUND]]) for s, k in places]
    return Windows(torch.stack(frames).numpy(), np.array(places))


def is_possible() -> bool:
    """Whether OpenCV, which measures optical flow, is installed."""
    return find_spec("cv2") is not None


def measure(windows: Windows, workers: int = 1) -> dict:
    """Steps in per cent of white, jumps of the flow in pixels a frame: over seams, and usual."""
    shape = tuple(windows.places.max(0) + 1)
    values = {name: torch.zeros(shape) for name in FIGURES}
    asked = torch.zeros(shape, dtype=torch.bool)
    with ThreadPoolExecutor(workers) as pool:
        seams = pool.map(lambda clip: measure_seam(clip[:AROUND], clip[AROUND:]), windows.frames)
        for (s, k), seam in zip(windows.places.tolist(), seams, strict=True):
            asked[s, k] = True
            for name in FIGURES:
                scale = 100 if "pixel" in name else 1
                values[name][s, k] = scale * getattr(seam, name)
    found = {name: mean(values[name], asked) for name in FIGURES}
    return found | {
        name: ratio(values[over], values[under], asked) for name, (over, under) in RATIOS.items()
    }


def main(argv: list[str] | None = None) -> None:
    """Run the program: add the flow at the seams to a folder's ``evaluation.json``."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    parser = argparse.ArgumentParser(prog="storymem.tiny.lab.flow", description=__doc__)
    parser.add_argument("folder", type=Path, help="of an evaluation")
    folder = parser.parse_args(argv).folder
    results = folder / "evaluation.json"
    found = json.loads(results.read_text())
    for path in sorted(folder.glob("seams_*.npz")):
        name = path.stem.removeprefix("seams_")
        measured = measure(Windows.load(path), os.cpu_count() or 1)
        found.setdefault("flow", {})[name] = measured
        logger.info("%-16s flow ratio %s", name, measured["flow_ratio"])
    results.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
