"""Augmentations of a training batch: (images [B, C, H, W], generator) -> images."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from condiff.data.transfer import to_device
from condiff.mri.fourier import to_channels, to_complex

Augment = Callable[[Tensor, torch.Generator], Tensor]


def compose(images: Tensor, generator: torch.Generator, steps: Sequence[Augment]) -> Tensor:
    """Applies the steps one after the other."""
    for step in steps:
        images = step(images, generator)
    return images


def random_flip(images: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    """Flips the columns with a probability: left and right, as heads are nearly symmetric, which enlarges a small data set."""
    flipped = to_device(torch.rand(len(images), 1, 1, 1, generator=generator) < probability, images.device)
    return torch.where(flipped, images.flip(-1), images)


def random_global_phase(images: Tensor, generator: torch.Generator) -> Tensor:
    """Multiplies each complex image [B, 2, H, W] by one random phase, because the global phase does not depend on the head."""
    angle = 2 * torch.pi * torch.rand(len(images), 1, 1, generator=generator)
    return to_channels(to_complex(images) * to_device(torch.polar(torch.ones_like(angle), angle), images.device))
