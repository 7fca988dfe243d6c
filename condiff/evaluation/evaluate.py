"""The whole examination: what is measured, of which images, and the audit for copies."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch
from torch import Tensor

from condiff.errors import InputError
from condiff.evaluation.anatomy import Anatomy
from condiff.evaluation.distances import (
    feature_distances,
    log_spectrum,
    patch_projections,
    phase_coherence,
    sliced_wasserstein,
    spectrum_distance,
    wasserstein,
)
from condiff.evaluation.features import SIDE, Classifier, RandomFeatures, at_most, train_classifier_cached
from condiff.evaluation.layout import asymmetry, layout
from condiff.evaluation.memorisation import CopyReport, Neighbours, by_features, search
from condiff.evaluation.metrics import (
    classification_accuracy_score,
    classifier_two_sample_test,
    contrast_accuracy,
    distance,
    mean,
    ms_ssim_diversity,
    standardized,
    with_contrast_ceiling,
)
from condiff.evaluation.resampling import Measure, Scores, compare, cuts
from condiff.evaluation.sets import Images, Sets
from condiff.progress import track

CUTS = 40
FEWEST = 2  # held-out patients of a contrast: one to compare with the other
Found = dict[str, dict[str, Scores]]  # by row and measure


@dataclass(frozen=True)
class EvaluationResult:
    """All that was found; ``notes`` say what was not, and why."""

    scores: Found
    compared: dict[str, int]  # images in each set of a cut, by row
    copies: dict[str, CopyReport]  # by space; none where the images that were trained on are not available
    notes: list[str]
    rows: dict[str, Tensor]  # mask [N] of the samples of each row

    @property
    def named(self) -> Tensor:
        """Mask [N] of the samples named as copies in any space."""
        masks = [copies.named for copies in self.copies.values()]
        return torch.stack(masks).any(0) if masks else torch.zeros_like(next(iter(self.rows.values())))


def evaluate(sets: Sets, cache: Path, audited: bool = True) -> EvaluationResult:
    """All scores of the samples. The classifiers learn from the training images and are kept in ``cache``.

    Args:
        audited: whether the training images are what the model learned from; if not, no copies are looked for.

    Raises:
        InputError: too few samples or held-out patients of a contrast.
    """
    check(sets)
    measures = training_free_metrics(sets) + all_metrics(sets, cache)
    scores, compared = {}, {}
    for name, contrast in track(sets.rows.items(), "Comparing", len(sets.rows)):
        scores[name], compared[name] = score(measures, sets, contrast, CUTS)
    copies = {name: search(nearest, sets) for name, nearest in spaces(sets.training)} if audited else {}
    rows = {name: sets.samples.of(contrast) for name, contrast in sets.rows.items()}
    return EvaluationResult(scores, compared, copies, [*notes(scores, compared, copies)], rows)


def check(sets: Sets) -> None:
    """Raise InputError where nothing could be compared."""
    check_patients(sets.held_out, sets.contrasts if sets.conditional else [])
    for name, contrast in sets.rows.items():
        drawn = int(sets.samples.of(contrast).sum())
        if drawn < 2:
            raise InputError(f"num_samples: {drawn} of {name}; at least 2 are needed, 64 are better")


def check_patients(held_out: Images, contrasts: Sequence[str]) -> None:
    """Raise InputError where too few patients are held out, in all or of one of ``contrasts``."""
    for name, contrast in {"all contrasts": None, **{name: index for index, name in enumerate(contrasts)}}.items():
        patients = len(held_out.patient[held_out.of(contrast)].unique())
        if patients < FEWEST:
            raise InputError(
                f"data: {patients} patients of {name} to compare with; at least {FEWEST} are needed, for two halves. "
                "Train with more data.held_out_per_contrast, or with fewer data.volumes_per_contrast"
            )


def training_free_metrics(sets: Sets) -> list[Measure]:
    """The measures that train nothing."""
    measures = [
        distance("random", standardized(RandomFeatures(), sets.training), feature_distances, sets),
        distance("spectrum", log_spectrum, spectrum_distance, sets),
        distance("patches", patch_projections, sliced_wasserstein, sets),
        distance("layout", layout, wasserstein, sets),
        distance("symmetry", asymmetry, wasserstein, sets),
    ]
    if sets.samples.values.is_complex():
        measures.append(distance("kspace", log_spectrum, spectrum_distance, sets, attrgetter("values")))
        measures.append(mean("coherence", phase_coherence, sets))
    return measures


def all_metrics(sets: Sets, cache: Path) -> list[Measure]:
    """Those that train a network, or compare image with image; of a single contrast there is none to learn."""
    training, two_sample_test = sets.training, classifier_two_sample_test(sets, cache)
    if len(sets.contrasts) == 1:
        return [two_sample_test, ms_ssim_diversity(sets)]
    title, classes = "Learning contrasts from real images", len(sets.contrasts)
    classifier = train_classifier_cached(training.pixels, training.contrast, classes, cache, title)
    learned = distance("learned", standardized(classifier.features, training), feature_distances, sets)
    measures = [learned, with_contrast_ceiling(classifier, sets, two_sample_test), ms_ssim_diversity(sets)]
    return measures + (
        [contrast_accuracy(classifier, sets), classification_accuracy_score(sets, cache)] if sets.conditional else []
    )


def score(measures: Sequence[Measure], sets: Sets, contrast: int | None, number: int) -> tuple[dict[str, Scores], int]:
    """What the measures say of a contrast, None: of all, in ``number`` cuts; and how many images are in a set of a cut."""
    these = list(cuts(sets, contrast, number))
    return compare(measures, these), len(these[0].reference)


def spaces(training: Images) -> Iterator[tuple[str, Callable[[Tensor], Neighbours]]]:
    """Where copies are looked for, each as a search for the nearest training image."""
    yield "pixels", by_features(lambda pixels: at_most(pixels, SIDE).flatten(1), training.pixels)
    yield "random", by_features(standardized(RandomFeatures(), training), training.pixels)
    yield "anatomy", Anatomy(training)


def notes(scores: Found, compared: dict[str, int], copies: dict[str, CopyReport]) -> Iterator[str]:
    """What a reader must know before believing the numbers."""
    for space, dimensions in (("random", RandomFeatures.dim), ("learned", Classifier.dim)):
        few = [f"{name} ({compared[name]})" for name in scores if compared[name] < dimensions]
        if few and any(f"{space}_frechet" in found for found in scores.values()):
            yield (
                f"{space}_frechet: fewer images a set than the {dimensions} features for {', '.join(few)}; "
                "too large for that reason, as its floor is"
            )
    missing: dict[str, list[str]] = {}
    for name, found in scores.items():
        lacking = [measure for measure, values in found.items() if math.isnan(values.samples.value)]
        if lacking:
            missing.setdefault(", ".join(lacking), []).append(name)
    for measures, names in missing.items():
        yield f"{', '.join(names)}: could not be computed, for want of images: {measures}"
    if not copies:
        yield "copies: not looked for, because these data do not hold the images that were trained on"
    for space, audited in copies.items():
        if audited.shared:
            yield f"{space}: {audited.shared} held-out images are training images too (one patient, two names?); left out"
