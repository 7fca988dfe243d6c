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
from condiff.evaluation.sets import FLIPS, ImageSets, mirror

QUANTILE = 0.01
SIGNIFICANCE = 0.05
MARGIN = 0.5  # of the gap between the nearest and the median held-out image: no honest sample of benchmarks/planted.py
NUM_SPACES = 3  # in which copies are looked for
DUPLICATE_DISTANCE = 1e-4  # a relative distance that only an image and itself have
NUM_NEIGHBORS = 50


class Neighbors(NamedTuple):
    """For each query the relative distance [N] to its nearest training image, which one that is [N], and how it is mirrored [N].

    The training image looks like the query once it is `mirror` by ``flip``.
    """

    distance: Tensor
    training_index: Tensor
    flip: Tensor


class CopyTest(NamedTuple):
    """Copies among samples: their share, the threshold of distance, the probability of so many among new patients.

    ``detectable`` is the least share that would have had a probability below `SIGNIFICANCE`, ``copies`` [N] which they are.
    """

    share: float
    threshold: float
    p: float
    detectable: float
    copies: Tensor


@dataclass(frozen=True)
class CopyReport:
    """The audit in one space: the verdict on each row, and the nearest training image of every image.

    ``duplicates`` held-out images are training images themselves, and no measure of chance. Samples nearer than ``limit``
    are named.
    """

    tests: dict[str, CopyTest]
    samples: Neighbors
    held_out: Neighbors
    duplicates: int
    limit: float

    @property
    def flagged(self) -> Tensor:
        """Mask [N] of the samples that are nearer to a training image than every held-out image, by a margin."""
        return self.samples.distance < self.limit


def find_copies(nearest_training: Callable[[Tensor], Neighbors], sets: ImageSets) -> CopyReport:
    """Look among the samples for copies of training images; ``nearest_training`` finds the nearest of them."""
    samples, held_out = nearest_training(sets.samples.pixels), nearest_training(sets.held_out.pixels)
    is_new = held_out.distance > DUPLICATE_DISTANCE
    tests, num_tests = {}, NUM_SPACES * len(sets.contrast_rows)
    for name, contrast in sets.rows.items():
        sample_mask, held_out_mask = sets.samples.of_contrast(contrast), sets.held_out.of_contrast(contrast) & is_new
        patients = sets.held_out.patient[held_out_mask]
        tests[name] = copy_test(samples.distance[sample_mask], held_out.distance[held_out_mask], patients, num_tests)
    return CopyReport(tests, samples, held_out, int((~is_new).sum()), flag_limit(held_out.distance[is_new]))


def flag_limit(held_out: Tensor) -> float:
    """The distance below which a sample is named, from those of held-out images [M].

    Half of the gap between their nearest and their median below the nearest: a distribution with a long tail needs a wide
    margin. Exact copies are always below it.
    """
    if not len(held_out):
        return DUPLICATE_DISTANCE
    nearest, median = held_out.min().item(), held_out.median().item()
    return max(nearest - MARGIN * (median - nearest), DUPLICATE_DISTANCE)


def search_by_features(features: Callable[[Tensor], Tensor], training: Tensor) -> Callable[[Tensor], Neighbors]:
    """The nearest of training images [M, H, W], mirrored or not, by the distance of what ``features`` makes of an image."""
    training_features = in_batches(features, training)

    def search(pixels: Tensor) -> Neighbors:
        neighbors = [
            nearest_training(torch.stack([in_batches(features, mirror(batch, flip)) for flip in FLIPS]), training_features)
            for batch in pixels.split(256)
        ]
        return Neighbors(*map(torch.cat, zip(*neighbors, strict=True)))

    return search


def nearest_training(queries: Tensor, training: Tensor) -> Neighbors:
    """Relative Euclidean distances of mirrored queries [4, N, D] to [M, D]: 0 for a copy, at most 1."""
    distances, flip = torch.stack([torch.cdist(query, training) for query in queries]).min(0)
    neighbor_distances, indices = distances.double().topk(min(NUM_NEIGHBORS, len(training)), largest=False)
    first, rows = indices[:, 0], torch.arange(len(indices))
    flip = flip[rows, first]
    exact = (queries[flip, rows] - training[first]).double().norm(dim=1)  # a copy is at 0, not at what rounding leaves
    return Neighbors(exact / neighbor_distances.mean(1).clamp(min=1e-12), first, flip)


def copy_test(samples: Tensor, held_out: Tensor, patients: Tensor, num_tests: int = 1) -> CopyTest:
    """Judge the samples' distances [N] by those of held-out images [M] of known patients [M].

    The threshold is the k-th smallest of the M, k = 1 % of M, at least 1. Were the samples images of new
    patients, the number below it would be beta-binomial(N, k, M + 1 - k), exactly, for any continuous
    distribution of independent distances; ``p`` is its upper tail, times the number of ``num_tests`` made
    (Bonferroni). Slices of a patient resemble each other: M and k are divided by Kish's design effect.
    """
    if not len(held_out) or not len(samples):
        no_copies = torch.zeros(len(samples), dtype=torch.bool)
        return CopyTest(math.nan, math.nan, math.nan, math.nan, no_copies)
    k = max(1, int(QUANTILE * (len(held_out) + 1)))
    threshold = held_out.kthvalue(k).values
    copies = samples < threshold
    effective_size = max(len(held_out) / design_effect(held_out, patients), 1.0)
    effective_rank = max(k * effective_size / len(held_out), 1.0)
    null = betabinom(len(samples), effective_rank, effective_size + 1 - effective_rank)
    probability = torch.from_numpy(null.sf(torch.arange(-1, len(samples)).numpy()) * num_tests).clamp(max=1)
    significant = (probability < SIGNIFICANCE).nonzero()[:, 0]
    detectable = significant[0].item() / len(samples) if len(significant) else math.inf
    number = int(copies.sum())
    return CopyTest(number / len(samples), threshold.item(), probability[number].item(), detectable, copies)


def design_effect(values: Tensor, group: Tensor) -> float:
    """1 + (m - 1) ICC for groups of mean size m: how many times too many values there are (Kish 1965).

    The intraclass correlation is that of the one-way analysis of variance, of the values' ranks. Fewer than
    four groups cannot show it, and count as one value each.
    """
    _, group, counts = group.unique(return_inverse=True, return_counts=True)
    n, num_groups = len(values), len(counts)
    if num_groups < 4 or n == num_groups:
        return n / num_groups
    rank = values.argsort().argsort().double()
    means = torch.zeros(num_groups, dtype=torch.float64).index_add_(0, group, rank) / counts
    between = (counts * (means - rank.mean()) ** 2).sum() / (num_groups - 1)
    within = (rank - means[group]).square().sum() / (n - num_groups)
    size = (n - counts.double().square().sum() / n) / (num_groups - 1)
    correlation = ((between - within) / (between + (size - 1) * within).clamp(min=1e-12)).clamp(0, 1).item()
    return 1 + (n / num_groups - 1) * correlation
