"""How bright the full scan would be, from the samples of an accelerated one.

A reconstruction is no good for this: where coils are few, its noise is amplified and outshines the head. What is well
determined is the energy in every band of k-space, for its samples stand for those that were left out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from condiff.mri.fourier import center_crop_or_pad, fft2c, ifft2c, rss

LOUD = 1e3  # signal to noise, as good as none
LARGEST = 5_000_000  # pixels that are sorted; of more a part


def brightness(kspace: Tensor, mask: Tensor, block: tuple[int, int], shape: tuple[int, int], quantile: float) -> float:
    """An estimate of the ``quantile`` of the full scan's magnitudes over a volume, images of ``shape`` [H, W].

    Samples outside the calibration region are weighted such that every band keeps its energy. What is bright and thin is
    partly lost: the estimate is too small, by `bias`.

    Args:
        kspace: [S, K, h, w] of white coils, noise of unit variance, pixels as high as wide.
        mask: [h, w].
        block: rows and columns of the calibration region.
    """
    weights = energy_weights(mask, block)
    noise = kspace.shape[1] * weights.square().mean() - 1  # of one coil stays instead of all
    images = [(center_crop_or_pad(rss(ifft2c(weights * one)), shape).square() - noise).clamp(min=0).sqrt() for one in kspace]
    return _quantile(torch.stack(images), quantile)


def bias(images: Tensor, mask: Tensor, block: tuple[int, int], quantile: float) -> float:
    """What `brightness` makes of images [N, H, W], a share of what it should: seen by one coil, without noise.

    Of samples of a prior it says how much of such heads the mask hides.
    """
    kspace = (
        LOUD
        / _quantile(images.abs(), quantile)
        * fft2c(center_crop_or_pad(images, (mask.shape[0], mask.shape[1])))[:, None]
        * mask
    )
    return brightness(kspace, mask, block, (images.shape[1], images.shape[2]), quantile) / LOUD


def energy_weights(mask: Tensor, block: tuple[int, int]) -> Tensor:
    """[h, w]: the root of how many samples each sample stands for, 1 in the calibration region, 0 outside the mask.

    That number is the inverse of the local density: the share sampled of a window of about two samples' spacing each way.
    """
    inside = extent(mask)
    spacing = int(inside.sum() / mask.sum() + 0.5)
    side = 4 * (spacing // 2) + 1
    window = [min(side, 2 * ((n - 1) // 2) + 1) for n in mask.shape]
    sampled, whole = (F.avg_pool2d(part.float()[None], window, 1, [n // 2 for n in window])[0] for part in (mask, inside))
    centre = center_crop_or_pad(torch.ones(block, device=mask.device), (mask.shape[0], mask.shape[1])) > 0
    return torch.where(centre, 1.0, (whole / sampled.clamp(min=1e-6)).sqrt()) * mask


def extent(mask: Tensor) -> Tensor:
    """[h, w]: true between the first and last sample of both axes; beyond, as in zero-padded edges, nothing was to be sampled."""
    inside = torch.ones_like(mask)
    for axis in (0, 1):
        sampled = mask.any(dim=1 - axis).int()
        between = (sampled.cumsum(0) > 0) & (sampled.flip(0).cumsum(0).flip(0) > 0)
        inside = inside & between.unsqueeze(1 - axis)
    return inside


def _quantile(values: Tensor, quantile: float) -> float:
    return torch.quantile(values.flatten()[:: 1 + values.numel() // LARGEST], quantile).item()
