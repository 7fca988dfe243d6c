"""What is measured on the training images, against images whose statistics are known."""

import math

import pytest
import torch

from condiff.data.statistics import measure


@pytest.fixture(scope="module")
def images():
    """Periodic noise with a 1/f spectrum, about a mean of 0.6: [2000, 1, 8, 8]."""
    white = torch.randn(2000, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    f = torch.fft.fftfreq(8)
    return 0.6 + torch.fft.ifft2(torch.fft.fft2(white) * 0.2 / (f[:, None] ** 2 + f**2 + 0.01).sqrt()).real


def test_size_and_distance(images):
    found = measure(images)
    assert found.sigma_data == pytest.approx(math.sqrt(0.36 + images.var(dim=0).mean().item()), rel=0.02)
    assert found.sigma_max == pytest.approx(torch.pdist(images.flatten(1)).max().item(), rel=1e-3)


def test_levels_worth_learning_at(images):
    """A second implementation: the best linear denoiser from the covariance matrix of the pixels."""
    covariance = torch.cov(images.flatten(1).double().T)
    data, log_sigma = covariance.diagonal().mean(), torch.linspace(-9, 9, 200, dtype=torch.float64)
    eye, gains = torch.eye(64, dtype=torch.float64), []
    for noise in (2 * log_sigma).exp():
        error = (covariance - covariance @ torch.linalg.solve(covariance + noise * eye, covariance)).diagonal().mean()
        gains.append(1 - error * (1 / data + 1 / noise))
    weight = torch.stack(gains) / sum(gains)
    mean = (weight * log_sigma).sum()
    found = measure(images)
    assert found.log_sigma_mean == pytest.approx(mean.item(), abs=0.05)
    assert found.log_sigma_std == pytest.approx((weight * (log_sigma - mean) ** 2).sum().sqrt().item(), abs=0.05)


def test_follows_the_scale_of_the_images(images):
    once, times_e = measure(images), measure(math.e * images)
    assert times_e.log_sigma_mean == pytest.approx(once.log_sigma_mean + 1, abs=1e-3)
    assert times_e.log_sigma_std == pytest.approx(once.log_sigma_std, abs=1e-3)


def test_zero_filled_images_still_have_levels(images):
    """In empty k-space a denoiser gains at any level, however low; that is not worth learning."""
    spectrum = torch.fft.fft2(images)
    spectrum[..., 3:6] = 0
    found, whole = measure(torch.fft.ifft2(spectrum).real), measure(images)
    assert abs(found.log_sigma_mean - whole.log_sigma_mean) < 0.8
