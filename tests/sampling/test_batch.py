"""Which images are drawn, what they cost, and folders that never mix those of two commands."""

from types import SimpleNamespace

import pytest
import torch

from condiff.data.conditioning import ContrastCondition
from condiff.diffusion.guidance import classifier_free
from condiff.diffusion.noise import SeededNoise
from condiff.diffusion.samplers import dpmpp_2m
from condiff.diffusion.schedules import Karras
from condiff.nn import Pixels
from condiff.sampling import MAX_FRAMES, SampleRequest, Sampling, frame_indices, sample_batch

SPEC = SimpleNamespace(conditioning=ContrastCondition(("AXT1", "AXT2")), shape=(1, 4, 4))


class Model:
    """A conditional model whose x0 is the sum of its condition; it counts the images that it sees."""

    conditional, device, codec, schedule, images = True, torch.device("cpu"), Pixels(), Karras(0.01, 10.0), 0

    def __call__(self, x, sigma, cond):
        self.images += len(x)
        return x * 0 + (0 if cond is None else cond.sum(1).view(-1, 1, 1, 1))


@pytest.mark.parametrize(("contrast", "evaluations", "value"), [(None, 4, 0.0), ("AXT2", 8, 3.0)])
def test_guidance_costs_nothing_where_no_contrast_is_asked_for(contrast, evaluations, value):
    model, how = Model(), Sampling(dpmpp_2m, lambda denoise: classifier_free(denoise, 3.0), steps=4)
    (states,) = sample_batch(model, SPEC, [SampleRequest(contrast, 0)], how)
    assert model.images == evaluations and states[-1].mean().item() == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize("steps", [4, 40])
def test_recorded_states_are_variance_preserving(steps):
    """For x0 = 0 the flow is x = sigma eps, shown as sigma eps / sqrt(1 + sigma^2); the last state is the sample, 0."""
    how = Sampling(dpmpp_2m, lambda denoise: denoise, steps)
    requests = [SampleRequest(None, 5), SampleRequest(None, 6, record=True), SampleRequest(None, 7, record=True)]
    plain, *recorded = sample_batch(Model(), SPEC, requests, how)
    assert plain.shape == (1, 1, 4, 4) and len(recorded) == 2
    sigmas = Karras(0.01, 10.0).steps(steps)[frame_indices(steps)].view(-1, 1, 1, 1)
    assert len(sigmas) == min(steps + 1, MAX_FRAMES) and sigmas[0] == 10 and sigmas[-1] == 0
    for states, seed in zip(recorded, (6, 7), strict=True):
        eps = SeededNoise([seed]).draw((1, 4, 4))[0]
        torch.testing.assert_close(states, sigmas / (1 + sigmas**2).sqrt() * eps, rtol=1e-4, atol=1e-5)
