"""Ancestral sampling: each step denoises and adds the noise of the next level."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.noise import Noise


@torch.no_grad()
def ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    cond: Tensor | None = None,
    eta: float = 1.0,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """DDPM (eta = 1: Ho et al. 2020, eq. 6-7 with variance beta-tilde) to DDIM (eta = 0: Song et al. 2021, eq. 12)."""
    for sigma, sigma_next in pairwise(sigmas):
        sigma_up = eta * sigma_next * (1 - (sigma_next / sigma) ** 2).clamp(min=0).sqrt()
        sigma_down = (sigma_next**2 - sigma_up**2).clamp(min=0).sqrt()
        x0 = denoise(x, sigma, cond)
        x = x0 + sigma_down / sigma * (x - x0)
        if sigma_up > 0:
            x = x + sigma_up * noise(x)
        yield x


@torch.no_grad()
def ancestral_beta(
    denoise: Denoise, x: Tensor, sigmas: Tensor, cond: Tensor | None = None, noise: Noise = torch.randn_like
) -> Iterator[Tensor]:
    """DDPM with the larger variance, beta: the other choice of Ho et al. 2020, section 3.2.

    beta = 1 - alpha_bar / alpha_bar_next, in these coordinates times (1 + sigma_next^2).
    """
    for sigma, sigma_next in pairwise(sigmas):
        x0 = denoise(x, sigma, cond)
        x = x0 + (sigma_next / sigma) ** 2 * (x - x0)
        if sigma_next > 0:
            beta = (sigma**2 - sigma_next**2) / (1 + sigma**2)
            x = x + (beta * (1 + sigma_next**2)).sqrt() * noise(x)
        yield x


@torch.no_grad()
def consistency(
    denoise: Denoise, x: Tensor, sigmas: Tensor, cond: Tensor | None = None, noise: Noise = torch.randn_like
) -> Iterator[Tensor]:
    """Song et al. 2023, algorithm 1: for a consistency model, whose every estimate of x0 is a sample."""
    for sigma, sigma_next in pairwise(sigmas):
        x = denoise(x, sigma, cond)
        if sigma_next > 0:
            x = x + sigma_next * noise(x)
        yield x
