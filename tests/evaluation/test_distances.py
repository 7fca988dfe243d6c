"""Distances against closed forms, point sets counted by hand, and images of known content."""

import math

import pytest
import torch

from condiff.evaluation.distances import (
    frechet_distance,
    kernel_distance,
    log_spectrum,
    patch_projections,
    phase_coherence,
    prdc,
    sliced_wasserstein,
    spectrum_distance,
)


def exactly(mean, covariance, n=400, seed=0):
    """Return points with exactly this sample mean and covariance."""
    x = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    return x @ torch.linalg.cholesky(covariance).T + mean


def test_features_that_are_not_finite_have_no_distance():
    """LAPACK would end the process."""
    features = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    assert math.isnan(frechet_distance(features, features.index_fill(0, torch.tensor([3]), math.nan)))


def test_frechet_of_two_known_gaussians():
    """Axis-aligned: |m|^2 + sum (s - t)^2 (Dowson & Landau 1982)."""
    s, t = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([1.5, 1.0, 0.5]).double()
    mean = torch.tensor([1.0, -2.0, 0.0]).double()
    a, b = exactly(mean, torch.diag(s**2)), exactly(torch.zeros(3).double(), torch.diag(t**2), seed=1)
    assert frechet_distance(a, b) == pytest.approx(5 + ((s - t) ** 2).sum().item(), abs=1e-9)


def test_frechet_of_gaussians_that_do_not_commute():
    """Against the same formula with symmetric square roots."""
    generator = torch.Generator().manual_seed(3)
    roots = [torch.randn(4, 4, generator=generator, dtype=torch.float64) for _ in range(2)]
    first, second = (root @ root.T + 0.1 * torch.eye(4) for root in roots)

    def sqrt(matrix):
        values, vectors = torch.linalg.eigh(matrix)
        return vectors * values.clamp(min=0).sqrt() @ vectors.T

    expected = (first + second - 2 * sqrt(sqrt(first) @ second @ sqrt(first))).trace().item()
    zero = torch.zeros(4).double()
    assert frechet_distance(exactly(zero, first), exactly(zero, second, seed=1)) == pytest.approx(expected, rel=1e-8)


def test_frechet_with_fewer_points_than_dimensions():
    """Finite, zero against itself, and independent of an offset that cancels the digits of second moments."""
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-5)
    shift = torch.full((40,), 1e6).double()
    assert frechet_distance(x + shift, x + shift + 1) == pytest.approx(40, rel=1e-6)


def test_kernel_is_the_unbiased_estimate():
    """Equal to a double loop over pairs, without the diagonal."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(6, 3, generator=generator, dtype=torch.float64) for _ in range(2))

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    n = len(x)
    within = sum(k(s[i], s[j]) for s in (x, y) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    across = sum(k(a, b) for a in x for b in y) / n**2
    assert kernel_distance(x, y) == pytest.approx((within - 2 * across).item(), rel=1e-10)


def test_prdc_counted_by_hand():
    """k = 1 on a line. Real 0, 1, 10 have radii 1, 1, 9; generated 0.5, 30, 31 have radii 29.5, 1, 1."""
    real, fake = (torch.tensor(points).double()[:, None] for points in ([0.0, 1.0, 10.0], [0.5, 30.0, 31.0]))
    result = prdc(fake, real, k=1)
    assert result["precision"] == pytest.approx(1 / 3)  # 0.5 lies in a real ball; 30 and 31 do not (10 + 9 = 19)
    assert result["recall"] == 1  # 0, 1 and 10 lie within 29.5 of 0.5
    assert result["density"] == pytest.approx((2 + 0 + 0) / 3)  # 0.5 is in the balls of 0 and 1, not (9.5 > 9) of 10
    assert result["coverage"] == pytest.approx(2 / 3)  # of 0 and 1


def test_prdc_of_a_set_against_itself():
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = prdc(x, x)
    assert result["precision"] == result["recall"] == result["coverage"] == 1
    assert prdc(x[:5], x[:5])["precision"] != prdc(x[:5], x[:5])["precision"]  # five points have no fifth neighbour: NaN


def test_too_few_is_nan_never_zero():
    one = torch.zeros(1, 3).double()
    assert math.isnan(frechet_distance(one, one)) and math.isnan(kernel_distance(one, one))


def test_spectrum_of_a_wave():
    """A wave of k cycles per side has all power on ring k; ten times the amplitude is 20 dB."""
    size, k = 32, 5
    wave = torch.cos(2 * math.pi * k * torch.arange(size).double() / size).expand(size, size)[None]
    result = log_spectrum(wave)[0]
    assert result.argmax() == k and (result.sort().values[-2] < result[k] - 100)
    assert spectrum_distance(log_spectrum(10 * wave)[:, k : k + 1], result[None, k : k + 1])["decibels"] == pytest.approx(
        20, abs=1e-6
    )


def test_white_noise_has_a_flat_spectrum():
    noise = torch.randn(200, 32, 32, generator=torch.Generator().manual_seed(0))
    power = (10 ** (log_spectrum(noise) / 10)).mean(0)
    assert power.numpy() == pytest.approx(1, abs=0.15)  # ring 0 is a single coefficient per image


def test_sliced_wasserstein_of_a_shift():
    """In one projection, W1 of a set and the same set moved by d is d; the unit is the reference's spread."""
    b = torch.randn(50, 1, 20, 1, generator=torch.Generator().manual_seed(0)).double()
    assert sliced_wasserstein(b + 3, b)["wasserstein"] == pytest.approx(3 / b.std().item(), rel=1e-6)
    assert sliced_wasserstein(b[torch.randperm(50)], b)["wasserstein"] == pytest.approx(0, abs=1e-12)


def test_patches_are_the_same_for_every_image_and_call():
    images = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    result = patch_projections(images)
    assert result.shape[:2] == (3, 3) and torch.equal(result[1:2], patch_projections(images[1:2]))
    assert patch_projections(torch.full((1, 64, 64), 0.5))[:, :-1].abs().max() < 1e-6  # a flat image has no fine detail


def test_phase_coherence_of_one_phase_and_of_noise():
    magnitude = torch.rand(3, 40, 40) + 0.5
    turned = torch.polar(magnitude, torch.full_like(magnitude, 2.0))
    torch.testing.assert_close(phase_coherence(turned), torch.ones(3))
    noise = torch.randn(20, 64, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    assert phase_coherence(noise).mean().item() == pytest.approx(1 / 3, abs=0.01)


def test_spectrum_of_complex_images_sees_phase():
    """A linear phase moves all the energy of a constant image to one frequency."""
    ramp = torch.polar(torch.ones(1, 32, 32), 2 * torch.pi * 8 * torch.arange(32.0).expand(1, 32, 32) / 32)
    assert log_spectrum(ramp)[0].argmax() == 8 and log_spectrum(ramp.abs())[0].argmax() == 0
