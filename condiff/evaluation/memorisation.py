"""Memorisation: are samples nearer to a training image than images of new patients are?

Distances are relative, as Carlini et al. 2023 (section 5.1) measure them: to the nearest training image, over
the mean of those to the 50 nearest. A smooth image is near to all of them and a copy to one; absolute
distances blame both. Held-out real images say how near to one training image a new patient's comes by
chance; a sample nearer than the 1 % quantile of that is counted as a copy. Dar et al. 2024 found diffusion
models copy most where patients are few.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.stats import betabinom
from torch import Tensor

from condiff.evaluation.features import in_batches
from condiff.evaluation.images import Images, Rows

QUANTILE = 0.01
NEAREST = 50


class Neighbours(NamedTuple):
    """For each query the relative distance [N] to its nearest training image, and which one that is [N]."""

    distance: Tensor
    which: Tensor


class Audit(NamedTuple):
    """Copies among samples: their share, the threshold, the probability of so many among new patients, and which."""

    share: float
    threshold: float
    p: float
    copies: Tensor


@dataclass(frozen=True)
class Copies:
    """The audit in one space: the verdict on each row, and the nearest training image of every image.

    ``which`` counts the training images, then their mirror images.
    """

    verdicts: dict[str, Audit]
    samples: Neighbours
    held_out: Neighbours


def search(describe: Callable[[Tensor], Tensor], samples: Images, held_out: Images, training: Images, rows: Rows) -> Copies:
    """Look among the samples for copies of training images, mirrored or not, in the space of ``describe``."""
    known, mirrored = in_batches(describe, training.pixels), in_batches(describe, training.pixels.flip(-1))
    near, usual = (nearest(in_batches(describe, images.pixels), known, mirrored) for images in (samples, held_out))
    verdicts = {}
    for name, contrast in rows.items():
        mine, theirs = samples.of(contrast), held_out.of(contrast)
        verdicts[name] = audit(near.distance[mine], usual.distance[theirs], held_out.patient[theirs])
    return Copies(verdicts, near, usual)


def nearest(queries: Tensor, training: Tensor, mirrored: Tensor) -> Neighbours:
    """Relative Euclidean distances of [N, D] to [M, D] or, where that is nearer, the mirror image: 0 for a copy, at most 1."""
    direct, swapped = (torch.cdist(queries.double(), known.double()) for known in (training, mirrored))
    apart, which = torch.minimum(direct, swapped).topk(min(NEAREST, len(training)), largest=False)
    first = which[:, :1]
    turned = swapped.gather(1, first) < direct.gather(1, first)
    return Neighbours(apart[:, 0] / apart.mean(1).clamp(min=1e-12), (first + len(training) * turned)[:, 0])


def audit(samples: Tensor, held_out: Tensor, patient: Tensor) -> Audit:
    """Judge the samples' distances [N] by those of held-out images [M] of known patients [M].

    The threshold is the k-th smallest of the M, k = 1 % of M, at least 1. Were the samples images of new
    patients, the number below it would be beta-binomial(N, k, m + 1 - k), exactly, for any continuous
    distribution of distances; ``p`` is its upper tail. m is what the M images are worth as independent
    ones, for slices of one patient resemble each other (Kish's design effect).
    """
    if not len(held_out) or not len(samples):
        return Audit(math.nan, math.nan, math.nan, torch.zeros(len(samples), dtype=torch.bool))
    k = max(1, int(QUANTILE * (len(held_out) + 1)))
    threshold = held_out.kthvalue(k).values
    copies = samples < threshold
    worth = max(round(len(held_out) / design_effect(held_out, patient)), k)
    p = betabinom.sf(int(copies.sum()) - 1, len(samples), k, worth + 1 - k)
    return Audit(copies.double().mean().item(), threshold.item(), float(p), copies)


def design_effect(values: Tensor, group: Tensor) -> float:
    """1 + (m - 1) ICC for groups of mean size m: how many times too many values there are (Kish 1965).

    The intraclass correlation is that of the one-way analysis of variance, of the values' ranks.
    """
    _, group, counts = group.unique(return_inverse=True, return_counts=True)
    n, groups = len(values), len(counts)
    if groups < 2 or n == groups:
        return n / groups
    rank = values.argsort().argsort().double()
    means = torch.zeros(groups, dtype=torch.float64).index_add_(0, group, rank) / counts
    between = (counts * (means - rank.mean()) ** 2).sum() / (groups - 1)
    within = (rank - means[group]).square().sum() / (n - groups)
    size = (n - counts.double().square().sum() / n) / (groups - 1)
    correlation = ((between - within) / (between + (size - 1) * within).clamp(min=1e-12)).clamp(0, 1).item()
    return 1 + (n / groups - 1) * correlation
