"""Diversity of a set of images: MS-SSIM between pairs of them (Wang et al. 2003; Odena et al. 2017)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

from condiff.evaluation.sets import ImageSet

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, finest first
WINDOW = 11


def draw_pairs(images: ImageSet, eligible: Callable[[Tensor, Tensor], Tensor], number: int) -> Tensor:
    """Return at most ``number`` random pairs [P, 2] of images of different patients whose contrasts [P], [P] are ``eligible``."""
    generator = torch.Generator().manual_seed(0)
    candidates = torch.randint(max(len(images), 1), (40 * number, 2), generator=generator).sort(1).values
    first, second = candidates.T
    different_patients = images.patient[first] != images.patient[second]
    candidates = candidates[different_patients & eligible(images.contrast[first], images.contrast[second])].unique(dim=0)
    return candidates[torch.randperm(len(candidates), generator=generator)[:number]]


def pairwise_ms_ssim(pixels: Tensor, pairs: Tensor) -> Tensor:
    """Return the MS-SSIM [P] of pairs [P, 2] of images [N, H, W], white 1, at those of the five scales that fit."""
    if not len(pairs):
        return torch.empty(0)
    side = min(pixels.shape[-2:])
    scales = [scale for i, scale in enumerate(SCALES) if side // max(i, 1) ** 2 > WINDOW - 1 and side >> i >= WINDOW]
    betas = tuple(scale / sum(scales) for scale in scales)
    values = [
        ms_ssim(pixels[first, None], pixels[second, None], data_range=1.0, betas=betas, normalize="relu", reduction="none")
        for first, second in (batch.T for batch in pairs.split(32))
    ]
    return torch.cat(values)
