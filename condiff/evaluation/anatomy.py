"""Similarity of anatomy independent of contrast: edge directions of half images after rigid registration.

A tissue boundary lies at the same place in every contrast; only its sign and height differ. Each pixel is described by
e = g^2 / (|g|^2 + eps^2), where g is the gradient of the smoothed image as a complex number: the gradient's direction
modulo 180 degrees, at doubled angle (normalised gradient fields, Haber & Modersitzki 2006, MICCAI). The similarity of
two half images is the correlation of e at the best mirroring, rotation and shift. The most similar of the four halves
(left, right, front, back) counts, so a copy of half an image is found too.

The search has two stages: all training images on a coarse grid of poses at half resolution, then the most similar ones
of the most similar patients of every contrast on a fine grid at full resolution. The distance is relative to that of the
other patients: neighbouring slices of one patient are alike, and say nothing about others.
"""

import math
from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from condiff.evaluation.features import MAX_SIDE, downsample_to
from condiff.evaluation.memorization import Neighbors
from condiff.evaluation.sets import FLIPS, ImageSet, mirror

PATIENTS, IMAGES = 4, 4  # of each contrast that enter the second stage: patients, images of each
MIN_PATIENTS = 3  # of a contrast, to be searched by itself
COARSE_ANGLES, FINE_ANGLES = (-6, 0, 6), (-8, -4, 0, 4, 8)  # degrees
COARSE_WIDTH, FINE_WIDTH = 1.5, 0.7  # standard deviation of the Gaussian smoothing, pixels
EDGE_EPSILON = 0.5  # eps as a fraction of the mean gradient magnitude of an image: suppresses weaker gradients
SHIFT_DIVISOR = 16  # the largest shift is the side over this
QUERY_BATCH, TRAINING_BATCH = 128, 1024  # images in memory at once


class AnatomySearch:
    """Search for the training image with the most similar anatomy; call it with images.

    The distance is 1 - similarity, over its mean among the most similar images of other patients of the same contrast: the
    absolute value depends on how many edges two contrasts share. 1 is that of any patient, 0 a copy.

    Args:
        training: images to search. Contrasts of fewer than `MIN_PATIENTS` patients are searched together with all others.
    """

    def __init__(self, training: ImageSet):
        self.pixels = downsample_to(training.pixels, MAX_SIDE)
        several = len(training.patient.unique()) >= MIN_PATIENTS
        patient = training.patient if several else torch.arange(len(training))
        masks = [training.contrast == contrast for contrast in training.contrast.unique()]
        large = [mask for mask in masks if len(patient[mask].unique()) >= MIN_PATIENTS]
        rest = [training.of_contrast(None)] if len(large) < len(masks) else []
        self.groups = [_by_patient(patient, mask) for mask in large + rest]

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Neighbors:
        """Return the nearest training image of each of the magnitudes [N, H, W]."""
        neighbors = [self._nearest_in_batch(batch) for batch in downsample_to(pixels, MAX_SIDE).split(QUERY_BATCH)]
        return Neighbors(*map(torch.cat, zip(*neighbors, strict=True)))

    def _nearest_in_batch(self, queries: Tensor) -> tuple[Tensor, ...]:
        """Return the fields of `Neighbors`."""
        similarity, flips = self._coarse_similarity(queries)
        shortlists = [_shortlist(similarity, group) for group in self.groups]
        chosen = torch.cat([images.flatten() for images in shortlists]).unique()
        edges = torch.cat([edge_directions(batch, FINE_WIDTH) for batch in self.pixels[chosen].split(TRAINING_BATCH)])
        neighbors = []
        for query, *by_group, flip in zip(queries, *shortlists, flips, strict=True):
            candidates = torch.cat([images.flatten() for images in by_group])
            distances = 1 - register(query, edges[torch.searchsorted(chosen, candidates)], flip[candidates])
            parts = distances.split([images.numel() for images in by_group])
            relative = torch.cat(
                [_relative(part.unflatten(0, images.shape)) for part, images in zip(parts, by_group, strict=True)]
            )
            best = relative.argmin()
            neighbors.append((relative[best].double(), candidates[best], flip[candidates[best]]))
        return tuple(map(torch.stack, zip(*neighbors, strict=True)))

    def _coarse_similarity(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return the similarity [N, M] of N queries to all M training images, and the mirroring [N, M] that attains it."""
        variants = [
            (flip, _unit_halves(_pool(edge_directions(rotate(mirror(queries, flip), angle), COARSE_WIDTH))))
            for flip, angle in product(FLIPS, COARSE_ANGLES)
        ]
        similarity, flips = [], []
        for batch in self.pixels.split(TRAINING_BATCH):
            training_edges = _pool(edge_directions(batch, COARSE_WIDTH))
            best = training_edges.new_full((len(queries), len(batch)), -1.0)
            best_flip = torch.zeros(best.shape, dtype=torch.long)
            shifts = [_unit_halves(training_edges.roll(shift, (-2, -1))).transpose(1, 2) for shift in _shifts(training_edges, 2)]
            for flip, variant in variants:
                for shifted in shifts:
                    value = torch.bmm(variant, shifted).amax(0)
                    best_flip = torch.where(value > best, flip, best_flip)
                    best = torch.maximum(best, value)
            similarity.append(best)
            flips.append(best_flip)
        return torch.cat(similarity, 1), torch.cat(flips, 1)


def _by_patient(patient: Tensor, mask: Tensor) -> Tensor:
    """Return the images [P, L] of each patient under a mask; -1 where a patient has fewer than L."""
    numbers = patient[mask].unique()
    return pad_sequence([(mask & (patient == number)).nonzero()[:, 0] for number in numbers], batch_first=True, padding_value=-1)


def _shortlist(similarity: Tensor, group: Tensor) -> Tensor:
    """Return the most similar images [N, PATIENTS, IMAGES] of the most similar patients, from similarities [N, M]."""
    values = torch.where(group < 0, -2.0, similarity[:, group])  # [N, P, L]
    best, places = values.topk(min(IMAGES, group.shape[1]), dim=2)
    patients = best[..., 0].topk(min(PATIENTS, len(group)), dim=1).indices[..., None]
    images = group.expand(len(values), -1, -1).gather(2, places)
    images = torch.where(images < 0, images[..., :1], images)  # of a patient with one image
    return images.take_along_dim(patients, 1)


def _relative(distances: Tensor) -> Tensor:
    """Return the relative distances [P * K] of K images of P patients, from those of their halves [P, K, 4].

    The best half of an image counts, relative to the mean of the best images of the other patients in that half.
    """
    best = distances.amin(1)  # [P, 4]
    others = (best.sum(0) - best) / (len(best) - 1) if len(best) > 1 else best
    return (distances / others[:, None].clamp(min=1e-12)).amin(-1).flatten()


def register(query: Tensor, candidates: Tensor, flips: Tensor) -> Tensor:
    """Return the similarity [M, 4] of the four halves of an image [H, W] to those of candidates, as edge directions [M, 2, H, W].

    The image is mirrored by ``flips`` [M]; rotation and shift are the best ones of the fine grid.
    """
    similarity = torch.zeros(len(candidates), 4)
    candidate_quarters = _quarters(candidates)  # [4, M, D]
    candidate_power = _sum_halves(candidate_quarters.square().sum(-1))
    used = flips.unique().tolist()
    mirrored = torch.cat([mirror(query[None], flip) for flip in used]).repeat_interleave(len(FINE_ANGLES), 0)
    rotated = rotate(mirrored, torch.tensor(FINE_ANGLES).repeat(len(used)))
    for flip, query_edges in zip(used, edge_directions(rotated, FINE_WIDTH).split(len(FINE_ANGLES)), strict=True):
        indices = (flips == flip).nonzero()[:, 0]
        inner, power = _correlate(query_edges, candidate_quarters[:, indices])
        norm = _sum_halves(power)[:, None] * candidate_power[:, indices, None]
        similarity[indices] = (_sum_halves(inner) / norm.sqrt().clamp(min=1e-6)).amax(2).T
    return similarity.clamp(max=1)


def edge_directions(pixels: Tensor, width: float) -> Tensor:
    """Return the edge directions e [N, 2, H, W] of images [N, H, W], |e| <= 1, after smoothing with ``width`` pixels."""
    smooth = gaussian_blur(pixels, width)
    down, right = torch.gradient(smooth, dim=(1, 2))
    power = down.square() + right.square()
    low = EDGE_EPSILON * power.sqrt().mean((1, 2), keepdim=True) + 1e-6
    return torch.stack([right.square() - down.square(), 2 * right * down], 1) / (power + low.square())[:, None]


def gaussian_blur(pixels: Tensor, width: float) -> Tensor:
    """Return images [N, H, W] convolved with a Gaussian whose standard deviation is ``width`` pixels."""
    reach = math.ceil(3 * width)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / width).square())
    kernel = kernel / kernel.sum()
    padded = F.pad(pixels[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[:, 0]


def rotate(pixels: Tensor, degrees: float | Tensor) -> Tensor:
    """Return images [N, H, W] rotated about their centre, by an angle for all or one for each [N]."""
    radians = torch.as_tensor(degrees, dtype=torch.float64).deg2rad().expand(len(pixels))
    cos, sin = radians.cos(), radians.sin()
    height, width = pixels.shape[-2:]
    entries = [cos, -sin * height / width, 0 * cos, sin * width / height, cos, 0 * cos]
    matrix = torch.stack(entries, dim=1).unflatten(1, (2, 3)).to(pixels.dtype)
    grid = F.affine_grid(matrix, [len(pixels), 1, height, width], align_corners=False)
    return F.grid_sample(pixels[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def _pool(field: Tensor) -> Tensor:
    return F.avg_pool2d(field, 2)


def _shifts(field: Tensor, step: int) -> Iterator[tuple[int, int]]:
    reach = min(field.shape[-2:]) // SHIFT_DIVISOR
    reach -= reach % step
    yield from product(range(-reach, reach + 1, step), repeat=2)


def _quarters(field: Tensor) -> Tensor:
    """Return the quarters [4, N, D] of fields [N, 2, H, W], row by row."""
    height, width = (size // 2 for size in field.shape[-2:])
    rows = field[..., :height, :], field[..., -height:, :]
    return torch.stack([part.flatten(1) for row in rows for part in (row[..., :width], row[..., -width:])])


def _correlate(field: Tensor, quarters: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inner products [4, M, P] of quarters [4, M, D] with those of fields [N, 2, H, W] under all shifts.

    The second value is the power [4, P] of the shifted quarters; P is N times the number of shifts.
    """
    height, width = (size // 2 for size in field.shape[-2:])
    reach = min(field.shape[-2:]) // SHIFT_DIVISOR
    padded = F.pad(field, (reach,) * 4, mode="circular")
    inner, power = [], []
    for quarter, (top, left) in zip(quarters, product((0, field.shape[-2] - height), (0, field.shape[-1] - width)), strict=True):
        part = padded[:, :, top : top + height + 2 * reach, left : left + width + 2 * reach]
        shifted = part.unfold(2, height, 1).unfold(3, width, 1)  # [N, 2, shifts, shifts, height, width]
        inner.append(quarter @ shifted.permute(0, 2, 3, 1, 4, 5).reshape(-1, quarter.shape[1]).T)
        power.append(part.square().sum(1).unfold(1, height, 1).sum(-1).unfold(2, width, 1).sum(-1).flatten())
    return torch.stack(inner), torch.stack(power)


def _sum_halves(quarters: Tensor) -> Tensor:
    """Return sums over halves [4, ...] (left, right, back, front) from sums over quarters [4, ...]."""
    a, b, c, d = quarters
    return torch.stack([a + c, b + d, a + b, c + d])


def _unit_halves(field: Tensor) -> Tensor:
    """Return the halves of fields [N, 2, H, W] as unit vectors [4, N, D]."""
    a, b, c, d = _quarters(field)
    halves = (torch.cat(quarters, dim=1) for quarters in ((a, c), (b, d), (a, b), (c, d)))
    return torch.stack([F.normalize(half, dim=1) for half in halves])
