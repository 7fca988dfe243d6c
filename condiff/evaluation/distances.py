"""Distances between two sets of images; every one is of equal sets, so that its bias is that of its floor.

A set is known by a summary of each image, [N, D]; the distances take two summaries, the candidate's and
the reference's, in double precision. What cannot be computed is NaN.
"""

import math
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

NEIGHBORS = 5  # Naeem et al. 2020
PATCH_SIZE, PATCHES_PER_LEVEL, PROJECTIONS = 7, 64, 32  # of each level of an image; 7 x 7 as Karras et al. 2018

DistanceFunction = Callable[[Tensor, Tensor], dict[str, float]]


class _PrecomputedFeatures(nn.Identity):
    """Features for torchmetrics that are there already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features


def frechet_distance(candidate: Tensor, reference: Tensor) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of features [N, D] (Heusel et al. 2017).

    With N < D the covariances are singular: the distance is still that of two (flat) Gaussians, and too
    large by as much as it is between two real sets of that size.
    """
    finite = candidate.isfinite().all() and reference.isfinite().all()  # MKL dies of what is not finite
    if min(len(candidate), len(reference)) < 2 or not finite:
        return math.nan
    metric = FrechetInceptionDistance(_PrecomputedFeatures(candidate.shape[1]), sync_on_compute=False)  # one process judges alone
    center = reference.mean(0)  # second moments about zero would lose digits
    metric.update(reference - center, real=True)
    metric.update(candidate - center, real=False)
    return max(metric.compute().item(), 0.0)


def kernel_distance(candidate: Tensor, reference: Tensor) -> float:
    """KID: squared maximum mean discrepancy of features [N, D] under a cubic kernel, unbiased (Bińkowski et al. 2018)."""
    n = min(len(candidate), len(reference))
    if n < 2:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the features it keeps
        features = _PrecomputedFeatures(candidate.shape[1])
        metric = KernelInceptionDistance(features, subsets=1, subset_size=n, sync_on_compute=False)
    metric.update(reference, real=True)
    metric.update(candidate, real=False)
    with torch.random.fork_rng(devices=[]):  # it draws the order of summation: always the same
        torch.manual_seed(0)
        return metric.compute()[0].item()


def prdc(candidate: Tensor, reference: Tensor, k: int = NEIGHBORS) -> dict[str, float]:
    """Precision, recall (Kynkäänniemi et al. 2019), density, coverage (Naeem et al. 2020) of a against the real b, [N, D]."""
    if min(len(candidate), len(reference)) <= k:
        return dict.fromkeys(("precision", "recall", "density", "coverage"), math.nan)
    distances = torch.cdist(reference, candidate)  # [real, fake]
    candidate_radius, reference_radius = (
        torch.cdist(features, features).kthvalue(k + 1, dim=1).values  # the nearest is itself
        for features in (candidate, reference)
    )
    in_real = distances <= reference_radius[:, None]
    return {
        "precision": in_real.any(0).double().mean().item(),
        "recall": (distances <= candidate_radius).any(1).double().mean().item(),
        "density": in_real.double().sum(0).mean().item() / k,
        "coverage": in_real.any(1).double().mean().item(),
    }


def feature_distances(candidate: Tensor, reference: Tensor) -> dict[str, float]:
    """All that is measured in a feature space."""
    return {
        "frechet": frechet_distance(candidate, reference),
        "kid": kernel_distance(candidate, reference),
        **prdc(candidate, reference),
    }


def log_spectrum(pixels: Tensor) -> Tensor:
    """Images [N, H, W], real or complex -> [N, H // 2] mean power on rings of equal spatial frequency, in decibels."""
    size = pixels.shape[-2:]
    ky, kx = (torch.fft.fftfreq(n, dtype=torch.float64) for n in size)
    bins = min(size) // 2
    ring = (torch.hypot(ky[:, None], kx) * 2 * bins).round().long().flatten()
    inside = ring < bins
    pixels = pixels.to(torch.complex128)
    power = torch.fft.fft2(pixels, norm="ortho").abs().square().flatten(1)[:, inside]
    ring_sum = torch.zeros(len(pixels), bins, dtype=torch.float64).index_add_(1, ring[inside], power)
    return 10 * (ring_sum / torch.bincount(ring[inside], minlength=bins) + 1e-12).log10()


def phase_coherence(images: Tensor) -> Tensor:
    """Complex images [N, H, W] -> [N]: how nearly neighbours share their phase, 1 where they do, 1/3 in noise.

    Over all windows of 3 x 3 pixels, the magnitude of the sum over the sum of the magnitudes.
    """
    channels = torch.stack([images.real, images.imag, images.abs()], dim=1)
    real, imaginary, magnitude = F.avg_pool2d(channels, 3, stride=1).unbind(1)
    return torch.hypot(real, imaginary).sum((1, 2)) / magnitude.sum((1, 2)).clamp(min=1e-12)


def spectrum_distance(candidate: Tensor, reference: Tensor) -> dict[str, float]:
    """Root mean square, over frequencies, of the difference of two sets' mean `log_spectrum`, dB."""
    if not len(candidate) or not len(reference):
        return {"decibels": math.nan}
    return {"decibels": (candidate.mean(0) - reference.mean(0)).square().mean().sqrt().item()}


def patch_projections(pixels: Tensor) -> Tensor:
    """Images [N, H, W] -> [N, levels, patches, projections]: patches of a Laplacian pyramid, on random axes.

    The patches lie at random places, and the axes point in random directions, the same for every image and
    call. Levels halve the side while there is room for patches in plenty.
    """
    generator = torch.Generator().manual_seed(0)
    level, levels = pixels[:, None].float(), []
    while True:
        coarse = F.avg_pool2d(level, 2)
        last = min(coarse.shape[-2:]) < 2 * PATCH_SIZE
        band = level if last else level - F.interpolate(coarse, level.shape[-2:], mode="bilinear")
        patches = band[:, 0].unfold(1, PATCH_SIZE, 1).unfold(2, PATCH_SIZE, 1)  # a view, [N, rows, columns, 7, 7]
        row, column = (torch.randint(size, (PATCHES_PER_LEVEL,), generator=generator) for size in patches.shape[1:3])
        axes = F.normalize(torch.randn(PATCH_SIZE**2, PROJECTIONS, generator=generator), dim=0)
        levels.append(patches[:, row, column].flatten(2) @ axes)
        if last:
            return torch.stack(levels, 1)
        level = coarse


def sliced_wasserstein(candidate: Tensor, reference: Tensor) -> dict[str, float]:
    """Mean W1 of `patch_projections` over axes and levels (Rabin et al. 2011; Karras et al. 2018).

    In units of the reference's standard deviation on that level, so that faint fine detail counts too.
    """
    n = min(len(candidate), len(reference))
    if not n:
        return {"wasserstein": math.nan}
    quantiles = [  # [levels, N patches, axes]
        projections[:n].transpose(0, 1).flatten(1, 2).sort(dim=1).values for projections in (candidate, reference)
    ]
    scale = quantiles[1].std((1, 2)).clamp(min=1e-6)
    return {"wasserstein": ((quantiles[0] - quantiles[1]).abs().mean((1, 2)) / scale).mean().item()}


def wasserstein(candidate: Tensor, reference: Tensor) -> dict[str, float]:
    """Mean W1 of each of the columns of [N, D], in standard deviations of the reference b."""
    n = min(len(candidate), len(reference))
    if n < 2:
        return {"wasserstein": math.nan}
    candidate_sorted, reference_sorted = (values[:n].sort(dim=0).values for values in (candidate, reference))
    distances = (candidate_sorted - reference_sorted).abs().mean(0)
    return {"wasserstein": (distances / reference_sorted.std(0).clamp(min=1e-6)).mean().item()}
