"""Likeness of anatomy whatever the contrast: directions of edges, half image by half image, after a rigid registration.

A tissue boundary lies at the same place in every contrast, though its sign and its height differ. Each pixel is
described by e = g^2 / (|g|^2 + eps^2), g the smoothed image's gradient as a complex number: its direction modulo
180 degrees, at doubled angle (normalised gradient fields, Haber & Modersitzki 2006). The likeness of two halves of an
image is the correlation of their edges at the best mirroring, rotation and shift; the most alike of the four halves
(left, right, front, back) counts, so an image of which half was copied is found too.

All training images are searched on a coarse grid of poses at half the resolution; the most alike of every contrast are
registered finely at full resolution.
"""

import math
from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from condiff.evaluation.features import SIDE, at_most
from condiff.evaluation.memorisation import Neighbours
from condiff.evaluation.sets import FLIPS, Images, flipped

SHORTLIST = 8  # training images of a contrast that are registered finely
COARSE_ANGLES, FINE_ANGLES = (-6, 0, 6), (-8, -4, 0, 4, 8)  # degrees
COARSE_WIDTH, FINE_WIDTH = 1.5, 0.7  # of the Gaussian that images are smoothed by, pixels
EDGE = 0.5  # eps over the mean gradient of an image: what is lower is no edge
REACH = 16  # the largest shift is this part of the side
QUERIES = 128  # in memory at once


class Anatomy:
    """Training images in the space of their edges; calling it finds the nearest of them.

    The distance is 1 - likeness over its mean among the shortlisted images of the same contrast, because contrasts
    that share few edges are alike to different degrees.
    """

    def __init__(self, training: Images):
        self.pixels = at_most(training.pixels, SIDE)
        kinds = training.contrast.unique()
        few = any((training.contrast == kind).sum() < SHORTLIST for kind in kinds)
        self.groups = [
            group.nonzero()[:, 0] for group in ([training.of(None)] if few else [training.contrast == kind for kind in kinds])
        ]

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Neighbours:
        """Images [N, H, W] -> their nearest training images."""
        found = [self._nearest(part) for part in at_most(pixels, SIDE).split(QUERIES)]
        return Neighbours(*map(torch.cat, zip(*found, strict=True)))

    def _nearest(self, queries: Tensor) -> tuple[Tensor, ...]:
        likeness, flips = self._coarse(queries)
        lists = [group[likeness[:, group].topk(min(SHORTLIST, len(group))).indices] for group in self.groups]
        result = []
        for query, *shortlists, flip in zip(queries, *lists, flips, strict=True):
            candidates = torch.cat(shortlists)
            apart = 1 - register(query, self.pixels[candidates], flip[candidates])
            parts = apart.split([len(part) for part in shortlists])
            relative = torch.cat([part / part.mean(0).clamp(min=1e-12) for part in parts]).amin(1)
            best = relative.argmin()
            result.append((relative[best].double(), candidates[best], flip[candidates[best]]))
        return tuple(map(torch.stack, zip(*result, strict=True)))

    def _coarse(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Likeness [N, M] to every training image, and the mirroring [N, M] at which it is that."""
        variants = [
            (flip, _units(_pooled(edges(rotated(flipped(queries, flip), angle), COARSE_WIDTH))))
            for flip, angle in product(FLIPS, COARSE_ANGLES)
        ]
        likeness, flips = [], []
        for part in self.pixels.split(1024):
            known = _pooled(edges(part, COARSE_WIDTH))
            best = known.new_full((len(queries), len(part)), -1.0)
            which = torch.zeros(best.shape, dtype=torch.long)
            shifts = [_units(known.roll(shift, (-2, -1))).transpose(1, 2) for shift in _shifts(known, 2)]
            for flip, variant in variants:
                for shifted in shifts:
                    value = torch.bmm(variant, shifted).amax(0)
                    which = torch.where(value > best, flip, which)
                    best = torch.maximum(best, value)
            likeness.append(best)
            flips.append(which)
        return torch.cat(likeness, 1), torch.cat(flips, 1)


def register(query: Tensor, candidates: Tensor, flips: Tensor) -> Tensor:
    """Likeness [M, 4] of each half of an image [H, W] to candidates [M, H, W], mirrored by ``flips`` [M], at the best pose."""
    result = torch.zeros(len(candidates), 4)
    known = _quarters(edges(candidates, FINE_WIDTH))  # [4, M, D]
    size = _halves(known.square().sum(-1))
    for flip in flips.unique().tolist():
        mine = (flips == flip).nonzero()[:, 0]
        turned = torch.cat([rotated(flipped(query[None], flip), angle) for angle in FINE_ANGLES])
        field = edges(turned, FINE_WIDTH)
        poses = _shifted(field)  # [4, P, D]
        norm = _halves(poses.square().sum(-1))[:, None] * size[:, mine, None]
        product = _halves(torch.bmm(known[:, mine], poses.transpose(1, 2)))
        result[mine] = (product / norm.sqrt().clamp(min=1e-6)).amax(2).T
    return result.clamp(max=1)


def edges(pixels: Tensor, width: float) -> Tensor:
    """Images [N, H, W] -> direction of the edges at doubled angle, [N, 2, H, W], of length at most 1."""
    smooth = blurred(pixels, width)
    down, right = torch.gradient(smooth, dim=(1, 2))
    power = down.square() + right.square()
    low = EDGE * power.sqrt().mean((1, 2), keepdim=True) + 1e-6
    return torch.stack([right.square() - down.square(), 2 * right * down], 1) / (power + low.square())[:, None]


def blurred(pixels: Tensor, width: float) -> Tensor:
    """Images [N, H, W] under a Gaussian of a standard deviation of ``width`` pixels."""
    reach = math.ceil(3 * width)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / width).square())
    kernel = kernel / kernel.sum()
    padded = F.pad(pixels[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[:, 0]


def rotated(pixels: Tensor, degrees: float) -> Tensor:
    """Images [N, H, W] turned about their middle."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    height, width = pixels.shape[-2:]
    matrix = torch.tensor([[cos, -sin * height / width, 0], [sin * width / height, cos, 0]]).expand(len(pixels), 2, 3)
    grid = F.affine_grid(matrix, [len(pixels), 1, height, width], align_corners=False)
    return F.grid_sample(pixels[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def _pooled(field: Tensor) -> Tensor:
    return F.avg_pool2d(field, 2)


def _shifts(field: Tensor, step: int) -> Iterator[tuple[int, int]]:
    reach = min(field.shape[-2:]) // REACH
    reach -= reach % step
    yield from product(range(-reach, reach + 1, step), repeat=2)


def _quarters(field: Tensor) -> Tensor:
    """[N, 2, H, W] -> [4, N, D]: the quarters of an image, row by row."""
    height, width = (size // 2 for size in field.shape[-2:])
    rows = field[..., :height, :], field[..., -height:, :]
    return torch.stack([part.flatten(1) for row in rows for part in (row[..., :width], row[..., -width:])])


def _shifted(field: Tensor) -> Tensor:
    """The quarters of [N, 2, H, W] under all shifts, [4, P, D], in one copy."""
    height, width = (size // 2 for size in field.shape[-2:])
    reach = min(field.shape[-2:]) // REACH
    around = F.pad(field, (reach,) * 4, mode="circular")
    views = [
        around[:, :, top:, left:].unfold(2, height, 1)[:, :, : 2 * reach + 1].unfold(3, width, 1)[:, :, :, : 2 * reach + 1]
        for top in (0, field.shape[-2] - height)
        for left in (0, field.shape[-1] - width)
    ]  # [N, 2, shifts, shifts, height, width]
    return torch.stack([view.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1) for view in views])


def _halves(quarters: Tensor) -> Tensor:
    """Sums over quarters [4, ...] -> over halves [4, ...]: left, right, back, front."""
    a, b, c, d = quarters
    return torch.stack([a + c, b + d, a + b, c + d])


def _units(field: Tensor) -> Tensor:
    """[N, 2, H, W] -> the halves as vectors of length 1, [4, N, D]."""
    a, b, c, d = _quarters(field)
    halves = (torch.cat(two, dim=1) for two in ((a, c), (b, d), (a, b), (c, d)))
    return torch.stack([F.normalize(half, dim=1) for half in halves])
