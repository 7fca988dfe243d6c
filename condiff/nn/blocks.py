"""Building blocks of networks: residual block, attention, upsampling, noise-level features."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def norm(channels: int) -> nn.GroupNorm:
    """Returns GroupNorm with groups of at least 8 channels; its statistics are those of each image alone."""
    return nn.GroupNorm(math.gcd(32, max(channels // 8, 1)), channels)


def zero_init(layer: nn.Module) -> nn.Module:
    """Returns the layer with weights and bias at zero, so that its residual block starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class FourierFeatures(nn.Module):
    """Sines and cosines of a scalar at ``dim / 2`` frequencies, geometric from pi/2 to 32 pi: [B] -> [B, dim]."""

    frequencies: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("frequencies", math.pi * torch.logspace(-1, 5, dim // 2, base=2), persistent=False)

    def forward(self, c_noise: Tensor) -> Tensor:
        phase = c_noise.float()[:, None] * self.frequencies
        return torch.cat([phase.sin(), phase.cos()], dim=1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions; the embedding, if any, scales and shifts between them (FiLM, Dhariwal & Nichol 2021)."""

    def __init__(self, in_channels: int, out_channels: int, embedding: int | None = None):
        super().__init__()
        self.norm1, self.conv1 = norm(in_channels), nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.modulation = zero_init(nn.Linear(embedding, 2 * out_channels)) if embedding else None
        self.norm2, self.conv2 = norm(out_channels), zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """[B, C, H, W], [B, E] or None -> [B, C', H, W]."""
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.modulation is not None:
            scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
            h = torch.addcmul(shift, h, 1 + scale)
        return self.shortcut(x) + self.conv2(F.silu(h))


class SelfAttention(nn.Module):
    """Attention of every position to every other, as a residual: [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, channels: int, head_channels: int = 32):
        super().__init__()
        self.heads = max(channels // head_channels, 1)
        self.norm, self.qkv = norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        h = F.scaled_dot_product_attention(*qkv.unbind(1))  # [B, heads, HW, C / heads]
        return x + self.out(h.transpose(-1, -2).reshape(x.shape))


class CrossAttention(nn.Module):
    """Attention of every position to tokens, as a residual: [B, C, H, W], [B, N, E] -> [B, C, H, W]."""

    def __init__(self, channels: int, embedding: int, head_channels: int = 32):
        super().__init__()
        self.heads = max(channels // head_channels, 1)
        self.norm, self.q = norm(channels), nn.Conv2d(channels, channels, 1)
        self.kv = nn.Linear(embedding, 2 * channels)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        q = self.q(self.norm(x)).flatten(2).unflatten(1, (self.heads, -1)).transpose(-1, -2)
        k, v = self.kv(tokens).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v)  # [B, heads, HW, C / heads]
        return x + self.out(h.transpose(-1, -2).reshape(x.shape))


class Upsample2x(nn.Module):
    """Twice the size, nearest neighbour: [B, C, H, W] -> [B, C, 2H, 2W]."""

    def forward(self, x: Tensor) -> Tensor:
        return _Nearest2x.apply(x)


class _Nearest2x(torch.autograd.Function):
    """Nearest-neighbour upsampling with a backward pass of its own, because the compiled one of torch fails at some sizes
    (torch 2.13, inductor on CPUs)."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        """Saves nothing."""

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return 4 * F.avg_pool2d(gradient, 2)
