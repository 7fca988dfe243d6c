"""Samplers: generators that walk a noisy image down a grid of noise levels.

Each takes a denoiser ``denoise(x, sigma, cond)``, a start ``x`` [B, C, H, W] at noise level ``sigmas[0]``
and the decreasing grid ``sigmas`` [N + 1] whose last is 0, and yields the image after every step; the
last one yielded is the sample. Guidance changes the denoiser, not the sampler. ``noise(x)`` draws standard
normal noise of the shape of x; `condiff.diffusion.noise` has one that gives each image its own seed.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Noise = Callable[[Tensor], Tensor]
Sampler = Callable[..., Iterator[Tensor]]


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
def heun(
    denoise: Denoise, x: Tensor, sigmas: Tensor, cond: Tensor | None = None, noise: Noise = torch.randn_like
) -> Iterator[Tensor]:
    """The deterministic second-order sampler of Karras et al. 2022, algorithm 1: 2N - 1 evaluations."""
    for sigma, sigma_next in pairwise(sigmas):
        slope = (x - denoise(x, sigma, cond)) / sigma
        x_next = x + (sigma_next - sigma) * slope
        if sigma_next > 0:
            slope_next = (x_next - denoise(x_next, sigma_next, cond)) / sigma_next
            x_next = x + (sigma_next - sigma) * (slope + slope_next) / 2
        x = x_next
        yield x


@torch.no_grad()
def dpmpp_2m(
    denoise: Denoise, x: Tensor, sigmas: Tensor, cond: Tensor | None = None, noise: Noise = torch.randn_like
) -> Iterator[Tensor]:
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2: second order with one evaluation a step.

    In variance-exploding coordinates lambda = -log(sigma). The first step and the one to sigma = 0 are
    of first order, where extrapolation has nothing to stand on.
    """
    previous: Tensor | None = None
    h_previous = sigmas.new_ones(())
    for sigma, sigma_next in pairwise(sigmas):
        x0 = denoise(x, sigma, cond)
        if sigma_next == 0:
            yield x0
            return
        h = (sigma / sigma_next).log()
        slope = x0 if previous is None else x0 + h / (2 * h_previous) * (x0 - previous)
        x = sigma_next / sigma * x - torch.expm1(-h) * slope
        previous, h_previous = x0, h
        yield x
