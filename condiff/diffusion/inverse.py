"""Inverse problems, y = A(x0) + noise, with a denoiser as the prior: generators that walk x down a grid of noise levels.

Each takes ``denoise(x, sigma, cond)``, a start ``x`` [B, C, H, W] of noise at ``sigmas[0]``, the decreasing grid ``sigmas``
[N + 1] whose last is 0, as samplers do, and besides them the operator A, the measurement y and the standard deviation
``sigma_y`` of its noise, in each real component of y as sigma is in each channel of x. Each yields x after every step; the
last is the answer. y may be complex, and may be one for the whole batch, [1, ...].
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.noise import Noise
from condiff.diffusion.samplers import predictor_corrector

STIFFEST = 1e4  # condition number that conjugate gradients are asked to cope with: at more noise y counts as noisier than it is


class LinearOperator(Protocol):
    """A measurement and its adjoint: Re <A x, y> = <x, A* y>."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def adjoint(self, y: Tensor) -> Tensor: ...


Method = Callable[..., Iterator[Tensor]]
_residuals: ContextVar[list[Tensor] | None] = ContextVar("_residuals", default=None)


@contextmanager
def recorded_residuals() -> Iterator[list[Tensor]]:
    """Relative residuals |b - M x| / |b| that `conjugate_gradients` ended with inside the block, [B] each, in their order."""
    residuals: list[Tensor] = []
    token = _residuals.set(residuals)
    try:
        yield residuals
    finally:
        _residuals.reset(token)


def conjugate_gradients(
    matrix: Callable[[Tensor], Tensor], b: Tensor, x: Tensor, iterations: int, tolerance: float = 1e-4
) -> Tensor:
    """Solve M x = b for a symmetric positive M, from a first guess x [B, ...] (Hestenes & Stiefel 1952).

    Inner products are real and of each image alone, so that neighbours in a batch do not matter; an image whose residual
    is ``tolerance`` of |b| stands still.
    """
    r = b - matrix(x)
    p, rr, enough = r, _dot(r, r), tolerance**2 * _dot(b, b)
    for _ in range(iterations):
        going = rr > enough
        if not going.any():
            break
        q = matrix(p)
        alpha = torch.where(going, rr / _dot(p, q).clamp(min=1e-30), 0)
        x, r = x + alpha * p, r - alpha * q
        before, rr = rr, _dot(r, r)
        p = r + rr / before.clamp(min=1e-30) * p
    if (residuals := _residuals.get()) is not None:
        residuals.append((rr / _dot(b, b).clamp(min=1e-30)).sqrt().flatten())
    return x


def proximal(A: LinearOperator, back: Tensor, centre: Tensor, weight: Tensor | float, iterations: int) -> Tensor:
    """argmin_z |z - centre|^2 + weight |A z - y|^2, with ``back`` = A* y: (1 + weight A* A) z = centre + weight A* y.

    The first guess is ``centre``; where that holds a perturbation, so does the answer, however few the iterations.
    """
    return conjugate_gradients(lambda z: z + weight * A.adjoint(A(z)), centre + weight * back, centre, iterations)


@torch.no_grad()
def dds(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    A: LinearOperator,
    y: Tensor,
    sigma_y: float,
    cond: Tensor | None = None,
    trust: float = 1.0,
    eta: float = 0.85,
    iterations: int = 10,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Decomposed diffusion sampling (Chung et al. 2024): each estimate of x0 is made to agree with the data, then noised again.

    One evaluation a step. Their fixed weight of the data is replaced by one that follows the noise, as in DiffPIR (Zhu et
    al. 2023, eq. 12): the estimate is trusted as if its variance were sigma^2 / trust.

    Args:
        trust: lambda.
        eta: share of the noise that is new at every step.
        iterations: of conjugate gradients.
    """
    back = A.adjoint(y)
    for sigma, sigma_next in pairwise(sigmas):
        x0 = denoise(x, sigma, cond)
        z = proximal(A, back, x0, _weight(sigma**2 / trust, sigma_y), iterations)
        x = z + sigma_next * ((1 - eta**2) ** 0.5 * (x - x0) / sigma + eta * noise(x))
        yield x


@torch.no_grad()
def posterior(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    A: LinearOperator,
    y: Tensor,
    sigma_y: float,
    cond: Tensor | None = None,
    sigma_data: float = 0.5,
    iterations: int = 10,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Samples of p(x0 | y): at every level the proximal step is drawn instead of minimised, and all noise is new.

    One evaluation a step. Split Gibbs sampling (Vono et al. 2019) down the levels, as in DAPS (Zhang et al. 2025), with the data
    step exact: p(x0 | x) is taken for N(denoise(x), r^2), 1 / r^2 = 1 / sigma^2 + 1 / sigma_data^2, and its product with the
    likelihood, a Gaussian too, is drawn by perturbing both and solving (Papandreou & Yuille 2010). Before the first level
    sigma is infinite and the estimate 0: x starts from the data, and the grid may begin at sigma of the order of sigma_data.

    Args:
        sigma_data: standard deviation of the images' channels.
        iterations: of conjugate gradients.
    """
    back = A.adjoint(y)
    x0, variance = torch.zeros_like(x), torch.tensor(sigma_data**2)
    for sigma in sigmas:
        weight = _weight(variance, sigma_y)
        perturbed = back + (variance / weight).sqrt() * A.adjoint(_like(y, x, noise))
        z = proximal(A, perturbed, x0 + variance.sqrt() * noise(x), weight, iterations)
        x = z + sigma * noise(x)
        yield x
        if sigma > 0:
            x0, variance = denoise(x, sigma, cond), 1 / (1 / sigma**2 + 1 / sigma_data**2)


@torch.no_grad()
def pula(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    A: LinearOperator,
    y: Tensor,
    sigma_y: float,
    cond: Tensor | None = None,
    repeats: int = 4,
    step: float = 0.5,
    iterations: int = 10,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Preconditioned unadjusted Langevin (Blumenthal et al. 2025), the exact likelihood at every level: the reference.

    x + step M g + sqrt(2 step) M^(1/2) n, g the gradient of log p(y | x) p_sigma(x), M = (A* A / sigma_y^2 + 1 / sigma^2)^-1.
    N repeats evaluations.

    Args:
        repeats: steps at each level.
        iterations: of conjugate gradients.
    """
    back = A.adjoint(y)
    weight = _weight(sigmas[0] ** 2, sigma_y)
    x = proximal(A, back + sigmas[0] / weight.sqrt() * A.adjoint(_like(y, x, noise)), x, weight, iterations)
    for sigma in sigmas[:-1]:
        weight = _weight(sigma**2, sigma_y)
        for _ in range(repeats):
            data = weight * (back - A.adjoint(A(x))) * step
            data = data + (2 * step * weight).sqrt() * sigma * A.adjoint(_like(y, x, noise))
            prior = step * (denoise(x, sigma, cond) - x) + (2 * step) ** 0.5 * sigma * noise(x)
            x = x + proximal(A, data / weight, prior, weight, iterations)
        yield x


def dps(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    A: LinearOperator,
    y: Tensor,
    sigma_y: float,
    cond: Tensor | None = None,
    zeta: float = 1.0,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Diffusion posterior sampling (Chung et al. 2023), algorithm 1: DDPM's step less zeta grad |y - A denoise(x)|, not squared.

    One evaluation a step and one backward pass through the network; sigma_y is not used.

    Args:
        zeta: for images of variance one; the write-ups scan it over decades.
    """
    for sigma, sigma_next in pairwise(sigmas):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x0 = denoise(x, sigma, cond)
            gradient = torch.autograd.grad((y - A(x0)).abs().square().flatten(1).sum(1).sqrt().sum(), x)[0]
        x, x0 = x.detach(), x0.detach()
        sigma_up = sigma_next * (1 - (sigma_next / sigma) ** 2).clamp(min=0).sqrt()
        scale = ((1 + sigma_next**2) * (1 + sigma**2)).sqrt()  # step and gradient are those of x / sqrt(1 + sigma^2)
        x = x0 + (sigma_next / sigma) ** 2 * (x - x0) + sigma_up * noise(x) - zeta * scale * gradient
        yield x


def score_mri(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    A: LinearOperator,
    y: Tensor,
    sigma_y: float,
    cond: Tensor | None = None,
    corrections: int = 1,
    snr: float = 0.16,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Score-MRI (Chung & Ye 2022), algorithm 2: predictor and corrector, after each of which the data are put back.

    x - A*(A x - y), which for one coil replaces what was measured; the data count as free of noise.
    """
    back = A.adjoint(y)
    yield from predictor_corrector(
        denoise, x, sigmas, cond, corrections, snr, project=lambda x: x + back - A.adjoint(A(x)), noise=noise
    )


@torch.no_grad()
def csgm(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    A: LinearOperator,
    y: Tensor,
    sigma_y: float,
    cond: Tensor | None = None,
    repeats: int = 3,
    step: float = 0.5,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Annealed Langevin dynamics (Jalal et al. 2021) with the exact likelihood: x + eta (score + A*(y - A x) / sigma_y^2) + ...

    Stable because eta = step / (1 / sigma^2 + 1 / sigma_y^2), for |A| = 1; what was not measured then moves slowly at
    high noise, which is why it needs thousands of levels. N repeats + 1 evaluations.
    """
    back = A.adjoint(y)
    for sigma, sigma_next in pairwise(sigmas):
        eta = step / (1 / sigma**2 + 1 / sigma_y**2)
        for _ in range(repeats):
            gradient = (denoise(x, sigma, cond) - x) / sigma**2 + (back - A.adjoint(A(x))) / sigma_y**2
            x = x + eta * gradient + (2 * eta).sqrt() * noise(x)
        yield x if sigma_next > 0 else denoise(x, sigma, cond)


@torch.no_grad()
def csgm_normalised(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    A: LinearOperator,
    y: Tensor,
    sigma_y: float,
    cond: Tensor | None = None,
    repeats: int = 3,
    step: float = 0.05,
    share: float = 5.0,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """As its authors' programs have it: the data's gradient is given ``share`` times the length of the score.

    Its length then says nothing of the noise, and sigma_y is not used. N repeats + 1 evaluations.

    Args:
        step: eta / sigma^2.
    """
    back = A.adjoint(y)
    for sigma, sigma_next in pairwise(sigmas):
        for _ in range(repeats):
            score, data = (denoise(x, sigma, cond) - x) / sigma**2, back - A.adjoint(A(x))
            data = share * (_dot(score, score) / _dot(data, data).clamp(min=1e-30)).sqrt() * data
            x = x + step * sigma**2 * (score + data) + (2 * step) ** 0.5 * sigma * noise(x)
        yield x if sigma_next > 0 else denoise(x, sigma, cond)


@torch.no_grad()
def sense(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    A: LinearOperator,
    y: Tensor,
    sigma_y: float,
    cond: Tensor | None = None,
    sigma_data: float = 0.5,
    iterations: int = 30,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """CG-SENSE (Pruessmann et al. 2001), damped by a white prior of variance sigma_data^2. No network is asked."""
    yield proximal(A, A.adjoint(y), torch.zeros_like(x), _weight(torch.tensor(sigma_data**2), sigma_y), iterations)


@torch.no_grad()
def zero_filled(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    A: LinearOperator,
    y: Tensor,
    sigma_y: float,
    cond: Tensor | None = None,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """A* y: what was not measured is zero. No network is asked."""
    yield A.adjoint(y).expand_as(x)


def _weight(variance: Tensor, sigma_y: float) -> Tensor:
    """Of the data against an estimate of that variance."""
    return (variance / sigma_y**2).clamp(max=STIFFEST)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Of each image, [B, 1, ...]."""
    return (a * b).flatten(1).sum(dim=1).view(-1, *[1] * (a.dim() - 1))


def _like(y: Tensor, x: Tensor, noise: Noise) -> Tensor:
    """Noise of the shape of y, for every image of x, with unit deviation in each real component."""
    y = y.expand(len(x), *y.shape[1:])
    return torch.view_as_complex(noise(torch.view_as_real(y))) if y.is_complex() else noise(y)
