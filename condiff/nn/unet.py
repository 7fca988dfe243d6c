"""The U-Net of Ho et al. 2020 as Dhariwal & Nichol 2021 improved it, with a patch stem.

Residual blocks with GroupNorm, conditioned by scale and shift on the noise level and the condition; attention at
the lowest resolutions; skip connections, added, from every block of the encoder. With ``patch = p`` each p x p
patch becomes a pixel with p^2 channels (space to depth), so that the network works at 1/p of the resolution: much
cheaper, and better where training is short.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condiff.errors import InputError
from condiff.nn.blocks import CrossAttention, FourierFeatures, ResidualBlock, SelfAttention, Upsample2x, norm, zero_init

POSITIONS = (lambda u, v: u, lambda u, v: v, lambda u, v: 2 * u * u - 1, lambda u, v: 2 * v * v - 1)


class UNet(nn.Module):
    """F(x, c_noise, cond): a raw network, the same size out as in.

    Args:
        image_channels: C of the image, 1 for magnitude, 2 for complex.
        cond_dim: D of the condition, 0 for none.
        channels: width of each level, from fine to coarse.
        blocks: for each level, residual blocks of the encoder, and as many of the decoder.
        attention: for each level, whether its blocks have self-attention; the middle always has.
        patch: side of the patches of the stem.
        fields: the number of entries in each field of the condition. If given, blocks with self-attention have
            cross-attention to the fields, one token each (Rombach et al. 2022, section 3.3); otherwise the condition is
            added to the features of the noise level.

    Raises:
        InputError: an image whose sides are not multiples of ``patch * 2 ** (levels - 1)``.
    """

    def __init__(
        self,
        image_channels: int,
        cond_dim: int,
        channels: tuple[int, ...] = (64, 128, 192),
        blocks: tuple[int, ...] = (2, 2, 2),
        attention: tuple[bool, ...] = (False, False, True),
        patch: int = 1,
        fields: tuple[int, ...] = (),
    ):
        super().__init__()
        if not len(channels) == len(blocks) == len(attention):
            raise InputError(f"channels={channels}, blocks={blocks}, attention={attention}: give one entry per level to each")
        levels = list(zip(channels, blocks, attention, strict=True))
        self.size_multiple, self.patch = patch * 2 ** (len(channels) - 1), patch
        embedding = 4 * channels[0]
        self.noise = nn.Sequential(FourierFeatures(channels[0]), nn.Linear(channels[0], embedding))
        self.cond = nn.Linear(cond_dim, embedding, bias=False) if cond_dim and not fields else None
        self.tokens = Tokens(fields, embedding) if fields else None
        self.embed = nn.Sequential(nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())

        def stage(inside: int, outside: int, attend: bool) -> "Stage":
            attention = SelfAttention(outside) if attend else nn.Identity()
            cross = CrossAttention(outside, embedding) if attend and fields else None
            return Stage(ResidualBlock(inside, outside, embedding), attention, cross)

        self.stem = nn.Conv2d(image_channels * patch**2 + len(POSITIONS), channels[0], 3, padding=1)
        self.down, self.up, inside = nn.ModuleList(), nn.ModuleList(), channels[0]
        for width, depth, attend in levels:
            self.down.append(nn.ModuleList(stage(width if i else inside, width, attend) for i in range(depth)))
            inside = width
        self.middle = nn.ModuleList([stage(inside, inside, True), stage(inside, inside, False)])
        self.narrow, self.upsample = nn.ModuleList(), Upsample2x()
        for width, depth, attend in reversed(levels):
            self.narrow.append(nn.Conv2d(inside, width, 1))
            self.up.append(nn.ModuleList(stage(width, width, attend) for _ in range(depth)))
            inside = width
        self.head = nn.Sequential(norm(inside), nn.SiLU(), zero_init(nn.Conv2d(inside, image_channels * patch**2, 3, padding=1)))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor | None = None) -> Tensor:
        """x [B, C, H, W], c_noise [B], cond [B, D] or None -> [B, C, H, W]."""
        if any(size % self.size_multiple for size in x.shape[-2:]):
            raise InputError(f"an image of {tuple(x.shape[-2:])} pixels: this U-Net needs multiples of {self.size_multiple}")
        embedding = self.noise(c_noise)
        if self.cond is not None and cond is not None:
            embedding = embedding + self.cond(cond)
        embedding = self.embed(embedding)
        tokens = self.tokens(x, cond) if self.tokens is not None else None
        h = torch.cat([F.pixel_unshuffle(x, self.patch), positions(x, self.patch)], dim=1)
        h = self.stem(h.contiguous(memory_format=torch.channels_last))
        skips = []
        for level, stages in enumerate(self.down):
            h = F.avg_pool2d(h, 2) if level else h
            for stage in stages.children():
                h = stage(h, embedding, tokens)
                skips.append(h)
        for stage in self.middle:
            h = stage(h, embedding, tokens)
        for level, (narrow, stages) in enumerate(zip(self.narrow, self.up, strict=True)):
            h = self.upsample(narrow(h)) if level else narrow(h)
            for stage in stages.children():
                h = stage((h + skips.pop()) * 0.5**0.5, embedding, tokens)
        return F.pixel_shuffle(self.head(h), self.patch)


def positions(x: Tensor, patch: int) -> Tensor:
    """Returns the position of each patch as four channels, [B, 4, H / patch, W / patch].

    Heads are in the middle of their images; without these channels a convolution has to learn that from the borders.
    """
    numbers = [size // patch for size in x.shape[-2:]]
    rows, cols = (torch.arange(1 - n, n, 2, device=x.device, dtype=x.dtype) / max(n - 1, 1) for n in numbers)  # from -1 to 1
    v, u = torch.meshgrid(rows, cols, indexing="ij")
    return torch.stack([f(u, v) for f in POSITIONS]).expand(x.shape[0], -1, -1, -1)


class Stage(nn.Module):
    """A residual block, then optional attention within the image, then optional attention to the tokens of the condition."""

    def __init__(self, block: ResidualBlock, attention: nn.Module, cross: CrossAttention | None):
        super().__init__()
        self.block, self.attention, self.cross = block, attention, cross

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor | None) -> Tensor:
        x = self.attention(self.block(x, embedding))
        return x if self.cross is None else self.cross(x, tokens)


class Tokens(nn.Module):
    """The condition's fields as tokens, and one token for no field: [B, D] -> [B, fields + 1, E].

    An unknown field, which is all zeros, has a token too: its name.
    """

    def __init__(self, fields: tuple[int, ...], dim: int):
        super().__init__()
        self.fields = list(fields)
        self.names = nn.Parameter(torch.randn(len(fields) + 1, dim))
        self.values = nn.ModuleList(nn.Linear(width, dim, bias=False) for width in fields)

    def forward(self, x: Tensor, cond: Tensor | None) -> Tensor:
        cond = x.new_zeros(x.shape[0], sum(self.fields)) if cond is None else cond
        values = [layer(field) for layer, field in zip(self.values, cond.split(self.fields, dim=1), strict=True)]
        return self.names + torch.stack([*values, torch.zeros_like(values[0])], dim=1)
