"""Metrics of reconstructions: fastMRI's metrics of a volume, and the calibration of uncertainty."""

import torch.nn.functional as F
from torch import Tensor

WINDOW, K1, K2 = 7, 0.01, 0.03  # of SSIM (Wang et al. 2004), as in fastMRI and scikit-image


def nmse(target: Tensor, image: Tensor) -> float:
    """Normalized mean square error |target - image|^2 / |target|^2 of a volume [S, H, W]."""
    return ((target - image).square().sum() / target.square().sum()).item()


def psnr(target: Tensor, image: Tensor) -> float:
    """Peak signal-to-noise ratio in dB; the peak is the maximum of the target volume (Zbontar et al. 2018, section 5.2)."""
    return (10 * (target.max().square() / (target - image).square().mean()).log10()).item()


def ssim(target: Tensor, image: Tensor) -> float:
    """Structural similarity, mean over slices [S, H, W]: uniform windows of 7 x 7, sample covariances, range = target.max()."""
    c1, c2 = ((k * target.max()) ** 2 for k in (K1, K2))
    x, y = target[:, None].double(), image[:, None].double()

    def mean(a: Tensor) -> Tensor:
        return F.avg_pool2d(a, WINDOW, stride=1)

    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mx, my = mean(x), mean(y)
    vx, vy, vxy = (unbiased * (mean(a * b) - mean(a) * mean(b)) for a, b in ((x, x), (y, y), (x, y)))
    return ((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean().item()


def similarity(target: Tensor, image: Tensor) -> dict[str, float]:
    """NMSE, PSNR and SSIM of magnitudes [S, H, W]."""
    return {"nmse": nmse(target, image), "psnr": psnr(target, image), "ssim": ssim(target, image)}


def uncertainty_calibration(truth: Tensor, samples: Tensor, noise: float = 0.0) -> dict[str, float]:
    """The spread of K samples [K, ...] compared with the error of their mean, for real values ``truth`` [...].

    calibration_ratio: mean variance of the samples / mean squared error of their mean, where the error is corrected for the
    finite K; 1 is calibrated, less is overconfident. coverage_n: share of true values within n standard deviations of the mean,
    where the deviation includes that of a mean of K; a calibrated Gaussian has 0.683, 0.954 and 0.997.

    Args:
        noise: standard deviation of the truth's own noise, taken as independent.
    """
    mean, variance, k = samples.mean(dim=0), samples.var(dim=0), len(samples)
    error = (mean - truth).square()
    excess = error.mean() - variance.mean() / k - noise**2
    ratio = {"calibration_ratio": (variance.mean() / excess).item()} if excess > 0 else {}  # no error left to explain
    deviation = ((1 + 1 / k) * variance + noise**2).sqrt()
    return ratio | {f"coverage_{n}": (error.sqrt() < n * deviation).double().mean().item() for n in (1, 2, 3)}
