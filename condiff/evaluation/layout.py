"""Where things are: orientation and symmetry, which sets of features and patches do not know."""

import torch
import torch.nn.functional as F
from torch import Tensor

from condiff.evaluation.anatomy import edges
from condiff.evaluation.distances import PROJECTIONS
from condiff.evaluation.sets import flipped

WIDTH = 1.5  # of the Gaussian before edges are taken, pixels
COARSE, FINE = 16, 32  # cells a side, of layout and of symmetry


def layout(pixels: Tensor) -> Tensor:
    """Images [N, H, W] -> [N, axes]: how the edges' directions at each place differ front to back, on random axes.

    Turning an image upside down changes the sign of every projection. The axes are the same for every image and call.
    """
    odd = (_cells(pixels, COARSE) - _cells(flipped(pixels, 2), COARSE))[:, :, : COARSE // 2].flatten(1)
    axes = torch.randn(odd.shape[1], PROJECTIONS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return odd @ F.normalize(axes, dim=0)


def asymmetry(pixels: Tensor) -> Tensor:
    """Images [N, H, W] -> [N, 1]: how unlike the edges are to those of the left-right mirrored image.

    1 - correlation at the best sideways shift, because a head need not lie in the middle.
    """
    own, mirrored = _cells(pixels, FINE), _cells(flipped(pixels, 1), FINE)
    power = own.square().sum((1, 2, 3)).clamp(min=1e-9)
    shifts = range(-(FINE // 5), FINE // 5 + 1)
    likeness = torch.stack([(own * mirrored.roll(shift, -1)).sum((1, 2, 3)) / power for shift in shifts])
    return 1 - likeness.amax(0)[:, None]


def _cells(pixels: Tensor, side: int) -> Tensor:
    """The mean direction of the edges in each of side x side cells, [N, 2, side, side]."""
    return F.adaptive_avg_pool2d(edges(pixels.float(), WIDTH), side).double()
