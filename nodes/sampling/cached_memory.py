"""Memory run along in few steps only: its keys and values are kept, and read by the shot between.

A refresh runs memory and shot together, as ever, and keeps what self-attention made of the memory's
tokens (keys rotated, values), layer by layer. A cached step runs the shot's tokens alone; their
self-attention reads the kept ones before its own, and the memory's latents move by
(x - clean) / sigma: the exact rectified flow towards what the condition holds.

On several cards the prompt is on one of them, which keeps; the others copy what it kept.

Only public hooks of the host are used, on a clone: a wrapper of the diffusion model, the attention
override, and the positions of M2V Model Patch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from comfy.patcher_extension import WrappersMP

from ...storymem.sampling.memory_refresh import Refresh, RefreshClock, refresh_schedule
from ...storymem.sampling.rope import SHOT_ONLY
from ..host.attention import OVERRIDE
from ..host.cards import CARD, card_of
from .memory_store import KeptMemory, Place, place_for

WRAPPER_KEY = "storymem_cached_memory"
LATENT, MASK = 16, 4  # channels of a Wan latent, and of the mask before the condition's latent
CONDITIONAL = 0  # in the host's cond_or_uncond
SPLIT_ATTENTION = "storymem_split_attention"  # in transformer_options: there is an identity frame
logger = logging.getLogger(__name__)


@dataclass
class _Pass:
    """One evaluation of the model by the host."""

    keeps: bool  # its attention keeps the memory's keys and values
    rows: slice | None  # of the batch, that are kept
    tokens: int  # of the memory
    kept: KeptMemory
    inner: Callable | None  # another's attention override
    seen: set = field(default_factory=set)  # blocks whose self-attention has run

    def __call__(self, function, q, k, v, heads, *args, **kwargs):
        block = kwargs["transformer_options"]["block_index"]
        if block in self.seen:  # cross-attention, which reaches the same hook after it
            return self._attend(function, q, k, v, heads, *args, **kwargs)
        self.seen.add(block)
        if self.keeps:
            if self.rows is not None:
                self.kept.keep(block, k[self.rows, : self.tokens], v[self.rows, : self.tokens])
            return self._attend(function, q, k, v, heads, *args, **kwargs)
        keys, values = (_for_all(a, len(k)) for a in self.kept.take(block, k))
        k, v = torch.cat([keys, k], dim=1), torch.cat([values, v], dim=1)
        return self._attend(function, q, k, v, heads, *args, **kwargs)

    def _attend(self, function, q, k, v, heads, *args, **kwargs):
        if self.inner is None:
            return function(q, k, v, heads, *args, **kwargs)
        return self.inner(function, q, k, v, heads, *args, **kwargs)


def _for_all(kept: torch.Tensor, rows: int) -> torch.Tensor:
    """The prompt's own, ``[b, L, C]`` of a batch of ``b`` shots, for each part of ``rows``."""
    if len(kept) == 1:
        return kept.expand(rows, -1, -1)
    return kept.repeat(rows // len(kept), 1, 1)


class CachedMemory:
    """The wrapper of one expert: what it keeps lasts for one run of a sampler."""

    def __init__(self, memory_frames: int, refresh: Refresh):
        self.memory_frames, self.refresh = memory_frames, refresh
        self._clock: RefreshClock | None = None
        self._levels: tuple[float, ...] = ()
        self._kept: dict[torch.device, tuple[tuple, KeptMemory]] = {}
        self._source: KeptMemory | None = None  # the prompt's own
        self._lock = threading.Lock()  # of what several cards share
        self.prompts = 1  # parts of the prompt
        self.needed = 0  # bytes that a forward takes on the card
        self._told: set[str] = set()

    def forget(self) -> None:
        """Let go of everything: the run is over, however it ended."""
        for _, kept in self._kept.values():
            kept.free()
        self._kept.clear()
        self._clock, self._source = None, None

    def __call__(
        self, executor, x, timestep, context, clip_fea=None, time_dim_concat=None,
        transformer_options=None, **kwargs,
    ):  # fmt: skip
        options = {} if transformer_options is None else transformer_options

        def run(x, options):
            return executor(x, timestep, context, clip_fea, time_dim_concat, options, **kwargs)

        why = self._why_exact(executor.class_obj, x, time_dim_concat, options, kwargs)
        if why:
            self._tell(why)
            self.forget()
            return run(x, options)
        sigma = float(options["sigmas"].flatten()[0])
        with self._lock:
            is_refresh = self._clock_of(options).is_refresh(sigma)
        conditional = [kind == CONDITIONAL for kind in options["cond_or_uncond"]]
        size = len(x) // len(conditional)
        rows = None
        if True in conditional:
            first = conditional.index(True) * size
            rows = slice(first, first + size)
        kept = self._kept_for(executor.class_obj, x, size, card_of(x, options))
        if kept.place is Place.NOWHERE:
            self._tell("neither the card nor the host's memory has room for its keys and values")
            return run(x, options)
        is_refresh = is_refresh or not self._is_there(kept, sigma, rows)
        one = _Pass(
            is_refresh, rows, self._tokens(executor.class_obj, x), kept, options.get(OVERRIDE)
        )
        options = {**options, OVERRIDE: one}
        if is_refresh:
            if rows is not None:
                self._source = kept
                kept.begin(sigma)
            return run(x, options)
        frames = self.memory_frames
        shot = run(x[:, :, frames:], {**options, SHOT_ONLY: True})
        memory = x[:, :, :frames]
        clean = memory[:, LATENT + MASK : 2 * LATENT + MASK]
        velocity = (memory[:, :LATENT].float() - clean.float()) / sigma
        return torch.cat([velocity.to(shot.dtype), shot], dim=2)

    # --- inside ---

    def _tokens(self, model, x) -> int:
        """How many tokens the memory has."""
        _, height, width = model.patch_size
        return self.memory_frames * -(-x.shape[3] // height) * -(-x.shape[4] // width)

    def _is_there(self, kept: KeptMemory, sigma: float, rows: slice | None) -> bool:
        """Whether the prompt's own can be read from ``kept`` at this noise level, copied from the
        card that has it if need be: not without a conditional pass since the last refresh.

        Where another card is asked, what it keeps at this very level does not count: it may be
        about to.
        """
        source = self._source
        if rows is not None or source is None or source is kept:
            return kept.is_whole
        if not source.is_whole or source.level == sigma:
            return False
        kept.copy(source)
        return True

    def _kept_for(self, model, x, size: int, card: torch.device) -> KeptMemory:
        """What is kept on a card; nothing of another shape."""
        shape = (size, *x.shape[1:], x.dtype)
        known = self._kept.get(card)
        if known is not None and known[0] == shape:
            return known[1]
        if known is not None:
            known[1].free()
        bytes_ = (
            2 * len(model.blocks) * size * self._tokens(model, x) * model.dim * x.element_size()
        )
        place = place_for(bytes_, x.device, self.needed)
        kept = KeptMemory(len(model.blocks), place, x.device)
        self._kept[card] = shape, kept
        logger.info("StoryMem: the memory's keys and values (%.1f GiB) are kept %s",
                    bytes_ / 2**30, place.value)  # fmt: skip
        return kept

    def _clock_of(self, options: dict) -> RefreshClock:
        """The clock of this run: another schedule is another run."""
        made = options["sample_sigmas"][:-1].tolist()  # in one: each asks the card
        steps = self.refresh.steps
        if steps is None:
            steps = refresh_schedule(len(made), self.refresh.whole)
        levels = tuple(made[step] for step in steps if step < len(made))
        if self._clock is None or levels != self._levels:
            self._clock, self._levels = RefreshClock(levels), levels
        return self._clock

    def _why_exact(self, model, x, time_dim_concat, options: dict, kwargs: dict) -> str:
        """Why memory must run along in every step; empty when it need not."""
        if torch.compiler.is_compiling():
            return "torch.compile runs the model"
        if options.get(SPLIT_ATTENTION):
            return "memory reads an identity frame, which every step changes"
        if options.get("sample_sigmas") is None or options.get("sigmas") is None:
            return "the sampler does not say at which noise level it is"
        if len(set(options["sigmas"].flatten().tolist())) > 1:
            return "the shots of a batch are at different noise levels"
        kinds, ids = options.get("cond_or_uncond") or [], options.get("uuids") or []
        known = {i for kind, i in zip(kinds, ids, strict=False) if kind == CONDITIONAL}
        if not kinds or len(x) % len(kinds):
            return "the host does not say which part of a batch is the prompt's"
        if len(known) > 1 or (self.prompts > 1 and options.get(CARD) is not None):
            return "the prompt has several parts or areas"
        if time_dim_concat is not None or kwargs.get("reference_latent") is not None:
            return "other frames stand beside the shot"
        if options.get("patches_replace", {}).get("dit") or options.get("patches", {}).get(
            "attn1_patch"
        ):
            return "another node replaces parts of the model's blocks"
        if x.shape[1] != 2 * LATENT + MASK or getattr(model, "blocks", None) is None:
            return "the model is not Wan 2.2 I2V"
        return ""

    def _tell(self, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            logger.info("StoryMem: memory runs along in every step (memory_refresh exact): %s", why)


def cache_memory(model, memory_frames: int, refresh: Refresh) -> None:
    """Let a *cloned* model with memory positions run its memory along in few steps only."""
    cached = CachedMemory(memory_frames, refresh)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, WRAPPER_KEY, cached)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, WRAPPER_KEY, _run(cached))


def innermost(wrappers: dict) -> dict:
    """The wrappers of a model with ours last, which is innermost: others see whole shots."""
    return {
        **{k: w for k, w in wrappers.items() if k != WRAPPER_KEY},
        WRAPPER_KEY: wrappers[WRAPPER_KEY],
    }


def forget_cached(model) -> None:
    """Take ``cache_memory`` back from a *cloned* model."""
    for kind in (WrappersMP.DIFFUSION_MODEL, WrappersMP.OUTER_SAMPLE):
        model.remove_wrappers_with_key(kind, WRAPPER_KEY)


def _run(cached: CachedMemory) -> Callable:
    """A wrapper of a sampler's run: ours is the innermost of the model's, and keeps nothing after
    it."""

    def run(executor, *args, **kwargs):
        wrappers = executor.class_obj.model_options["transformer_options"]["wrappers"]
        wrappers[WrappersMP.DIFFUSION_MODEL] = innermost(wrappers[WrappersMP.DIFFUSION_MODEL])
        cached.forget()
        noise = args[0] if args else kwargs["noise"]
        cached.prompts = len(executor.class_obj.conds.get("positive", ()))
        cached.needed = int(executor.class_obj.model_patcher.memory_required(noise.shape))
        try:
            return executor(*args, **kwargs)
        finally:
            cached.forget()

    return run
