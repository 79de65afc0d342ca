"""Memory kept on its flow while a sampler of the host runs (Memento; see storymem's module).

A wrapper of one evaluation of the model, outside of what torch.compile sees: it gives the model the
memory at the evaluation's own noise level, and the sampler the memory's clean latents as what they
will be. So the sampler's own latents stay on the flow as well, and a second sampler can go on with
what a first one left noisy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from comfy.patcher_extension import WrappersMP

from ...storymem.sampling.memory_flow import noise_on_flow, on_flow
from .cached_memory import LATENT, MASK

WRAPPER_KEY = "storymem_memory_flow"


class MemoryFlow:
    """The wrapper of one expert. ``first`` is where memory begins in the latent, ``frames`` how
    many latent frames it has."""

    def __init__(self, first: int, frames: int):
        self.first, self.frames = first, frames
        self._noise: torch.Tensor | None = None  # of the run, memory alone
        self._shape: torch.Size | None = None  # of the run's whole latent
        self._finding = threading.Lock()  # several cards may evaluate at the same time

    def of(self, latent: torch.Tensor) -> torch.Tensor:
        """The memory's part of ``[B, C, T, h, w]``."""
        return latent[:, :, self.first : self.first + self.frames]

    def begin(self, noise: torch.Tensor) -> None:
        """A run begins from ``noise [B, 16, T, h, w]``. Noise that is zero (a sampler that goes on
        where another stopped) is found from the first latent instead."""
        self._shape = noise.shape
        memory = self.of(noise)
        self._noise = memory if torch.count_nonzero(memory) else None

    def forget(self) -> None:
        """The run is over, however it ended."""
        self._noise, self._shape = None, None

    def __call__(self, executor, x, t, c_concat=None, *args, **kwargs):
        """As the host's ``apply_model``: latents ``x`` at the noise levels ``t [rows]`` in, x0
        out."""
        if self._shape is None:  # not a sampler's run: nobody knows the noise
            return executor(x, t, c_concat, *args, **kwargs)
        self._check(x, c_concat)
        clean = self.of(c_concat[:, MASK : MASK + LATENT]).to(x)
        noise = self._noise_for(x, clean, t)
        if noise is not None:
            x = x.clone()
            self.of(x).copy_(on_flow(clean, noise, t))
        denoised = executor(x, t, c_concat, *args, **kwargs).clone()  # another may keep it
        self.of(denoised).copy_(clean)
        return denoised

    def _noise_for(self, x, clean, t) -> torch.Tensor | None:
        """The run's noise for each row of ``x``; ``None`` as long as nothing is known of it."""
        with self._finding:
            if self._noise is None:
                if float(t.min()) <= 0:
                    return None
                rows = self._shape[0]  # a part of the batch holds all of them
                self._noise = noise_on_flow(self.of(x)[:rows], clean[:rows], t[:rows])
        return self._noise.to(x).repeat(len(x) // self._shape[0], 1, 1, 1, 1)

    def _check(self, x: torch.Tensor, c_concat: torch.Tensor | None) -> None:
        if c_concat is None or c_concat.shape[1] != MASK + LATENT:
            raise ValueError(
                "the prompt brings no memory to the model, which Memento sets anew in every step; "
                "connect positive and negative of M2V Conditioning to the guider"
            )
        if x.shape[2:] != self._shape[2:] or len(x) % self._shape[0]:
            raise ValueError(
                f"another node gives the model a part of the latent ({list(x.shape)} of "
                f"{list(self._shape)}: an area of the prompt, or tiles), but Memento's memory has "
                "to be whole; take that node off"
            )


def keep_on_flow(model, layout) -> None:
    """Let a *cloned* model have its memory on the flow in every step, if ``layout`` says so."""
    if not layout.is_kept:
        return
    flow = MemoryFlow(int(layout.has_identity), layout.memory_frames)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, WRAPPER_KEY, _run(flow))
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, WRAPPER_KEY, flow)


def forget_flow(model) -> None:
    """Take ``keep_on_flow`` back from a *cloned* model."""
    for kind in (WrappersMP.OUTER_SAMPLE, WrappersMP.APPLY_MODEL):
        model.remove_wrappers_with_key(kind, WRAPPER_KEY)


def _run(flow: MemoryFlow) -> Callable:
    """A wrapper of a sampler's run, which says what noise it begins from."""

    def run(executor, *args, **kwargs):
        noise = args[0] if args else kwargs["noise"]
        sampling = executor.class_obj.model_patcher.get_model_object("model_sampling")
        flow.begin(noise * getattr(sampling, "noise_scale", 1.0))  # as the host scales it
        try:
            return executor(*args, **kwargs)
        finally:
            flow.forget()

    return run
