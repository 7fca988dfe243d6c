"""The U-Net of Ho et al. 2020 as Dhariwal & Nichol 2021 improved it, with a patch stem.

Residual blocks with GroupNorm, conditioned by scale and shift on the noise level and the condition;
attention at the lowest resolutions; skip connections from every block on the way down. With
``patch = p`` each p x p patch becomes a pixel with p^2 channels (space to depth), so that the whole
network works at 1/p of the resolution: much cheaper, and at small budgets better.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condiff.nn.blocks import Downsample, FourierFeatures, ResidualBlock, SelfAttention, Upsample, norm, zeroed


POSITIONS = (lambda u, v: u, lambda u, v: v, lambda u, v: 2 * u * u - 1, lambda u, v: 2 * v * v - 1)


class UNet(nn.Module):
    """F(x, c_noise, cond): a raw network, the same size out as in.

    Args:
        image_channels: C of the image, 1 for magnitude, 2 for complex.
        cond_dim: D of the condition, 0 for none.
        channels: width of each level, from fine to coarse.
        blocks: residual blocks a level on the way down; one more on the way up.
        attention: for each level, whether its blocks attend.
        patch: side of the patches of the stem.
        dropout: inside the residual blocks.

    Raises:
        ValueError: an image whose sides are not multiples of ``patch * 2 ** (levels - 1)``.
    """

    def __init__(
        self,
        image_channels: int,
        cond_dim: int,
        channels: tuple[int, ...] = (64, 128, 192),
        blocks: int = 2,
        attention: tuple[bool, ...] = (False, False, True),
        patch: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        if len(channels) != len(attention):
            raise ValueError(f"net: {len(channels)} channels but {len(attention)} attention flags; give one of each a level")
        self.multiple, self.patch = patch * 2 ** (len(channels) - 1), patch
        embedding = 4 * channels[0]
        self.noise = nn.Sequential(FourierFeatures(channels[0]), nn.Linear(channels[0], embedding))
        self.cond = nn.Linear(cond_dim, embedding, bias=False) if cond_dim else None
        self.embed = nn.Sequential(nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())

        def stage(inside: int, outside: int, attend: bool) -> "Stage":
            return Stage(ResidualBlock(inside, outside, embedding, dropout), SelfAttention(outside) if attend else nn.Identity())

        self.stem = nn.Conv2d(image_channels * patch**2 + len(POSITIONS), channels[0], 3, padding=1)
        self.down, widths = nn.ModuleList(), [channels[0]]
        for level, (width, attend) in enumerate(zip(channels, attention, strict=True)):
            for _ in range(blocks):
                self.down.append(stage(widths[-1], width, attend))
                widths.append(width)
            if level < len(channels) - 1:
                self.down.append(Stage(Downsample(width), nn.Identity()))
                widths.append(width)
        self.middle = nn.ModuleList([stage(widths[-1], widths[-1], True), stage(widths[-1], widths[-1], False)])
        self.up, inside = nn.ModuleList(), widths[-1]
        for level, (width, attend) in reversed(list(enumerate(zip(channels, attention, strict=True)))):
            for _ in range(blocks + 1):
                self.up.append(stage(inside + widths.pop(), width, attend))
                inside = width
            if level > 0:
                self.up.append(Stage(Upsample(width), nn.Identity()))
        self.head = nn.Sequential(norm(inside), nn.SiLU(), zeroed(nn.Conv2d(inside, image_channels * patch**2, 3, padding=1)))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor | None = None) -> Tensor:
        """x [B, C, H, W], c_noise [B], cond [B, D] or None -> [B, C, H, W]."""
        if any(size % self.multiple for size in x.shape[-2:]):
            raise ValueError(f"an image of {tuple(x.shape[-2:])} pixels: this U-Net needs multiples of {self.multiple}")
        embedding = self.noise(c_noise)
        if self.cond is not None and cond is not None:
            embedding = embedding + self.cond(cond)
        embedding = self.embed(embedding)
        h = torch.cat([F.pixel_unshuffle(x, self.patch), positions(x, self.patch)], dim=1)
        h = self.stem(h.contiguous(memory_format=torch.channels_last))
        skips = [h]
        for stage in self.down:
            h = stage(h, embedding)
            skips.append(h)
        for stage in self.middle:
            h = stage(h, embedding)
        for stage in self.up:
            h = stage(h if stage.resamples else torch.cat([h, skips.pop()], dim=1), embedding)
        return F.pixel_shuffle(self.head(h), self.patch)


def positions(x: Tensor, patch: int) -> Tensor:
    """Where each patch lies, [B, 4, H / patch, W / patch]: a head sits in the middle of its image, and a
    convolution alone has to learn that from the borders."""
    rows, cols = (torch.linspace(-1, 1, size // patch, device=x.device, dtype=x.dtype) for size in x.shape[-2:])
    v, u = torch.meshgrid(rows, cols, indexing="ij")
    return torch.stack([f(u, v) for f in POSITIONS]).expand(len(x), -1, -1, -1)


class Stage(nn.Module):
    """One step of the network: a residual block or a resampling, then attention or nothing."""

    def __init__(self, layer: nn.Module, attention: nn.Module):
        super().__init__()
        self.layer, self.attention = layer, attention
        self.resamples = not isinstance(layer, ResidualBlock)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.attention(self.layer(x) if self.resamples else self.layer(x, embedding))
