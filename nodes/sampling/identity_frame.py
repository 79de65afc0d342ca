"""An identity frame before the memory (Memento): its text, its attention, in the host's Wan.

The frame is the latent's first one. Its text travels in the conditioning among the values that the
host hands to the model by itself (``model_conds``), so that areas, hooks, batches and several
devices need nothing of ours. A wrapper of one evaluation, outside of what torch.compile sees, puts
that text behind the prompt; the host's attention hook then splits every block's two attentions.

    texts = identity_texts(identity_positive, identity_negative)  # None: no identity frame
    positive = with_identity_text(positive, texts[0])
    patch_identity(cloned_model, layout)
    forget_identity(cloned_model)
    check_identity("positive", cond, layout.has_identity)  # before a run
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable

import comfy.conds
import node_helpers
import torch
from comfy.patcher_extension import WrappersMP

from ...storymem.sampling.split_attention import split_cross_attention, split_self_attention
from ..host.attention import OVERRIDE
from .cached_memory import SPLIT_ATTENTION

WRAPPER_KEY = "storymem_identity_frame"
COMPILE_KEY = "torch.compile"  # the host's own wrapper
IDENTITY_TEXT = "storymem_identity_text"  # among the values that the host hands to the model
TEXT_LENGTH = 512  # tokens, to which Wan's texts are padded with zeros
SELF, CROSS = 0, 1  # the order of a block's two attentions
logger = logging.getLogger(__name__)


def identity_texts(positive, negative) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The texts ``[1, L, 4096]`` of both inputs, each padded with zeros to 512 tokens; ``None``
    without an identity frame: for a script without a text for it, both are the empty one.

    Raises:
        ValueError: when only one is connected, or one holds no text, or several.
    """
    if positive is None and negative is None:
        return None
    if positive is None or negative is None:
        missing = "identity_positive" if positive is None else "identity_negative"
        raise ValueError(
            f"{missing} is not connected; an identity frame needs both: the persons' looks as "
            "identity_positive, and an empty text as identity_negative"
        )
    found = _text_of("identity_positive", positive), _text_of("identity_negative", negative)
    if found[0].shape == found[1].shape and torch.equal(*found):
        logger.info("StoryMem: no identity frame: both of its texts are the same")
        return None
    return found


def _text_of(name: str, conditioning) -> torch.Tensor:
    if len(conditioning) != 1 or conditioning[0][0] is None:
        raise ValueError(
            f"{name} must be one encoded text, but it has {len(conditioning)} parts; connect one "
            "CLIP Text Encode to it, without combining or scheduling"
        )
    text = conditioning[0][0]
    return torch.nn.functional.pad(text, (0, 0, 0, max(0, TEXT_LENGTH - text.shape[1])))


def with_identity_text(conditioning, text: torch.Tensor):
    """A conditioning whose identity frame reads ``text [1, L, 4096]``."""
    copies = node_helpers.conditioning_set_values(conditioning, {})
    for _, options in copies:
        known = options.get("model_conds", {})
        options["model_conds"] = {**known, IDENTITY_TEXT: comfy.conds.CONDRegular(text)}
    return copies


def has_identity_text(cond: dict) -> bool:
    """Whether a conditioning's options, or a guider's cond, bring the identity frame's text."""
    return IDENTITY_TEXT in cond.get("model_conds", {})


def check_identity(name: str, cond: dict, has_identity: bool) -> None:
    """Raise ValueError unless a guider's cond and the model agree on an identity frame."""
    if has_identity_text(cond) == has_identity:
        return
    if has_identity:
        raise ValueError(
            f"{name} has no text for the identity frame, but M2V Model Patch expects one; connect "
            "identity_positive and identity_negative to the M2V Conditioning that feeds the guider"
        )
    raise ValueError(
        f"{name} comes with an identity frame, but the model has no split attention for it; "
        "connect memory_positions of the same M2V Conditioning to M2V Model Patch"
    )


class _Pass:
    """The attention of one evaluation of the model."""

    def __init__(self, identity: int, memory: int, tokens: int, texts: tuple[int, int], inner):
        self.identity, self.memory, self.tokens = identity, memory, tokens
        self.prompt, self.text = texts
        self._inner = inner  # another's attention override
        self.calls: Counter[int] = Counter()  # of each block

    def __call__(self, function, q, k, v, heads, *args, **kwargs):
        block = (kwargs.get("transformer_options") or {}).get("block_index", -1)
        which = self.calls[block]
        self.calls[block] += 1

        def attend(q, k, v):
            if self._inner is None:
                return function(q, k, v, heads, *args, **kwargs)
            return self._inner(function, q, k, v, heads, *args, **kwargs)

        self._check(block, which, q, k, kwargs)
        if which == SELF:
            return split_self_attention(attend, q, k, v, identity=self.identity, memory=self.memory)
        return split_cross_attention(attend, q, k, v, identity=self.identity, prompt=self.prompt)

    def _check(self, block: int, which: int, q, k, kwargs: dict) -> None:
        keys = {SELF: self.tokens, CROSS: self.prompt + self.text}.get(which)
        is_plain = q.ndim == 3 and kwargs.get("mask") is None and not kwargs.get("skip_reshape")
        if block < 0 or not is_plain or q.shape[1] != self.tokens or k.shape[1] != keys:
            raise ValueError(
                "another node computes this model's attention in its own way (normalised attention "
                "guidance, other frames beside the shot, or an attention patch), which cannot be "
                "split for an identity frame; take that node off, or leave identity_positive and "
                "identity_negative unconnected"
            )


class SplitAttention:
    """The wrapper of one expert's evaluations, with ``memory`` latent frames after the first."""

    def __init__(self, memory: int):
        self.memory = memory
        self._has_split = False  # in this run
        self._is_told = False
        self._eager = _Eager()

    def forget(self) -> None:
        """A run begins, or is over."""
        self._has_split = False

    def __call__(
        self, executor, x, t, c_concat=None, c_crossattn=None, control=None,
        transformer_options=None, **kwargs,
    ):  # fmt: skip
        """As the host's ``apply_model``."""
        options = {} if transformer_options is None else transformer_options
        text = kwargs.pop(IDENTITY_TEXT, None)
        if text is None or c_crossattn is None:
            raise ValueError(
                "a prompt has no text for the identity frame; connect identity_positive and "
                "identity_negative to M2V Conditioning, and its outputs alone to the guider"
            )
        model = executor.class_obj.diffusion_model
        _, height, width = model.patch_size
        frame = -(-x.shape[3] // height) * -(-x.shape[4] // width)
        one = _Pass(
            frame, self.memory * frame, x.shape[2] * frame,
            (c_crossattn.shape[1], text.shape[1]), options.get(OVERRIDE),
        )  # fmt: skip
        texts = torch.cat([c_crossattn, text.to(c_crossattn)], dim=1)
        options = {**options, OVERRIDE: one, SPLIT_ATTENTION: True}
        with self._uncompiled(model, options):
            out = executor(x, t, c_concat, texts, control, options, **kwargs)
        self._check(one.calls)
        return out

    def _check(self, calls: Counter) -> None:
        """Raise ValueError when attention did not come through the hook. Others may skip blocks,
        or a whole evaluation after the first, for speed or guidance."""
        if (not calls and not self._has_split) or any(count != 2 for count in calls.values()):
            raise ValueError(
                "another node replaces this model's attention, so that it cannot be split for an "
                "identity frame; take that node off (SageAttention: use one that sets the host's "
                "attention hook, or start ComfyUI with --use-sage-attention), or leave "
                "identity_positive and identity_negative unconnected"
            )
        self._has_split = True

    def _uncompiled(self, model, options: dict):
        """A context in which torch.compile is not used: what it compiled knows nothing of the
        split, and the host takes its guards on our options away."""
        if not _is_compiled(model, options):
            return contextlib.nullcontext()
        if not hasattr(torch.compiler, "set_stance"):
            raise ValueError(
                f"torch.compile cannot run an identity frame with PyTorch {torch.__version__}; "
                "take the compile node off, or update PyTorch to 2.6"
            )
        if not self._is_told:
            self._is_told = True
            logger.info("StoryMem: the model runs without torch.compile, for its identity frame")
        return self._eager


class _Eager:
    """A context without torch.compile, which several cards may be in at the same time: PyTorch has
    one setting for all of them."""

    def __init__(self):
        self._lock, self._inside, self._stance = threading.Lock(), 0, None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._stance = torch.compiler.set_stance("force_eager")
                self._stance.__enter__()
            self._inside += 1

    def __exit__(self, *error) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._stance.__exit__(*error)


def _is_compiled(model, options: dict) -> bool:
    wrappers = options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    parts = (model, *model.blocks)
    return bool(wrappers.get(COMPILE_KEY)) or any(hasattr(part, "_orig_mod") for part in parts)


def patch_identity(model, layout) -> None:
    """Split the attention of a *cloned* model, if ``layout`` has an identity frame."""
    if not layout.has_identity:
        return
    split = SplitAttention(layout.memory_frames)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, WRAPPER_KEY, _run(split))
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, WRAPPER_KEY, split)


def forget_identity(model) -> None:
    """Take ``patch_identity`` back from a *cloned* model."""
    for kind in (WrappersMP.OUTER_SAMPLE, WrappersMP.APPLY_MODEL):
        model.remove_wrappers_with_key(kind, WRAPPER_KEY)


def _run(split: SplitAttention) -> Callable:
    """A wrapper of a sampler's run: each finds out anew whether attention is split."""

    def run(executor, *args, **kwargs):
        split.forget()
        try:
            return executor(*args, **kwargs)
        finally:
            split.forget()

    return run
