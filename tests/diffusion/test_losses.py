"""Losses: denoising is the denoiser's own loss; consistency is at rest where it should be."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from condiff.diffusion import Denoiser
from condiff.diffusion.denoiser import edm
from condiff.diffusion.losses import consistency, denoising

STD = 0.5
B = 32


class Exact(nn.Module):
    """The network whose denoiser is ``estimate(x, sigma)`` under EDM's coefficients."""

    def __init__(self, estimate):
        super().__init__()
        self.estimate, self.asked = estimate, []

    def forward(self, x, c_noise, cond):
        sigma = (4 * c_noise).exp().view(-1, 1, 1, 1)
        self.asked.append(sigma.flatten())
        c_skip, c_out, c_in = edm(sigma, STD)
        return (self.estimate(x / c_in, sigma) - c_skip * x / c_in) / c_out


def denoiser(estimate):
    return Denoiser(Exact(estimate), partial(edm, sigma_data=STD))


@pytest.fixture
def case():
    torch.manual_seed(0)
    x0, eps = torch.randn(2, B, 1, 4, 4, dtype=torch.float64)
    return STD * x0, eps, torch.logspace(-2, 1.5, B, dtype=torch.float64), None


def ode_end(x, sigma):
    """Where the probability-flow ODE of N(0, STD^2) leads: the consistency function."""
    return x * STD / (STD**2 + sigma**2).sqrt()


def mmse(x, sigma):
    return STD**2 * x / (STD**2 + sigma**2)


def test_denoising_is_the_denoisers_loss(case):
    model = denoiser(ode_end)
    assert torch.equal(denoising(model, *case, progress=0.3), model.loss(*case))


def test_distance_halves_from_stage_to_stage():
    """sigmoid(-sigma) is 1/4 at ln 3, 1/8 at ln 7, 0 at 50: n is 3, 2, 1, and the distance sigma n / 2^stage, at most sigma."""
    sigma, n = torch.tensor([math.log(3), math.log(7), 50.0], dtype=torch.float64), torch.tensor([3, 2, 1])
    x0, eps = torch.zeros(2, 3, 1, 4, 4, dtype=torch.float64)
    for progress, share in ((0.0, 1 / 2), (0.13, 1 / 4), (0.5, 1 / 32), (0.99, 1 / 256), (1.0, 1 / 256)):
        model = denoiser(ode_end)
        consistency(model, x0, eps, sigma, None, progress)
        lower, upper = model.net.asked
        torch.testing.assert_close(upper, sigma)
        torch.testing.assert_close((upper - lower) / sigma, (n * share).clamp(max=1).double(), rtol=0, atol=1e-4)


def test_first_stage_is_denoising_at_low_levels(case):
    """There r is 0 and the target is the clean image: the same minimum as the denoising loss, in its own norm."""
    x0, eps, sigma, _ = case
    model, low = denoiser(mmse), case[2] < 1
    loss = consistency(model, *case, progress=0.0, huber=0.0)
    torch.testing.assert_close(loss[low], model.loss(x0, eps, sigma)[low].sqrt())


def test_consistency_function_of_the_ode_is_at_rest():
    """Late in the training a change of its scale gains nothing, to first order; one of the posterior mean does."""
    torch.manual_seed(0)
    x0, eps = torch.randn(2, 100_000, 1, 1, 1, dtype=torch.float64)
    sigma = torch.full((100_000,), 1.5, dtype=torch.float64)
    gradients = []
    for estimate in (ode_end, mmse):
        factor = torch.ones((), dtype=torch.float64, requires_grad=True)
        model = denoiser(lambda x, s, f=estimate, scale=factor: scale * f(x, s))
        loss = consistency(model, STD * x0, eps, sigma, None, 1.0, huber=1e4).mean()  # so wide a norm is the square
        gradients.append(torch.autograd.grad(loss, factor)[0].abs().item())
    assert gradients[0] < 0.05 * gradients[1]


def test_only_the_upper_estimate_learns(case):
    """A constant added to both estimates changes the loss by neither; its gradient comes from the upper alone."""
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    loss = consistency(denoiser(lambda x, s: ode_end(x, s) + bias), *case, progress=1.0)
    (gradient,) = torch.autograd.grad(loss.sum(), bias)
    assert gradient.abs() > 0
    with torch.no_grad():
        moved = consistency(denoiser(lambda x, s: ode_end(x, s) + 0.1), *case, progress=1.0)
    torch.testing.assert_close(moved, loss)
