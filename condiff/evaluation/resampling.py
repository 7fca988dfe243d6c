"""Every number beside its floor and its ceiling, with the uncertainty that few patients leave.

The held-out patients are cut in two halves at random, again and again. One half is the reference; in place
of the samples, as many real images of the other half give the floor (real against real) and as many real
images of another contrast the ceiling. All sets of a cut are of equal size, so a statistic that is biased
at that size is biased alike in all three. The spread over cuts estimates the standard error on all
patients, as half-samples do (McCarthy 1969), without the duplicates of a bootstrap with replacement,
which would spoil distances to nearest neighbours.
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
    """Indices [n] of one comparison: ``samples`` into the samples, the others into `Sets.real`."""

    samples: Tensor
    floor: Tensor
    ceiling: Tensor
    reference: Tensor


class Triple(NamedTuple):
    """What a measure says of one cut's samples, and of what stands in their place; NaN where it can say nothing."""

    samples: float
    floor: float
    ceiling: float


class Estimate(NamedTuple):
    """Mean over the cuts, and the bounds of the middle 95 % of them."""

    value: float
    low: float
    high: float


class Scores(NamedTuple):
    samples: Estimate
    floor: Estimate
    ceiling: Estimate


Metric = Callable[[HalfSplit], Mapping[str, Triple]]


def half_splits(sets: ImageSets, contrast: int | None, num_splits: int) -> Iterator[HalfSplit]:
    """``num_splits`` cuts of the held-out images of a contrast, None: of all.

    Of the samples at most half are in a set as well, so that they too vary from cut to cut. The ceiling of a
    contrast is made of the others; that of all together of one contrast, a different one from cut to cut.
    Its images come from any patient who is not in the reference; where there is one contrast it is empty.
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
    """Scores by name; NaN where no cut gave a number. Warns where some gave none."""
    triples: dict[str, list[Triple]] = {}
    for split in splits:
        for metric in metrics:
            for name, triple in metric(split).items():
                triples.setdefault(name, []).append(triple)
    for name, values in triples.items():
        missing = sum(not math.isfinite(triple.samples) for triple in values)
        if 0 < missing < len(values):
            log.warning("%s: could not be computed in %d of %d cuts, which are left out", name, missing, len(values))
    return {name: Scores(*map(_estimate, zip(*values, strict=True))) for name, values in triples.items()}


def _estimate(values: Iterable[float]) -> Estimate:
    finite = torch.tensor([value for value in values if math.isfinite(value)], dtype=torch.float64)
    if not len(finite):
        return Estimate(math.nan, math.nan, math.nan)
    return Estimate(finite.mean().item(), finite.quantile(0.025).item(), finite.quantile(0.975).item())


def _random_half(labels: Tensor, patients: Tensor, generator: torch.Generator) -> Tensor:
    """A random half of the patients of every contrast, so that the halves have the same mix of contrasts."""
    half_patients: list[int] = []
    assigned: set[int] = set()
    remainder = 0  # who is left over in one contrast makes up for it in the next
    for label in labels.unique():
        unassigned = [patient for patient in patients[labels == label].unique().tolist() if patient not in assigned]
        size, remainder = divmod(len(unassigned) + remainder, 2)
        half_patients += [unassigned[i] for i in torch.randperm(len(unassigned), generator=generator)[:size]]
        assigned.update(unassigned)
    return torch.tensor(half_patients, dtype=torch.long)


def _shuffle(items: Tensor, generator: torch.Generator) -> Tensor:
    return items[torch.randperm(len(items), generator=generator)]
