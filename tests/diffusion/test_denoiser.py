"""Parameterizations against the textbook's targets, in float64."""

import pytest
import torch

from condiff.diffusion import Denoiser, denoiser

B = 64


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, B, 1, 2, 2, dtype=torch.float64, generator=generator)
    sigma = torch.rand(B, dtype=torch.float64, generator=generator) * 5 + 0.01
    return x0, eps, sigma


class Constant(torch.nn.Module):
    """A network that answers what it was told to, and remembers what it was asked."""

    def forward(self, x, c_noise, cond):
        self.asked = x, c_noise, cond
        return self.answer


def textbook(name, x0, eps, sigma):
    alpha = (1 + sigma**2).rsqrt()
    if name == "edm":
        x, s = x0 + sigma * eps, 0.5
        return (x0 - s**2 / (s**2 + sigma**2) * x) * (s**2 + sigma**2).sqrt() / (sigma * s)
    return {"eps": eps, "x0": x0, "v": alpha * eps - sigma * alpha * x0, "flow": eps - x0}[name]


@pytest.mark.parametrize("name", ["eps", "x0", "v", "edm", "flow"])
def test_target_and_denoised_image(name, case):
    """A network that predicts the textbook's target has no loss, and its denoiser returns x0."""
    x0, eps, sigma = case
    level = sigma.view(-1, 1, 1, 1)
    net = Constant()
    net.answer = textbook(name, x0, eps, level)
    model = Denoiser(net, getattr(denoiser, name))
    assert model.loss(x0, eps, sigma).max() < 1e-12
    torch.testing.assert_close(model(x0 + level * eps, sigma), x0, rtol=1e-6, atol=1e-6)
    net.answer = net.answer + 0.1
    torch.testing.assert_close(model.loss(x0, eps, sigma), torch.full((B,), 0.01, dtype=torch.float64))


@pytest.mark.parametrize("name", ["eps", "v"])
def test_input_is_the_variance_preserving_image(name, case):
    x0, eps, sigma = case
    net, alpha = Constant(), (1 + sigma**2).rsqrt().view(-1, 1, 1, 1)
    net.answer = torch.zeros_like(x0)
    Denoiser(net, getattr(denoiser, name)).loss(x0, eps, sigma)
    torch.testing.assert_close(net.asked[0], alpha * x0 + (1 - alpha**2).sqrt() * eps)
    torch.testing.assert_close(net.asked[1], sigma.log() / 4)


def test_edm_input_and_target_have_unit_variance():
    generator = torch.Generator().manual_seed(0)
    x0, eps = 0.5 * torch.randn(1, 1, 400, 400, generator=generator), torch.randn(1, 1, 400, 400, generator=generator)
    for sigma in (0.02, 0.5, 20.0):
        c_skip, c_out, c_in = denoiser.edm(torch.tensor(sigma))
        x = x0 + sigma * eps
        assert (c_in * x).std().item() == pytest.approx(1, abs=0.01)
        assert ((x0 - c_skip * x) / c_out).std().item() == pytest.approx(1, abs=0.01)
