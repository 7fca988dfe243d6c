"""Langevin dynamics with the score of the posterior."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.inverse.problem import Problem, noise_like
from condiff.diffusion.noise import Noise
from condiff.linear import data_weight, inner, proximal


@torch.no_grad()
def pula(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    problem: Problem,
    cond: Tensor | None = None,
    repeats: int = 4,
    step: float = 0.5,
    iterations: int = 10,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Preconditioned unadjusted Langevin (Blumenthal et al. 2025), with the exact likelihood at every level.

    The reference among these methods. Its step is x + step M g + sqrt(2 step) M^(1/2) n, where g is the gradient of
    log p(y | x) p_sigma(x) and M = (A* A / sigma_y^2 + 1 / sigma^2)^-1. N * repeats evaluations.

    Args:
        repeats: steps at each level.
        iterations: of conjugate gradients.
    """
    A, y, sigma_y = problem.A, problem.y, problem.sigma_y
    back = A.adjoint(y)
    weight = data_weight(sigmas[0] ** 2, sigma_y)
    x = proximal(A, back + sigmas[0] / weight.sqrt() * A.adjoint(noise_like(y, x, noise)), x, weight, iterations)
    for sigma in sigmas[:-1]:
        weight = data_weight(sigma**2, sigma_y)
        for _ in range(repeats):
            data = weight * (back - A.normal(x)) * step
            data = data + (2 * step * weight).sqrt() * sigma * A.adjoint(noise_like(y, x, noise))
            prior = step * (denoise(x, sigma, cond) - x) + (2 * step) ** 0.5 * sigma * noise(x)
            x = x + proximal(A, data / weight, prior, weight, iterations)
        yield x


@torch.no_grad()
def csgm(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    problem: Problem,
    cond: Tensor | None = None,
    repeats: int = 3,
    step: float = 0.5,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Annealed Langevin dynamics (Jalal et al. 2021) with the exact likelihood: x + eta (score + A*(y - A x) / sigma_y^2) + ...

    eta = step / (1 / sigma^2 + 1 / sigma_y^2) keeps it stable for |A| = 1. Components that were not measured then move slowly at
    high noise, so it needs thousands of levels. N * repeats + 1 evaluations.
    """
    A, y, sigma_y = problem.A, problem.y, problem.sigma_y
    back = A.adjoint(y)
    for sigma, sigma_next in pairwise(sigmas):
        eta = step / (1 / sigma**2 + 1 / sigma_y**2)
        for _ in range(repeats):
            gradient = (denoise(x, sigma, cond) - x) / sigma**2 + (back - A.normal(x)) / sigma_y**2
            x = x + eta * gradient + (2 * eta).sqrt() * noise(x)
        yield x if sigma_next > 0 else denoise(x, sigma, cond)


@torch.no_grad()
def csgm_normalized(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    problem: Problem,
    cond: Tensor | None = None,
    repeats: int = 3,
    step: float = 0.05,
    share: float = 5.0,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """`csgm` as in the authors' code: the gradient of the data is rescaled to ``share`` times the length of the score.

    The rescaled gradient no longer depends on the noise level of the data: sigma_y is not used. N * repeats + 1 evaluations.

    Args:
        step: eta / sigma^2.
        share: length of the data's gradient over that of the score.
    """
    A, back = problem.A, problem.A.adjoint(problem.y)
    for sigma, sigma_next in pairwise(sigmas):
        for _ in range(repeats):
            score, data = (denoise(x, sigma, cond) - x) / sigma**2, back - A.normal(x)
            data = share * (inner(score, score) / inner(data, data).clamp(min=1e-30)).sqrt() * data
            x = x + step * sigma**2 * (score + data) + (2 * step) ** 0.5 * sigma * noise(x)
        yield x if sigma_next > 0 else denoise(x, sigma, cond)
