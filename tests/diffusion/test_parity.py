"""Samplers against the schedulers of diffusers: same network, same noise, same levels, samples equal to 1e-4."""

from functools import partial

import pytest
import torch
from torch import nn

from condiff.diffusion import Denoiser, samplers
from condiff.diffusion.schedules import CosineBeta, LinearBeta, ScaledLinearBeta

diffusers = pytest.importorskip("diffusers")
SHAPE = 2, 1, 8, 8


class Net(nn.Module):
    """eps, from a small convolution; like a U-Net's it is bounded and depends on the noise level."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(1, 1, 3, 3, generator=generator) / 3)

    def forward(self, x, c_noise, cond=None):
        return torch.tanh(nn.functional.conv2d(x, self.weight, padding=1) + c_noise.view(-1, 1, 1, 1))


denoiser = Denoiser(Net())


def ours(sampler, sigmas, noise):
    """From noise of the diffusers kind, variance-preserving, to a sample."""
    x = torch.randn(SHAPE, generator=noise) * (1 + sigmas[0] ** 2).sqrt()
    *_, x = sampler(denoiser, x, sigmas, noise=lambda x: torch.randn(x.shape, generator=noise))
    return x


def theirs(scheduler, sigmas, noise):
    x = torch.randn(SHAPE, generator=noise)
    for t, sigma in zip(scheduler.timesteps, sigmas, strict=False):
        eps = denoiser.net(x, (sigma.log() / 4).expand(len(x)))
        settings = {} if isinstance(scheduler, diffusers.UniPCMultistepScheduler) else {"generator": noise}
        x = scheduler.step(eps, t, x, **settings).prev_sample
    return x


def compare(sampler, scheduler, sigmas):
    one, other = (f(it, sigmas, torch.Generator().manual_seed(1)) for f, it in ((ours, sampler), (theirs, scheduler)))
    assert one.abs().max() > 0.1
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def levels(chain, timesteps):
    return torch.cat([chain.sigmas[timesteps].float(), torch.zeros(1)])


@pytest.mark.parametrize(("sampler", "variance"), [(samplers.ancestral, "fixed_small"), (samplers.ancestral_beta, "fixed_large")])
@pytest.mark.parametrize("steps", [20, 1000])
def test_ddpm(sampler, variance, steps):
    scheduler = diffusers.DDPMScheduler(clip_sample=False, variance_type=variance)
    timesteps = torch.linspace(999, 0, steps).round().long()
    scheduler.set_timesteps(timesteps=timesteps.tolist())
    compare(sampler, scheduler, levels(LinearBeta(), timesteps))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(eta):
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(50)
    scheduler.step = partial(scheduler.step, eta=eta)
    compare(partial(samplers.ancestral, eta=eta), scheduler, levels(LinearBeta(), scheduler.timesteps))


@pytest.mark.parametrize(
    ("sampler", "name", "settings"),
    [
        (samplers.dpmpp_2m, "DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
        (samplers.dpmpp_2m_sde, "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        (samplers.unipc, "UniPCMultistepScheduler", {"solver_type": "bh2"}),
    ],
)
@pytest.mark.parametrize("steps", [5, 20, 100])
def test_multistep(sampler, name, settings, steps):
    scheduler = getattr(diffusers, name)(beta_start=1e-4, beta_end=0.02, final_sigmas_type="zero", **settings)
    scheduler.set_timesteps(steps)
    compare(sampler, scheduler, levels(LinearBeta(), scheduler.timesteps))


def test_heun():
    scheduler = diffusers.HeunDiscreteScheduler(beta_start=1e-4, beta_end=0.02)
    scheduler.set_timesteps(20)
    sigmas = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1:-1:2], torch.zeros(1)])
    start = sigmas[0] * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    x = start
    for index, t in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[index]
        x = scheduler.step(denoiser.net(scheduler.scale_model_input(x, t), (sigma.log() / 4).expand(len(x))), t, x).prev_sample
    *_, mine = samplers.heun(denoiser, start, sigmas)
    torch.testing.assert_close(mine, x, rtol=1e-4, atol=1e-4)


def test_predictor_corrector():
    """One image: their step length is a mean over the batch."""
    scheduler = diffusers.ScoreSdeVeScheduler(num_train_timesteps=30, snr=0.16, sigma_min=0.01, sigma_max=50.0)
    scheduler.set_sigmas(30)
    sigmas = scheduler.discrete_sigmas.flip(0)[:8]  # their chain does not end at 0
    noise = torch.Generator().manual_seed(1)
    start = sigmas[0] * torch.randn(1, 1, 8, 8, generator=noise)
    x, score = start, lambda x, sigma: (denoiser(x, sigma) - x) / sigma**2
    for sigma, lower, t in zip(sigmas, sigmas[1:], scheduler.timesteps, strict=False):
        x = scheduler.step_pred(score(x, sigma), t, x, generator=noise).prev_sample
        x = scheduler.step_correct(score(x, lower), x, generator=noise).prev_sample
    noise = torch.Generator().manual_seed(1)
    torch.randn(1, 1, 8, 8, generator=noise)
    *_, mine = samplers.predictor_corrector(denoiser, start, sigmas, noise=lambda x: torch.randn(x.shape, generator=noise))
    torch.testing.assert_close(mine, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("chain", "settings"),
    [
        (LinearBeta(), {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}),
        (ScaledLinearBeta(), {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}),
        (CosineBeta(), {"beta_schedule": "squaredcos_cap_v2"}),
    ],
    ids=["linear", "scaled linear", "cosine"],
)
def test_betas(chain, settings):
    torch.testing.assert_close(chain.betas.float(), diffusers.DDPMScheduler(**settings).betas, rtol=1e-4, atol=1e-7)
