"""Where things are: orientation and symmetry, which sets of features and patches do not know."""

import torch
import torch.nn.functional as F
from torch import Tensor

from condiff.evaluation.anatomy import edge_directions
from condiff.evaluation.distances import PROJECTIONS
from condiff.evaluation.sets import mirror

BLUR_WIDTH = 1.5  # of the Gaussian before edges are taken, pixels
LAYOUT_CELLS, SYMMETRY_CELLS = 16, 32  # cells a side, of layout and of symmetry


def layout_projections(pixels: Tensor) -> Tensor:
    """Images [N, H, W] -> [N, axes]: how the edges' directions at each place differ front to back, on random axes.

    Turning an image upside down changes the sign of every projection. The axes are the same for every image and call.
    """
    odd = (_cell_means(pixels, LAYOUT_CELLS) - _cell_means(mirror(pixels, 2), LAYOUT_CELLS))[:, :, : LAYOUT_CELLS // 2].flatten(1)
    axes = torch.randn(odd.shape[1], PROJECTIONS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return odd @ F.normalize(axes, dim=0)


def asymmetry(pixels: Tensor) -> Tensor:
    """Images [N, H, W] -> [N, 1]: how unlike the edges are to those of the left-right mirrored image.

    1 - correlation at the best sideways shift, because a head need not lie in the middle.
    """
    original, mirrored = _cell_means(pixels, SYMMETRY_CELLS), _cell_means(mirror(pixels, 1), SYMMETRY_CELLS)
    power = original.square().sum((1, 2, 3)).clamp(min=1e-9)
    shifts = range(-(SYMMETRY_CELLS // 5), SYMMETRY_CELLS // 5 + 1)
    correlation = torch.stack([(original * mirrored.roll(shift, -1)).sum((1, 2, 3)) / power for shift in shifts])
    return 1 - correlation.amax(0)[:, None]


def _cell_means(pixels: Tensor, cells: int) -> Tensor:
    """The mean direction of the edges in each of side x side cells, [N, 2, side, side]."""
    return F.adaptive_avg_pool2d(edge_directions(pixels.float(), BLUR_WIDTH), cells).double()
