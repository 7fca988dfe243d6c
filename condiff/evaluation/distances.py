"""Distances between two sets of images.

Each set is given by one row of numbers per image, [N, D] in double precision: features, a spectrum, projections. The first
argument is the candidate (samples, or images in their place), the second the reference. Both have equal size, so that
the bias of a score and of its floor are equal. A distance that cannot be computed is NaN.
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
PATCH_SIZE, PATCHES_PER_LEVEL, PROJECTIONS = 7, 64, 32  # per pyramid level; 7 x 7 pixels as Karras et al. 2018

DistanceFunction = Callable[[Tensor, Tensor], dict[str, float]]


class _PrecomputedFeatures(nn.Identity):
    """Feature extractor for torchmetrics that returns its input."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features


def frechet_distance(candidate: Tensor, reference: Tensor) -> float:
    """Return the Fréchet distance of features [N, D] (Heusel et al. 2017, eq. 6).

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) for means m and covariances C. With N < D the covariances are
    singular; the distance is then biased upwards, as it is between two real sets of that size.
    """
    finite = candidate.isfinite().all() and reference.isfinite().all()  # MKL ends the process otherwise
    if min(len(candidate), len(reference)) < 2 or not finite:
        return math.nan
    metric = FrechetInceptionDistance(
        _PrecomputedFeatures(candidate.shape[1]), sync_on_compute=False
    )  # only one process evaluates
    center = reference.mean(0)  # second moments about zero lose digits
    metric.update(reference - center, real=True)
    metric.update(candidate - center, real=False)
    return max(metric.compute().item(), 0.0)


def kernel_distance(candidate: Tensor, reference: Tensor) -> float:
    """Return the kernel (inception) distance, KID, of features [N, D] (Bińkowski et al. 2018).

    The unbiased estimate of the squared maximum mean discrepancy under the kernel (x·y / D + 1)^3.
    """
    n = min(len(candidate), len(reference))
    if n < 2:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns of its memory
        features = _PrecomputedFeatures(candidate.shape[1])
        metric = KernelInceptionDistance(features, subsets=1, subset_size=n, sync_on_compute=False)
    metric.update(reference, real=True)
    metric.update(candidate, real=False)
    with torch.random.fork_rng(devices=[]):  # fixes the order of summation, which torchmetrics draws
        torch.default_generator.manual_seed(0)  # the CPU's alone: of all devices takes 2 ms
        return metric.compute()[0].item()


def prdc(candidate: Tensor, reference: Tensor, k: int = NEIGHBORS) -> dict[str, float]:
    """Return precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) of features [N, D].

    ``k`` nearest neighbours define the manifolds; sets of at most ``k`` images give NaN.
    """
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
    """Return all distances of features [N, D]: frechet, kid, precision, recall, density, coverage."""
    return {
        "frechet": frechet_distance(candidate, reference),
        "kid": kernel_distance(candidate, reference),
        **prdc(candidate, reference),
    }


def log_spectrum(pixels: Tensor) -> Tensor:
    """Return the mean power [N, min(H, W) // 2], dB, on rings of equal spatial frequency of images [N, H, W], real or complex."""
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
    """Return the phase coherence [N] of complex images [N, H, W]: 1 for constant phase, about 1/3 for noise.

    The magnitude of the sum over the sum of the magnitudes, both over windows of 3 x 3 pixels, added up over all windows.
    """
    channels = torch.stack([images.real, images.imag, images.abs()], dim=1)
    real, imaginary, magnitude = F.avg_pool2d(channels, 3, stride=1).unbind(1)
    return torch.hypot(real, imaginary).sum((1, 2)) / magnitude.sum((1, 2)).clamp(min=1e-12)


def spectrum_distance(candidate: Tensor, reference: Tensor) -> dict[str, float]:
    """Return the root mean square difference, dB, of the mean `log_spectrum` of two sets [N, frequencies]."""
    if not len(candidate) or not len(reference):
        return {"decibels": math.nan}
    return {"decibels": (candidate.mean(0) - reference.mean(0)).square().mean().sqrt().item()}


def patch_projections(pixels: Tensor) -> Tensor:
    """Return projections [N, levels, patches, axes] of the patches of a Laplacian pyramid of images [N, H, W].

    Patch positions and axes are random, and the same for every image and call (Karras et al. 2018, section 5). Each level
    has half the side of the one before; the last has at least twice the side of a patch.
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
    """Return the mean W1 of `patch_projections` over axes and levels (Rabin et al. 2011; Karras et al. 2018).

    The unit is the reference's standard deviation on that level, so that faint fine detail counts too.
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
    """Return the mean over D of the W1 of each column of [N, D], in standard deviations of the reference."""
    n = min(len(candidate), len(reference))
    if n < 2:
        return {"wasserstein": math.nan}
    candidate_sorted, reference_sorted = (values[:n].sort(dim=0).values for values in (candidate, reference))
    distances = (candidate_sorted - reference_sorted).abs().mean(0)
    return {"wasserstein": (distances / reference_sorted.std(0).clamp(min=1e-6)).mean().item()}
