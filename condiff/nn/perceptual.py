"""A distance of two images in the features of a random network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PerceptualDistance(nn.Module):
    """How far two images [B, C, H, W] are apart, [B], in the features of a network that nobody trained.

    Random convolutions keep what structure there is, and a loss on them makes images sharper than one on pixels does
    (Liu et al. 2021, A Generic Perceptual Loss for Modeling Structured Output Dependencies); no weights are to be had
    for brains, and none are downloaded. Its weights follow from ``seed`` and lie in no checkpoint.
    """

    def __init__(self, image_channels: int, channels: tuple[int, ...] = (16, 32, 64), seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.depth, inside = len(channels), image_channels
        for level, width in enumerate(channels):
            weight = torch.randn(width, inside, 3, 3, generator=generator) * (2 / (9 * inside)) ** 0.5
            self.register_buffer(f"weight{level}", weight, persistent=False)
            inside = width

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        both, apart = torch.cat([one, other]), one.new_zeros(len(one))
        for level in range(self.depth):
            both = F.avg_pool2d(both, 2) if level else both
            both = F.leaky_relu(F.conv2d(both, getattr(self, f"weight{level}"), padding=1), 0.2)
            mine, its = both.chunk(2)
            apart = apart + (mine - its).abs().flatten(1).mean(dim=1) / self.depth
        return apart
