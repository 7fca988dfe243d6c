"""Scores with floor, ceiling and interval, from random half-splits of the held-out patients.

The held-out patients are split into random halves many times. One half is the reference. In place of the samples, as many
real images of the other half give the floor (real vs real) and as many real images of another contrast the ceiling.
All sets of a split have equal size, so the bias of a statistic at that size is the same in all three. The spread over
half-splits estimates the standard error on all patients (McCarthy 1969). A bootstrap with replacement would have
duplicate images, which spoil distances to nearest neighbours.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from condiff.evaluation.sets import ImageSets

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HalfSplit:
    """Indices [n] of one comparison: ``samples`` into the samples, the others into what `ImageSets.of_real` returns."""

    samples: Tensor
    floor: Tensor
    ceiling: Tensor
    reference: Tensor


class Triple(NamedTuple):
    """A metric on one half-split: of the samples, the floor and the ceiling; NaN if it cannot be computed."""

    samples: float
    floor: float
    ceiling: float


class Estimate(NamedTuple):
    """Mean over half-splits, and the 2.5 % and 97.5 % quantiles."""

    value: float
    low: float
    high: float


class Scores(NamedTuple):
    """A metric over all half-splits: of the samples, the floor and the ceiling."""

    samples: Estimate
    floor: Estimate
    ceiling: Estimate


Metric = Callable[[HalfSplit], Mapping[str, Triple]]


def half_splits(sets: ImageSets, contrast: int | None, num_splits: int) -> Iterator[HalfSplit]:
    """Yield ``num_splits`` half-splits of the held-out images of a contrast (None: of all).

    A set contains at most half of the samples, so that they vary between splits too. The ceiling of a contrast is made of
    the other contrasts; the ceiling of all together is one contrast, another one in each split. Its images are of any
    patient outside the reference. With a single contrast it is empty.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([sets.held_out.contrast, sets.training.contrast])
    patients = torch.cat([sets.held_out.patient, sets.training.patient])
    contrasts, held_out = labels.unique(), torch.arange(len(labels)) < len(sets.held_out)
    if contrast is not None:
        held_out &= labels == contrast
    samples = sets.samples.of_contrast(contrast).nonzero()[:, 0]
    for index in range(num_splits):
        in_reference = torch.isin(patients, _random_half(labels[held_out], patients[held_out], generator))
        wrong_contrast = labels == contrasts[index % len(contrasts)] if contrast is None else labels != contrast
        masks = held_out & ~in_reference, wrong_contrast & ~in_reference & (len(contrasts) > 1), held_out & in_reference
        floor, ceiling, reference = (_shuffle(mask.nonzero()[:, 0], generator) for mask in masks)
        n = min(len(floor), len(reference), -(-len(samples) // 2))
        yield HalfSplit(_shuffle(samples, generator)[:n], floor[:n], ceiling[:n], reference[:n])


def estimate_scores(metrics: Sequence[Metric], splits: Iterable[HalfSplit]) -> dict[str, Scores]:
    """Return the scores by metric; NaN without a finite number in any split. Warns if only some splits have one."""
    triples: dict[str, list[Triple]] = {}
    for split in splits:
        for metric in metrics:
            for name, triple in metric(split).items():
                triples.setdefault(name, []).append(triple)
    for name, values in triples.items():
        missing = sum(not math.isfinite(triple.samples) for triple in values)
        if 0 < missing < len(values):
            log.warning("%s: not a finite number in %d of %d half-splits, which are left out", name, missing, len(values))
    return {name: Scores(*map(_estimate, zip(*values, strict=True))) for name, values in triples.items()}


def _estimate(values: Iterable[float]) -> Estimate:
    finite = torch.tensor([value for value in values if math.isfinite(value)], dtype=torch.float64)
    if not len(finite):
        return Estimate(math.nan, math.nan, math.nan)
    return Estimate(finite.mean().item(), finite.quantile(0.025).item(), finite.quantile(0.975).item())


def _random_half(labels: Tensor, patients: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random half of the patients of every contrast, so that both halves have the same mix of contrasts."""
    half_patients: list[int] = []
    assigned: set[int] = set()
    remainder = 0  # the odd patient of one contrast is added to the next
    for label in labels.unique():
        unassigned = [patient for patient in patients[labels == label].unique().tolist() if patient not in assigned]
        size, remainder = divmod(len(unassigned) + remainder, 2)
        half_patients += [unassigned[i] for i in torch.randperm(len(unassigned), generator=generator)[:size]]
        assigned.update(unassigned)
    return torch.tensor(half_patients, dtype=torch.long)


def _shuffle(items: Tensor, generator: torch.Generator) -> Tensor:
    return items[torch.randperm(len(items), generator=generator)]
