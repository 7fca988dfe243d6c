"""A distance of two images in the features of a random network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PerceptualDistance(nn.Module):
    """The distance [B] of two images [B, C, H, W] in the features of an untrained network.

    Random convolutions preserve structure, and a loss on them makes images sharper than a loss on pixels (Liu et al. 2021, A
    Generic Perceptual Loss for Modeling Structured Output Dependencies); no pretrained weights exist for brains. The weights
    follow from ``seed`` and are not stored in checkpoints.
    """

    def __init__(self, image_channels: int, channels: tuple[int, ...] = (16, 32, 64), seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.depth, inside = len(channels), image_channels
        for level, width in enumerate(channels):
            weight = torch.randn(width, inside, 3, 3, generator=generator) * (2 / (9 * inside)) ** 0.5
            self.register_buffer(f"weight{level}", weight, persistent=False)
            inside = width

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        both, distance = torch.cat([a, b]), a.new_zeros(len(a))
        for level in range(self.depth):
            both = F.avg_pool2d(both, 2) if level else both
            both = F.leaky_relu(F.conv2d(both, getattr(self, f"weight{level}"), padding=1), 0.2)
            features_a, features_b = both.chunk(2)
            distance = distance + (features_a - features_b).abs().flatten(1).mean(dim=1) / self.depth
        return distance
