"""What can be said of samples, as measures of a `Cut`: each also says it of real images and of wrong ones."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from condiff.evaluation.compare import Cut, Measure, Values
from condiff.evaluation.diversity import pairs, similarity
from condiff.evaluation.features import fit, in_batches
from condiff.evaluation.fidelity import Distances
from condiff.evaluation.images import Images

PAIRS = 256  # of samples of a contrast, and of real images


def distance(name: str, describe: Callable[[Tensor], Tensor], between: Distances, samples: Images, real: Images) -> Measure:
    """Distances to the reference of images summarised by ``describe``."""
    ours, theirs = in_batches(describe, samples.pixels), in_batches(describe, real.pixels)

    def measure(cut: Cut) -> dict[str, Values]:
        reference = theirs[cut.reference]
        sets = ours[cut.samples], theirs[cut.floor], theirs[cut.ceiling]
        found = [between(part, reference) if len(part) == len(reference) else {} for part in sets]
        return {f"{name}_{key}": Values(*(one.get(key, math.nan) for one in found)) for key in found[0]}

    return measure


def standardised(network: nn.Module | Callable[[Tensor], Tensor], training: Images) -> Callable[[Tensor], Tensor]:
    """Features in double precision, of mean 0 and variance 1 over the training images in every dimension.

    A dimension that hardly varies is not blown up: its deviation counts as a tenth of the average at least.
    """
    features = in_batches(network, training.pixels).double()
    mean, std = features.mean(0), features.std(0, correction=0)
    std = std.clamp(min=max(std.mean().item() / 10, 1e-6))
    return lambda pixels: (network(pixels).double() - mean) / std


def accuracy(classifier: nn.Module, samples: Images, real: Images) -> Measure:
    """Share of images that a classifier of real images takes for the contrast they were asked to be."""
    ours, theirs = (in_batches(classifier, images.pixels).argmax(1) for images in (samples, real))

    def measure(cut: Cut) -> dict[str, Values]:
        asked = samples.contrast[cut.samples]
        right = (
            ours[cut.samples] == asked,
            theirs[cut.floor] == real.contrast[cut.floor],
            theirs[cut.ceiling] == asked[: len(cut.ceiling)],
        )
        return {"accuracy": Values(*map(_share, right))}

    return measure


def usefulness(samples: Images, real: Images, training: Images) -> Measure:
    """Share of real images whose contrast is named by a classifier that was trained on samples alone.

    The floor learned from as many real training images, the ceiling from those under wrong names.
    """
    classes = int(real.contrast.max()) + 1
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))
    few = training[order[: len(samples)]]
    lessons = (
        (samples.pixels, samples.contrast),
        (few.pixels, few.contrast),
        (few.pixels, (few.contrast + 1) % classes),
    )
    right = [
        in_batches(fit(*lesson, classes, title=f"Learning contrasts from {name}"), real.pixels).argmax(1) == real.contrast
        for name, lesson in zip(("samples", "as many real images", "wrong names"), lessons, strict=True)
    ]
    return lambda cut: {"usefulness": Values(*(_share(one[cut.reference]) for one in right))}


def realism(samples: Images, held_out: Images, training: Images, classifier: nn.Module) -> Measure:
    """Area under the ROC curve of telling samples from real images of patients the judge never saw; 0.5 is chance.

    It learns from half of the samples and the training images, and judges the other half and the held-out
    ones. The floor learned to tell half of the training patients from the others; the ceiling is how well
    the contrast classifier tells contrasts apart.
    """
    real, side = held_out + training, max(held_out.pixels.shape[-2:])
    known = torch.arange(len(samples)) % 2 == 0
    half = torch.isin(training.patient, _every_other(training))
    logits = in_batches(classifier, real.pixels)

    def judge(title: str, pixels: Tensor, fake: Tensor) -> Callable[[Tensor], Tensor]:
        net = fit(pixels, fake.long(), 2, title=title, side=side)
        return lambda pixels: in_batches(net, pixels).diff(dim=1)[:, 0]

    fake = torch.cat([torch.zeros(len(training), dtype=torch.bool), known[known]])
    tell = judge("Telling samples from real", torch.cat([training.pixels, samples.pixels[known]]), fake)
    ours, theirs = tell(samples.pixels), tell(held_out.pixels)
    chance = judge("Telling real from real", training.pixels, half)(held_out.pixels) if half.any() else None

    def measure(cut: Cut) -> dict[str, Values]:
        unseen = cut.samples[~known[cut.samples]]
        floor = _auroc(chance[cut.floor], chance[cut.reference]) if chance is not None else math.nan
        kinds = real.contrast[cut.reference].unique()
        ceiling = math.nan if len(kinds) > 1 else _auroc(-logits[cut.ceiling, kinds[0]], -logits[cut.reference, kinds[0]])
        return {"auroc": Values(_auroc(ours[unseen], theirs[cut.reference]), floor, ceiling)}

    return measure


def diversity(samples: Images, held_out: Images, conditional: bool, seed: int = 0) -> Measure:
    """MS-SSIM of two samples of a contrast. Floor: of two patients; ceiling: of two patients in two contrasts.

    Of an unconditional model any two samples and, as the floor, any two real images.
    """
    generator = torch.Generator().manual_seed(seed)
    same = torch.eq if conditional else _any
    tables = []
    for images, wanted in ((samples, same), (held_out, same), (held_out, torch.ne)):
        pair = pairs(images, wanted, PAIRS * len(held_out.contrast.unique()), generator)
        tables.append((pair, similarity(images.pixels, pair)))

    def measure(cut: Cut) -> dict[str, Values]:
        chosen = cut.samples, cut.floor, torch.cat([cut.floor, cut.ceiling])
        means = [
            values[torch.isin(pair, mine).all(1)].mean().item()  # of none: NaN
            for (pair, values), mine in zip(tables, chosen, strict=True)
        ]
        return {"ms_ssim": Values(*means)}

    return measure


def _every_other(images: Images) -> Tensor:
    """Half of the patients of every contrast."""
    patients, contrasts = images.patient.tolist(), images.contrast.tolist()
    first = dict(reversed(list(zip(patients, contrasts, strict=True))))
    return torch.tensor(sorted(first, key=lambda patient: (first[patient], patient))[1::2])


def _any(a: Tensor, b: Tensor) -> Tensor:
    return torch.ones_like(a, dtype=torch.bool)


def _auroc(fake: Tensor, real: Tensor) -> float:
    if not len(fake) or not len(real):
        return math.nan
    scores = torch.cat([fake, real]).double()
    scores = (scores - scores.min()) / (scores.max() - scores.min()).clamp(min=1e-12)  # torchmetrics takes probabilities
    return binary_auroc(scores, (torch.arange(len(scores)) < len(fake)).long()).item()


def _share(right: Tensor) -> float:
    return right.double().mean().item() if len(right) else math.nan
