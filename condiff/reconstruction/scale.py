"""How bright the full scan would be, from the samples of an accelerated one.

A reconstruction is no good for this: where coils are few, its noise is amplified and outshines the head. What is well
determined is the energy in every band of k-space, for its samples stand for those that were left out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from condiff.mri.fourier import fit, ifft2c, rss

LARGEST = 5_000_000  # pixels that are sorted; of more a part


def brightness(kspace: Tensor, mask: Tensor, block: tuple[int, int], shape: tuple[int, int], quantile: float) -> float:
    """The ``quantile`` of the full scan's magnitudes over a volume, images of ``shape`` [H, W].

    Samples outside the calibration region are weighted such that every band keeps its energy. Detail along one axis is
    then partly misplaced, and bright structures that are thin along it are lost. As heads have as much detail along
    either axis, the area lost is that which a second loss, of the same weights along the other axis, costs.

    Args:
        kspace: [S, K, h, w] of white coils, noise of unit variance, pixels as high as wide.
        mask: [h, w].
        block: rows and columns of the calibration region.
    """
    weights = energy_weights(mask, block)
    again = weights * transposed(torch.where(extent(mask), weights, 1.0))
    once, twice = (_magnitudes(kspace, one, shape) for one in (weights, again))
    return _exceeded(once, twice, 1 - quantile)


def energy_weights(mask: Tensor, block: tuple[int, int]) -> Tensor:
    """[h, w]: the root of how many samples each sample stands for, 1 in the calibration region, 0 outside the mask.

    That number is the inverse of the local density: the share sampled of a window of about two samples' spacing each way.
    """
    inside = extent(mask)
    spacing = int(inside.sum() / mask.sum() + 0.5)
    side = 4 * (spacing // 2) + 1
    window = [min(side, 2 * ((n - 1) // 2) + 1) for n in mask.shape]
    sampled, whole = (F.avg_pool2d(part.float()[None], window, 1, [n // 2 for n in window])[0] for part in (mask, inside))
    centre = fit(torch.ones(block, device=mask.device), (mask.shape[0], mask.shape[1])) > 0
    return torch.where(centre, 1.0, (whole / sampled.clamp(min=1e-6)).sqrt()) * mask


def extent(mask: Tensor) -> Tensor:
    """[h, w]: true between the first and last sample of both axes; beyond, as in zero-padded edges, nothing was to be sampled."""
    inside = torch.ones_like(mask)
    for axis in (0, 1):
        sampled = mask.any(dim=1 - axis).int()
        between = (sampled.cumsum(0) > 0) & (sampled.flip(0).cumsum(0).flip(0) > 0)
        inside = inside & between.unsqueeze(1 - axis)
    return inside


def transposed(weights: Tensor) -> Tensor:
    """[h, w] -> [h, w]: at every spatial frequency the weight of that with its axes exchanged."""
    rows, cols = weights.shape
    row = ((torch.arange(cols) - cols // 2) * rows / cols).round().long() + rows // 2
    col = ((torch.arange(rows) - rows // 2) * cols / rows).round().long() + cols // 2
    return weights[row.clamp(0, rows - 1)[None, :], col.clamp(0, cols - 1)[:, None]]


def _magnitudes(kspace: Tensor, weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """Root sum of squares [S, H, W] of weighted k-space, with the noise of one coil instead of all."""
    noise = kspace.shape[1] * weights.square().mean() - 1
    return torch.stack([(fit(rss(ifft2c(weights * one)), shape).square() - noise).clamp(min=0).sqrt() for one in kspace])


def _exceeded(once: Tensor, twice: Tensor, share: float) -> float:
    """The value that 2 T_once - T_twice = ``share`` of the pixels exceed, T(v) the share brighter than v."""
    step = 1 + once.numel() // LARGEST
    once, twice = once.flatten()[::step], twice.flatten()[::step]
    values, order = torch.cat([once, twice]).sort(descending=True)
    area = torch.where(order < len(once), 2.0, -1.0).double().cumsum(0)
    return values[int((area >= share * len(once)).int().argmax())].item()
