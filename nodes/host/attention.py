"""The faster exact attention kernel where the host's first choice is the slower one.

With ten memory frames three quarters of a forward are self-attention. On Hopper cards cuDNN's
kernel computes it in well under two thirds of the time of the FlashAttention-2 kernel that the host
asks for first (a whole forward: -28%). Neither approximates: both are 2.3e-3 from float64 in bf16.
"""

from __future__ import annotations

import comfy.ldm.modules.attention as host_attention
import comfy.ops
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

OVERRIDE = "optimized_attention_override"  # the host's own hook, in transformer_options
PLAIN = getattr(  # what the host hands to an override when no other kernel was chosen
    host_attention.attention_pytorch, "__wrapped__", host_attention.attention_pytorch
)
HOPPER = 9  # compute capability of the cards on which this was measured
KERNELS = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


def prefer_cudnn(model) -> None:
    """Let a *cloned* model use cuDNN's attention, where that is faster and nobody chose another."""
    options = model.model_options.setdefault("transformer_options", {})
    if OVERRIDE not in options and is_faster_here(model.load_device):
        options[OVERRIDE] = cudnn_attention


def forget_cudnn(model) -> None:
    """Take ``prefer_cudnn`` back from a *cloned* model; another's choice stays."""
    options = model.model_options.get("transformer_options", {})
    if options.get(OVERRIDE) is cudnn_attention:
        del options[OVERRIDE]


def is_faster_here(device: torch.device) -> bool:
    """On a Hopper card, with the host's default attention, if it asks for another kernel first."""
    chosen = getattr(comfy.ops, "SDPA_BACKEND_PRIORITY", None)
    return (
        device.type == "cuda"
        and torch.version.cuda is not None
        and torch.cuda.get_device_capability(device)[0] == HOPPER
        and host_attention.optimized_attention is host_attention.attention_pytorch
        and bool(chosen)
        and chosen[0] != SDPBackend.CUDNN_ATTENTION
    )


def cudnn_attention(host_function, q, k, v, heads, *args, **kwargs):
    """Plain long attention ``[B, L, heads * d]`` by cuDNN; the host does everything else.

    A kernel that was installed since the model was patched is the artist's choice, and stays.
    """
    is_plain = host_function is PLAIN and not args and kwargs.get("mask") is None
    is_plain &= not any(kwargs.get(name) for name in ("skip_reshape", "skip_output_reshape"))
    is_plain &= kwargs.get("scale") is None and not kwargs.get("enable_gqa")
    if not is_plain or q.dtype not in (torch.bfloat16, torch.float16) or q.ndim != 3:
        return host_function(q, k, v, heads, *args, **kwargs)
    q, k, v = (a.unflatten(-1, (heads, -1)).transpose(1, 2) for a in (q, k, v))
    return _attend(q, k, v).transpose(1, 2).flatten(2)


def _attend(q, k, v):
    """``[B, heads, L, d]``, by cuDNN where it can. It is asked for directly: the context that
    orders kernels is one for all threads, and several cards may attend at the same time."""
    if not torch.compiler.is_compiling():
        params = torch.backends.cuda.SDPAParams(q, k, v, None, 0.0, False, False)
        if q.is_cuda and torch.backends.cuda.can_use_cudnn_attention(params):
            cudnn = torch.ops.aten._scaled_dot_product_cudnn_attention
            return cudnn(q, k, v, None, False)[0]
    with sdpa_kernel(KERNELS, set_priority=True):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)
