"""Guidance: its arithmetic, its interval, what it costs."""

import pytest
import torch

from condiff.diffusion.guidance import classifier_free, unguided

COND = torch.eye(4)[[1, 2]]
X, SIGMA = torch.zeros(2, 1, 1, 1), torch.tensor(1.0)


@pytest.fixture
def counted():
    """A denoiser that is 1 with a condition and 0 without, and counts the images it sees."""

    def denoise(x, sigma, cond):
        denoise.images += len(x)
        return x + (0 if cond is None else cond.sum(1).view(-1, 1, 1, 1))

    denoise.images = 0
    return denoise


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 3.0])
def test_scale_interpolates_and_extrapolates(counted, scale):
    guided = classifier_free(counted, scale)
    assert torch.equal(guided(X, SIGMA, COND), torch.full((2, 1, 1, 1), scale))
    assert counted.images == (2 if scale == 1 else 4)


def test_interval(counted):
    guided = classifier_free(counted, 3.0, interval=(0.5, 2.0))
    values = [guided(X, torch.tensor(sigma), COND)[0].item() for sigma in (0.4, 0.6, 1.9, 2.1)]
    assert values == [1.0, 3.0, 3.0, 1.0]
    assert counted.images == 2 + 4 + 4 + 2


def test_interval_for_each_image(counted):
    guided = classifier_free(counted, 3.0, interval=(0.5, 2.0))
    assert guided(X, torch.tensor([0.4, 1.0]), COND).flatten().tolist() == [1.0, 3.0]


def test_nothing_to_guide_by(counted):
    assert torch.equal(classifier_free(counted, 3.0)(X, SIGMA, None), X)


def test_unguided_is_the_denoiser(counted):
    assert unguided(counted) is counted
