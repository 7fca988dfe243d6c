"""Memorisation: are samples nearer to a training image than images of new patients are?

Two answers. A sample that is nearer than every held-out image, by a margin, is named: it is to be looked at, alone or
not. And samples below a quantile of the held-out distances are counted, with the probability of that count by chance.

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
from condiff.evaluation.sets import FLIPS, Sets, flipped

QUANTILE = 0.01
SIGNIFICANT = 0.05
MARGIN = 0.5  # of the gap between the nearest and the median held-out image: no honest sample of benchmarks/planted.py
SPACES = 3  # in which copies are looked for
SAME = 1e-4  # a relative distance that only an image and itself have
NEAREST = 50


class Neighbours(NamedTuple):
    """For each query the relative distance [N] to its nearest training image, which one that is [N], and how it is mirrored [N].

    The training image looks like the query once it is `flipped` by ``flip``.
    """

    distance: Tensor
    which: Tensor
    flip: Tensor


class CopyTest(NamedTuple):
    """Copies among samples: their share, the threshold of distance, the probability of so many among new patients.

    ``detectable`` is the least share that would have had a probability below `SIGNIFICANT`, ``copies`` [N] which they are.
    """

    share: float
    threshold: float
    p: float
    detectable: float
    copies: Tensor


@dataclass(frozen=True)
class CopyReport:
    """The audit in one space: the verdict on each row, and the nearest training image of every image.

    ``shared`` held-out images are training images themselves, and no measure of chance. Samples nearer than ``limit``
    are named.
    """

    verdicts: dict[str, CopyTest]
    samples: Neighbours
    held_out: Neighbours
    shared: int
    limit: float

    @property
    def named(self) -> Tensor:
        """Mask [N] of the samples that are nearer to a training image than every held-out image, by a margin."""
        return self.samples.distance < self.limit


def search(nearest: Callable[[Tensor], Neighbours], sets: Sets) -> CopyReport:
    """Look among the samples for copies of training images; ``nearest`` finds the nearest training image of each image."""
    near, usual = nearest(sets.samples.pixels), nearest(sets.held_out.pixels)
    own = usual.distance > SAME
    verdicts = {}
    for name, contrast in sets.rows.items():
        mine, theirs = sets.samples.of(contrast), sets.held_out.of(contrast) & own
        tests = SPACES * len(sets.kinds)
        verdicts[name] = audit(near.distance[mine], usual.distance[theirs], sets.held_out.patient[theirs], tests)
    return CopyReport(verdicts, near, usual, int((~own).sum()), limit(usual.distance[own]))


def limit(held_out: Tensor) -> float:
    """The distance below which a sample is named, from those of held-out images [M].

    Half of the gap between their nearest and their median below the nearest: a distribution with a long tail needs a wide
    margin. Exact copies are always below it.
    """
    if not len(held_out):
        return SAME
    nearest, median = held_out.min().item(), held_out.median().item()
    return max(nearest - MARGIN * (median - nearest), SAME)


def by_features(describe: Callable[[Tensor], Tensor], training: Tensor) -> Callable[[Tensor], Neighbours]:
    """The nearest of training images [M, H, W], mirrored or not, by the distance of what ``describe`` makes of an image."""
    known = in_batches(describe, training)

    def search_in(pixels: Tensor) -> Neighbours:
        parts = [
            nearest(torch.stack([in_batches(describe, flipped(part, flip)) for flip in FLIPS]), known)
            for part in pixels.split(256)
        ]
        return Neighbours(*map(torch.cat, zip(*parts, strict=True)))

    return search_in


def nearest(queries: Tensor, training: Tensor) -> Neighbours:
    """Relative Euclidean distances of mirrored queries [4, N, D] to [M, D]: 0 for a copy, at most 1."""
    apart, flip = torch.stack([torch.cdist(query, training) for query in queries]).min(0)
    several, which = apart.double().topk(min(NEAREST, len(training)), largest=False)
    first, rows = which[:, 0], torch.arange(len(which))
    flip = flip[rows, first]
    exact = (queries[flip, rows] - training[first]).double().norm(dim=1)  # a copy is at 0, not at what rounding leaves
    return Neighbours(exact / several.mean(1).clamp(min=1e-12), first, flip)


def audit(samples: Tensor, held_out: Tensor, patient: Tensor, tests: int = 1) -> CopyTest:
    """Judge the samples' distances [N] by those of held-out images [M] of known patients [M].

    The threshold is the k-th smallest of the M, k = 1 % of M, at least 1. Were the samples images of new
    patients, the number below it would be beta-binomial(N, k, M + 1 - k), exactly, for any continuous
    distribution of independent distances; ``p`` is its upper tail, times the number of ``tests`` made
    (Bonferroni). Slices of a patient resemble each other: M and k are divided by Kish's design effect.
    """
    if not len(held_out) or not len(samples):
        nothing = torch.zeros(len(samples), dtype=torch.bool)
        return CopyTest(math.nan, math.nan, math.nan, math.nan, nothing)
    k = max(1, int(QUANTILE * (len(held_out) + 1)))
    threshold = held_out.kthvalue(k).values
    copies = samples < threshold
    worth = max(len(held_out) / design_effect(held_out, patient), 1.0)
    least = max(k * worth / len(held_out), 1.0)
    chance = betabinom(len(samples), least, worth + 1 - least)
    probability = torch.from_numpy(chance.sf(torch.arange(-1, len(samples)).numpy()) * tests).clamp(max=1)
    called = (probability < SIGNIFICANT).nonzero()[:, 0]
    detectable = called[0].item() / len(samples) if len(called) else math.inf
    number = int(copies.sum())
    return CopyTest(number / len(samples), threshold.item(), probability[number].item(), detectable, copies)


def design_effect(values: Tensor, group: Tensor) -> float:
    """1 + (m - 1) ICC for groups of mean size m: how many times too many values there are (Kish 1965).

    The intraclass correlation is that of the one-way analysis of variance, of the values' ranks. Fewer than
    four groups cannot show it, and count as one value each.
    """
    _, group, counts = group.unique(return_inverse=True, return_counts=True)
    n, groups = len(values), len(counts)
    if groups < 4 or n == groups:
        return n / groups
    rank = values.argsort().argsort().double()
    means = torch.zeros(groups, dtype=torch.float64).index_add_(0, group, rank) / counts
    between = (counts * (means - rank.mean()) ** 2).sum() / (groups - 1)
    within = (rank - means[group]).square().sum() / (n - groups)
    size = (n - counts.double().square().sum() / n) / (groups - 1)
    correlation = ((between - within) / (between + (size - 1) * within).clamp(min=1e-12)).clamp(0, 1).item()
    return 1 + (n / groups - 1) * correlation
