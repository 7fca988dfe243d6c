"""Which images are drawn, what they cost, and folders that never mix those of two commands."""

from types import SimpleNamespace

import pytest
import torch

from condiff.data.conditioning import ContrastCondition
from condiff.diffusion.guidance import classifier_free
from condiff.diffusion.samplers import dpmpp_2m
from condiff.diffusion.schedules import Karras
from condiff.nn import Pixels
from condiff.sampling import SampleRequest, Sampling, sample_batch

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
