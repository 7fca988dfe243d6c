"""Noise of a measurement's shape."""

import torch
from torch import Tensor

from condiff.diffusion.noise import Noise


def noise_like(y: Tensor, x: Tensor, noise: Noise) -> Tensor:
    """Noise of the shape of y, for every image of x, with unit deviation in each real component."""
    y = y.expand(len(x), *y.shape[1:])
    return torch.view_as_complex(noise(torch.view_as_real(y))) if y.is_complex() else noise(y)
