"""Losses: functions that return one number per image [B].

Each takes ``(denoiser, x0, eps, sigma, cond, progress)``: clean images and standard normal noise [B, C, H, W],
noise levels [B], the condition [B, D] or None, and the share of the training that is over, from 0 to 1.
"""

from typing import Protocol

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoiser

MIN_SIGMA = 1e-4  # replaces 0, which has no logarithm


class Loss(Protocol):
    """Returns one number per image [B]."""

    def __call__(
        self, denoiser: Denoiser, x0: Tensor, eps: Tensor, sigma: Tensor, cond: Tensor | None, progress: float
    ) -> Tensor: ...


def denoising(denoiser: Denoiser, x0: Tensor, eps: Tensor, sigma: Tensor, cond: Tensor | None, progress: float) -> Tensor:
    """The network's own target with unit weight, `Denoiser.loss`: Ho et al. 2020, eq. 14, or Karras et al. 2022, eq. 8."""
    return denoiser.loss(x0, eps, sigma, cond)


def consistency(
    denoiser: Denoiser,
    x0: Tensor,
    eps: Tensor,
    sigma: Tensor,
    cond: Tensor | None,
    progress: float,
    stages: int = 8,
    huber: float = 0.03,
) -> Tensor:
    """Easy consistency tuning of a trained model, Geng et al. 2024: one estimate of x0 along each path of the noise.

    The estimate at sigma is trained to equal the estimate at a lower level r on the same path, through which no gradient flows:
    r = sigma (1 - n(sigma) / 2^stage) with n = 1 + 8 sigmoid(-sigma), section 3. In the first stage r is 0 or close to it, which
    is denoising; each stage halves the distance. Differences are those of the network's own target, with a pseudo-Huber norm
    (Song & Dhariwal 2024), which is robust to outliers.

    The weight differs from Geng et al.'s 1 / (sigma - r) = 2^stage / (sigma n(sigma)). Here it is 1 / c_out, which falls as
    1 / sigma below sigma_data and is constant above, so high levels weigh more than theirs. The factor 2^stage does not
    change Adam's steps unless gradients are clipped.

    Args:
        stages: number of halvings of the distance over the training.
        huber: c of the norm, in units of the target's standard deviation.
    """
    stage = min(int(progress * stages), stages - 1) + 1
    lower = sigma * (1 - (1 + 8 * torch.sigmoid(-sigma)) / 2**stage).clamp(min=0)
    with torch.no_grad():
        target = denoiser(_noised(x0, eps, lower), lower.clamp(min=MIN_SIGMA), cond)
        target = torch.where((lower > 0).view(-1, 1, 1, 1), target, x0)
    difference = denoiser(_noised(x0, eps, sigma), sigma, cond) - target
    _, c_out, _ = denoiser.parameterization(sigma)
    return (difference.square().mean(dim=(1, 2, 3)) / c_out**2 + huber**2).sqrt() - huber


def _noised(x0: Tensor, eps: Tensor, sigma: Tensor) -> Tensor:
    return x0 + sigma.view(-1, 1, 1, 1) * eps
