"""Variation, interpolation and inpainting of two pixels that are jointly Gaussian."""

from functools import partial

import pytest
import torch

from condiff.diffusion import samplers
from condiff.diffusion.editing import condition_on_known, interpolate, repaint, replace_known, sdedit, translation
from condiff.diffusion.schedules import Karras
from condiff.errors import InputError

COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
SIGMAS = Karras(0.01, 40.0).steps(60).double()
ddim = partial(samplers.ancestral, eta=0.0)
MASK = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)  # the first pixel is known


def denoise(x, sigma, cond=None):
    """Exact for N(0, COVARIANCE) over the last axis."""
    return x @ torch.linalg.solve(COVARIANCE + sigma**2 * torch.eye(2, dtype=torch.float64), COVARIANCE)


def last(states):
    *_, x = states
    return x


def test_variation_starts_where_it_says():
    seen = []

    def spy(x, sigma, cond):
        seen.append((sigma.item(), x.clone()))
        return denoise(x, sigma)

    image = torch.ones(1, 1, 1, 2, dtype=torch.float64)
    states = list(sdedit(spy, ddim, image, SIGMAS, 0.25, noise=torch.ones_like))
    assert len(states) == len(seen) == 15
    level, x = seen[0]
    assert level == SIGMAS[45] and torch.equal(x, image + SIGMAS[45])


def test_strength_decides_how_much_is_left():
    torch.manual_seed(0)
    image = torch.full((2000, 1, 1, 2), 2.0, dtype=torch.float64)
    means = [last(sdedit(denoise, samplers.ancestral, image, SIGMAS, strength)).mean().item() for strength in (0.1, 0.5, 1.0)]
    assert means[0] == pytest.approx(2, abs=0.1) and means[0] > means[1] > means[2] and abs(means[2]) < 0.1


def test_interpolation_ends_at_either_image():
    one, other = torch.full((1, 1, 1, 2), -1.0, dtype=torch.float64), torch.full((1, 1, 1, 2), 1.5, dtype=torch.float64)
    way = partial(interpolate, denoise, ddim, one, other, sigmas=SIGMAS, strength=0.2, noise=torch.zeros_like)
    found = torch.stack([last(way(weight=weight)).mean() for weight in (0.0, 0.25, 0.5, 1.0)])
    assert (found.diff() > 0).all()
    torch.testing.assert_close(found[1] - found[0], (found[3] - found[0]) / 4)  # a linear denoiser interpolates linearly
    torch.testing.assert_close(found[0], last(sdedit(denoise, ddim, one, SIGMAS, 0.2, noise=torch.zeros_like)).mean())


def test_interpolation_keeps_the_noise_level():
    torch.manual_seed(0)
    x = torch.zeros(20_000, 1, 1, 2, dtype=torch.float64)
    for weight in (0.0, 0.3, 0.5):
        started = []
        spy = lambda x, sigma, cond: started.append(x) or x  # noqa: B023, E731
        next(interpolate(spy, ddim, x, x, weight, SIGMAS, 0.5))
        assert started[0].std().item() == pytest.approx(SIGMAS[30].item(), rel=0.02)


@pytest.mark.parametrize("how", [replace_known, condition_on_known])
@pytest.mark.parametrize("sampler", [samplers.ancestral, samplers.dpmpp_2m, samplers.heun])
def test_known_pixels_come_out_as_they_were(how, sampler):
    torch.manual_seed(0)
    image = torch.full((4, 1, 1, 2), 1.2, dtype=torch.float64)
    x = last(sampler(how(denoise, image, MASK), SIGMAS[0] * torch.randn_like(image), SIGMAS))
    torch.testing.assert_close(x[..., 0], image[..., 0])


def test_known_pixels_are_noised_like_the_rest():
    """On the way the sampler holds them at the level of its grid: image + sigma eps."""
    torch.manual_seed(0)
    image = torch.full((20_000, 1, 1, 2), 1.2, dtype=torch.float64)
    states = list(samplers.ancestral(replace_known(denoise, image, MASK), SIGMAS[0] * torch.randn_like(image), SIGMAS))
    for index in (10, 30, 50):
        known = states[index - 1][..., 0]
        assert known.mean().item() == pytest.approx(1.2, abs=4 * SIGMAS[index].item() / 20_000**0.5 + 0.05)
        assert known.std().item() == pytest.approx(SIGMAS[index].item(), rel=0.03)


def test_repaint_comes_to_the_exact_conditional():
    """x2 given x1 = 1.2 is N(0.96, 0.36). Replacement alone falls short of the mean; going over the steps again mends it."""
    torch.manual_seed(0)
    image, sigmas = torch.full((4000, 1, 1, 2), 1.2, dtype=torch.float64), Karras(0.02, 20.0).steps(200).double()
    start = sigmas[0] * torch.randn_like(image)
    kept = replace_known(denoise, image, MASK)
    once = last(samplers.ancestral(kept, start, sigmas))[..., 1]
    often = last(repaint(kept, start, sigmas, repeats=20, jump=10))[..., 1]
    assert abs(once.mean().item() - 0.96) > 0.1
    assert often.mean().item() == pytest.approx(0.96, abs=0.05)
    assert often.std().item() == pytest.approx(0.6, abs=0.05)


def test_repaint_yields_every_step_once():
    image = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    seen = []
    states = list(repaint(lambda x, *_: seen.append(1) or x, image, SIGMAS, repeats=3, jump=7))
    assert len(states) == 60 and len(seen) == 180


def test_translation_keeps_what_the_conditions_share():
    """N(mean, COVARIANCE), the mean by condition: the difference to it is carried over, and under one condition the image is.

    At sigma = 40 a fortieth of the difference of the means is left.
    """

    def told(x, sigma, cond):
        return cond.view(-1, 1, 1, 2) + denoise(x - cond.view(-1, 1, 1, 2), sigma)

    image = torch.tensor([0.3, -0.8], dtype=torch.float64).view(1, 1, 1, 2)
    source, target = (torch.tensor([mean], dtype=torch.float64) for mean in ([0.5, 0.0], [-2.0, 1.0]))
    states = list(translation(told, image, SIGMAS, source, target))
    assert len(states) == 2 * 60 - 1
    torch.testing.assert_close(states[-1], image - source.view(1, 1, 1, 2) + target.view(1, 1, 1, 2), rtol=0, atol=2.5 / 40)
    torch.testing.assert_close(last(translation(told, image, SIGMAS, source, source)), image, rtol=0, atol=0.02)


def test_bad_weight_is_named():
    x = torch.zeros(1, 1, 1, 2)
    with pytest.raises(InputError, match="weight=1.5"):
        next(interpolate(denoise, ddim, x, x, 1.5, SIGMAS, 0.5))


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.5, 0.001])
def test_bad_strength_is_named(strength):
    with pytest.raises(InputError, match=f"strength={strength}"):
        next(sdedit(denoise, ddim, torch.zeros(1, 1, 1, 2), SIGMAS, strength))
