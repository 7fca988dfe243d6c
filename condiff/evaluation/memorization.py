"""Memorisation: are samples nearer to a training image than images of new patients are?

There are two tests. A sample that is nearer than every held-out image, by a margin, is flagged, and should be looked at.
The samples below a quantile of the held-out distances are counted, and the count has a p-value.

Distances are relative (Carlini et al. 2023, section 5.1): the distance to the nearest training image over the mean of those
to the 50 nearest. A smooth image is near to all training images, a copy to one; absolute distances confuse the two.
Held-out images show how near to a training image a new patient is by chance. A sample below their 1 % quantile counts as
a copy. Diffusion models copy most if there are few patients (Dar et al. 2024).
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
MARGIN = 0.5  # of the gap from nearest to median held-out image; flags no honest sample of benchmarks/planted.py
NUM_SPACES = 3  # searched for copies: `copy_spaces`
DUPLICATE_DISTANCE = 1e-4  # relative distance below which two images are the same
SAME_PERSON = 0.85  # of the usual median distance of a patient; two people are above 0.9 (benchmarks/visits.py)
NUM_NEIGHBORS = 50
FEW_PATIENTS = 4  # fewer cannot show how patients differ
FEW_IMAGES = 10  # of a patient; the median of fewer is uncertain


class Neighbors(NamedTuple):
    """Nearest training image of each of N queries.

    Attributes:
        distance: relative distance [N].
        training_index: [N].
        flip: mirroring [N]; ``mirror(training_image, flip)`` looks like the query.
    """

    distance: Tensor
    training_index: Tensor
    flip: Tensor


class CopyTest(NamedTuple):
    """Test for too many samples near a training image.

    Attributes:
        share: fraction of the samples below the threshold.
        threshold: of the relative distance.
        p: probability of at least so many if the samples were new patients.
        detectable: the smallest share with p < `SIGNIFICANCE`; inf if no share has.
        copies: mask [N] of the samples below the threshold.
    """

    share: float
    threshold: float
    p: float
    detectable: float
    copies: Tensor


@dataclass(frozen=True)
class CopyReport:
    """Result of the search for copies in one space.

    Attributes:
        tests: by row.
        samples, held_out: nearest training image of each sample and of each held-out image.
        duplicates: number of held-out images that are training images, or of training patients; the tests leave them out.
        limit: samples at a smaller relative distance are flagged.
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


def find_copies(samples: Neighbors, held_out: Neighbors, sets: ImageSets, trained_on: Tensor) -> CopyReport:
    """Return the copies of training images among the samples, in one space.

    Args:
        samples, held_out: their nearest training images.
        trained_on: mask [M] of the held-out images that show training patients, by `trained_on_too`.
    """
    is_new = (held_out.distance > DUPLICATE_DISTANCE) & ~trained_on
    tests, num_tests = {}, NUM_SPACES * len(sets.contrast_rows)
    for name, contrast in sets.rows.items():
        sample_mask, held_out_mask = sets.samples.of_contrast(contrast), sets.held_out.of_contrast(contrast) & is_new
        patients = sets.held_out.patient[held_out_mask]
        tests[name] = copy_test(samples.distance[sample_mask], held_out.distance[held_out_mask], patients, num_tests)
    return CopyReport(tests, samples, held_out, int((~is_new).sum()), flag_limit(held_out.distance[is_new]))


def trained_on_too(distance: Tensor, patient: Tensor) -> Tensor:
    """Return the mask [M] of the held-out images whose patient is a training patient under another name.

    Of such a patient the median distance is below that of the others. Few patients or images (`FEW_IMAGES`) tell nothing.

    Args:
        distance: of anatomy, from the training images [M].
        patient: number [M].
    """
    numbers, index = patient.unique(return_inverse=True)
    if len(numbers) < FEW_PATIENTS:
        return torch.zeros(len(patient), dtype=torch.bool)
    medians = torch.stack([distance[index == number].median() for number in range(len(numbers))])
    return ((medians < SAME_PERSON * medians.median()) & (index.bincount() >= FEW_IMAGES))[index]


def flag_limit(held_out: Tensor) -> float:
    """Return the distance below which samples are flagged, from the distances [M] of held-out images.

    It lies below the nearest held-out image by half of the gap between nearest and median, because a distribution with a
    long tail needs a wide margin. It is positive, so exact copies are always flagged.
    """
    if not len(held_out):
        return DUPLICATE_DISTANCE
    nearest, median = held_out.min().item(), held_out.median().item()
    return max(nearest - MARGIN * (median - nearest), DUPLICATE_DISTANCE)


def search_by_features(features: Callable[[Tensor], Tensor], training: Tensor) -> Callable[[Tensor], Neighbors]:
    """Return a search for the nearest of training images [M, H, W], in any mirroring, by distance of ``features`` [N, D]."""
    training_features = in_batches(features, training)

    def search(pixels: Tensor) -> Neighbors:
        neighbors = [
            nearest_training(torch.stack([in_batches(features, mirror(batch, flip)) for flip in FLIPS]), training_features)
            for batch in pixels.split(256)
        ]
        return Neighbors(*map(torch.cat, zip(*neighbors, strict=True)))

    return search


def nearest_training(queries: Tensor, training: Tensor) -> Neighbors:
    """Return the nearest of training features [M, D] for queries in all mirrorings [4, N, D]; relative distances in [0, 1]."""
    distances, flip = torch.stack([torch.cdist(query, training) for query in queries]).min(0)
    neighbor_distances, indices = distances.double().topk(min(NUM_NEIGHBORS, len(training)), largest=False)
    first, rows = indices[:, 0], torch.arange(len(indices))
    flip = flip[rows, first]
    exact = (queries[flip, rows] - training[first]).double().norm(dim=1)  # without the rounding error of cdist: 0 for a copy
    return Neighbors(exact / neighbor_distances.mean(1).clamp(min=1e-12), first, flip)


def copy_test(samples: Tensor, held_out: Tensor, patients: Tensor, num_tests: int = 1) -> CopyTest:
    """Test the distances [N] of samples against those [M] of held-out images of ``patients`` [M].

    The threshold is the k-th smallest held-out distance, k = 1 % of M, at least 1. If the samples are images of new
    patients, the number below it is beta-binomial(N, k, M + 1 - k), exactly, for independent distances of any continuous
    distribution. p is its upper tail, times ``num_tests`` (Bonferroni). Slices of a patient are not independent: M and k
    are divided by Kish's design effect. Without samples or held-out images all numbers are NaN.
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
    """Return the design effect 1 + (m - 1) ICC of values [N] in groups [N] of mean size m (Kish 1965).

    The number of values over the number of independent ones. ICC is the intraclass correlation of the values' ranks from a
    one-way analysis of variance. Fewer than `FEW_PATIENTS` groups cannot show it; each then counts as one value.
    """
    _, group, counts = group.unique(return_inverse=True, return_counts=True)
    n, num_groups = len(values), len(counts)
    if num_groups < FEW_PATIENTS or n == num_groups:
        return n / num_groups
    rank = values.argsort().argsort().double()
    means = torch.zeros(num_groups, dtype=torch.float64).index_add_(0, group, rank) / counts
    between = (counts * (means - rank.mean()) ** 2).sum() / (num_groups - 1)
    within = (rank - means[group]).square().sum() / (n - num_groups)
    size = (n - counts.double().square().sum() / n) / (num_groups - 1)
    correlation = ((between - within) / (between + (size - 1) * within).clamp(min=1e-12)).clamp(0, 1).item()
    return 1 + (n / num_groups - 1) * correlation
