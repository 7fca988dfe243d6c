"""How good reconstructions are: fastMRI's measures of a volume, and whether uncertainty is what it claims to be."""

import torch.nn.functional as F
from torch import Tensor

WINDOW, K1, K2 = 7, 0.01, 0.03  # of SSIM (Wang et al. 2004), as fastMRI and scikit-image have them


def nmse(target: Tensor, image: Tensor) -> float:
    """|target - image|^2 / |target|^2 over a volume [S, H, W]."""
    return ((target - image).square().sum() / target.square().sum()).item()


def psnr(target: Tensor, image: Tensor) -> float:
    """dB; peak is the maximum of the target volume (Zbontar et al. 2018, section 5.2)."""
    return (10 * (target.max().square() / (target - image).square().mean()).log10()).item()


def ssim(target: Tensor, image: Tensor) -> float:
    """Mean over slices [S, H, W]; uniform windows of 7 x 7 inside the image, sample covariances, range the volume's maximum."""
    c1, c2 = ((k * target.max()) ** 2 for k in (K1, K2))
    x, y = target[:, None].double(), image[:, None].double()

    def mean(a: Tensor) -> Tensor:
        return F.avg_pool2d(a, WINDOW, stride=1)

    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mx, my = mean(x), mean(y)
    vx, vy, vxy = (unbiased * (mean(a * b) - mean(a) * mean(b)) for a, b in ((x, x), (y, y), (x, y)))
    return ((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean().item()


def similarity(target: Tensor, image: Tensor) -> dict[str, float]:
    """All three of magnitudes [S, H, W]."""
    return {"nmse": nmse(target, image), "psnr": psnr(target, image), "ssim": ssim(target, image)}


def calibration(truth: Tensor, samples: Tensor, noise: float = 0.0) -> dict[str, float]:
    """What K samples [K, ...] claim of the error of their mean, against the error itself; real numbers, as ``truth`` [...].

    calibration_ratio: mean variance of the samples over the mean squared error of their mean, less what K samples leave in
    it; 1 is right, less is overconfident. coverage_k: share of truths within k deviations of the mean, the uncertainty of
    the mean of K counted; 0.683, 0.954 and 0.997 are right for a Gaussian.

    Args:
        noise: standard deviation of the noise that the truth itself has, taken for independent.
    """
    mean, variance, k = samples.mean(dim=0), samples.var(dim=0), len(samples)
    error = (mean - truth).square()
    excess = error.mean() - variance.mean() / k - noise**2
    found = {"calibration_ratio": (variance.mean() / excess).item()} if excess > 0 else {}  # no error left to explain
    deviation = ((1 + 1 / k) * variance + noise**2).sqrt()
    return found | {f"coverage_{n}": (error.sqrt() < n * deviation).double().mean().item() for n in (1, 2, 3)}
