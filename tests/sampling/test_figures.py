"""Pictures of samples: their statistics, and noise added and taken away."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from condiff.data.transforms import Magnitude
from condiff.diffusion.schedules import Karras
from condiff.images import Images
from condiff.nn import Pixels
from condiff.sampling import frame_indices
from condiff.sampling.figures import process, statistics

SPEC = SimpleNamespace(transform=Magnitude(matrix=8, downsample=1), shape=(1, 8, 8))
SIGNED = SimpleNamespace(transform=SimpleNamespace(magnitude=lambda x: x[:, 0]))  # what a picture shows, without a limit at air


def test_mean_and_variance_of_each_contrast():
    """Against numpy; the largest variance of all contrasts is white, and its value is in the heading."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(7, 1, 8, 8, generator=generator) * torch.linspace(0.5, 2, 7).view(-1, 1, 1, 1) - 1
    contrasts = ("AXT1", "AXT2", "AXT1", "AXT2", "AXT2", "AXT1", "AXFLAIR")
    found = statistics(Images(values, SPEC, contrasts, tuple(range(7))))
    magnitude = {name: ((values.numpy()[:, 0] + 1) / 2)[np.array(contrasts) == name] for name in dict.fromkeys(contrasts)}
    variance = {name: np.var(images, axis=0) for name, images in magnitude.items()}
    white = max(image.max() for image in variance.values())
    assert white > 0.01 and list(found) == ["mean", f"variance (white {white:.2g})"]
    for title, expected in zip(found, ({n: m.mean(0) for n, m in magnitude.items()}, variance), strict=True):
        assert list(found[title]) == ["AXT1", "AXT2", "AXFLAIR"]
        scale = 1 if title == "mean" else white
        for name, image in found[title].items():
            np.testing.assert_allclose(image.numpy(), expected[name][None] / scale, rtol=1e-4, atol=1e-6)


def test_samples_that_are_equal_have_no_variance():
    """And nothing is divided by it."""
    found = statistics(Images(torch.full((3, 1, 8, 8), 0.5), SPEC, ("AXT1",) * 3, (0, 1, 2)))
    assert not found["variance (white 1)"]["AXT1"].any() and torch.equal(found["mean"]["AXT1"], torch.full((1, 8, 8), 0.75))


@pytest.mark.parametrize("steps", [5, 40])
def test_noise_of_the_process(steps):
    """From low to high level (c + sigma eps) / sqrt(1 + sigma^2): a constant c and one standard normal eps at all levels."""
    model = SimpleNamespace(schedule=Karras(0.1, 20.0), codec=Pixels())
    c, kept = 0.7, frame_indices(steps)
    reverse = torch.arange(len(kept)).view(-1, 1, 1, 1).expand(-1, 1, 64, 64).float()
    (rows,) = process(model, SIGNED, reverse, torch.full((1, 1, 64, 64), c), seed=3, steps=steps).values()
    shown = rows["sampling <-"][:, 0, 0].long()  # which states, the last of them first
    assert len(shown) == min(9, steps + 1) and shown[0] == len(kept) - 1 and shown[-1] == 0 and (shown.diff() < 0).all()
    sigmas = model.schedule.steps(steps)[torch.tensor(kept)[shown]].view(-1, 1, 1)
    forward = rows["real ->"]
    assert torch.equal(forward[0], torch.full((64, 64), c)) and (sigmas[1:] > 0).all()
    eps = ((forward * (1 + sigmas**2).sqrt() - c) / sigmas)[1:]
    torch.testing.assert_close(eps, eps[-1:].expand_as(eps), rtol=1e-3, atol=1e-4)
    assert eps[-1].mean().item() == pytest.approx(0, abs=5 / 64) and eps[-1].std().item() == pytest.approx(1, abs=0.06)
    (other,) = process(model, SIGNED, reverse, torch.full((1, 1, 64, 64), c), seed=4, steps=steps).values()
    assert not torch.equal(other["real ->"], forward)


def test_process_without_a_real_image():
    reverse = torch.rand(4, 1, 8, 8)
    found = process(None, SIGNED, reverse, None, seed=0, steps=3)
    assert list(found) == ["noise level, low to high"] and list(found["noise level, low to high"]) == ["sampling <-"]
    assert torch.equal(found["noise level, low to high"]["sampling <-"], reverse[:, 0].flip(0))
