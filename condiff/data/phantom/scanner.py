"""The phantom's scanner: coil sensitivities, a background phase, and k-space of a fine grid."""

import torch
from torch import Tensor

from condiff.mri.fourier import center_crop, fft2c


def acquire(images: Tensor, matrix: int) -> Tensor:
    """Coil images [K, 2M, 2M] on a fine grid -> k-space [K, 2M, M]: readout twice the field of view, low-pass.

    Cropping k-space is what a scanner does: partial volume and Gibbs ringing come with it.
    """
    padded = torch.nn.functional.pad(images, (0, 0, matrix, matrix))
    return center_crop(fft2c(padded), (2 * matrix, matrix)) / 2


def coil_maps(generator: torch.Generator, coils: int, size: int) -> Tensor:
    """Smooth complex sensitivities [K, size, size]: loops on a ring about the head, each with its own phase."""
    v, u = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    angle = 2 * torch.pi * (torch.arange(coils) + torch.rand((), generator=generator)) / coils
    near_u, near_v = (1.3 * f(angle)[:, None, None] for f in (torch.cos, torch.sin))
    distance = (u - near_u).square() + (v - near_v).square()
    ramp = angle[:, None, None] + 0.7 * (near_u * u + near_v * v)
    return torch.polar(1.5 / (0.6 + distance), ramp)


def background_phase(generator: torch.Generator, size: int) -> Tensor:
    """Smooth background phase [size, size], a random polynomial of second order, as a unit complex image."""
    v, u = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    terms = torch.stack([torch.ones_like(u) * 4, u, v, u * v, u * u - v * v])
    weights = 0.7 * torch.randn(5, 1, 1, generator=generator)
    return torch.polar(torch.ones_like(u), (weights * terms).sum(0))
