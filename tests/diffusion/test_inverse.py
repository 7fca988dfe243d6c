"""Inverse problems whose posterior is known: an image of complex Gaussian texture, four coils, six-fold undersampled.

The denoiser is exact, and so are the posterior's mean and covariance P. bias: |mean of the samples - posterior mean|^2 / tr P,
less what a finite number of samples leaves; spread: their variance / tr P; chi2: misfit per measured point. Of both 1 is right.
"""

from functools import cache, partial
from types import SimpleNamespace

import pytest
import torch

from condiff.diffusion import inverse
from condiff.diffusion.noise import SeededNoise
from condiff.diffusion.schedules import Karras
from condiff.linear import LinearOperator

N, COILS, TRUTHS, SAMPLES, SIGMA_Y = 96, 4, 8, 48, 0.02
GRID, NEAR = Karras(0.02, 10.0), Karras(0.02, 1.0)


class Coils(LinearOperator):
    """One row of pixels [B, 2, 1, N], seen by four smooth coils, every sixth and ten central samples of k-space."""

    def __init__(self):
        t, places = torch.linspace(-1, 1, N), torch.tensor([-1.2, -0.4, 0.4, 1.2])[:, None]
        maps = torch.polar(torch.exp(-((t - places) ** 2) / 0.8), 1.5 * places * t)
        self.maps = maps / maps.abs().square().sum(0).sqrt()
        self.mask = torch.zeros(N)
        self.mask[::6] = 1
        self.mask[:5] = self.mask[-5:] = 1

    def __call__(self, x):
        return self.mask * torch.fft.fft(self.maps * torch.complex(x[:, 0], x[:, 1]), norm="ortho")

    def adjoint(self, y):
        image = (self.maps.conj() * torch.fft.ifft(self.mask * y, norm="ortho")).sum(dim=1)
        return torch.stack([image.real, image.imag], dim=1)[:, :, None]


@cache
def problem():
    """Textures with a correlation of exp(-distance / 7 pixels) and a deviation that changes along the row."""
    generator, A, t = torch.Generator().manual_seed(0), Coils(), torch.linspace(-1, 1, N)
    std = 0.15 + 0.5 * torch.exp(-((t + 0.3) ** 2) / 0.1) + 0.3 * torch.exp(-((t - 0.5) ** 2) / 0.05)
    covariance = (std[:, None] * std * torch.exp(-(t[:, None] - t).abs() / 0.15) + 1e-5 * torch.eye(N)).double()
    values, vectors = torch.linalg.eigh(covariance)
    truth = torch.randn(TRUTHS, 2, N, generator=generator, dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    noise = torch.view_as_complex(torch.randn(TRUTHS, COILS, N, 2, generator=generator))
    y = A(truth.float()[:, :, None]) + SIGMA_Y * A.mask * noise
    matrix = torch.view_as_real(A(torch.eye(2 * N).view(2 * N, 2, 1, N)).flatten(1)).flatten(1).T.double()
    prior = torch.block_diag(*[torch.linalg.inv(covariance)] * 2)
    spread = torch.linalg.inv(matrix.T @ matrix / SIGMA_Y**2 + prior)
    mean = torch.view_as_real(y.flatten(1)).flatten(1).double() @ matrix / SIGMA_Y**2 @ spread

    @cache
    def wiener(sigma):
        return ((vectors * (values / (values + sigma**2))) @ vectors.T).float()

    def denoise(x, sigma, cond=None):
        return x @ wiener(float(sigma))

    sigma_data = float(std.square().mean().sqrt())
    return SimpleNamespace(A=A, y=y, mean=mean, spread=spread, denoise=denoise, sigma_data=sigma_data)


def judged(method, sigmas):
    """bias, spread and chi2 of a method's samples."""
    p = problem()
    y, generator = p.y.repeat_interleave(SAMPLES, 0), torch.Generator().manual_seed(1)
    noise = lambda x: torch.randn(x.shape, generator=generator)  # noqa: E731 - a generator an image is slow with 576 of them
    *_, x = method(
        p.denoise, sigmas[0] * noise(torch.empty(len(y), 2, 1, N)), sigmas, inverse.Problem(p.A, y, SIGMA_Y), noise=noise
    )
    samples, trace = x.view(TRUTHS, SAMPLES, 2 * N).double(), p.spread.trace()
    spread = samples.var(dim=1).sum() / TRUTHS / trace
    bias = (samples.mean(dim=1) - p.mean).square().sum() / TRUTHS / trace - spread / SAMPLES
    points = len(x) * COILS * p.A.mask.sum() * 2 * SIGMA_Y**2
    return float(bias), float(spread), float((y - p.A(x)).abs().square().sum() / points)


def test_posterior_is_the_posterior():
    bias, spread, chi2 = judged(partial(inverse.posterior, sigma_data=problem().sigma_data), NEAR.steps(50))
    assert bias < 0.02
    assert spread == pytest.approx(1, abs=0.1)
    assert chi2 == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("method", "sigmas", "bias", "spread", "chi2"),
    [  # largest bias, and about where spread and misfit lie: what each is known to get wrong
        (partial(inverse.posterior, sigma_data=0.38), NEAR.steps(20), 0.07, (1.0, 1.25), (0.9, 1.1)),
        (inverse.dds, GRID.steps(50), 0.12, (0.5, 0.8), (0.5, 1.2)),  # too sure: it asks for the likeliest, not for a draw
        (inverse.pula, GRID.steps(25), 0.05, (1.1, 1.4), (0.95, 1.15)),  # too wide while the steps are few
        (inverse.dps, GRID.steps(100), 0.2, (0.7, 1.3), (1.5, 8.0)),  # the data missed by far
        (inverse.score_mri, GRID.steps(150), 0.1, (0.85, 1.2), (0.4, 0.8)),  # the data's noise is kept
        pytest.param(
            inverse.csgm, NEAR.steps(200), 0.15, (1.0, 4.0), (0.95, 1.3), marks=pytest.mark.slow
        ),  # not yet settled; see the slow test
        pytest.param(inverse.csgm_normalized, Karras(0.02, 2.0).steps(200), 0.15, (0.8, 1.2), (0.3, 0.8), marks=pytest.mark.slow),
    ],
    ids=["posterior 20", "dds", "pula", "dps", "score_mri", "csgm", "csgm_normalized"],
)
def test_methods_land_where_they_are_known_to(method, sigmas, bias, spread, chi2):
    found = judged(method, sigmas)
    assert found[0] < bias
    assert spread[0] < found[1] < spread[1]
    assert chi2[0] < found[2] < chi2[1]


@pytest.mark.slow
def test_csgm_is_right_after_thousands_of_evaluations():
    bias, spread, chi2 = judged(inverse.csgm, NEAR.steps(1000))
    assert bias < 0.02
    assert spread == pytest.approx(1, abs=0.1)
    assert chi2 == pytest.approx(1, abs=0.1)


def pairs(shape=(2, 400)):
    """Pixels of pairs (a, b), (1, 1) or (-1, -1) with a deviation of 0.3; a is measured."""
    centres, width = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), 0.3

    def denoise(x, sigma, cond=None):
        both, variance = x.movedim(2, -1), width**2 + float(sigma) ** 2
        share = torch.softmax(-(both[..., None, :] - centres).square().sum(-1) / (2 * variance), -1)
        mean = (width**2 * both[..., None, :] + float(sigma) ** 2 * centres) / variance
        return (share[..., None] * mean).sum(-2).movedim(-1, 2)

    def weight(y, sigma_y):
        return float(torch.softmax(-((y - centres[:, 0]) ** 2) / (2 * (width**2 + sigma_y**2)), 0)[0])

    return denoise, weight, SimpleNamespace(adjoint=lambda y: torch.cat([y, 0 * y], dim=2), call=lambda x: x[:, :, :1])


@pytest.mark.parametrize(("y", "sigma_y"), [(0.3, 1.0), (0.6, 1.0), (1.5, 2.0)])
def test_mixture_keeps_the_weights_of_its_modes(y, sigma_y):
    """The reference within 5 points; `posterior`, which takes p(x0 | x) for one Gaussian, lies between prior and posterior."""
    denoise, weight, parts = pairs()

    class First(LinearOperator):
        def adjoint(self, y):
            return parts.adjoint(y)

        def __call__(self, x):
            return parts.call(x)

    measured, found = torch.full((1, 1, 1, 4000), y), {}
    for name, method, sigmas in (
        ("pula", inverse.pula, Karras(0.02, 4.0).steps(250)),
        ("posterior", partial(inverse.posterior, sigma_data=1.0), Karras(0.02, 1.0).steps(50)),
    ):
        noise = SeededNoise([0])
        *_, x = method(
            denoise, sigmas[0] * noise.draw((1, 2, 4000)), sigmas, inverse.Problem(First(), measured, sigma_y), noise=noise
        )
        found[name] = float((x.sum(dim=2) > 0).float().mean())
    assert found["pula"] == pytest.approx(weight(y, sigma_y), abs=0.05)
    assert 0.5 < found["posterior"] < weight(y, sigma_y)


def test_a_sample_depends_on_its_own_seed():
    """Two images of one batch, one alone, another order."""
    p, sigmas = problem(), NEAR.steps(5)
    for method in (
        inverse.dds,
        partial(inverse.posterior, sigma_data=0.4),
        partial(inverse.pula, repeats=1),
        inverse.dps,
        inverse.csgm,
    ):

        def run(seeds, method=method):
            noise = SeededNoise(seeds)
            x = sigmas[0] * noise.draw((2, 1, N))
            return [*method(p.denoise, x, sigmas, inverse.Problem(p.A, p.y[:1], SIGMA_Y), noise=noise)][-1]

        torch.testing.assert_close(run([3, 4])[1], run([4])[0], rtol=1e-3, atol=1e-3)
