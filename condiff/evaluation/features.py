"""Feature spaces that need no download, and the classifiers of the evaluation.

There are two feature spaces, and they fail differently. The penultimate layer of a contrast classifier, trained on the
training images, sees what separates contrasts and is blind to the rest. A convolutional network with random weights
sees any texture, but does not know what matters. Naeem et al. 2020 recommend random embeddings for data unlike
ImageNet.
"""

import hashlib
import os
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condiff.progress import track

MAX_SIDE = 64  # pixels; larger images are averaged down for classifiers and for the search for copies
STEPS, BATCH = 400, 32
VERSION = 1  # of the recipe; another number trains cached classifiers again


class Classifier(nn.Module):
    """Convolutional classifier of magnitudes [N, H, W], white 1, averaged down to at most ``side`` pixels: logits [N, classes].

    The names of its weights must not change: cached classifiers are loaded by them.
    """

    dim = 32

    def __init__(self, classes: int, side: int = MAX_SIDE):
        super().__init__()
        self.side = side
        widths = (1, 24, 48, 96, self.dim)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, 2, 1), nn.GroupNorm(8, out_channels), nn.SiLU())
                for in_channels, out_channels in pairwise(widths)
            )
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(self.dim, classes))

    def features(self, pixels: Tensor) -> Tensor:
        """Return the input [N, dim] of the last layer."""
        return self.layers(2 * downsample_to(pixels, self.side)[:, None] - 1).mean((2, 3))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))


def downsample_to(pixels: Tensor, side: int) -> Tensor:
    """Return images [N, H, W] averaged down to at most ``side`` pixels per side; smaller ones are unchanged."""
    height, width = pixels.shape[-2:]
    return F.adaptive_avg_pool2d(pixels[:, None], (min(height, side), min(width, side)))[:, 0]


class RandomFeatures(nn.Module):
    """Spatial means [N, dim] of three random convolutions of magnitudes [N, H, W], each followed by ReLU and pooling by 2."""

    dim = 8 + 16 + 32

    def __init__(self, seed: int = 0):
        super().__init__()
        widths = (1, 8, 16, 32)
        generator = torch.Generator().manual_seed(seed)
        layers = [
            nn.Conv2d(in_channels, out_channels, 5, padding=2, padding_mode="replicate")
            for in_channels, out_channels in pairwise(widths)
        ]
        self.layers = nn.ModuleList(layers).requires_grad_(False)
        for layer in layers:
            fan_in = layer.weight[0].numel()
            assert layer.bias is not None
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
            layer.bias.copy_(0.1 * torch.randn(layer.bias.shape, generator=generator))

    def forward(self, pixels: Tensor) -> Tensor:
        x, means = pixels[:, None], []
        for layer in self.layers:
            x = F.avg_pool2d(F.relu(layer(x)), 2)
            means.append(x.mean((2, 3)))
        return torch.cat(means, dim=1)


def train_classifier(pixels: Tensor, labels: Tensor, classes: int, title: str, side: int = MAX_SIDE) -> Classifier:
    """Return a classifier trained on images [N, H, W] with labels [N]; classes are drawn with equal probability.

    Training runs on the CPU from a fixed seed, so that a machine always gives the same network. Torch's random state is
    left unchanged.

    Args:
        title: of the progress bar.
        side: the classifier averages larger images down to this many pixels.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = Classifier(classes, side)
        optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.05)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, STEPS)
        weights = 1 / torch.bincount(labels, minlength=classes)[labels]
        for _ in track(range(STEPS), title, STEPS):
            batch = torch.multinomial(weights, BATCH, replacement=True)
            loss = F.cross_entropy(classifier(_augment(pixels[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    return classifier.eval()


def _augment(pixels: Tensor) -> Tensor:
    """Mirror and shift at random. Noise and brightness stay: a sample may differ from real images in just these."""
    mirrored = torch.where(torch.rand(len(pixels), 1, 1) < 0.5, pixels.flip(-1), pixels)
    max_shift = max(pixels.shape[-1] // 16, 1)
    return mirrored.roll(torch.randint(-max_shift, max_shift + 1, (2,)).tolist(), (1, 2))


def train_classifier_cached(
    pixels: Tensor, labels: Tensor, classes: int, cache: Path, title: str, side: int = MAX_SIDE
) -> Classifier:
    """Return `train_classifier`'s result, from ``cache/classifier-HASH.pt`` if it exists.

    HASH is of the images, the labels and the recipe (`VERSION`, `STEPS`, `BATCH`, classes, side).
    """
    digest = hashlib.sha256(repr((VERSION, STEPS, BATCH, classes, side, tuple(pixels.shape))).encode())
    for tensor in (pixels, labels):
        digest.update(tensor.contiguous().numpy().tobytes())
    path = cache / f"classifier-{digest.hexdigest()[:16]}.pt"
    if path.is_file():
        classifier = Classifier(classes, side)
        with suppress(Exception):  # a truncated file: torch raises many types for it; train again
            classifier.load_state_dict(torch.load(path, weights_only=True))
            return classifier.eval()
    classifier = train_classifier(pixels, labels, classes, title, side)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    torch.save(classifier.state_dict(), partial)
    partial.replace(path)
    return classifier


@torch.no_grad()
def in_batches(network, pixels: Tensor, size: int = 64) -> Tensor:
    """Return ``network(pixels)``, computed for ``size`` images at a time to bound the memory."""
    return torch.cat([network(batch) for batch in pixels.split(size)])
