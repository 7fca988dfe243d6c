"""The whole examination: what is measured, of which images, and the audit for copies."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch
from torch import Tensor

from condiff.errors import InputError
from condiff.evaluation.anatomy import AnatomySearch
from condiff.evaluation.distances import (
    feature_distances,
    log_spectrum,
    patch_projections,
    phase_coherence,
    sliced_wasserstein,
    spectrum_distance,
    wasserstein,
)
from condiff.evaluation.features import MAX_SIDE, Classifier, RandomFeatures, downsample_to, train_classifier_cached
from condiff.evaluation.layout import asymmetry, layout_projections
from condiff.evaluation.memorization import CopyReport, Neighbors, find_copies, search_by_features
from condiff.evaluation.metrics import (
    classification_accuracy_score,
    classifier_two_sample_test,
    contrast_accuracy,
    distance_metric,
    mean_metric,
    ms_ssim_diversity,
    standardized_features,
    with_contrast_ceiling,
)
from condiff.evaluation.resampling import Metric, Scores, estimate_scores, half_splits
from condiff.evaluation.sets import Images, ImageSets
from condiff.progress import tracked

NUM_SPLITS = 40
MIN_PATIENTS = 2  # held-out patients of a contrast: one to compare with the other
ScoreTable = dict[str, dict[str, Scores]]  # by row and measure


@dataclass(frozen=True)
class EvaluationResult:
    """All that was found; ``notes`` say what was not, and why."""

    scores: ScoreTable
    set_sizes: dict[str, int]  # images in each set of a split, by row
    copies: dict[str, CopyReport]  # by space; none where the images that were trained on are not available
    notes: list[str]
    row_masks: dict[str, Tensor]  # mask [N] of the samples of each row

    @property
    def flagged(self) -> Tensor:
        """Mask [N] of the samples named as copies in any space."""
        masks = [copies.flagged for copies in self.copies.values()]
        return torch.stack(masks).any(0) if masks else torch.zeros_like(next(iter(self.row_masks.values())))


def evaluate(sets: ImageSets, cache: Path, search_copies: bool = True) -> EvaluationResult:
    """All scores of the samples. The classifiers learn from the training images and are kept in ``cache``.

    Args:
        audited: whether the training images are what the model learned from; if not, no copies are looked for.

    Raises:
        InputError: too few samples or held-out patients of a contrast.
    """
    check_sets(sets)
    metrics = all_metrics(sets, cache)
    scores, set_sizes = {}, {}
    for name, contrast in tracked(sets.rows.items(), "Comparing", len(sets.rows)):
        scores[name], set_sizes[name] = score_contrast(metrics, sets, contrast, NUM_SPLITS)
    spaces = copy_spaces(sets.training) if search_copies else ()
    copies = {name: find_copies(nearest_training, sets) for name, nearest_training in spaces}
    row_masks = {name: sets.samples.of_contrast(contrast) for name, contrast in sets.rows.items()}
    return EvaluationResult(scores, set_sizes, copies, [*limitations(scores, set_sizes, copies)], row_masks)


def check_sets(sets: ImageSets) -> None:
    """Raise InputError where nothing could be compared."""
    check_patients(sets.held_out, sets.contrasts if sets.conditional else [])
    for name, contrast in sets.rows.items():
        num_samples = int(sets.samples.of_contrast(contrast).sum())
        if num_samples < 2:
            raise InputError(f"num_samples: {num_samples} of {name}; at least 2 are needed, 64 are better")


def check_patients(held_out: Images, contrasts: Sequence[str]) -> None:
    """Raise InputError where too few patients are held out, in all or of one of ``contrasts``."""
    for name, contrast in {"all contrasts": None, **{name: index for index, name in enumerate(contrasts)}}.items():
        patients = len(held_out.patient[held_out.of_contrast(contrast)].unique())
        if patients < MIN_PATIENTS:
            raise InputError(
                f"data: {patients} patients of {name} to compare with; at least {MIN_PATIENTS} are needed, for two halves. "
                "Train with more data.held_out_per_contrast, or with fewer data.volumes_per_contrast"
            )


def training_free_metrics(sets: ImageSets) -> list[Metric]:
    """The measures that train nothing."""
    metrics = [
        distance_metric("random", standardized_features(RandomFeatures(), sets.training), feature_distances, sets),
        distance_metric("spectrum", log_spectrum, spectrum_distance, sets),
        distance_metric("patches", patch_projections, sliced_wasserstein, sets),
        distance_metric("layout", layout_projections, wasserstein, sets),
        distance_metric("symmetry", asymmetry, wasserstein, sets),
    ]
    if sets.samples.values.is_complex():
        metrics.append(distance_metric("kspace", log_spectrum, spectrum_distance, sets, attrgetter("values")))
        metrics.append(mean_metric("coherence", phase_coherence, sets))
    return metrics


def all_metrics(sets: ImageSets, cache: Path) -> list[Metric]:
    """Those that train a network, or compare image with image; of a single contrast there is none to learn."""
    metrics, training = training_free_metrics(sets), sets.training
    two_sample_test = classifier_two_sample_test(sets, cache)
    if len(sets.contrasts) == 1:
        return [*metrics, two_sample_test, ms_ssim_diversity(sets)]
    title, classes = "Learning contrasts from real images", len(sets.contrasts)
    classifier = train_classifier_cached(training.pixels, training.contrast, classes, cache, title)
    learned = distance_metric("learned", standardized_features(classifier.features, training), feature_distances, sets)
    metrics += [learned, with_contrast_ceiling(classifier, sets, two_sample_test), ms_ssim_diversity(sets)]
    if sets.conditional:
        metrics += [contrast_accuracy(classifier, sets), classification_accuracy_score(sets, cache)]
    return metrics


def score_contrast(
    metrics: Sequence[Metric], sets: ImageSets, contrast: int | None, num_splits: int
) -> tuple[dict[str, Scores], int]:
    """What the measures say of a contrast, None: of all, in ``num_splits`` cuts; and how many images are in a set of a cut."""
    splits = list(half_splits(sets, contrast, num_splits))
    return estimate_scores(metrics, splits), len(splits[0].reference)


def copy_spaces(training: Images) -> Iterator[tuple[str, Callable[[Tensor], Neighbors]]]:
    """Where copies are looked for, each as a search for the nearest training image."""
    yield "pixels", search_by_features(lambda pixels: downsample_to(pixels, MAX_SIDE).flatten(1), training.pixels)
    yield "random", search_by_features(standardized_features(RandomFeatures(), training), training.pixels)
    yield "anatomy", AnatomySearch(training)


def limitations(scores: ScoreTable, set_sizes: dict[str, int], copies: dict[str, CopyReport]) -> Iterator[str]:
    """What a reader must know before believing the numbers."""
    for space, dimensions in (("random", RandomFeatures.dim), ("learned", Classifier.dim)):
        too_few = [f"{name} ({set_sizes[name]})" for name in scores if set_sizes[name] < dimensions]
        if too_few and any(f"{space}_frechet" in row_scores for row_scores in scores.values()):
            yield (
                f"{space}_frechet: fewer images a set than the {dimensions} features for {', '.join(too_few)}; "
                "too large for that reason, as its floor is"
            )
    rows_of: dict[str, list[str]] = {}
    for name, row_scores in scores.items():
        missing = [metric for metric, values in row_scores.items() if math.isnan(values.samples.value)]
        if missing:
            rows_of.setdefault(", ".join(missing), []).append(name)
    for metrics, names in rows_of.items():
        yield f"{', '.join(names)}: could not be computed, for want of images: {metrics}"
    if not copies:
        yield "copies: not looked for, because these data do not hold the images that were trained on"
    for space, report in copies.items():
        if report.duplicates:
            yield f"{space}: {report.duplicates} held-out images are training images too (one patient, two names?); left out"
