"""Samplers against closed forms.

x0 ~ N(MU, STD^2) has the exact denoiser (STD^2 x + sigma^2 MU) / (STD^2 + sigma^2), under which every sampler but
predictor_corrector is linear in its noise: its mean and variance come out exactly, without drawing anything. On a
mixture of two, the probability-flow ODE keeps quantiles in their place.
"""

from functools import partial
from itertools import pairwise

import pytest
import torch

from condiff.diffusion import samplers
from condiff.diffusion.generate import generate
from condiff.diffusion.schedules import Karras, LinearBeta

MU, STD = 0.7, 0.5
ddim = partial(samplers.ancestral, eta=0.0)
DETERMINISTIC = {"ddim": (ddim, 1), "dpmpp": (samplers.dpmpp_2m, 2), "heun": (samplers.heun, 2), "unipc": (samplers.unipc, 2)}
LINEAR = {  # name -> sampler, its order, draws of noise a step
    "ddpm": (samplers.ancestral, 1, 1),
    "eta 0.5": (partial(samplers.ancestral, eta=0.5), 1, 1),
    "ddpm_beta": (samplers.ancestral_beta, 1, 1),
    "dpmpp_sde": (samplers.dpmpp_2m_sde, 2, 1),
    "churn": (partial(samplers.heun, churn=20.0), 1, 1),
    "annealed_langevin": (samplers.annealed_langevin, 1, 3),
} | {name: (sampler, order, 1) for name, (sampler, order) in DETERMINISTIC.items()}
ALL = {name: sampler for name, (sampler, *_) in LINEAR.items()} | {"predictor_corrector": samplers.predictor_corrector}
EVALUATIONS = {"heun": 19, "churn": 19, "annealed_langevin": 31, "predictor_corrector": 19}  # in 10 steps; the others 10


def gaussian(x, sigma, cond=None):
    return (STD**2 * x + sigma**2 * MU) / (STD**2 + sigma**2)


CENTRES, WIDTH, SHARES = torch.tensor([-1.0, 1.0], dtype=torch.float64), 0.3, torch.tensor([0.3, 0.7], dtype=torch.float64)


def mixture(x, sigma, cond=None):
    """Exact denoiser of 0.3 N(-1, 0.3^2) + 0.7 N(1, 0.3^2)."""
    centres, variance = CENTRES.to(x), WIDTH**2
    distance = (x[..., None] - centres) ** 2 / (2 * (variance + sigma**2))
    means = (variance * x[..., None] + sigma**2 * centres) / (variance + sigma**2)
    return (torch.softmax(SHARES.to(x).log() - distance, -1) * means).sum(-1)


def below(x, sigma):
    """Probability that the noised mixture is below x."""
    return (SHARES * torch.special.ndtr((x[..., None] - CENTRES) / (WIDTH**2 + sigma**2) ** 0.5)).sum(-1)


def same_quantile(x, sigma):
    """Where the ODE leads x at sigma = 0, by bisection."""
    low, high = torch.full_like(x, -9.0), torch.full_like(x, 9.0)
    for _ in range(60):
        middle = (low + high) / 2
        less = below(middle, 0.0) < below(x, sigma)
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    return low


def last(states):
    *_, x = states
    return x


def moments(sampler, steps, draws):
    """Error of mean and standard deviation, from the sampler's answer to each of its random numbers by itself."""
    sigmas = Karras(0.002, 80.0).steps(steps).double()
    x = torch.zeros(2 + steps * draws, 1, 1, 1, dtype=torch.float64)
    x[1] = 1
    calls = iter(range(2, len(x) + 1))

    def one_at_a_time(x):
        return torch.zeros_like(x).index_fill(0, torch.tensor([next(calls)]), 1)

    answers = last(sampler(gaussian, x, sigmas, noise=one_at_a_time)).flatten()
    mean, to_start, to_noise = answers[0], answers[1] - answers[0], answers[2:] - answers[0]
    variance = to_start**2 * (STD**2 + sigmas[0] ** 2) + to_noise.square().sum()
    return (mean + to_start * MU - MU).abs().item(), (variance.sqrt() - STD).abs().item()


@pytest.mark.parametrize("name", LINEAR)
def test_gaussian_mean_and_covariance_with_its_order(name):
    """The mean is exact; halving the step divides the error of the deviation by 2 at first order, by 4 at second.

    No pixel sees another here, so their covariance is zero as it should be.
    """
    sampler, order, draws = LINEAR[name]
    found = [moments(sampler, steps, draws) for steps in (40, 80, 160)]
    assert max(mean for mean, _ in found) < 1e-9
    assert found[-1][1] < {1: 0.03, 2: 0.004}[order]
    for (_, coarse), (_, fine) in pairwise(found):
        assert coarse / fine > 0.85 * 2**order


def test_predictor_corrector_on_a_gaussian():
    """Its step follows the norms of score and noise, so its moments are estimated, over the pixels of large images.

    What the predictor's reverse diffusion leaves too wide, the corrector mends: of order one, as Song et al. say.
    """
    torch.manual_seed(0)
    errors = []
    for steps in (50, 100, 200):
        sigmas = Karras(0.01, 40.0).steps(steps)
        x = last(samplers.predictor_corrector(gaussian, sigmas[0] * torch.randn(2, 1, 160, 160), sigmas, snr=0.1))
        assert x.mean().item() == pytest.approx(MU, abs=0.01)
        assert torch.corrcoef(x.flatten().view(-1, 2).T)[0, 1].abs() < 4 / 25_600**0.5
        errors.append(abs(x.std().item() - STD))
    assert errors[-1] < 0.02 and errors[0] > 4 * errors[-1]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_order_of_convergence_on_a_mixture(name):
    """From the same start every ODE solver should end where the quantile does."""
    sampler, order = DETERMINISTIC[name]
    errors = []
    for n in (40, 80, 160):
        sigmas = Karras(0.002, 20.0).steps(n).double()
        x = torch.linspace(-40, 40, 9, dtype=torch.float64).view(-1, 1, 1, 1)
        exact = same_quantile(x, sigmas[0])
        errors.append((last(sampler(mixture, x, sigmas)) - exact).abs().mean())
    assert errors[-1] < {1: 0.02, 2: 0.002}[order]
    for coarse, fine in pairwise(errors):
        assert coarse / fine > 0.8 * 2**order


@pytest.mark.parametrize("name", ALL)
def test_finds_both_modes_of_a_mixture(name):
    torch.manual_seed(0)
    sigmas = Karras(0.01, 20.0).steps(100)
    x = last(ALL[name](mixture, sigmas[0] * torch.randn(4, 1, 40, 40), sigmas)).flatten()
    assert (x > 0).float().mean().item() == pytest.approx(0.7, abs=0.04)
    assert x[x > 0].mean().item() == pytest.approx(1.0, abs=0.04)
    assert x[x > 0].std().item() == pytest.approx(0.3, abs=0.03)


def posterior(t, x0, x_t):
    """Mean of q(x_{t-1} | x_t, x0) and the variances beta-tilde and beta: Ho et al. 2020, eq. 6-7, t counted from 0."""
    betas = LinearBeta().betas
    alpha_bar = torch.cumprod(1 - betas, 0)
    a, a_previous, beta = alpha_bar[t], alpha_bar[t - 1], betas[t]
    mean = a_previous.sqrt() * beta / (1 - a) * x0 + (1 - beta).sqrt() * (1 - a_previous) / (1 - a) * x_t
    return mean.item(), ((1 - a_previous) / (1 - a) * beta).item(), beta.item(), a.sqrt(), a_previous.sqrt().item()


@pytest.mark.parametrize(("sampler", "variance"), [(samplers.ancestral, 1), (samplers.ancestral_beta, 2)])
def test_ancestral_is_hos_posterior_at_every_t(sampler, variance):
    """One step in VE coordinates, mean and either variance."""
    chain = LinearBeta()
    x0, x_t = torch.tensor(0.3, dtype=torch.float64), torch.tensor(-1.1, dtype=torch.float64)
    for t in range(1, chain.num_steps):
        expected = posterior(t, x0, x_t)
        root, root_previous = expected[3:]
        step = lambda noise: next(sampler(lambda *_: x0, (x_t / root).view(1), chain.sigmas[[t, t - 1]], noise=noise))  # noqa: B023, E731
        middle, above = step(torch.zeros_like).item(), step(torch.ones_like).item()
        assert middle * root_previous == pytest.approx(expected[0], rel=1e-9, abs=1e-12)
        assert ((above - middle) * root_previous) ** 2 == pytest.approx(expected[variance], rel=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_grid_is_walked_from_end_to_end(name):
    """Begins at the first level; the last thing it does is to return what the denoiser said at the last."""
    seen = []

    def spy(x, sigma, cond):
        seen.append(float(sigma))
        return gaussian(x, sigma) if sigma > sigmas[-2] else torch.full_like(x, 0.123)

    sigmas = Karras().steps(10)
    states = list(ALL[name](spy, torch.ones(1, 1, 1, 1), sigmas))
    assert len(states) == 10
    assert len(seen) == EVALUATIONS.get(name, 10)
    levels = sigmas * 1.0 if name != "churn" else sigmas * (1 + 2**0.5 - 1)
    assert seen[0] == pytest.approx(levels[0].item()) and max(seen) == seen[0] and min(seen) >= sigmas[-2] * (1 - 1e-6)
    if name != "churn":  # which goes back up and so asks elsewhere
        assert set(seen) <= set(sigmas.tolist())
        assert states[-1].item() == pytest.approx(0.123, abs=1e-6)


def test_consistency_is_noise_and_denoiser_in_turn():
    sigmas = torch.tensor([10.0, 2.0, 0.0])
    first, second = samplers.consistency(gaussian, torch.full((1, 1, 1, 1), 5.0), sigmas, noise=torch.ones_like)
    assert first.item() == pytest.approx(gaussian(5.0, 10.0) + 2.0)
    assert second.item() == pytest.approx(gaussian(first.item(), 2.0))


def test_churn_leaves_the_levels_outside_its_interval_alone():
    sigmas = Karras().steps(10)
    x = torch.full((1, 1, 1, 1), 50.0)
    outside = last(samplers.heun(gaussian, x, sigmas, churn=40.0, churn_interval=(100.0, 200.0)))
    assert torch.equal(outside, last(samplers.heun(gaussian, x, sigmas)))


@pytest.mark.parametrize("name", ALL)
def test_a_sample_depends_on_its_own_seed_alone(name):
    sigmas = Karras().steps(8)
    together = last(generate(mixture, ALL[name], sigmas, [3, 4, 5], (1, 4, 4)))
    alone = last(generate(mixture, ALL[name], sigmas, [4], (1, 4, 4)))
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])
