"""The identity frame on diffusers' Wan: split self-attention and a text of its own (Memento).

The latent holds ``[identity, memory, shot]``. Self-attention runs twice, over identity and memory
and over memory and shot: identity is from the first pass, the shot from the second, and memory is
the mean of both. So the shot never reads the identity frame itself. In cross-attention its tokens
read the identity text, which stands behind the prompt, and all others read the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from ..sampling.memory_layout import MemoryLayout
from .cached_memory import tokens_of


class Split:
    """How many tokens each part has in a transformer's next forwards; no identity: no split."""

    def __init__(self):
        self.identity = 0  # tokens of the identity frame
        self.memory = 0  # tokens of the memory behind it
        self.prompt = 0  # tokens of the prompt, before those of the identity text

    @contextmanager
    def over(self, identity: int, memory: int, prompt: int) -> Iterator[None]:
        """Forwards whose latent begins with an identity frame."""
        self.identity, self.memory, self.prompt = identity, memory, prompt
        try:
            yield
        finally:
            self.identity = self.memory = self.prompt = 0


class SplitProcessor:
    """Attention of one block by the processor that it had, which runs twice where there is an
    identity frame. Its last layer is linear: the mean of two outputs is the output of the mean."""

    def __init__(self, original, split: Split):
        self.original, self.split = original, split

    def __getattr__(self, name):  # diffusers sets the backend of attention on its processors
        return getattr(self.__dict__["original"], name)

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None
    ):
        first, memory = self.split.identity, self.split.memory
        if not first:
            return self.original(
                attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb
            )
        if encoder_hidden_states is not None:
            identity, others = hidden_states[:, :first], hidden_states[:, first:]
            prompt = self.split.prompt
            parts = (
                self.original(attn, identity, encoder_hidden_states[:, prompt:]),
                self.original(attn, others, encoder_hidden_states[:, :prompt]),
            )
            return torch.cat(parts, dim=1)

        def attend(part: slice) -> torch.Tensor:
            tables = tuple(table[:, part] for table in rotary_emb)
            return self.original(attn, hidden_states[:, part], rotary_emb=tables)

        before, after = attend(slice(first + memory)), attend(slice(first, None))
        shared = (before[:, first:] + after[:, :memory]) / 2
        return torch.cat([before[:, :first], shared, after[:, memory:]], dim=1)


def install_split(transformer: nn.Module) -> Split:
    """Give a ``WanTransformer3DModel`` split attention; the same one when it has it."""
    split = getattr(transformer, "storymem_split", None)
    if split is None:
        split = transformer.storymem_split = Split()
        for block in transformer.blocks:
            for attention in (block.attn1, block.attn2):
                attention.processor = SplitProcessor(attention.processor, split)
    return split


def split_of(
    transformer: nn.Module, layout: MemoryLayout | None, height: int, width: int, prompt: int
):
    """A context of forwards over latents of ``height`` x ``width`` that begin as ``layout`` says.

    Args:
        prompt: tokens of the prompt, before those of the identity text.

    Raises:
        ValueError: for an identity frame on a transformer whose tokens several GPUs share.
    """
    if layout is None or not layout.has_identity:
        return nullcontext()
    check_one_gpu(transformer)
    identity = tokens_of(transformer, 1, height, width)
    memory = tokens_of(transformer, layout.memory_frames, height, width)
    return install_split(transformer).over(identity, memory, prompt)


def check_one_gpu(transformer: nn.Module) -> None:
    """Raise ValueError for a transformer whose tokens several GPUs share."""
    if getattr(transformer, "_parallel_config", None) is not None:
        raise ValueError(NEEDS_ONE_GPU)


NEEDS_ONE_GPU = (
    "the identity frame has attention of its own, which several GPUs cannot share; start the run "
    "without torchrun, or leave --reconstruct away"
)
