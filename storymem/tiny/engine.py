"""The tiny model in the headless runner: two single files in the host's layout, hashed words."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from einops import rearrange

from ..files.messages import shown
from ..headless.engine import Engine, ModelFiles
from ..headless.models import Placement, WanVae, place, require_diffusers
from ..headless.positions import install_memory_positions
from ..loop.render_version import HEADLESS
from ..sampling.recipe import Recipe
from . import demo, dit, files, text, vae
from .known_words import is_poor, understood

logger = logging.getLogger(__name__)


class TinyFiles(ModelFiles):
    """One DiT file for all noise levels, and its VAE."""

    def check(self) -> None:
        require_diffusers()
        for path in (self.i2v, self.vae):
            files.check_edition(path)

    def positions(self) -> int:
        return dit.POSITIONS

    @classmethod
    def find(cls, own: Path | None = None) -> TinyFiles:
        """The shipped files, or those in a folder of your own."""
        return cls(files.require("diffusion_models", own), vae=files.require("vae", own))


class TinyVae(WanVae):
    """Whole shots in one pass: on a processor a third of the time of diffusers' chunks."""

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        video = rearrange(pixels, "t h w c -> 1 t c h w") * 2 - 1
        video = video.to(self._placement.device, self.module.dtype)
        mean, _ = vae.ClipVAE(self.module).encode(video)
        return rearrange(mean, "1 f c h w -> 1 c f h w").float().cpu()

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        raw = self.denormalise(latents).to(self._placement.device, self.module.dtype)
        video = vae.ClipVAE(self.module).decode(rearrange(raw, "1 c f h w -> 1 f c h w"))
        return rearrange(video, "1 t c h w -> t h w c").float().cpu().clamp(-1, 1).add(1).div(2)


class TinyEngine(Engine):
    """What a run asks of models, by the tiny ones."""

    render_parts = (*HEADLESS, "tiny")
    takes_loras = False

    def encode_texts(self, texts) -> None:
        for words in dict.fromkeys(texts):
            if is_poor(words):
                logger.warning(
                    "the tiny model understands %s of %s; its words are listed in "
                    "docs/tiny-model.md",
                    understood(words),
                    shown(words),
                )
            self._texts[words] = text.encode(words)[None]

    @property
    def vae(self) -> WanVae:
        if self._vae is None:
            module = vae.build()
            vae.load_host_file(module, self.files.vae)
            self._vae = TinyVae(module.eval().requires_grad_(False), self.placement)
        return self._vae

    def _load(self, kind: str) -> tuple[torch.nn.Module, ...]:
        if not self._experts:
            for path in (self.files.i2v, self.files.vae):
                if files.SHIPPED.absolute() not in path.parents:
                    logger.info("not the shipped tiny model: %s", path)
            expert = dit.load_host_file(self.files.i2v)
            if self.placement.dtype != torch.float32:
                expert = expert.to(self.placement.dtype)
            install_memory_positions(expert, rope_shift=self.recipe.rope_shift)
            self._pipeline = place(self.placement, transformer=expert)
            self._experts, self._kind = (expert,), kind
        return self._experts


def tiny_engine(own: Path | None = None, device: str | torch.device = "cpu") -> TinyEngine:
    """The tiny model with its own recipe."""
    placement = Placement(torch.device(device), torch.float32)
    return TinyEngine(TinyFiles.find(own), placement, Recipe(**demo.RECIPE))
