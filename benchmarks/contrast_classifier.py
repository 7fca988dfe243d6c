"""Is a generated T2 a T2, and how far are the samples from real slices? A classifier trained on other subjects says so.

    python benchmarks/contrast_classifier.py SAMPLES.h5 [...]

Makes a second phantom (another seed, so other patients than any the model saw), trains a small
convolutional network on its slices, and prints its accuracy on real held-out slices of the default
phantom and on the samples of each file, contrast by contrast; beside it the Fréchet distance between
their features (its penultimate layer) and those of the second phantom. Real slices show the floor.
"""

import os
import sys
from itertools import pairwise
from pathlib import Path

import h5py
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from condiff.data.conditioning import ContrastCondition
from condiff.data.datamodule import Slices
from condiff.data.fastmri import find, read_magnitude
from condiff.data.phantom import CONTRASTS, Phantom
from condiff.data.split import split_by_patient
from condiff.data.transforms import Magnitude

NAMES = tuple(CONTRASTS)
CACHE = Path(os.environ.get("CONDIFF_CACHE", "~/.cache/condiff")).expanduser()


def main(paths: list[str]) -> None:
    torch.manual_seed(0)
    others = slices(Phantom(seed=1), lambda volumes: volumes)
    held_out = slices(Phantom(), lambda volumes: [v for part in ("val", "test") for v in getattr(split(volumes), part)])
    net = train(others.images, others.cond.argmax(1))
    reference = features(net, others.images)
    table = Table("images", *NAMES, "all", "Fréchet")
    named = {"real, held out": (held_out.images, held_out.cond.argmax(1))}
    for path in paths:
        with h5py.File(path) as file:
            images = torch.from_numpy(file["images"][()])
            labels = torch.tensor([NAMES.index(name) for name in file["contrast"].asstr()])
        named[path] = images, labels
    for name, (images, labels) in named.items():
        distance = frechet(features(net, images), reference)
        table.add_row(f"{name} ({len(images)})", *accuracy(net, images, labels), f"{distance:.2f}")
    Console(width=120).print(table)


def slices(phantom: Phantom, choose) -> Slices:
    transform, conditioning = Magnitude(phantom.matrix), ContrastCondition(NAMES)
    return Slices(choose(find(phantom.build(CACHE)).volumes), read_magnitude, transform, conditioning, "phantom")


def split(volumes):
    return split_by_patient(volumes, NAMES, train=10, held_out=3, seed=0)


def train(images: Tensor, labels: Tensor, steps: int = 1500) -> nn.Sequential:
    widths = (1, 24, 48, 96, 96)
    layers = [
        layer
        for inside, outside in pairwise(widths)
        for layer in (nn.Conv2d(inside, outside, 3, 2, 1), nn.GroupNorm(8, outside), nn.SiLU())
    ]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(widths[-1], len(NAMES)))
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for _ in track(range(steps), "Training the classifier"):
        chosen = torch.randint(len(images), (32,))
        loss = F.cross_entropy(net(varied(images[chosen])), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    return net.eval()


def varied(images: Tensor) -> Tensor:
    """Moved, mirrored, brighter or noisier: the classifier should look at tissues, not at these."""
    each = (len(images), 1, 1, 1)
    images = torch.where(torch.rand(each) < 0.5, images.flip(-1), images)
    images = (images + 1) * (1 + 0.1 * torch.randn(each)) - 1 + 0.1 * torch.rand(each) * torch.randn_like(images)
    return images.roll(torch.randint(-4, 5, (2,)).tolist(), (2, 3))


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> list[str]:
    right = net(images).argmax(1) == labels
    each = [right[labels == index].float().mean().item() for index in range(len(NAMES))]
    return [f"{100 * share:.1f} %" for share in [*each, right.float().mean().item()]]


@torch.no_grad()
def features(net: nn.Sequential, images: Tensor) -> Tensor:
    return net[:-2](images).double()


def frechet(a: Tensor, b: Tensor) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), the distance of two Gaussians (Dowson & Landau 1982)."""
    covariance_a, covariance_b = torch.cov(a.T), torch.cov(b.T)
    root = torch.linalg.eigvals(covariance_a @ covariance_b).real.clamp(min=0).sqrt().sum()
    return ((a.mean(0) - b.mean(0)).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * root).item()


if __name__ == "__main__":
    main(sys.argv[1:])
