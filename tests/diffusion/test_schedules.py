"""Schedules against the papers' own formulae."""

import math

import pytest
import torch

from condiff.diffusion.schedules import (
    ConsistencyLevels,
    CosineBeta,
    Flow,
    Geometric,
    Karras,
    LinearBeta,
    LogNormal,
    ScaledLinearBeta,
    SigmoidBeta,
)
from condiff.errors import InputError

CHAINS = [LinearBeta(), ScaledLinearBeta(), CosineBeta(), SigmoidBeta(), LinearBeta(200)]
ALL = [*CHAINS[:-1], Karras(), LogNormal(), Geometric(), Flow()]


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("n", [1, 2, 7, 50, 1000])
def test_grid_starts_at_the_top_and_ends_at_zero(schedule, n):
    sigmas = schedule.steps(n)
    assert sigmas.shape == (n + 1,)
    assert sigmas[-1] == 0 and torch.isfinite(sigmas).all() and (sigmas.diff() < 0).all()
    assert sigmas[0].item() == pytest.approx(schedule.steps(2)[0].item())


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
def test_training_levels_follow_the_quantiles(schedule):
    """A stratified draw of n levels has one in each n-th of the distribution."""
    generator = torch.Generator().manual_seed(0)
    drawn = schedule.sample(64, generator).sort().values
    edges = schedule.sigma(torch.linspace(0, 1, 65))
    assert (drawn >= edges[:-1] * (1 - 1e-5)).all() and (drawn <= edges[1:] * (1 + 1e-5)).all()


def test_linear_chain_is_hos():
    chain = LinearBeta()
    alpha_bar = 1.0
    for t in range(1000):  # a second, scalar implementation
        alpha_bar *= 1 - (1e-4 + (0.02 - 1e-4) * t / 999)
        assert chain.sigmas[t].item() == pytest.approx(math.sqrt((1 - alpha_bar) / alpha_bar), rel=1e-9)
    assert math.sqrt(alpha_bar) == pytest.approx(0.0064, abs=1e-4)


def test_posterior_coefficients_keep_the_clean_image():
    """coef1 + coef2 sqrt(alpha_bar_t) = sqrt(alpha_bar_{t-1}) at every t: no noise in, no noise out."""
    for chain in CHAINS:
        beta, a = chain.betas[1:], torch.cumprod(1 - chain.betas, 0)
        a, before = a[1:], a[:-1]
        coef1 = before.sqrt() * beta / (1 - a)
        coef2 = (1 - beta).sqrt() * (1 - before) / (1 - a)
        torch.testing.assert_close(coef1 + coef2 * a.sqrt(), before.sqrt(), rtol=1e-9, atol=1e-12)
        alpha = lambda sigma: (1 + sigma**2).rsqrt()  # noqa: E731
        torch.testing.assert_close(alpha(chain.sigmas), torch.cumprod(1 - chain.betas, 0).sqrt(), rtol=1e-6, atol=1e-9)


def test_whole_grid_is_the_whole_chain():
    chain = LinearBeta()
    assert torch.equal(chain.steps(1000)[:-1], chain.sigmas.flip(0).float())


@pytest.mark.parametrize("n", [7, 250, 501, 834, 999])
def test_steps_of_a_chain_are_as_even_as_whole_numbers_can_be(n):
    """Between two levels there are (T - 1) / (n - 1) of the chain's, rounded down or up."""
    chain = LinearBeta()
    places = torch.searchsorted(chain.sigmas.float(), chain.steps(n)[:-1].flip(0))
    assert places[0] == 0 and places[-1] == 999
    assert set(places.diff().tolist()) <= {999 // (n - 1), -(-999 // (n - 1))}


@pytest.mark.parametrize("chain", [LinearBeta, ScaledLinearBeta])
@pytest.mark.parametrize("steps", [200, 400, 500])
def test_short_chains_still_end_in_noise(chain, steps):
    assert chain(steps).terminal_signal < 1.01 * chain().terminal_signal


@pytest.mark.parametrize(
    ("schedule", "left"),
    [
        (LinearBeta(200, reference_steps=200), 0.364),  # the annotated diffusion model's
        (LinearBeta(500, reference_steps=500), 0.079),  # the write-up's
        (ScaledLinearBeta(), 0.0119),
        (ScaledLinearBeta(beta_min=0.00085, beta_max=0.012), 0.068),
        (Geometric(sigma_max=100.0), 0.01),
    ],
)
def test_signal_left_at_the_last_level(schedule, left):
    """sqrt(alpha_bar_T) of the seven systems as they were published."""
    assert schedule.terminal_signal == pytest.approx(left, rel=0.01)
    assert schedule.terminal_snr == pytest.approx(left**2 / (1 - left**2), rel=0.02)


def test_sigmoid_is_jabris():
    """gamma(t) of algorithm 1 in Jabri et al. 2022, with start -3, end 3, tau 1."""
    sigmoid = lambda v: 1 / (1 + math.exp(-v))  # noqa: E731
    for t in (1, 250, 500, 990):
        gamma = (sigmoid(3) - sigmoid(-3 + 6 * t / 1000)) / (sigmoid(3) - sigmoid(-3))
        assert (1 / (1 + SigmoidBeta().sigmas[t - 1] ** 2)).item() == pytest.approx(gamma, rel=1e-9)


def test_cosine_is_nichols():
    chain = CosineBeta()
    f = lambda t: math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2  # noqa: E731
    for t in (1, 100, 500, 900):
        assert (1 / (1 + chain.sigmas[t - 1] ** 2)).item() == pytest.approx(f(t) / f(0), rel=1e-9)


def test_lognormal_has_its_moments():
    log_sigma = LogNormal(-0.4, 1.1).sample(20_000, torch.Generator().manual_seed(0)).log()
    assert log_sigma.mean().item() == pytest.approx(-0.4, abs=0.01)
    assert log_sigma.std().item() == pytest.approx(1.1, abs=0.01)


def test_karras_equation_5():
    n, low, high, rho = 18, 0.002, 80.0, 7.0
    expected = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)]
    assert Karras().steps(n)[:-1].tolist() == pytest.approx(expected, rel=1e-5)


def test_few_steps_each_start_above_the_smallest_level():
    levels = Karras(0.01, 40.0).steps(5)
    few = ConsistencyLevels(sigma_min=0.01, sigma_max=40.0)
    assert torch.equal(few.steps(4), torch.cat([levels[:4], torch.zeros(1)]))
    assert few.steps(1).tolist() == [40.0, 0.0]
    with pytest.raises(InputError, match="steps=0"):
        few.steps(0)


def test_more_steps_than_levels_is_refused():
    with pytest.raises(InputError, match="steps=300.*200"):
        LinearBeta(200).steps(300)
    for schedule in (Karras(), LinearBeta(200)):
        with pytest.raises(InputError, match="steps=0"):
            schedule.steps(0)
