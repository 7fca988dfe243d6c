"""Augmentations of a training batch: (images [B, C, H, W], generator) -> images."""

import torch
from torch import Tensor


def mirror(images: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    """Left and right exchanged in that share of the images: heads are nearly symmetric, and there are few of them."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device) < probability
    return torch.where(chosen, images.flip(-1), images)
