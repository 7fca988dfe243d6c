"""Orientation and symmetry of an image, to which averaged features and patches are blind."""

import torch
import torch.nn.functional as F
from torch import Tensor

from condiff.evaluation.anatomy import edge_directions
from condiff.evaluation.distances import PROJECTIONS
from condiff.evaluation.sets import mirror

BLUR_WIDTH = 1.5  # standard deviation of the Gaussian smoothing before the gradient, pixels
LAYOUT_CELLS, SYMMETRY_CELLS = 16, 32  # cells per side


def layout_projections(pixels: Tensor) -> Tensor:
    """Return projections [N, axes] of the front-back odd part of the edge directions of images [N, H, W].

    Turning an image upside down changes the sign of every projection. The axes are random, and the same for every image
    and call.
    """
    odd = (_cell_means(pixels, LAYOUT_CELLS) - _cell_means(mirror(pixels, 2), LAYOUT_CELLS))[:, :, : LAYOUT_CELLS // 2].flatten(1)
    axes = torch.randn(odd.shape[1], PROJECTIONS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return odd @ F.normalize(axes, dim=0)


def asymmetry(pixels: Tensor) -> Tensor:
    """Return the left-right asymmetry [N, 1] of images [N, H, W].

    1 - correlation of the edge directions with those of the mirrored image, at the best left-right shift: a head need not
    be centred.
    """
    original, mirrored = _cell_means(pixels, SYMMETRY_CELLS), _cell_means(mirror(pixels, 1), SYMMETRY_CELLS)
    power = original.square().sum((1, 2, 3)).clamp(min=1e-9)
    shifts = range(-(SYMMETRY_CELLS // 5), SYMMETRY_CELLS // 5 + 1)
    correlation = torch.stack([(original * mirrored.roll(shift, -1)).sum((1, 2, 3)) / power for shift in shifts])
    return 1 - correlation.amax(0)[:, None]


def _cell_means(pixels: Tensor, cells: int) -> Tensor:
    """Return the mean edge direction [N, 2, cells, cells] in each of cells x cells cells of images [N, H, W]."""
    return F.adaptive_avg_pool2d(edge_directions(pixels.float(), BLUR_WIDTH), cells).double()
