"""Attention beside an identity frame (Memento): who reads whom.

Tokens stand in the order of the latent: identity frame, memory, shot. In self-attention identity
and memory read each other in a first pass, memory and shot in a second one; what memory takes from
the two is averaged. So the shot never reads the identity frame itself, only memory that has. In
cross-attention the identity frame reads its own text, which stands behind the prompt, and all other
tokens the prompt.

Without an identity frame the release splits self-attention on one card (memory alone, then memory
and shot) and not on several, as its scripts run it. We split nothing then.

``attend(q, k, v)`` is plain attention, ``[B, L, C]`` each, heads side by side in C; q and k are
normed and rotated already.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def split_self_attention(
    attend: Attend,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    identity: int,
    memory: int,
) -> torch.Tensor:
    """Self-attention in two passes, ``[B, L, C]``.

    Args:
        identity: tokens of the identity frame. Without any, memory still has two passes: the
            release does so on one card, and not on several.
        memory: tokens of the memory; with 0 identity frame and shot each see only themselves.

    Raises:
        ValueError: when no token of a shot would be left, or q and k are of different lengths.
    """
    _check(q, identity, memory)
    if q.shape[1] != k.shape[1]:
        raise ValueError(
            f"self-attention has {q.shape[1]} queries and {k.shape[1]} keys; beside an identity "
            "frame they must be as many"
        )
    both = identity + memory
    first = attend(q[:, :both], k[:, :both], v[:, :both])
    second = attend(q[:, identity:], k[:, identity:], v[:, identity:])
    if memory == 0:
        return torch.cat([first, second], dim=1)
    mean = (first[:, identity:] + second[:, :memory]) / 2
    return torch.cat([first[:, :identity], mean, second[:, memory:]], dim=1)


def split_cross_attention(
    attend: Attend,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    identity: int,
    prompt: int,
) -> torch.Tensor:
    """Cross-attention to two texts, ``[B, L, C]``.

    Args:
        identity: tokens of the identity frame, at least one; they read what stands behind the
            prompt.
        prompt: length of the prompt, which all others read.

    Raises:
        ValueError: when there is no text behind the prompt, or no token of a shot.
    """
    _check(q, identity, 0)
    if not 0 < prompt < k.shape[1]:
        raise ValueError(
            f"the texts have {k.shape[1]} tokens, of which {prompt} are the prompt's; the identity "
            "frame's text must stand behind the prompt"
        )
    first = attend(q[:, :identity], k[:, prompt:], v[:, prompt:])
    others = attend(q[:, identity:], k[:, :prompt], v[:, :prompt])
    return torch.cat([first, others], dim=1)


def _check(q: torch.Tensor, identity: int, memory: int) -> None:
    if min(identity, memory) < 0 or not 0 < identity + memory < q.shape[1]:
        raise ValueError(
            f"{identity} tokens of an identity frame and {memory} of memory do not stand before a "
            f"shot in {q.shape[1]} tokens"
        )
