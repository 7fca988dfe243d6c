"""Langevin dynamics: steps along the score, (x0 - x) / sigma^2, plus noise."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.noise import Noise


@torch.no_grad()
def predictor_corrector(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    cond: Tensor | None = None,
    corrections: int = 1,
    snr: float = 0.16,
    project: Callable[[Tensor], Tensor] = lambda x: x,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Song et al. 2021, algorithms 2 and 4: a reverse-diffusion step, then Langevin steps at the next level.

    N (1 + corrections) - corrections evaluations: there is no correction at sigma = 0.

    Args:
        corrections: Langevin steps at each level.
        snr: r, which sets their length to 2 (r |z| / |score|)^2, per image.
        project: applied to x after every step of either kind.
    """
    for sigma, sigma_next in pairwise(sigmas):
        variance = sigma**2 - sigma_next**2
        x = x + variance / sigma**2 * (denoise(x, sigma, cond) - x)
        if sigma_next > 0:
            x = project(x + variance.sqrt() * noise(x))
            for _ in range(corrections):
                score, z = (denoise(x, sigma_next, cond) - x) / sigma_next**2, noise(x)
                length = 2 * (snr * _norm(z) / _norm(score)) ** 2
                x = project(x + length * score + (2 * length).sqrt() * z)
        else:
            x = project(x)
        yield x


@torch.no_grad()
def annealed_langevin(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    cond: Tensor | None = None,
    repeats: int = 3,
    step: float = 0.5,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Song & Ermon 2020, algorithm 1: x + alpha score + sqrt(2 alpha) z, ending in the denoised image.

    N * repeats + 1 evaluations. Their 2019 paper writes alpha / 2 for alpha.

    Args:
        repeats: T, the steps at each level.
        step: alpha / sigma^2, the same at every level: epsilon / sigma_L^2 there.
    """
    for sigma, sigma_next in pairwise(sigmas):
        for _ in range(repeats):
            x = x + step * (denoise(x, sigma, cond) - x) + (2 * step) ** 0.5 * sigma * noise(x)
        yield x if sigma_next > 0 else denoise(x, sigma, cond)


def _norm(x: Tensor) -> Tensor:
    """Returns the norm of each image, [B, 1, ...]."""
    return x.flatten(1).norm(dim=1).view(-1, *[1] * (x.dim() - 1))
