"""What can be said of samples, as measures of a `Cut`: each says it of real images and of wrong ones too."""

import math
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from condiff.evaluation.distances import Distances
from condiff.evaluation.diversity import pairs, similarity
from condiff.evaluation.features import fit, in_batches, train_classifier_cached
from condiff.evaluation.resampling import HalfSplit, Measure, Triple
from condiff.evaluation.sets import Images, Sets

PAIRS = 256  # of samples of a contrast, and of real images


def distance(
    name: str,
    describe: Callable[[Tensor], Tensor],
    between: Distances,
    sets: Sets,
    seen: Callable[[Images], Tensor] = attrgetter("pixels"),
) -> Measure:
    """Distances to the reference of images summarised by ``describe``, which sees their magnitudes or ``seen`` of them."""
    ours, theirs = in_batches(describe, seen(sets.samples)), in_batches(describe, seen(sets.real))

    def measure(cut: HalfSplit) -> dict[str, Triple]:
        reference = theirs[cut.reference]
        parts = ours[cut.samples], theirs[cut.floor], theirs[cut.ceiling]
        found = [between(part, reference) if len(part) == len(reference) else {} for part in parts]
        return {f"{name}_{key}": Triple(*(one.get(key, math.nan) for one in found)) for key in found[0]}

    return measure


def mean(name: str, describe: Callable[[Tensor], Tensor], sets: Sets) -> Measure:
    """A number of each complex image, [N], averaged."""
    ours, theirs = in_batches(describe, sets.samples.values), in_batches(describe, sets.real.values)
    return lambda cut: {name: Triple(*(_share(part) for part in (ours[cut.samples], theirs[cut.floor], theirs[cut.ceiling])))}


def standardized(network: nn.Module | Callable[[Tensor], Tensor], training: Images) -> Callable[[Tensor], Tensor]:
    """Features in double precision, of mean 0 and variance 1 over the training images in every dimension.

    A dimension that hardly varies is not blown up: its deviation counts as a tenth of the average at least.
    """
    features = in_batches(network, training.pixels).double()
    mean, std = features.mean(0), features.std(0, correction=0)
    std = std.clamp(min=max(std.mean().item() / 10, 1e-6))
    return lambda pixels: (network(pixels).double() - mean) / std


def contrast_accuracy(classifier: nn.Module, sets: Sets) -> Measure:
    """Share of images that a classifier of real images takes for the contrast they were asked to be."""
    ours, theirs = (in_batches(classifier, images.pixels).argmax(1) for images in (sets.samples, sets.real))

    def measure(cut: HalfSplit) -> dict[str, Triple]:
        asked = sets.samples.contrast[cut.samples]
        right = (
            ours[cut.samples] == asked,
            theirs[cut.floor] == sets.real.contrast[cut.floor],
            theirs[cut.ceiling] == asked[: len(cut.ceiling)],
        )
        return {"accuracy": Triple(*map(_share, right))}

    return measure


def classification_accuracy_score(sets: Sets, cache: Path) -> Measure:
    """Share of real images whose contrast is named by a classifier that was trained on samples alone.

    The floor learned from as many training images, the ceiling from those under wrong names.
    """
    classes, number = len(sets.contrasts), min(len(sets.samples), len(sets.training))
    generator = torch.Generator().manual_seed(0)
    drawn = sets.samples[torch.randperm(len(sets.samples), generator=generator)[:number]]
    few = sets.training[torch.randperm(len(sets.training), generator=generator)[:number]]
    judges = (
        fit(drawn.pixels, drawn.contrast, classes, "Learning contrasts from samples"),
        train_classifier_cached(few.pixels, few.contrast, classes, cache, "Learning contrasts from as many real images"),
        train_classifier_cached(few.pixels, (few.contrast + 1) % classes, classes, cache, "Learning wrong names"),
    )
    right = [in_batches(judge, sets.held_out.pixels).argmax(1) == sets.held_out.contrast for judge in judges]
    return lambda cut: {"cas": Triple(*(_share(one[cut.reference]) for one in right))}


def classifier_two_sample_test(sets: Sets, cache: Path) -> Measure:
    """Area under the ROC curve of telling samples from real images of patients the judge never saw; 0.5 is chance.

    It learns from half of the samples and the training images, and judges the other half and the held-out
    ones. The floor learned to tell half of the training patients from the others.
    """
    side = max(sets.held_out.pixels.shape[-2:])
    odd = torch.arange(len(sets.samples)) % 2 == 1
    lesson = sets.training + sets.samples[odd]
    fake = torch.arange(len(lesson)) >= len(sets.training)
    tell = fit(lesson.pixels, fake.long(), 2, "Telling samples from real", side)
    ours, theirs = (in_batches(tell, images.pixels).diff(dim=1)[:, 0] for images in (sets.samples, sets.held_out))
    half = torch.isin(sets.training.patient, every_other(sets.training))
    chance = torch.full_like(theirs, torch.nan)
    if half.any():
        guess = train_classifier_cached(sets.training.pixels, half.long(), 2, cache, "Telling real from real", side)
        chance = in_batches(guess, sets.held_out.pixels).diff(dim=1)[:, 0]

    def measure(cut: HalfSplit) -> dict[str, Triple]:
        unseen, real = cut.samples[~odd[cut.samples]], cut.reference
        return {"c2st_auroc": Triple(_auroc(ours[unseen], theirs[real]), _auroc(chance[cut.floor], chance[real]), math.nan)}

    return measure


def with_contrast_ceiling(classifier: nn.Module, sets: Sets, measure: Measure) -> Measure:
    """A measure with a ceiling: how well the contrast classifier separates the contrast of the reference from others."""
    logits = in_batches(classifier, sets.real.pixels)

    def with_ceiling(cut: HalfSplit) -> dict[str, Triple]:
        kinds = sets.real.contrast[cut.reference].unique()
        other, own = (-logits[chosen, kinds[0]] for chosen in (cut.ceiling, cut.reference))
        ceiling = _auroc(other, own) if len(kinds) == 1 else math.nan
        return {name: values._replace(ceiling=ceiling) for name, values in measure(cut).items()}

    return with_ceiling


def ms_ssim_diversity(sets: Sets) -> Measure:
    """MS-SSIM of two samples of a contrast. Floor: of two patients; ceiling: of two patients in two contrasts.

    Of an unconditional model any two samples and, as the floor, any two real images.
    """
    same = torch.eq if sets.conditional else _any
    number = PAIRS * len(sets.contrasts)
    tables = [
        (pair, similarity(images.pixels, pair))
        for images, wanted in ((sets.samples, same), (sets.held_out, same), (sets.held_out, torch.ne))
        for pair in (pairs(images, wanted, number),)
    ]

    def measure(cut: HalfSplit) -> dict[str, Triple]:
        (ours, _), (theirs, _), (across, _) = tables
        chosen = (
            torch.isin(ours, cut.samples).all(1),
            torch.isin(theirs, cut.floor).all(1),
            torch.isin(across, cut.floor).any(1) & ~torch.isin(across, cut.reference).any(1),
        )
        means = [values[mask].mean().item() for (_, values), mask in zip(tables, chosen, strict=True)]  # of none: NaN
        return {"ms_ssim": Triple(*means)}

    return measure


def every_other(images: Images) -> Tensor:
    """Half of the patients of every contrast; a patient counts for the contrast seen first."""
    first: dict[int, int] = {}
    for patient, contrast in zip(images.patient.tolist(), images.contrast.tolist(), strict=True):
        first.setdefault(patient, contrast)
    return torch.tensor(sorted(first, key=lambda patient: (first[patient], patient))[1::2], dtype=torch.long)


def _any(a: Tensor, b: Tensor) -> Tensor:
    return torch.ones_like(a, dtype=torch.bool)


def _auroc(fake: Tensor, real: Tensor) -> float:
    scores = torch.cat([fake, real]).double()
    if not len(fake) or not len(real) or scores.isnan().any():
        return math.nan
    scores = (scores - scores.min()) / (scores.max() - scores.min()).clamp(min=1e-12)  # torchmetrics takes probabilities
    return binary_auroc(scores, (torch.arange(len(scores)) < len(fake)).long()).item()


def _share(right: Tensor) -> float:
    return right.double().mean().item() if len(right) else math.nan
