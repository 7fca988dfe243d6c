"""What the training images say about the noise to learn at: the numbers EDM's users have to guess."""

from dataclasses import dataclass

import torch
from torch import Tensor

NEGLIGIBLE = 0.01  # share of the images' deviation


@dataclass(frozen=True)
class Statistics:
    """Measured on training images, in the network's units.

    Attributes:
        sigma_data: root mean square; with it EDM's inputs and targets are of unit size (Karras et al. 2022, eq. 7).
        log_sigma_mean, log_sigma_std: of the noise levels worth learning at, P_mean and P_std there.
        sigma_max: largest distance between two images (Song & Ermon 2020, technique 1): noise of that size
            hides which of them it was added to.
    """

    sigma_data: float
    log_sigma_mean: float
    log_sigma_std: float
    sigma_max: float


def measure(images: Tensor) -> Statistics:
    """Statistics of images [N, C, H, W].

    The levels worth learning at are those where a denoiser can do better than nothing. Here it is the best
    linear one, Wiener's filter for the mean power spectrum of the images: over log sigma, what it gains of
    EDM's loss is a hump, whose mean and standard deviation are given.
    """
    deviation = images - images.mean(dim=0)
    power = torch.fft.fft2(deviation, norm="ortho").abs().square().mean(dim=0).flatten()
    power = power[power > NEGLIGIBLE**2 * power.mean()]  # of zero-filled k-space only what was measured
    data = power.mean()
    log_sigma = data.sqrt().log() + torch.linspace(-10, 10, 401)
    noise = (2 * log_sigma).exp()
    error = torch.stack([(power * n / (power + n)).mean() for n in noise])
    gain = (1 - error * (1 / data + 1 / noise)).clamp(min=1e-9)
    weight = gain / gain.sum()
    mean = (weight * log_sigma).sum()
    flat = images.flatten(1)
    return Statistics(
        sigma_data=images.square().mean().sqrt().item(),
        log_sigma_mean=mean.item(),
        log_sigma_std=(weight * (log_sigma - mean) ** 2).sum().sqrt().item(),
        sigma_max=torch.cdist(flat, flat).max().item(),
    )
