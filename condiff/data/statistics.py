"""Statistics of the training images that suggest the noise levels of the training, which users of EDM otherwise guess."""

from dataclasses import dataclass

import torch
from torch import Tensor

NEGLIGIBLE = 0.01  # share of the images' deviation


@dataclass(frozen=True)
class Statistics:
    """Statistics in the network's units.

    Attributes:
        sigma_data: root mean square; EDM scales its inputs and targets by it to unit size (Karras et al. 2022, eq. 7).
        log_sigma_mean, log_sigma_std: P_mean and P_std of the noise levels to train at, as suggested by `measure`.
        sigma_max: largest distance between two images (Song & Ermon 2020, technique 1): noise of that size
            hides which of them it was added to.
    """

    sigma_data: float
    log_sigma_mean: float
    log_sigma_std: float
    sigma_max: float


def measure(images: Tensor) -> Statistics:
    """Statistics of images [N, C, H, W].

    The noise levels to train at are those where a denoiser reduces EDM's loss. The denoiser here is the best linear one, the
    Wiener filter for the mean power spectrum of the images. Its gain as a function of log sigma has one maximum; the mean and the
    standard deviation of that curve are returned.
    """
    deviation = images - images.mean(dim=0)
    power = torch.fft.fft2(deviation, norm="ortho").abs().square().mean(dim=0).flatten()
    power = power[power > NEGLIGIBLE**2 * power.mean()]  # leaves out zero-filled k-space
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
