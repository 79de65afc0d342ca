"""A plain reading of the forward that the paper's authors released, on the host's weights."""

from __future__ import annotations

import torch


def released_rotation(positions: torch.Tensor, rows: int, columns: int, head: int):
    """Complex128 ``[tokens, head / 2]``, as the released code rotates in float64."""
    side = 2 * (head // 6)
    axes = ((positions, head - 2 * side), (torch.arange(rows), side), (torch.arange(columns), side))
    grid = torch.meshgrid(*(axis.double() for axis, _ in axes), indexing="ij")
    angles = [
        g.flatten()[:, None] * 10000.0 ** (-torch.arange(0, size, 2).double() / size)
        for g, (_, size) in zip(grid, axes, strict=True)
    ]
    angle = torch.cat(angles, 1)
    return torch.polar(torch.ones_like(angle), angle)


def released_forward(model, x, t, context, rotation):
    """Per-token float32 modulation, float32 residual stream, float64 rotation; host attention."""
    from comfy.ldm.modules.attention import optimized_attention

    dtype = model.blocks[0].self_attn.q.weight.dtype
    x = model.patch_embedding(x.float()).to(dtype)
    _, _, frames, rows, columns = x.shape
    x = x.flatten(2).transpose(1, 2)
    tokens = x.shape[1]
    half = model.freq_dim // 2
    steps = t.expand(tokens).double()[:, None]  # one timestep for every token
    angles = steps * 10000.0 ** (-torch.arange(half, device=x.device).double() / half)
    time_in = torch.cat([angles.cos(), angles.sin()], 1).to(dtype)[None]
    e = model.time_embedding(time_in).float()
    e0 = model.time_projection(e.to(dtype)).float().unflatten(2, (6, -1))  # [1, tokens, 6, dim]
    context = model.text_embedding(context)

    def attend(layer, query, source, rotate):
        heads = layer.num_heads
        q = layer.norm_q(layer.q(query)).unflatten(-1, (heads, -1))
        k = layer.norm_k(layer.k(source)).unflatten(-1, (heads, -1))
        v = layer.v(source).unflatten(-1, (heads, -1))
        if rotate:
            q, k = (turn(a, rotation).to(dtype) for a in (q, k))
        out = optimized_attention(*(a.flatten(2) for a in (q, k, v)), heads=heads)
        return layer.o(out)

    def norm(x):
        return torch.nn.functional.layer_norm(x.float(), x.shape[-1:], eps=1e-6)

    for block in model.blocks:
        m = (block.modulation.float()[None] + e0).unbind(2)
        y = (norm(x) * (1 + m[1]) + m[0]).to(dtype)
        x = x.float() + attend(block.self_attn, y, y, True).float() * m[2]
        normed = torch.nn.functional.layer_norm(
            x, x.shape[-1:], block.norm3.weight.float(), block.norm3.bias.float(), 1e-6
        )
        x = x + attend(block.cross_attn, normed.to(dtype), context, False)
        y = (norm(x) * (1 + m[4]) + m[3]).to(dtype)
        x = x + block.ffn(y).float() * m[5]
    m = (model.head.modulation.float()[None] + e[:, :, None]).unbind(2)
    out = model.head.head((norm(x) * (1 + m[1]) + m[0]).to(dtype))
    return model.unpatchify(out, (frames, rows, columns))


def turn(x: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation[:, None]).flatten(-2).float()
