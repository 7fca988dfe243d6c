"""Methods whose every step solves a regularized least-squares problem."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.inverse.problem import Problem, noise_like
from condiff.diffusion.noise import Noise
from condiff.linear import data_weight, proximal


@torch.no_grad()
def dds(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    problem: Problem,
    cond: Tensor | None = None,
    prior_weight: float = 1.0,
    eta: float = 0.85,
    iterations: int = 10,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Decomposed diffusion sampling (Chung et al. 2024): a proximal step from each estimate of x0 to the data, then new noise.

    One evaluation per step. The paper's fixed weight of the data is replaced by one that depends on the noise level, as in
    DiffPIR (Zhu et al. 2023, eq. 12), which takes the variance of the estimate to be sigma^2 / prior_weight.

    Args:
        prior_weight: DiffPIR's lambda; a smaller one gives the data more weight.
        eta: share of the noise that is new at every step.
        iterations: of conjugate gradients.
    """
    A, y, sigma_y = problem.A, problem.y, problem.sigma_y
    back = A.adjoint(y)
    for sigma, sigma_next in pairwise(sigmas):
        x0 = denoise(x, sigma, cond)
        z = proximal(A, back, x0, data_weight(sigma**2 / prior_weight, sigma_y), iterations)
        x = z + sigma_next * ((1 - eta**2) ** 0.5 * (x - x0) / sigma + eta * noise(x))
        yield x


@torch.no_grad()
def posterior(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    problem: Problem,
    cond: Tensor | None = None,
    sigma_data: float = 0.5,
    iterations: int = 10,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Samples of p(x0 | y): at every level the proximal step draws from the Gaussian that it would minimize; all noise is new.

    One evaluation per step. Split Gibbs sampling (Vono et al. 2019) down the levels, as in DAPS (Zhang et al. 2025), with an
    exact data step: p(x0 | x) is approximated by N(denoise(x), r^2), 1 / r^2 = 1 / sigma^2 + 1 / sigma_data^2. Its product with
    the likelihood is Gaussian, and is sampled by perturbing both and solving (Papandreou & Yuille 2010). Before the first level
    sigma counts as infinite and the estimate as 0, so x starts from the data and the grid may begin at sigma near sigma_data.

    Args:
        sigma_data: standard deviation of the images' channels.
        iterations: of conjugate gradients.
    """
    A, y, sigma_y = problem.A, problem.y, problem.sigma_y
    back = A.adjoint(y)
    x0, variance = torch.zeros_like(x), torch.tensor(sigma_data**2)
    for sigma in sigmas:
        weight = data_weight(variance, sigma_y)
        perturbed = back + (variance / weight).sqrt() * A.adjoint(noise_like(y, x, noise))
        z = proximal(A, perturbed, x0 + variance.sqrt() * noise(x), weight, iterations)
        x = z + sigma * noise(x)
        yield x
        if sigma > 0:
            x0, variance = denoise(x, sigma, cond), 1 / (1 / sigma**2 + 1 / sigma_data**2)
