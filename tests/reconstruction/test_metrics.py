"""FastMRI's measures against loops over their definitions, and uncertainty against draws whose uncertainty is known."""

import pytest
import torch

from condiff.reconstruction.metrics import nmse, psnr, ssim, uncertainty_calibration


def volume(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_nmse_and_psnr_by_definition():
    target, image = volume(0, 3, 12, 12), volume(1, 3, 12, 12)
    error = sum(float((a - b) ** 2) for a, b in zip(target.flatten(), image.flatten(), strict=True))
    assert nmse(target, image) == pytest.approx(error / float((target**2).sum()))
    peak = max(target.flatten().tolist())
    assert psnr(target, image) == pytest.approx(10 * torch.tensor(peak**2 / (error / target.numel())).log10().item(), rel=1e-6)


def test_ssim_by_definition():
    """Window by window, with means, sample covariances, and the volume's maximum as the range."""
    target, image = volume(0, 2, 11, 10), volume(1, 2, 11, 10)
    c1, c2 = (0.01 * target.max()) ** 2, (0.03 * target.max()) ** 2
    found = []
    for x, y in zip(target, image, strict=True):
        for i in range(x.shape[0] - 6):
            for j in range(x.shape[1] - 6):
                a, b = x[i : i + 7, j : j + 7].flatten(), y[i : i + 7, j : j + 7].flatten()
                covariance = torch.cov(torch.stack([a, b]))
                top = (2 * a.mean() * b.mean() + c1) * (2 * covariance[0, 1] + c2)
                found.append(top / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)))
    assert ssim(target, image) == pytest.approx(torch.stack(found).mean().item(), rel=1e-9)
    assert ssim(target, target) == pytest.approx(1.0)


@pytest.mark.parametrize(("claimed", "ratio", "covered"), [(1.0, 1.0, 0.683), (0.5, 0.25, 0.383), (2.0, 4.0, 0.954)])
def test_calibration_of_known_draws(claimed, ratio, covered):
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(20000, generator=generator)
    truth = mean + torch.randn(20000, generator=generator)
    samples = mean + claimed * torch.randn(64, 20000, generator=generator)
    found = uncertainty_calibration(truth, samples)
    assert found["calibration_ratio"] == pytest.approx(ratio, rel=0.05)
    assert found["coverage_1"] == pytest.approx(covered, abs=0.015)


def test_noise_of_the_truth_is_counted():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(20000, generator=generator)
    samples = torch.randn(64, 20000, generator=generator)
    found = uncertainty_calibration(truth + 2 * torch.randn(20000, generator=generator), samples, noise=2.0)
    assert found["calibration_ratio"] == pytest.approx(1.0, rel=0.15)
    assert found["coverage_2"] == pytest.approx(0.954, abs=0.01)
