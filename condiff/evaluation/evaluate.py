"""The evaluation of a set of samples: all metrics, and the search for copies of training images."""

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
from condiff.evaluation.memorization import CopyReport, Neighbors, find_copies, search_by_features, trained_on_too
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
from condiff.evaluation.sets import ImageSet, ImageSets
from condiff.progress import track

NUM_SPLITS = 40
MIN_PATIENTS = 2  # held-out patients of a contrast: one per half
Metrics = Callable[[ImageSets, Path], list[Metric]]  # the folder keeps trained classifiers
ScoreTable = dict[str, dict[str, Scores]]  # row -> metric -> scores


@dataclass(frozen=True)
class EvaluationResult:
    """Scores and copies of a set of samples.

    Attributes:
        scores: by row (contrast or pooled) and metric.
        set_sizes: by row, images per set of a half-split.
        copies: by space; empty without a search.
        notes: limitations of the numbers.
        row_masks: by row, mask [N] of its samples.
        trained_on: mask [M] of the held-out images that show training patients under another name.
        patients_elsewhere: that the model learned from and that were not searched for copies.
    """

    scores: ScoreTable
    set_sizes: dict[str, int]
    copies: dict[str, CopyReport]
    notes: list[str]
    row_masks: dict[str, Tensor]
    trained_on: Tensor
    patients_elsewhere: int = 0

    @property
    def flagged(self) -> Tensor:
        """Mask [N] of the samples flagged as copies in any space."""
        masks = [copies.flagged for copies in self.copies.values()]
        return torch.stack(masks).any(0) if masks else torch.zeros_like(next(iter(self.row_masks.values())))


def evaluate(
    sets: ImageSets, cache: Path, patients_elsewhere: int | None = 0, metrics: Metrics | None = None
) -> EvaluationResult:
    """Return all scores of the samples, and the samples that may be copies.

    Args:
        cache: folder for classifiers, which are trained once per set of training images.
        patients_elsewhere: patients whose images the model learned from and ``sets.training`` does not hold. None: it was
            trained on other images, and samples are not compared with these.
        metrics: what is measured; None: `all_metrics`.

    Raises:
        InputError: fewer than two samples, or two held-out patients, of a contrast.
    """
    check_sets(sets)
    measures = (metrics or all_metrics)(sets, cache)
    scores, set_sizes = {}, {}
    for name, contrast in track(sets.rows.items(), "Comparing", len(sets.rows)):
        scores[name], set_sizes[name] = score_contrast(measures, sets, contrast, NUM_SPLITS)
    copies, trained_on = (
        ({}, torch.zeros(len(sets.held_out), dtype=torch.bool)) if patients_elsewhere is None else search_copies(sets)
    )
    row_masks = {name: sets.samples.of_contrast(contrast) for name, contrast in sets.rows.items()}
    result = EvaluationResult(scores, set_sizes, copies, [], row_masks, trained_on, patients_elsewhere or 0)
    result.notes.extend(limitations(result))
    return result


def check_sets(sets: ImageSets) -> None:
    """Raise InputError if a contrast has fewer than two samples or held-out patients."""
    check_patients(sets.held_out, sets.contrasts if sets.conditional else [])
    for name, contrast in sets.rows.items():
        num_samples = int(sets.samples.of_contrast(contrast).sum())
        if num_samples < 2:
            raise InputError(f"num_samples: {num_samples} of {name}; give at least 2, better 64")


def check_patients(held_out: ImageSet, contrasts: Sequence[str]) -> None:
    """Raise InputError if fewer than `MIN_PATIENTS` patients are held out, of all contrasts or of one in ``contrasts``."""
    for name, contrast in {"all contrasts": None, **{name: index for index, name in enumerate(contrasts)}}.items():
        patients = len(held_out.patient[held_out.of_contrast(contrast)].unique())
        if patients < MIN_PATIENTS:
            raise InputError(
                f"data: {patients} held-out patients of {name}; at least {MIN_PATIENTS} are needed, for two halves. "
                "Train with more data.held_out_per_contrast, or with fewer data.volumes_per_contrast"
            )


def training_free_metrics(sets: ImageSets) -> list[Metric]:
    """Return the metrics that train no network."""
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


def quick_metrics(sets: ImageSets, _: Path) -> list[Metric]:
    """Return the metrics that train no network, and MS-SSIM: at 128 x 128 on a CPU each classifier takes about ten minutes."""
    return [*training_free_metrics(sets), ms_ssim_diversity(sets)]


def all_metrics(sets: ImageSets, cache: Path) -> list[Metric]:
    """Return all metrics.

    Without a second contrast there is no contrast classifier, and no metric that needs one.
    """
    metrics, training = training_free_metrics(sets), sets.training
    two_sample_test = classifier_two_sample_test(sets, cache)
    if len(sets.contrasts) == 1:
        return [*metrics, two_sample_test, ms_ssim_diversity(sets)]
    title, classes = "Training contrast classifier", len(sets.contrasts)
    classifier = train_classifier_cached(training.pixels, training.contrast, classes, cache, title)
    learned = distance_metric("learned", standardized_features(classifier.features, training), feature_distances, sets)
    metrics += [learned, with_contrast_ceiling(classifier, sets, two_sample_test), ms_ssim_diversity(sets)]
    if sets.conditional:
        metrics += [contrast_accuracy(classifier, sets), classification_accuracy_score(sets, cache)]
    return metrics


def score_contrast(
    metrics: Sequence[Metric], sets: ImageSets, contrast: int | None, num_splits: int
) -> tuple[dict[str, Scores], int]:
    """Return the scores of a contrast (None: of all) over ``num_splits`` half-splits, and the number of images per set."""
    splits = list(half_splits(sets, contrast, num_splits))
    return estimate_scores(metrics, splits), len(splits[0].reference)


def search_copies(sets: ImageSets) -> tuple[dict[str, CopyReport], Tensor]:
    """Return the copies of training images, by space, and the mask [M] of held-out images that show training patients."""
    searches = dict(copy_spaces(sets.training))
    held_out = {space: search(sets.held_out.pixels) for space, search in searches.items()}
    trained_on = trained_on_too(held_out["anatomy"].distance, sets.held_out.patient)
    samples = {space: search(sets.samples.pixels) for space, search in searches.items()}
    return {space: find_copies(samples[space], held_out[space], sets, trained_on) for space in searches}, trained_on


def copy_spaces(training: ImageSet) -> Iterator[tuple[str, Callable[[Tensor], Neighbors]]]:
    """Yield the name of each space and the function from images [N, H, W] to their nearest training images in it."""
    yield "pixels", search_by_features(lambda pixels: downsample_to(pixels, MAX_SIDE).flatten(1), training.pixels)
    yield "random", search_by_features(standardized_features(RandomFeatures(), training), training.pixels)
    yield "anatomy", AnatomySearch(training)


def limitations(result: EvaluationResult) -> Iterator[str]:
    """Yield the limitations of the scores: biased or missing metrics, images not searched for copies, duplicate images."""
    scores, set_sizes, copies = result.scores, result.set_sizes, result.copies
    for space, dimensions in (("random", RandomFeatures.dim), ("learned", Classifier.dim)):
        too_few = [f"{name} ({set_sizes[name]})" for name in scores if set_sizes[name] < dimensions]
        if too_few and any(f"{space}_frechet" in row_scores for row_scores in scores.values()):
            yield (
                f"{space}_frechet: fewer images per set than the {dimensions} features for {', '.join(too_few)}; "
                "score and floor are biased upwards"
            )
    rows_of: dict[str, list[str]] = {}
    for name, row_scores in scores.items():
        missing = [metric for metric, values in row_scores.items() if math.isnan(values.samples.value)]
        if missing:
            rows_of.setdefault(", ".join(missing), []).append(name)
    for metrics, names in rows_of.items():
        yield f"{', '.join(names)}: too few images to compute {metrics}"
    if not copies:
        yield "copies: no search, because these data are not the images that the model was trained on"
    elif result.patients_elsewhere:
        yield (
            f"copies: {result.patients_elsewhere} patients that a model before this one was trained on (init=, an autoencoder, "
            "a guide) are not in data.root; copies of them were not searched"
        )
    spaces_of: dict[int, list[str]] = {}
    for space, report in copies.items():
        spaces_of.setdefault(report.duplicates, []).append(space)
    for duplicates, spaces in spaces_of.items():
        if duplicates:
            yield (
                f"{', '.join(spaces)}: {duplicates} held-out images are also training images, or show training patients "
                "(one patient, two names?); left out"
            )
