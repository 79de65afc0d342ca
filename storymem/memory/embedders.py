"""Embedders: a frame as a unit vector, whose cosine with another says how alike they look."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange

from .frame import MemoryFrame

BATCH = 16  # frames embedded at once: bounds memory, and a larger batch is no faster
CACHED_VECTORS = 1024  # of bank frames, by content: 2 MB of ViT-B/32 features
METHODS_THRESHOLD = 0.9  # of similarity, as released: measured with CLIP ViT-B/32
logger = logging.getLogger(__name__)


class Embedder:
    """Turns frames into unit vectors.

    Subclasses implement ``_embed``. ``calibrated`` says whether the method's threshold of 0.9 was
    measured with this embedder (only CLIP ViT-B/32); ``name`` labels what it made.
    """

    name = ""
    calibrated = False
    identity = ""  # tells two files of one kind apart

    def __init__(self, release: Callable[[], None] | None = None) -> None:
        self._cache: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._release = release

    @property
    def full_name(self) -> str:
        """The same for embedders that say the same."""
        return f"{self.name} {self.identity}".strip()

    def release(self) -> None:
        """Give back what the model holds on the device; it returns by itself when next used."""
        if self._release:
            self._release()

    def _embed(self, frames: torch.Tensor) -> torch.Tensor:
        """``uint8 [N, H, W, 3]`` -> float features ``[N, D]``, not normalised."""
        raise NotImplementedError

    def embed(self, frames: torch.Tensor) -> torch.Tensor:
        """``uint8 [N, H, W, 3]`` -> float32 unit rows ``[N, D]`` on the CPU, in bounded batches.

        Raises:
            ValueError: when the features are not finite, or are all zero.
        """
        rows = [self._embed(batch).detach().float().cpu() for batch in frames.split(BATCH)]
        features = torch.cat(rows)
        length = features.norm(dim=-1, keepdim=True)
        if not (torch.isfinite(length) & (length > 0)).all():
            raise ValueError(
                f"{self.name} gave features that are not finite; its weights file may be damaged, "
                "or the precision too low"
            )
        return features / length

    def embed_each(self, frames: Sequence[MemoryFrame]) -> torch.Tensor:
        """Vectors ``[N, D]`` of frames that may differ in size, cached by their content."""
        found: dict[str, torch.Tensor] = {}
        for frame in frames:
            vector = self._cache.get(frame.digest)
            if vector is None and frame.digest not in found:
                vector = self.embed(frame.image[None])[0]
            if vector is not None:
                found[frame.digest] = self._cache[frame.digest] = vector
                self._cache.move_to_end(frame.digest)
        while len(self._cache) > CACHED_VECTORS:
            self._cache.popitem(last=False)
        return torch.stack([found[frame.digest] for frame in frames])

    def embed_text(self, text: str) -> torch.Tensor:
        """A unit vector ``[D]`` that can be compared with those of frames; cached.

        Raises:
            ValueError: for an embedder that reads no texts.
        """
        key = f"text:{text}"
        if key not in self._cache:
            vector = self._embed_text(text).detach().float().cpu()
            self._cache[key] = vector / vector.norm()
        self._cache.move_to_end(key)
        return self._cache[key]

    def _embed_text(self, text: str) -> torch.Tensor:
        raise ValueError(
            f"{self.name} cannot compare pictures with words; load a whole CLIP ViT-B/32 file "
            "(image and text tower, such as OpenAI's ViT-B-32.pt) with Load Embedder"
        )

    def threshold_note(self, threshold: float) -> str:
        """What an artist should know about ``threshold`` with this embedder; empty when nothing.

        Somebody who set another value than the method's has chosen it for this embedder.
        """
        if self.calibrated or threshold != METHODS_THRESHOLD:
            return ""
        return (
            f"the similarity threshold {threshold:g} is calibrated for CLIP ViT-B/32, but "
            f"{self.name} compares the frames; raise it for more keyframes, lower it for fewer"
        )


class LayoutEmbedder(Embedder):
    """No weights: where the light and the colours are, and which colours there are.

    Half of the similarity is the layout (an 8 x 8 grid of mean colours), half the palette
    (a 4 x 4 x 4 colour histogram, square roots). It tells places and large subjects apart; it does
    not know who somebody is.
    """

    name = "no_weights"
    GRID = 8
    LEVELS = 4

    def _embed(self, frames: torch.Tensor) -> torch.Tensor:
        pixels = rearrange(frames, "b h w c -> b c h w").float() / 255
        small = F.interpolate(pixels, size=(64, 64), mode="bilinear", antialias=True).clamp(0, 1)
        grid = F.adaptive_avg_pool2d(small, self.GRID) - 0.5
        # A constant keeps the vector of an even mid grey frame away from zero.
        layout = F.normalize(F.pad(grid.flatten(1), (0, 1), value=0.5), dim=-1)
        bins = (small * self.LEVELS).long().clamp(max=self.LEVELS - 1)
        flat = (bins[:, 0] * self.LEVELS + bins[:, 1]) * self.LEVELS + bins[:, 2]
        flat = flat.flatten(1)
        counts = torch.zeros(len(frames), self.LEVELS**3)
        counts.scatter_add_(1, flat, torch.full(flat.shape, 1 / flat.shape[1]))
        palette = counts.sqrt()  # unit length: the counts sum to 1
        return torch.cat([layout, palette], dim=-1)
