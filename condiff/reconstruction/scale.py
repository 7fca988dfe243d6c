"""The intensity scale of a full scan, estimated from an undersampled one.

A reconstruction does not give it: with few coils, amplified noise is brighter than the head. The energy in every band of k-space
is well determined, because the samples of a band stand for the omitted ones.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from condiff.mri.fourier import center_crop_or_pad, fft2c, ifft2c, rss

HIGH_SNR = 1e3  # noise is negligible
MAX_PIXELS = 5_000_000  # for a quantile; of more a part is used


def estimate_quantile(kspace: Tensor, mask: Tensor, block: tuple[int, int], shape: tuple[int, int], quantile: float) -> float:
    """An estimate of the ``quantile`` of the full scan's magnitudes over a volume, images of ``shape`` [H, W].

    Samples outside the calibration block are weighted such that every band keeps its energy. Thin bright structures are partly
    lost, so the estimate is too small, by the factor `bias`.

    Args:
        kspace: [S, K, h, w] of prewhitened coils with noise of unit variance, on square pixels.
        mask: [h, w].
        block: rows and columns of the calibration block.
    """
    weights = energy_weights(mask, block)
    noise = kspace.shape[1] * weights.square().mean() - 1  # one coil's noise remains
    images = [(center_crop_or_pad(rss(ifft2c(weights * coils)), shape).square() - noise).clamp(min=0).sqrt() for coils in kspace]
    return _quantile(torch.stack(images), quantile)


def bias(images: Tensor, mask: Tensor, block: tuple[int, int], quantile: float) -> float:
    """Ratio of `estimate_quantile` to the true quantile for images [N, H, W], with one coil and no noise.

    For samples of a prior it is the part of the scale that this mask hides in such heads.
    """
    kspace = (
        HIGH_SNR
        / _quantile(images.abs(), quantile)
        * fft2c(center_crop_or_pad(images, (mask.shape[0], mask.shape[1])))[:, None]
        * mask
    )
    return estimate_quantile(kspace, mask, block, (images.shape[1], images.shape[2]), quantile) / HIGH_SNR


def energy_weights(mask: Tensor, block: tuple[int, int]) -> Tensor:
    """Weights [h, w]: the square root of the number of points that each sample stands for.

    That number is 1 in the calibration block and 0 outside the mask. Elsewhere it is the inverse of the local sampling density,
    in a window of about two spacings to each side.
    """
    inside = extent(mask)
    spacing = int(inside.sum() / mask.sum() + 0.5)
    side = 4 * (spacing // 2) + 1
    window = [min(side, 2 * ((n - 1) // 2) + 1) for n in mask.shape]
    sampled, whole = (F.avg_pool2d(part.float()[None], window, 1, [n // 2 for n in window])[0] for part in (mask, inside))
    is_calibration = center_crop_or_pad(torch.ones(block, device=mask.device), (mask.shape[0], mask.shape[1])) > 0
    return torch.where(is_calibration, 1.0, (whole / sampled.clamp(min=1e-6)).sqrt()) * mask


def extent(mask: Tensor) -> Tensor:
    """Mask [h, w], true between the first and the last sample of both axes; zero-padded edges lie outside."""
    inside = torch.ones_like(mask)
    for axis in (0, 1):
        sampled = mask.any(dim=1 - axis).int()
        between = (sampled.cumsum(0) > 0) & (sampled.flip(0).cumsum(0).flip(0) > 0)
        inside = inside & between.unsqueeze(1 - axis)
    return inside


def _quantile(values: Tensor, quantile: float) -> float:
    return torch.quantile(values.flatten()[:: 1 + values.numel() // MAX_PIXELS], quantile).item()
