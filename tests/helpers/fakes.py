"""Small stand-ins shared by the tests."""

from __future__ import annotations

import torch

from storymem.memory.embedders import Embedder
from storymem.selection.scorers import Scorer


def noise_image(seed: int, height: int = 48, width: int = 64) -> torch.Tensor:
    """A random uint8 image ``[H, W, 3]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)


def label_frames(labels, height: int = 48, width: int = 64) -> torch.Tensor:
    """``uint8 [N, H, W, 3]`` of flat colours, one for each label from 0 to 7."""
    colours = torch.tensor([[30 * label + 20, 100, 200] for label in labels], dtype=torch.uint8)
    return colours[:, None, None].expand(-1, height, width, 3).contiguous()


def _labels(frames: torch.Tensor) -> list[int]:
    return [(int(frame[0, 0, 0]) - 20) // 30 % 8 for frame in frames]


class LabelEmbedder(Embedder):
    """Frames of one label look the same, frames of two labels have nothing in common."""

    name = "labels"

    def __init__(self):
        super().__init__()
        self.embedded = 0
        self.sizes: set[tuple[int, int]] = set()

    def _embed(self, frames):
        self.embedded += len(frames)
        self.sizes.add(tuple(frames.shape[1:3]))
        return torch.eye(8)[_labels(frames)]


class LabelScorer(Scorer):
    """A score for each label, and a threshold of 3."""

    name = "labels"

    def __init__(self, scores: dict[int, float], threshold: float = 3.0):
        super().__init__(threshold)
        self.scores = scores
        self.scored = 0
        self.calls = 0

    def _score(self, frames):
        self.calls += 1
        self.scored += len(frames)
        return torch.tensor([self.scores[label] for label in _labels(frames)])
