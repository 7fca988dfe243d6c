"""Metrics: functions of a `HalfSplit` that return the number of the samples, of the floor and of the ceiling."""

import math
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from condiff.evaluation.distances import DistanceFunction
from condiff.evaluation.diversity import draw_pairs, pairwise_ms_ssim
from condiff.evaluation.features import in_batches, train_classifier, train_classifier_cached
from condiff.evaluation.resampling import HalfSplit, Metric, Triple
from condiff.evaluation.sets import ImageSet, ImageSets

PAIRS = 256  # per contrast, for MS-SSIM


def distance_metric(
    name: str,
    features: Callable[[Tensor], Tensor],
    distances: DistanceFunction,
    sets: ImageSets,
    select: Callable[[ImageSet], Tensor] = attrgetter("pixels"),
) -> Metric:
    """Return a metric of distances to the reference, named ``<name>_<distance>``.

    Args:
        features: from images [N, H, W] to [N, ...].
        distances: of the features of two sets.
        select: what ``features`` takes of the images, by default the magnitudes.
    """
    samples, real = in_batches(features, select(sets.samples)), sets.of_real(lambda part: in_batches(features, select(part)))

    def metric(split: HalfSplit) -> dict[str, Triple]:
        reference = real[split.reference]
        subsets = samples[split.samples], real[split.floor], real[split.ceiling]
        values = [distances(subset, reference) if len(subset) == len(reference) else {} for subset in subsets]
        return {f"{name}_{key}": Triple(*(value.get(key, math.nan) for value in values)) for key in values[0]}

    return metric


def mean_metric(name: str, summarize: Callable[[Tensor], Tensor], sets: ImageSets) -> Metric:
    """Return a metric that averages ``summarize``, a function from complex images [N, H, W] to [N]."""
    samples, real = in_batches(summarize, sets.samples.values), sets.of_real(lambda part: in_batches(summarize, part.values))

    def metric(split: HalfSplit) -> dict[str, Triple]:
        subsets = samples[split.samples], real[split.floor], real[split.ceiling]
        return {name: Triple(*map(_mean_or_nan, subsets))}

    return metric


def standardized_features(network: nn.Module | Callable[[Tensor], Tensor], training: ImageSet) -> Callable[[Tensor], Tensor]:
    """Return ``network`` with features in double precision, of mean 0 and variance 1 over the training images.

    Standard deviations are at least a tenth of their mean, so that a nearly constant feature is not amplified.
    """
    features = in_batches(network, training.pixels).double()
    mean, std = features.mean(0), features.std(0, correction=0)
    std = std.clamp(min=max(std.mean().item() / 10, 1e-6))
    return lambda pixels: (network(pixels).double() - mean) / std


def contrast_accuracy(classifier: nn.Module, sets: ImageSets) -> Metric:
    """Return the contrast accuracy: the share of images that a classifier of real images assigns to the requested contrast."""

    def contrast_of(images: ImageSet) -> Tensor:
        return in_batches(classifier, images.pixels).argmax(1)

    samples, real, real_contrast = contrast_of(sets.samples), sets.of_real(contrast_of), sets.of_real(attrgetter("contrast"))

    def metric(split: HalfSplit) -> dict[str, Triple]:
        requested = sets.samples.contrast[split.samples]
        correct = (
            samples[split.samples] == requested,
            real[split.floor] == real_contrast[split.floor],
            real[split.ceiling] == requested[: len(split.ceiling)],
        )
        return {"accuracy": Triple(*map(_mean_or_nan, correct))}

    return metric


def classification_accuracy_score(sets: ImageSets, cache: Path) -> Metric:
    """Return the CAS: accuracy on real images of a classifier trained on samples only (Ravuri & Vinyals 2019).

    Floor: trained on as many training images. Ceiling: on the same images with wrong labels.
    """
    classes, size = len(sets.contrasts), min(len(sets.samples), len(sets.training))
    generator = torch.Generator().manual_seed(0)
    samples = sets.samples[torch.randperm(len(sets.samples), generator=generator)[:size]]
    real = sets.training[torch.randperm(len(sets.training), generator=generator)[:size]]
    classifiers = (
        train_classifier(samples.pixels, samples.contrast, classes, "Training CAS classifier on samples"),
        train_classifier_cached(real.pixels, real.contrast, classes, cache, "Training CAS classifier on real images"),
        train_classifier_cached(
            real.pixels, (real.contrast + 1) % classes, classes, cache, "Training CAS classifier on wrong labels"
        ),
    )
    correct = [in_batches(classifier, sets.held_out.pixels).argmax(1) == sets.held_out.contrast for classifier in classifiers]
    return lambda split: {"cas": Triple(*(_mean_or_nan(mask[split.reference]) for mask in correct))}


def classifier_two_sample_test(sets: ImageSets, cache: Path) -> Metric:
    """Return the C2ST: AUROC of a classifier that separates samples from real images; 0.5 is chance (Lopez-Paz & Oquab 2017).

    It is trained on half of the samples and the training images, and tested on the other half and the held-out images.
    Floor: a classifier trained to separate one half of the training patients from the other. There is no ceiling.
    """
    side = max(sets.held_out.pixels.shape[-2:])
    trained_on = torch.arange(len(sets.samples)) % 2 == 1
    training = sets.training + sets.samples[trained_on]
    is_sample = torch.arange(len(training)) >= len(sets.training)
    classifier = train_classifier(training.pixels, is_sample.long(), 2, "Training C2ST classifier", side)
    sample_logits, real_logits = (
        in_batches(classifier, images.pixels).diff(dim=1)[:, 0] for images in (sets.samples, sets.held_out)
    )
    in_half = torch.isin(sets.training.patient, half_of_patients(sets.training))
    floor_logits = torch.full_like(real_logits, torch.nan)
    if in_half.any():
        floor_classifier = train_classifier_cached(
            sets.training.pixels, in_half.long(), 2, cache, "Training C2ST floor classifier", side
        )
        floor_logits = in_batches(floor_classifier, sets.held_out.pixels).diff(dim=1)[:, 0]

    def metric(split: HalfSplit) -> dict[str, Triple]:
        test_samples = split.samples[~trained_on[split.samples]]
        score = _auroc(sample_logits[test_samples], real_logits[split.reference])
        floor = _auroc(floor_logits[split.floor], floor_logits[split.reference])
        return {"c2st_auroc": Triple(score, floor, math.nan)}

    return metric


def with_contrast_ceiling(classifier: nn.Module, sets: ImageSets, metric: Metric) -> Metric:
    """Return ``metric`` with a ceiling: the AUROC of the contrast classifier, reference against other contrasts."""
    logits = sets.of_real(lambda part: in_batches(classifier, part.pixels))
    real_contrast = sets.of_real(attrgetter("contrast"))

    def with_ceiling(split: HalfSplit) -> dict[str, Triple]:
        contrasts = real_contrast[split.reference].unique()
        wrong, right = (-logits[index, contrasts[0]] for index in (split.ceiling, split.reference))
        ceiling = _auroc(wrong, right) if len(contrasts) == 1 else math.nan
        return {name: values._replace(ceiling=ceiling) for name, values in metric(split).items()}

    return with_ceiling


def ms_ssim_diversity(sets: ImageSets) -> Metric:
    """Return the mean MS-SSIM of two samples of a contrast (Odena et al. 2017, section 4.2).

    Floor: of two patients. Ceiling: of two patients in two contrasts. For an unconditional model the contrasts of two
    samples, and of two real images of the floor, may differ.
    """
    same_contrast = torch.eq if sets.conditional else _always
    num_pairs = PAIRS * len(sets.contrasts)
    pair_sets = [
        (pairs, pairwise_ms_ssim(images.pixels, pairs))
        for images, eligible in ((sets.samples, same_contrast), (sets.held_out, same_contrast), (sets.held_out, torch.ne))
        for pairs in (draw_pairs(images, eligible, num_pairs),)
    ]

    def metric(split: HalfSplit) -> dict[str, Triple]:
        (sample_pairs, _), (real_pairs, _), (cross_pairs, _) = pair_sets
        masks = (
            torch.isin(sample_pairs, split.samples).all(1),
            torch.isin(real_pairs, split.floor).all(1),
            torch.isin(cross_pairs, split.floor).any(1) & ~torch.isin(cross_pairs, split.reference).any(1),
        )
        means = [values[mask].mean().item() for (_, values), mask in zip(pair_sets, masks, strict=True)]  # NaN without pairs
        return {"ms_ssim": Triple(*means)}

    return metric


def half_of_patients(images: ImageSet) -> Tensor:
    """Return half of the patients of every contrast; a patient counts for the contrast of its first image."""
    first: dict[int, int] = {}
    for patient, contrast in zip(images.patient.tolist(), images.contrast.tolist(), strict=True):
        first.setdefault(patient, contrast)
    return torch.tensor(sorted(first, key=lambda patient: (first[patient], patient))[1::2], dtype=torch.long)


def _always(a: Tensor, b: Tensor) -> Tensor:
    """Accept any two contrasts."""
    return torch.ones_like(a, dtype=torch.bool)


def _auroc(samples: Tensor, real: Tensor) -> float:
    """Return the probability that a sample has a higher score than a real image; NaN if there are none."""
    scores = torch.cat([samples, real]).double()
    if not len(samples) or not len(real) or scores.isnan().any():
        return math.nan
    scores = (scores - scores.min()) / (scores.max() - scores.min()).clamp(min=1e-12)  # torchmetrics takes probabilities
    return binary_auroc(scores, (torch.arange(len(scores)) < len(samples)).long()).item()


def _mean_or_nan(values: Tensor) -> float:
    return values.double().mean().item() if len(values) else math.nan
