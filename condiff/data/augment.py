"""Augmentations of a training batch: (images [B, C, H, W], generator) -> images."""

import torch
from torch import Tensor


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images as they are."""
    return images


def mirror(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the images, left and right exchanged: heads are nearly symmetric, and there are few of them."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device) < 0.5
    return torch.where(chosen, images.flip(-1), images)
