"""Methods that follow the gradient of the data misfit through the network."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.inverse.problem import Problem
from condiff.diffusion.noise import Noise


def dps(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    problem: Problem,
    cond: Tensor | None = None,
    zeta: float = 1.0,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Diffusion posterior sampling (Chung et al. 2023), algorithm 1: DDPM's step minus zeta grad |y - A denoise(x)|.

    The norm is not squared. One evaluation and one backward pass through the network per step; sigma_y is not used.

    Args:
        zeta: step size for images of unit variance; publications tune it over several orders of magnitude.
    """
    for sigma, sigma_next in pairwise(sigmas):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x0 = denoise(x, sigma, cond)
            gradient = torch.autograd.grad((problem.y - problem.A(x0)).abs().square().flatten(1).sum(1).sqrt().sum(), x)[0]
        x, x0 = x.detach(), x0.detach()
        sigma_up = sigma_next * (1 - (sigma_next / sigma) ** 2).clamp(min=0).sqrt()
        scale = ((1 + sigma_next**2) * (1 + sigma**2)).sqrt()  # step and gradient are those of x / sqrt(1 + sigma^2)
        x = x0 + (sigma_next / sigma) ** 2 * (x - x0) + sigma_up * noise(x) - zeta * scale * gradient
        yield x
