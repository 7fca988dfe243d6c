"""Multistep solvers: second order at one evaluation per step, by reusing the previous evaluation.

In variance-exploding coordinates the half log-SNR of the papers is lambda = -log(sigma), a step is
h = log(sigma / sigma_next), and alpha is 1 throughout. The first step and the one to sigma = 0, where h is
infinite, are of first order: the latter returns the denoised image.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.noise import Noise


class Step(NamedTuple):
    """A step from x at sigma, with the estimate x0 there, over h = log(sigma / sigma_next)."""

    x: Tensor
    x0: Tensor
    sigma: Tensor
    h: Tensor


@torch.no_grad()
def dpmpp_2m(
    denoise: Denoise, x: Tensor, sigmas: Tensor, cond: Tensor | None = None, noise: Noise = torch.randn_like
) -> Iterator[Tensor]:
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2."""
    last = None
    for sigma, sigma_next in pairwise(sigmas):
        before, last = last, Step(x, denoise(x, sigma, cond), sigma, _log_step(sigma, sigma_next))
        x = sigma_next / sigma * x - torch.expm1(-last.h) * _extrapolate_x0(last, before)
        yield x


@torch.no_grad()
def dpmpp_2m_sde(
    denoise: Denoise, x: Tensor, sigmas: Tensor, cond: Tensor | None = None, noise: Noise = torch.randn_like
) -> Iterator[Tensor]:
    """SDE-DPM-Solver++(2M), Lu et al. 2022, section 5: the same extrapolation on the diffusion SDE."""
    last = None
    for sigma, sigma_next in pairwise(sigmas):
        before, last = last, Step(x, denoise(x, sigma, cond), sigma, _log_step(sigma, sigma_next))
        share = -torch.expm1(-2 * last.h)
        x = (sigma_next / sigma) ** 2 * x + share * _extrapolate_x0(last, before)
        if sigma_next > 0:
            x = x + sigma_next * share.sqrt() * noise(x)
        yield x


@torch.no_grad()
def unipc(
    denoise: Denoise, x: Tensor, sigmas: Tensor, cond: Tensor | None = None, noise: Noise = torch.randn_like
) -> Iterator[Tensor]:
    """UniPC of order 2 for data prediction, Zhao et al. 2023, with B(h) = e^h - 1.

    The predictor is `dpmpp_2m`. The corrector repeats the last step with the evaluation at its end, which the next step needs
    anyway, so it costs no evaluation.
    """
    before = last = None
    for sigma, sigma_next in pairwise(sigmas):
        x0 = denoise(x, sigma, cond)
        if last is not None:
            x = sigma / last.sigma * last.x - torch.expm1(-last.h) * _unic_x0(x0, last, before)
        before, last = last, Step(x, x0, sigma, _log_step(sigma, sigma_next))
        x = sigma_next / sigma * x - torch.expm1(-last.h) * _extrapolate_x0(last, before)
        yield x


def _log_step(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """h, in float64 where the grid is on the CPU: the corrector divides differences of small numbers by it."""
    return (sigma / sigma_next).to(torch.float64 if sigma.device.type == "cpu" else sigma.dtype).log()


def _extrapolate_x0(last: Step, before: Step | None) -> Tensor:
    """Returns x0 half-way through the step, extrapolated linearly from the last two estimates."""
    if before is None or last.h.isinf():
        return last.x0
    return last.x0 + last.h / (2 * before.h) * (last.x0 - before.x0)


def _unic_x0(x0: Tensor, last: Step, before: Step | None) -> Tensor:
    """Returns the x0 that the last step should have used, given the estimate at its end: UniC-2, or UniC-1 for the first step."""
    if before is None:
        return (last.x0 + x0) / 2
    r, phi_1 = before.h / last.h, torch.expm1(-last.h)
    phi_2 = -phi_1 / last.h - 1
    phi_3 = -phi_2 / last.h - 1 / 2
    backward = (phi_2 - 2 * phi_3) / (phi_1 * (1 + r))
    return last.x0 + backward / r * (last.x0 - before.x0) + (phi_2 / phi_1 - backward) * (x0 - last.x0)
