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

from condiff.evaluation.sets import Sets

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


class Score(NamedTuple):
    """Mean over the cuts, and the bounds of the middle 95 % of them."""

    value: float
    low: float
    high: float


class Scores(NamedTuple):
    samples: Score
    floor: Score
    ceiling: Score


Measure = Callable[[HalfSplit], Mapping[str, Triple]]


def cuts(sets: Sets, contrast: int | None, number: int) -> Iterator[HalfSplit]:
    """``number`` cuts of the held-out images of a contrast, None: of all.

    Of the samples at most half are in a set as well, so that they too vary from cut to cut. The ceiling of a
    contrast is made of the others; that of all together of one contrast, a different one from cut to cut.
    Its images come from any patient who is not in the reference; where there is one contrast it is empty.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([sets.held_out.contrast, sets.training.contrast])
    patients = torch.cat([sets.held_out.patient, sets.training.patient])
    kinds, mine = labels.unique(), torch.arange(len(labels)) < len(sets.held_out)
    if contrast is not None:
        mine &= labels == contrast
    ours = sets.samples.of(contrast).nonzero()[:, 0]
    for turn in range(number):
        inside = torch.isin(patients, _half(labels[mine], patients[mine], generator))
        other = labels == kinds[turn % len(kinds)] if contrast is None else labels != contrast
        masks = mine & ~inside, other & ~inside & (len(kinds) > 1), mine & inside
        floor, ceiling, reference = (_shuffled(mask.nonzero()[:, 0], generator) for mask in masks)
        n = min(len(floor), len(reference), -(-len(ours) // 2))
        yield HalfSplit(_shuffled(ours, generator)[:n], floor[:n], ceiling[:n], reference[:n])


def compare(measures: Sequence[Measure], cuts: Iterable[HalfSplit]) -> dict[str, Scores]:
    """Scores by name; NaN where no cut gave a number. Warns where some gave none."""
    found: dict[str, list[Triple]] = {}
    for cut in cuts:
        for measure in measures:
            for name, values in measure(cut).items():
                found.setdefault(name, []).append(values)
    for name, numbers in found.items():
        missing = sum(not math.isfinite(one.samples) for one in numbers)
        if 0 < missing < len(numbers):
            log.warning("%s: could not be computed in %d of %d cuts, which are left out", name, missing, len(numbers))
    return {name: Scores(*map(_score, zip(*values, strict=True))) for name, values in found.items()}


def _score(values: Iterable[float]) -> Score:
    finite = torch.tensor([value for value in values if math.isfinite(value)], dtype=torch.float64)
    if not len(finite):
        return Score(math.nan, math.nan, math.nan)
    return Score(finite.mean().item(), finite.quantile(0.025).item(), finite.quantile(0.975).item())


def _half(labels: Tensor, patients: Tensor, generator: torch.Generator) -> Tensor:
    """A random half of the patients of every contrast, so that the halves have the same mix of contrasts."""
    chosen: list[int] = []
    seen: set[int] = set()
    odd = 0  # who is left over in one contrast makes up for it in the next
    for kind in labels.unique():
        left = [patient for patient in patients[labels == kind].unique().tolist() if patient not in seen]
        half, odd = divmod(len(left) + odd, 2)
        chosen += [left[i] for i in torch.randperm(len(left), generator=generator)[:half]]
        seen.update(left)
    return torch.tensor(chosen, dtype=torch.long)


def _shuffled(items: Tensor, generator: torch.Generator) -> Tensor:
    return items[torch.randperm(len(items), generator=generator)]
