"""Samplers against closed forms: x0 ~ N(MU, STD^2) has the exact denoiser (STD^2 x + sigma^2 MU) / (STD^2 + sigma^2)."""

from functools import partial
from itertools import pairwise

import pytest
import torch

from condiff.diffusion import samplers
from condiff.diffusion.generate import generate
from condiff.diffusion.noise import SeededNoise
from condiff.diffusion.schedules import Karras, LinearBeta

MU, STD = 0.7, 0.5
DETERMINISTIC = {
    "ddim": (partial(samplers.ancestral, eta=0.0), 1),
    "dpmpp": (samplers.dpmpp_2m, 2),
    "heun": (samplers.heun, 2),
}
STOCHASTIC = {"ddpm": samplers.ancestral, "eta 0.5": partial(samplers.ancestral, eta=0.5)}


def gaussian(x, sigma, cond=None):
    return (STD**2 * x + sigma**2 * MU) / (STD**2 + sigma**2)


def mixture(x, sigma, cond=None):
    """Exact denoiser of an equal mixture of N(-1, 0.2^2) and N(1, 0.2^2)."""
    centres, variance = torch.tensor([-1.0, 1.0], dtype=x.dtype), 0.2**2
    distance = (x[..., None] - centres) ** 2 / (2 * (variance + sigma**2))
    means = (variance * x[..., None] + sigma**2 * centres) / (variance + sigma**2)
    return (torch.softmax(-distance, -1) * means).sum(-1)


def last(states):
    *_, x = states
    return x


def exact(x, sigma):
    """The probability-flow ODE of the Gaussian, solved: quantiles keep their place."""
    return MU + (x - MU) * STD / (STD**2 + sigma**2).sqrt()


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_follows_the_exact_ode_with_its_order(name):
    """Halving the step divides the error by 2 at first order, by 4 at second."""
    sampler, order = DETERMINISTIC[name]
    x = torch.linspace(-60, 60, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    errors = []
    for n in (40, 80, 160):
        sigmas = Karras(0.002, 80.0).steps(n).double()
        errors.append((last(sampler(gaussian, x, sigmas)) - exact(x, sigmas[0])).abs().max())
    assert errors[-1] < 0.02
    for coarse, fine in pairwise(errors):
        assert coarse / fine > 0.8 * 2**order


@pytest.mark.parametrize("name", [*DETERMINISTIC, *STOCHASTIC])
def test_gaussian_mean_and_covariance(name):
    """8,000 two-pixel images: mean, variances and the (zero) covariance within four standard errors or 2 % of bias."""
    sampler = STOCHASTIC[name] if name in STOCHASTIC else DETERMINISTIC[name][0]
    torch.manual_seed(0)
    sigmas = Karras(0.002, 80.0).steps(300)
    x = last(sampler(gaussian, sigmas[0] * torch.randn(8000, 1, 1, 2), sigmas)).flatten(1)
    covariance = torch.cov(x.T)
    assert (x.mean(0) - MU).abs().max() < 4 * STD / 8000**0.5 + 0.005
    assert covariance.diagonal().sqrt().tolist() == pytest.approx([STD, STD], rel=0.045)
    assert covariance[0, 1].abs() < 4 * STD**2 / 8000**0.5


@pytest.mark.parametrize("name", [*DETERMINISTIC, *STOCHASTIC])
def test_finds_both_modes_of_a_mixture(name):
    sampler = STOCHASTIC[name] if name in STOCHASTIC else DETERMINISTIC[name][0]
    torch.manual_seed(0)
    sigmas = Karras(0.002, 80.0).steps(100)
    x = last(sampler(mixture, sigmas[0] * torch.randn(4000, 1, 1, 1), sigmas)).flatten()
    assert (x > 0).float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert x[x > 0].mean().item() == pytest.approx(1.0, abs=0.02)
    assert x[x > 0].std().item() == pytest.approx(0.2, abs=0.02)


def test_ancestral_is_hos_posterior_at_every_t():
    """One step in VE coordinates is q(x_{t-1} | x_t, x0) of Ho et al. 2020, eq. 6-7, mean and variance."""
    chain = LinearBeta()
    betas = chain.betas
    alpha_bar = torch.cumprod(1 - betas, 0)
    x0, x_t = torch.tensor(0.3, dtype=torch.float64), torch.tensor(-1.1, dtype=torch.float64)
    for t in range(1, chain.num_steps):
        a, a_previous, beta = alpha_bar[t], alpha_bar[t - 1], betas[t]
        mean = a_previous.sqrt() * beta / (1 - a) * x0 + (1 - beta).sqrt() * (1 - a_previous) / (1 - a) * x_t
        variance = (1 - a_previous) / (1 - a) * beta
        sigmas = chain.table[[t, t - 1]]
        step = lambda noise: next(  # noqa: E731
            samplers.ancestral(lambda *_: x0, (x_t / a.sqrt()).view(1), sigmas, noise=noise)  # noqa: B023
        )
        middle, above = step(torch.zeros_like).item(), step(torch.ones_like).item()
        assert middle * a_previous.sqrt().item() == pytest.approx(mean.item(), rel=1e-9, abs=1e-12)
        assert ((above - middle) * a_previous.sqrt().item()) ** 2 == pytest.approx(variance.item(), rel=1e-6)


def test_last_ancestral_step_returns_x0():
    sigmas = LinearBeta().steps(1000)[-2:]
    x = next(samplers.ancestral(lambda *_: torch.full((1,), 0.3), torch.ones(1), sigmas))
    assert x.item() == pytest.approx(0.3)


@pytest.mark.parametrize(("name", "evaluations"), [("ddim", 10), ("dpmpp", 10), ("heun", 19)])
def test_grid_is_walked_from_end_to_end(name, evaluations):
    seen = []

    def spy(x, sigma, cond):
        seen.append(float(sigma))
        return gaussian(x, sigma)

    sigmas = Karras().steps(10)
    states = list(DETERMINISTIC[name][0](spy, torch.ones(1, 1, 1, 1), sigmas))
    assert len(states) == 10
    assert len(seen) == evaluations
    assert seen[0] == sigmas[0] and min(seen) == sigmas[-2] and set(seen) <= set(sigmas.tolist())


@pytest.mark.parametrize("name", [*DETERMINISTIC, *STOCHASTIC])
def test_a_sample_depends_on_its_own_seed_alone(name):
    sampler = STOCHASTIC[name] if name in STOCHASTIC else DETERMINISTIC[name][0]
    sigmas = Karras().steps(8)
    together = last(generate(mixture, sampler, sigmas, [3, 4, 5], (1, 4, 4)))
    alone = last(generate(mixture, sampler, sigmas, [4], (1, 4, 4)))
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])


def test_seeded_noise_goes_on():
    noise = SeededNoise([1])
    x = torch.zeros(1, 2, 3, 3)
    assert not torch.equal(noise(x), noise(x))
