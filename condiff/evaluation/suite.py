"""The whole examination: what is measured, of which images, and the audit for copies."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from condiff.errors import InputError
from condiff.evaluation.compare import Measure, Scores, compare, cuts
from condiff.evaluation.features import Classifier, RandomFeatures, fit_once, shown
from condiff.evaluation.fidelity import (
    feature_distances,
    log_spectrum,
    patch_projections,
    sliced_wasserstein,
    spectrum_distance,
)
from condiff.evaluation.images import Images, Rows
from condiff.evaluation.measures import accuracy, distance, diversity, realism, standardised, usefulness
from condiff.evaluation.memorisation import Copies, search

CUTS = 40
Watch = Callable[[Sequence, str], Iterable]
Found = dict[str, dict[str, Scores]]  # by row and measure


@dataclass(frozen=True)
class Examination:
    """All that was found; ``notes`` say what was not, and why."""

    scores: Found
    compared: dict[str, int]  # images in each set of a cut, by row
    copies: dict[str, Copies]  # by space; none where the images that were trained on are not to be had
    notes: list[str]


def examine(samples: Images, held_out: Images, training: Images, table: Rows, cache: Path, audited: bool = True) -> Examination:
    """Everything there is to know. Networks that judge are trained on ``training`` and kept in ``cache``.

    Args:
        audited: whether ``training`` is what the model learned from; if not, no copies are looked for.

    Raises:
        InputError: too few samples or held-out patients of a contrast.
    """
    check_patients(held_out, table)
    check_samples(samples, table)
    measures = quick(samples, held_out, training) + thorough(samples, held_out, training, len(table) > 1, cache)
    scores, compared = score(measures, samples, held_out, training, table, CUTS, shown)
    copies = {name: search(space, samples, held_out, training, table) for name, space in spaces(training)} if audited else {}
    return Examination(scores, compared, copies, [*notes(scores, compared, audited)])


def check_patients(held_out: Images, table: Rows) -> None:
    """Raise InputError where there is nobody to compare with."""
    for name, contrast in table.items():
        patients = len(held_out.patient[held_out.of(contrast)].unique())
        if patients < 2:
            raise InputError(
                f"data: {patients} patients of {name} to judge by; at least 2 are needed, one to compare with the other. "
                "Train with more data.held_out_per_contrast, or with fewer data.volumes_per_contrast"
            )


def check_samples(samples: Images, table: Rows) -> None:
    """Raise InputError where there is nothing to compare."""
    for name, contrast in table.items():
        drawn = int(samples.of(contrast).sum())
        if drawn < 2:
            raise InputError(f"num_samples: {drawn} of {name}; at least 2 are needed, 64 are better")


def quick(samples: Images, held_out: Images, training: Images) -> list[Measure]:
    """The measures that train nothing."""
    real = held_out + training
    return [
        distance("random", standardised(RandomFeatures(), training), feature_distances, samples, real),
        distance("spectrum", log_spectrum, spectrum_distance, samples, real),
        distance("patches", patch_projections, sliced_wasserstein, samples, real),
    ]


def thorough(samples: Images, held_out: Images, training: Images, conditional: bool, cache: Path) -> list[Measure]:
    """Those that train a network, or compare image with image; a single contrast leaves nothing to learn."""
    real, classes = held_out + training, int(training.contrast.max()) + 1
    judge = fit_once(training.pixels, training.contrast, classes, cache, "Learning contrasts from real images")
    measures = [realism(samples, held_out, training, judge), diversity(samples, held_out, conditional)]
    if classes > 1:
        learned = standardised(judge.features, training)
        measures.append(distance("learned", learned, feature_distances, samples, real))
    if classes > 1 and conditional:
        measures += [accuracy(judge, samples, real), usefulness(samples, real, training)]
    return measures


def unwatched(items: Sequence, title: str) -> Iterable:
    """The items, without a progress bar."""
    return items


def score(
    measures: Sequence[Measure],
    samples: Images,
    held_out: Images,
    training: Images,
    table: Rows,
    number: int,
    watch: Watch = unwatched,
) -> tuple[Found, dict[str, int]]:
    """What the measures say of each row, and how many images were in a set."""
    found, compared = {}, {}
    for name, contrast in table.items():
        these = list(cuts(samples, held_out, training, contrast, number))
        found[name] = compare(measures, watch(these, f"Comparing {name}"))
        compared[name] = len(these[0].reference)
    return found, compared


def spaces(training: Images) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Where copies are looked for."""
    yield "pixels", lambda pixels: pixels.flatten(1)
    yield "random", standardised(RandomFeatures(), training)


def notes(scores: Found, compared: dict[str, int], audited: bool) -> Iterator[str]:
    """What a reader must know before believing the numbers."""
    for space, dimensions in (("random", RandomFeatures.dim), ("learned", Classifier.dim)):
        few = [f"{name} ({n})" for name, n in compared.items() if n < dimensions]
        if few:
            yield (
                f"{space}_frechet: fewer images a set than the {dimensions} features for {', '.join(few)}; "
                "too large for that reason, as its floor is"
            )
    for name, found in scores.items():
        missing = [measure for measure, values in found.items() if math.isnan(values.samples.value)]
        if missing:
            yield f"{name}: could not be computed, for want of images: {', '.join(missing)}"
    if not audited:
        yield "copies: not looked for, because these data do not hold the patients that were trained on"
