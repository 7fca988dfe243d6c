"""Likelihoods of Gaussian images, whose entropy is known exactly."""

import math

import mpmath
import pytest
import torch

from condiff.diffusion.likelihood import flow_bits, variational_bound
from condiff.diffusion.schedules import Geometric, Karras, LinearBeta

WIDTH = 2 / 255
MU = 0.2
STD = torch.linspace(0.2, 0.8, 64).view(1, 8, 8)  # of each pixel


def gaussian(x, sigma, cond=None):
    return (STD**2 * x + sigma**2 * MU) / (STD**2 + sigma**2)


def entropy():
    """Bits per dimension of the quantized image."""
    return ((2 * math.pi * math.e * STD**2).log() / 2).mean().item() / math.log(2) - math.log2(WIDTH)


@pytest.fixture
def images():
    torch.manual_seed(0)
    return MU + STD * torch.randn(400, 1, 8, 8)


def error_bar(bits):
    return 4 * bits.std().item() / len(bits) ** 0.5


def test_flow_is_the_entropy(images):
    bits = flow_bits(gaussian, images, Karras(0.002, 80.0).steps(160))
    assert bits.mean().item() == pytest.approx(entropy(), abs=error_bar(bits))
    assert error_bar(bits) < 0.03


def test_flow_is_the_density_image_by_image(images):
    """A diagonal Gaussian has a diagonal Jacobian, of which one Rademacher probe is exact."""
    z = (images - MU) / STD
    density = (-(z**2) / 2 - STD.log() - math.log(2 * math.pi) / 2).mean(dim=(1, 2, 3)) / math.log(2) + math.log2(WIDTH)
    bits = flow_bits(gaussian, images, Karras(0.002, 80.0).steps(160), noise=lambda x: torch.ones_like(x) * 1e-9)
    torch.testing.assert_close(bits, -density, rtol=0, atol=0.01)


def test_hutchinson_on_pixels_that_depend_on_each_other():
    """A correlated Gaussian's Jacobian is not diagonal: one probe is noisy there, and right on average."""
    mixing = torch.randn(16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 4 + 0.5 * torch.eye(16)
    covariance = mixing @ mixing.T + 0.05 * torch.eye(16)
    values, vectors = torch.linalg.eigh(covariance)

    def exact(x, sigma, cond=None):
        shrunk = vectors @ (values / (values + sigma.double() ** 2)).diag() @ vectors.T
        return (x.flatten(1) @ shrunk).view_as(x)

    torch.manual_seed(0)
    x = (torch.randn(2000, 16, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T).view(-1, 1, 4, 4)
    bits = flow_bits(exact, x, Karras(0.002, 80.0).steps(160))
    whole = (torch.logdet(covariance) + 16 * math.log(2 * math.pi * math.e)).item() / 2 / 16
    assert bits.mean().item() == pytest.approx(whole / math.log(2) - math.log2(WIDTH), abs=error_bar(bits) + 0.003)


def test_bound_is_the_entropy_in_many_steps(images):
    bits = variational_bound(gaussian, images, Geometric(0.02, 400.0).steps(3000)).total
    assert bits.mean().item() == pytest.approx(entropy(), abs=error_bar(bits) + 0.01)


@pytest.mark.parametrize("steps", [10, 50, 200])
def test_terms_of_the_bound(images, steps):
    """Each is (1/sigma_s^2 - 1/sigma_t^2) / 2 times the denoiser's error, sigma^2 STD^2 / (STD^2 + sigma^2)."""
    sigmas = Karras(0.01, 80.0).steps(steps)
    bound = variational_bound(gaussian, images, sigmas)
    upper, lower = (s.view(-1, 1, 1) for s in (sigmas[:-2], sigmas[1:-1]))
    error = (STD**2 * upper**2 / (STD**2 + upper**2)).mean(dim=(1, 2))
    expected = (lower**-2 - upper**-2).flatten() * error / 2 / math.log(2)
    assert bound.terms.shape == (400, steps - 1)
    torch.testing.assert_close(bound.terms.mean(0), expected, rtol=0.05, atol=1e-4)
    assert bound.total.mean() > entropy()


def test_parts_add_up(images):
    bound = variational_bound(gaussian, images, LinearBeta().steps(20))
    torch.testing.assert_close(bound.total, bound.prior + bound.terms.sum(1) + bound.reconstruction)


def test_prior_is_the_divergence_of_two_gaussians(images):
    from torch.distributions import Normal, kl_divergence

    sigmas = torch.tensor([3.0, 1.0, 0.0])
    left = 1 / (1 + sigmas[0] ** 2)
    expected = kl_divergence(Normal(left.sqrt() * images, (1 - left).sqrt()), Normal(0.0, 1.0)).mean(dim=(1, 2, 3)) / math.log(2)
    torch.testing.assert_close(variational_bound(gaussian, images, sigmas).prior, expected)


@pytest.mark.parametrize("width", [1e-3, 0.78, 5.0, 80.0])  # of a bin, in deviations of the decoder; 0.78 at sigma 0.01
def test_decoder_in_both_tails(width):
    """Against the difference of two distribution functions in 60 digits, for a mean that is up to 40 deviations off."""
    z, sigma = torch.tensor([0.0, 0.5, 3.0, 7.5, 10.0, 20.0, 40.0], dtype=torch.float64), WIDTH / width
    with mpmath.workdps(60):
        edges = [(mpmath.mpf(v) - mpmath.mpf(width) / 2, mpmath.mpf(v) + mpmath.mpf(width) / 2) for v in z.tolist()]
        expected = [float(-mpmath.log(mpmath.ncdf(-low) - mpmath.ncdf(-high), 2)) for low, high in edges]
    sigmas = torch.tensor([sigma, 0.0], dtype=torch.float64)
    for sign in (1, -1):
        images = sign * sigma * z.view(-1, 1, 1, 1)
        bits = variational_bound(lambda x, *_: torch.zeros_like(x), images, sigmas, width=WIDTH).reconstruction
        torch.testing.assert_close(bits, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)
