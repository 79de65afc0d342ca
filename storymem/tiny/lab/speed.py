"""The DiT's training step made fast: fewer kernels, and on CUDA one launch for all of them.

A step of the tiny model is some hundreds of kernels of a few microseconds, and launching them took
as long as running them. ``ShapedSteps`` captures forward and backward as a CUDA graph for each
number of memory frames. The processor and the patch embedding compute what diffusers' do (tested);
its rotary embedding writes every second channel in place, which compiles to a slow kernel (a
quarter of the step on an H200), and a convolution over patches that do not overlap is a product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

WARM_UPS = 3  # runs before a capture: compilation, tables, workspaces


class PatchProjection(torch.nn.Module):
    """A patch embedding whose kernel equals its stride, (1, 2, 2), with the parameters of one."""

    def __init__(self, convolution: torch.nn.Conv3d):
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, F, H, W] -> [B, D, F, H/2, W/2]."""
        x = x.unflatten(4, (-1, 2)).unflatten(3, (-1, 2))  # B C F h 2 w 2
        x = x.permute(0, 2, 3, 5, 1, 4, 6).flatten(4)
        return F.linear(x, self.weight.flatten(1), self.bias).permute(0, 4, 1, 2, 3)


def rotate(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of channel pairs, [B, L, heads, 128]; tables as diffusers' Wan has them."""
    cosines, sines = cosines[..., 0::2], sines[..., 1::2]
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cosines - b * sines, a * sines + b * cosines], -1).flatten(-2).to(x)


class Attention:
    """A processor of diffusers' WanAttention."""

    _attention_backend = _parallel_config = None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, mask=None, rotary_emb=None):
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(attn.to_k(source))
        value = attn.to_v(source)
        query, key, value = (x.unflatten(2, (attn.heads, -1)) for x in (query, key, value))
        if rotary_emb is not None:
            query, key = rotate(query, *rotary_emb), rotate(key, *rotary_emb)
        heads = (x.transpose(1, 2).to(value) for x in (query, key, value))
        out = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        return attn.to_out[0](out)


def quicken(model) -> None:
    """Give an untrained or training WanTransformer3DModel the faster parts; same parameters."""
    model.patch_embedding = PatchProjection(model.patch_embedding)
    for block in model.blocks:
        block.attn1.set_processor(Attention())
        block.attn2.set_processor(Attention())


class ShapedSteps:
    """``work(*tensors) -> loss`` with its gradients; on CUDA captured once for each ``key``.

    To capture, everything from the model's first use on must run on one stream of its own
    (``torch.cuda.set_stream``): autograd waits for the stream on which a parameter was first used.
    Inputs of one key must have one shape each time. What ``work`` reads besides must stay where it
    is in memory.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], *, captures: bool):
        self.parameters, self.captures = list(parameters), captures
        self._captured: dict = {}
        self._pool = None

    def run(self, key, work: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor]):
        """Leaves gradients in the parameters; the loss, to be read before the next run."""
        if not self.captures:
            loss = work(*inputs)
            loss.backward()
            return loss.detach()
        if key not in self._captured:
            self._captured[key] = self._capture(work, inputs)
        graph, places, loss, gradients = self._captured[key]
        for place, value in zip(places, inputs, strict=True):
            place.copy_(value)
        graph.replay()
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    def _capture(self, work, inputs):
        places = [value.clone() for value in inputs]

        def once():
            loss = work(*places)
            return loss, torch.autograd.grad(loss, self.parameters)

        for _ in range(WARM_UPS):
            once()
        stream = torch.cuda.current_stream()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=stream):
            loss, gradients = once()
        return graph, places, loss.detach(), gradients
