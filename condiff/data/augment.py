"""Augmentations of a training batch: (images [B, C, H, W], generator) -> images."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from condiff.mri.fourier import to_channels, to_complex

Augment = Callable[[Tensor, torch.Generator], Tensor]


def chain(images: Tensor, generator: torch.Generator, steps: Sequence[Augment]) -> Tensor:
    """One after the other."""
    for step in steps:
        images = step(images, generator)
    return images


def mirror(images: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    """Left and right exchanged in that share of the images: heads are nearly symmetric, and there are few of them."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device) < probability
    return torch.where(chosen, images.flip(-1), images)


def turn_phase(images: Tensor, generator: torch.Generator) -> Tensor:
    """Complex images [B, 2, H, W] by one random phase each: which one a scanner gave says nothing of the head."""
    angle = 2 * torch.pi * torch.rand(len(images), 1, 1, generator=generator)
    return to_channels(to_complex(images) * torch.polar(torch.ones_like(angle), angle).to(images.device))
