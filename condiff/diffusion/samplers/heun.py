"""Heun's method on the probability-flow ODE, with EDM's churn."""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.noise import Noise


@torch.no_grad()
def heun(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    cond: Tensor | None = None,
    churn: float = 0.0,
    churn_interval: tuple[float, float] = (0.0, math.inf),
    churn_noise: float = 1.0,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Karras et al. 2022, algorithm 2 (algorithm 1 without churn): second order, 2N - 1 evaluations.

    Args:
        churn: S_churn, the noise that is added and removed again in all N steps together.
        churn_interval: S_tmin, S_tmax, the noise levels at which it is added.
        churn_noise: S_noise, standard deviation of the noise added.
    """
    gamma = min(churn / (len(sigmas) - 1), math.sqrt(2) - 1)
    low, high = churn_interval
    for sigma, sigma_next in pairwise(sigmas):
        if gamma > 0 and low <= sigma <= high:
            raised = (1 + gamma) * sigma
            x = x + (raised**2 - sigma**2).sqrt() * churn_noise * noise(x)
            sigma = raised
        slope = (x - denoise(x, sigma, cond)) / sigma
        x_next = x + (sigma_next - sigma) * slope
        if sigma_next > 0:
            slope_next = (x_next - denoise(x_next, sigma_next, cond)) / sigma_next
            x_next = x + (sigma_next - sigma) * (slope + slope_next) / 2
        x = x_next
        yield x
