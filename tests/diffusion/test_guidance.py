"""Guidance: its arithmetic, its interval, what it costs."""

from functools import partial

import pytest
import torch

from condiff.diffusion.guidance import (
    FiniteWatch,
    autoguidance,
    clamped_channels,
    classifier_free,
    compose,
    dynamic_clamp,
    identity,
    magnitude_clamp,
    static_clamp,
)
from condiff.errors import InputError

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
    assert counted.images == (2 if scale in (0, 1) else 4)


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
    assert identity(counted) is counted


def test_autoguidance_goes_away_from_the_weaker(counted):
    """0.25 of a condition for the weaker, 1 for the stronger: at scale 3 it lands on 0.25 + 3 (1 - 0.25)."""
    weaker = lambda x, sigma, cond: x + 0.25  # noqa: E731
    guided = autoguidance(counted, weaker, 3.0, interval=(0.5, 2.0))
    values = [guided(X, torch.tensor(sigma), COND)[0].item() for sigma in (0.4, 0.6, 2.1)]
    assert values == [1.0, 2.5, 1.0]


def test_autoguidance_evaluates_the_weaker_only_where_it_counts(counted):
    asked = []
    guided = autoguidance(counted, lambda *arguments: asked.append(arguments) or X, 2.0, interval=(0.5, 2.0))
    for sigma in (0.4, 1.0, 3.0):
        guided(X, torch.tensor(sigma), COND)
    assert len(asked) == 1 and counted.images == 6
    autoguidance(counted, lambda *arguments: asked.append(arguments) or X, 1.0)(X, SIGMA, COND)
    assert len(asked) == 1


def test_they_compose(counted):
    """Classifier-free inside, autoguidance around it, the clamp last: 2, then 0 + 3 (2 - 0) = 6, then 5."""
    zero = lambda x, sigma, cond: torch.zeros_like(x)  # noqa: E731
    guided = partial(classifier_free, scale=2.0), partial(autoguidance, weaker=zero, scale=3.0)
    assert compose()(counted) is counted
    assert compose(*guided)(counted)(X, SIGMA, COND).flatten().tolist() == [6.0, 6.0]
    assert compose(*guided, partial(static_clamp, high=5.0))(counted)(X, SIGMA, COND).flatten().tolist() == [5.0, 5.0]


def test_static_clamp():
    x = torch.tensor([-3.0, -0.5, 0.5, 3.0]).view(1, 1, 2, 2)
    assert static_clamp(lambda x, *_: x)(x, SIGMA, None).flatten().tolist() == [-1.0, -0.5, 0.5, 1.0]


def test_dynamic_clamp_is_each_images_own():
    """An image within the range stays as it is; one beyond is cut at its quantile, and shrunk into the range."""
    x = torch.stack([torch.linspace(-0.9, 0.9, 101), torch.linspace(-4, 4, 101)]).view(2, 1, 1, 101)
    within, beyond = dynamic_clamp(lambda x, *_: x, quantile=0.9)(x, SIGMA, None).flatten(1)
    assert torch.equal(within, x[0].flatten())
    limit = x[1].abs().flatten().quantile(0.9)
    torch.testing.assert_close(beyond, x[1].flatten().clamp(-limit, limit) / limit)
    assert beyond.abs().max() == 1


def test_dynamic_clamp_leaves_its_centre():
    """About air, -1: what is too bright is shrunk, air stays air."""
    x = torch.cat([torch.full((60,), -1.0), torch.linspace(-1, 5, 41)]).view(1, 1, 1, 101)
    clamped = dynamic_clamp(lambda x, *_: x, quantile=0.99, high=2.0, center=-1.0)(x, SIGMA, None).flatten()
    assert (clamped[:60] == -1).all() and clamped.max().item() == pytest.approx(1)
    assert (clamped[60:].diff() >= 0).all()


def test_not_a_number_is_named():
    outputs = iter([X, X, X / 0, X])
    watch = FiniteWatch(lambda *_: next(outputs))
    for sigma in (3.0, 2.0, 0.5, 0.1):
        watch(X, torch.tensor(sigma), None)
    with pytest.raises(InputError, match="not a number at evaluation 3, sigma 0.5"):
        watch.check()
    finite = FiniteWatch(lambda *_: X)
    finite.check()
    finite(X, torch.tensor(3.0), None)
    finite.check()


@pytest.mark.parametrize(
    ("guidance", "names"),
    [
        (partial(classifier_free, scale=-0.5), "^scale=-0.5"),
        (partial(classifier_free, scale=float("nan")), "^scale=nan"),
        (partial(classifier_free, interval=(2.0, 2.0)), r"^interval=\[2.0, 2.0\]: no noise level"),
        (partial(autoguidance, weaker=identity, interval=(2.0, 1.0)), r"^interval"),
        (partial(static_clamp, low=1.0, high=-1.0), "^low=1.0, high=-1.0"),
        (partial(dynamic_clamp, quantile=1.5), "^quantile=1.5"),
    ],
)
def test_bad_settings_are_named(guidance, names):
    with pytest.raises(InputError, match=names):
        guidance(identity)


def test_clamps_say_what_images_they_are_made_for():
    for clamp, channels in (
        (static_clamp, 1),
        (dynamic_clamp, 1),
        (magnitude_clamp, 2),
        (identity, None),
        (classifier_free, None),
    ):
        assert clamped_channels(clamp) == clamped_channels(partial(clamp, high=2.0)) == channels
