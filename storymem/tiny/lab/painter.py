"""Makes shots with the tiny model, many at once on one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange

from ...headless.sampling import draw_noise
from ...memory.frame import MemoryFrame
from ...sampling.conditioning import GREY
from ...selection.preprocess import in_batches
from .. import dit, text, vae, world
from . import corpus

AT_ONCE = 192  # shots sampled together
ENCODED_AT_ONCE = 64  # pictures or clips


@dataclass(frozen=True)
class Request:
    """One shot to be made."""

    memory: tuple[MemoryFrame, ...]
    given: torch.Tensor | None  # [1 or 5, H, W, 3] in 0 ... 1
    prompt: str
    seed: int
    moments: tuple[int, ...] | None = None  # of memory, for a model whose positions are real time


class Painter:
    """The model and what it has already encoded."""

    def __init__(
        self, model, codec: corpus.LatentCodec, *, steps: int, cfg: float = 1.0, refreshes=None
    ):
        model.rope = dit.KnownPositions(model.rope)
        self.model = model.to(codec.device)
        self.codec, self.steps, self.cfg = codec, steps, cfg
        self.refreshes = refreshes  # steps in which memory runs along; None: all
        self.length: int | None = None  # latent frames of a shot; None: the world's
        self._words, self._slots = (part.to(codec.device) for part in text.vectors())
        self._images: dict[str, torch.Tensor] = {}
        self._grey: torch.Tensor | None = None

    def __call__(self, requests: Sequence[Request], rope_shift: int) -> torch.Tensor:
        """Frames, float32 [N, T, H, W, 3] in 0 ... 1 on the model's device, given ones included."""
        clips: list[torch.Tensor | None] = [None] * len(requests)
        sizes = sorted({len(request.memory) for request in requests})
        for size in sizes:  # one batch has one number of memory frames
            who = [i for i, request in enumerate(requests) if len(request.memory) == size]
            for start in range(0, len(who), AT_ONCE):
                part = who[start : start + AT_ONCE]
                latents = self.latents([requests[i] for i in part], rope_shift)
                for i, clip in zip(part, self.codec.decode(latents), strict=True):
                    clips[i] = clip
        return torch.stack(clips)

    def latents(self, requests: Sequence[Request], rope_shift: int) -> torch.Tensor:
        """[N, F, 16, h, w] of shots with the same number of memory frames."""
        device, count = self.codec.device, len(requests[0].memory)
        known = self._given([request.given for request in requests])[:, : self.length]
        mask = torch.zeros(len(requests), known.shape[1])
        for row, request in zip(mask, requests, strict=True):
            given = 0 if request.given is None else len(request.given)
            row[: (given + 3) // 4] = 1  # 1 or 5 frames are 1 or 2 latents
        if count:
            known = torch.cat([self._memory([request.memory for request in requests]), known], 1)
            mask = torch.cat([torch.ones(len(requests), count), mask], 1)
        frames, side = known.shape[1] - count, known.shape[-1]
        noise = torch.cat([draw_noise(r.seed, count, frames, side, side) for r in requests])
        moments = None
        if count and requests[0].moments is not None:
            moments = torch.tensor([request.moments for request in requests], device=device)
        words = torch.tensor([text.tokens(request.prompt) for request in requests], device=device)
        half = torch.bfloat16 if device.type == "cuda" else None
        with torch.autocast(device.type, half, enabled=half is not None):
            return dit.sample(
                self.model,
                mask.to(device),
                known,
                text.embed(words, self._words, self._slots),
                memory_frames=count,
                noise=rearrange(noise, "b c f h w -> b f c h w").to(device),
                rope_shift=rope_shift,
                steps=self.steps,
                empty_text=self._slots.expand(len(requests), -1, -1),
                cfg=self.cfg,
                moments=moments,
                refreshes=self.refreshes,
            )

    def _memory(self, memories: Sequence[Sequence[MemoryFrame]]) -> torch.Tensor:
        """[N, M, 16, h, w]; a picture is encoded once, together with the others that are new."""
        frames = (frame for memory in memories for frame in memory)
        new = {f.digest: f.image for f in frames if f.digest not in self._images}
        for digests in in_batches(new, ENCODED_AT_ONCE):
            pixels = torch.stack([new[digest] for digest in digests]).to(self.codec.device)
            latents = self.codec.encode(pixels[:, None].float() / 255)[:, 0]
            self._images.update(zip(digests, latents, strict=True))
        return torch.stack(
            [torch.stack([self._images[f.digest] for f in memory]) for memory in memories]
        )

    def _given(self, given: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """[N, F, 16, h, w]: the given frames of each shot, then grey."""
        if self._grey is None:
            self._grey = self._encode_given([None])[0]
        known = self._grey.repeat(len(given), 1, 1, 1, 1)
        for who in in_batches([i for i, g in enumerate(given) if g is not None], ENCODED_AT_ONCE):
            known[who] = self._encode_given([given[i] for i in who]).to(known)
        return known

    def _encode_given(self, given: Sequence[torch.Tensor | None]) -> torch.Tensor:
        video = torch.full((len(given), world.FRAMES, world.SIZE, world.SIZE, 3), GREY)
        for clip, frames in zip(video, given, strict=True):
            if frames is not None:
                clip[: len(frames)] = frames
        return self.codec.encode(video.to(self.codec.device))


def load_painter(model_file, vae_file, device, **how) -> Painter:
    """The tiny model of two files in the host's layout."""
    return Painter(dit.load_host_file(model_file), _codec(vae_file, device), **how)


def random_painter(vae_file, device, **how) -> Painter:
    """A small model that knows nothing, to try programs with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = dit.build(layers=1, ffn=64).eval().requires_grad_(False)
    return Painter(model, _codec(vae_file, device), **how)


def _codec(vae_file, device) -> corpus.LatentCodec:
    module = vae.build()
    vae.load_host_file(module, vae_file)
    return corpus.LatentCodec(module, torch.device(device))
