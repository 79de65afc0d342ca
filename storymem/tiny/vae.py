"""The tiny Wan-VAE: diffusers' module, a pass over whole clips at once, the host's key layout.

diffusers runs the Wan VAE chunk by chunk with caches, as long videos need. Its convolutions are
causal, so a short clip can run in one pass with the same result; training does, several times
faster. Clips are [B, T, C, H, W] here, with channels innermost in memory, so that frames are a
plain view for 2-D kernels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..files.weights_file import read_state_dict

CHANNELS = 16  # latent channels
# Per-channel mean and deviation of Wan 2.1's latents, as Wan 2.1 and 2.2 A14B expect them.
WAN_MEAN = (
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
)
WAN_STD = (
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)
CONVOLUTIONS = ("conv3d", "gather", "scatter")


def build(base: int = 16):
    """An untrained AutoencoderKLWan: 3.6 M parameters at base 16."""
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=base,
        z_dim=CHANNELS,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
    )


def _frames(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(0, 1)  # [B, T, C, H, W] -> [B * T, C, H, W]


def _late(x: torch.Tensor, by: int) -> torch.Tensor:
    """The clip ``by`` frames later, zeros first."""
    by = min(by, x.shape[1])
    return F.pad(x[:, : x.shape[1] - by], (0, 0, 0, 0, 0, 0, by, 0))


class ClipVAE:
    """Encodes and decodes short clips in one pass with the weights of an AutoencoderKLWan.

    ``convolution`` names how a causal 3x3x3 convolution runs: as ``conv3d``, as one 2-D
    convolution of three frames' channels (``gather``), or as one 2-D convolution into three
    frames' channels, then summed (``scatter``). The result is the same; which is fastest depends
    on channels and device. A mapping gives it by input channels.
    """

    def __init__(self, vae, convolution: str | dict[int, str] = "conv3d"):
        self.vae = vae
        self.convolution = convolution

    def _causal(self, conv, x: torch.Tensor) -> torch.Tensor:
        weight, time = conv.weight, x.shape[1]
        if time == 1 or weight.shape[2] == 1:  # an image sees only the last tap
            y = F.conv2d(_frames(x), weight[:, :, -1], conv.bias, padding=weight.shape[-1] // 2)
            return y.unflatten(0, x.shape[:2])
        how = self.convolution
        how = how if isinstance(how, str) else how.get(x.shape[2], "conv3d")
        return causal_convolution(x, weight, conv.bias, how)

    def _norm(self, norm, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        length = wide.square().sum(2, keepdim=True).sqrt().clamp_min(1e-12)
        return wide / length * norm.scale * norm.gamma.float().view(-1, 1, 1)

    def _residual(self, block, x: torch.Tensor) -> torch.Tensor:
        shortcut = x
        if not isinstance(block.conv_shortcut, torch.nn.Identity):
            shortcut = self._causal(block.conv_shortcut, x)
        x = self._causal(block.conv1, F.silu(self._norm(block.norm1, x)))
        x = self._causal(block.conv2, F.silu(self._norm(block.norm2, x)))
        return x + shortcut

    def _attention(self, block, x: torch.Tensor) -> torch.Tensor:
        y = _frames(self._norm(block.norm, x))
        qkv = F.conv2d(y, block.to_qkv.weight, block.to_qkv.bias)
        q, k, v = qkv.flatten(2).transpose(1, 2)[:, None].chunk(3, -1)
        y = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        y = y.unflatten(2, x.shape[-2:])
        y = F.conv2d(y, block.proj.weight, block.proj.bias)
        return y.unflatten(0, x.shape[:2]) + x

    def _resample(self, block, x: torch.Tensor) -> torch.Tensor:
        if block.mode == "upsample3d" and x.shape[1] > 1:
            # Frame 0 stays one frame and is not seen by the others; each of the others becomes two.
            first, rest = x[:, :1], x[:, 1:]
            taps = torch.cat([_late(rest, 2), _late(rest, 1), rest], 2)
            weight = block.time_conv.weight.transpose(1, 2).flatten(1, 2)
            rest_shape = rest.shape[:2]
            y = F.conv2d(_frames(taps), weight, block.time_conv.bias).unflatten(0, rest_shape)
            y = y.unflatten(2, (2, -1)).flatten(1, 2)
            x = torch.cat([first.to(y.dtype), y], 1)
        y = _frames(x)
        conv = block.resample[1]
        if block.mode.startswith("upsample"):
            y = F.conv2d(F.interpolate(y, scale_factor=2.0), conv.weight, conv.bias, padding=1)
        else:
            y = F.conv2d(F.pad(y, (0, 1, 0, 1)), conv.weight, conv.bias, stride=2)
        y = y.unflatten(0, x.shape[:2])
        if block.mode == "downsample3d" and y.shape[1] > 1:
            taps = torch.cat([y[:, 0:-2:2], y[:, 1:-1:2], y[:, 2::2]], 2)
            weight = block.time_conv.weight.transpose(1, 2).flatten(1, 2)
            z = F.conv2d(_frames(taps), weight, block.time_conv.bias)
            y = torch.cat([y[:, :1].to(z.dtype), z.unflatten(0, taps.shape[:2])], 1)
        return y

    def _middle(self, block, x: torch.Tensor) -> torch.Tensor:
        x = self._residual(block.resnets[0], x)
        return self._residual(block.resnets[1], self._attention(block.attentions[0], x))

    def _head(self, coder, x: torch.Tensor) -> torch.Tensor:
        return self._causal(coder.conv_out, F.silu(self._norm(coder.norm_out, x)))

    def encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, T, 3, H, W] in -1 ... 1 -> mean and log variance, float32 [B, F, 16, H/8, W/8]."""
        coder = self.vae.encoder
        x = self._causal(coder.conv_in, pixels)
        for block in coder.down_blocks:
            is_resample = hasattr(block, "resample")
            x = self._resample(block, x) if is_resample else self._residual(block, x)
        x = self._head(coder, self._middle(coder.mid_block, x))
        mean, log_variance = self._causal(self.vae.quant_conv, x).float().chunk(2, 2)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """[B, F, 16, h, w] -> float32 [B, T, 3, H, W], not clamped."""
        coder = self.vae.decoder
        x = self._causal(coder.conv_in, self._causal(self.vae.post_quant_conv, latents))
        x = self._middle(coder.mid_block, x)
        for block in coder.up_blocks:
            for resnet in block.resnets:
                x = self._residual(resnet, x)
            if block.upsamplers is not None:
                x = self._resample(block.upsamplers[0], x)
        return self._head(coder, x).float()


def causal_convolution(x, weight, bias, how: str) -> torch.Tensor:
    """A 3x3x3 convolution of [B, T, C, H, W] that never sees a later frame."""
    if how == "conv3d":
        padded = F.pad(x.transpose(1, 2), (0, 0, 0, 0, 2, 0))  # BTCHW -> BCTHW
        return F.conv3d(padded, weight, bias, padding=(0, 1, 1)).transpose(1, 2)
    if how == "gather":
        taps = torch.cat([_late(x, 2), _late(x, 1), x], 2)
        flat = weight.transpose(1, 2).flatten(1, 2)
        return F.conv2d(_frames(taps), flat, bias, padding=1).unflatten(0, x.shape[:2])
    if how == "scatter":
        flat = weight.permute(2, 0, 1, 3, 4).flatten(0, 1)  # three sets of output channels
        y = F.conv2d(_frames(x), flat, padding=1).unflatten(0, x.shape[:2])
        oldest, middle, newest = y.chunk(3, 2)
        return _late(oldest, 2) + _late(middle, 1) + newest + bias.to(y.dtype).view(-1, 1, 1)
    raise ValueError(f"A convolution runs as one of {', '.join(CONVOLUTIONS)}, not {how!r}.")


@torch.no_grad()
def fold_affine(vae, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Give the latents Wan 2.1's mean and standard deviation; pictures do not change.

    Args:
        vae: an AutoencoderKLWan, changed in place.
        mean: measured per channel, [16].
        std: likewise.
    """
    encode, decode = vae.quant_conv, vae.post_quant_conv
    mean, std = mean.double().to(encode.weight.device), std.double().to(encode.weight.device)
    want_mean, want_std = (torch.tensor(v).to(mean) for v in (WAN_MEAN, WAN_STD))
    gain = want_std / std
    n = CHANNELS
    weight, bias = encode.weight.double(), encode.bias.double()
    weight[:n] *= gain.view(-1, 1, 1, 1, 1)
    bias[:n] = (bias[:n] - mean) * gain + want_mean
    bias[n:] += 2 * gain.log()
    encode.weight.copy_(weight)
    encode.bias.copy_(bias)
    weight = decode.weight.double()
    shift = mean - want_mean / gain
    decode.bias.copy_(decode.bias.double() + weight[:, :, 0, 0, 0] @ shift)
    decode.weight.copy_(weight / gain.view(1, -1, 1, 1, 1))


_BLOCK = {
    "norm1.gamma": "residual.0.gamma",
    "conv1": "residual.2",
    "norm2.gamma": "residual.3.gamma",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}
_MIDDLE = {"resnets.0": "middle.0", "attentions.0": "middle.1", "resnets.1": "middle.2"}
_ENDS = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}
_RESNETS = 3  # per decoder level; the upsampler follows as the fourth


def host_key(key: str) -> str:
    """The name in the host's (Wan's own) VAE layout of a parameter of AutoencoderKLWan."""
    head, _, rest = key.partition(".")
    if head in ("quant_conv", "post_quant_conv"):
        return {"quant_conv": "conv1", "post_quant_conv": "conv2"}[head] + "." + rest
    part, _, tail = rest.partition(".")
    if part in _ENDS:
        return f"{head}.{_ENDS[part]}.{tail}"
    if part == "mid_block":
        for old, new in _MIDDLE.items():
            if tail.startswith(old + "."):
                return f"{head}.{new}.{_inside(tail[len(old) + 1 :])}"
    if part == "down_blocks":
        number, _, tail = tail.partition(".")
        return f"{head}.downsamples.{number}.{_inside(tail)}"
    if part == "up_blocks":
        level, kind, number, tail = tail.split(".", 3)
        at = int(level) * (_RESNETS + 1) + (int(number) if kind == "resnets" else _RESNETS)
        return f"{head}.upsamples.{at}.{_inside(tail)}"
    raise ValueError(f"{key!r} is no parameter of a Wan VAE in diffusers' layout.")


def _inside(tail: str) -> str:
    for old, new in _BLOCK.items():
        if tail == old or tail.startswith(old + "."):
            return new + tail[len(old) :]
    return tail  # attention and resampling keep their names


def to_host(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A diffusers Wan VAE state in the layout that the host's VAELoader reads."""
    return {host_key(key): value for key, value in state.items()}


def load_host_file(vae, path) -> None:
    """Load a VAE file of the host's layout into an AutoencoderKLWan.

    Raises:
        ValueError: for a file that is no Wan VAE of this shape.
    """
    own = vae.state_dict()
    names = {key: host_key(key) for key in own}
    try:
        found = read_state_dict(path)
        missing = sorted(set(names.values()) - set(found))
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        vae.load_state_dict({key: found[name].to(own[key].dtype) for key, name in names.items()})
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is no Wan VAE of this shape: {error}") from error
