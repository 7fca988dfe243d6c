"""What is counted as an evaluation."""

from functools import partial

import pytest
import torch
from torch import nn

from condiff.diffusion import Denoiser
from condiff.diffusion.guidance import autoguidance, classifier_free, compose, identity, static_clamp
from condiff.sampling.cost import SamplingCost, counting_guidance

X, SIGMA, COND = torch.zeros(3, 1, 2, 2), torch.tensor(1.0), torch.ones(3, 4)


class Unchanged(nn.Module):
    def forward(self, x, noise, cond):
        return x


@pytest.mark.parametrize(
    ("guidance", "each"),
    [
        (identity, 1),
        (partial(classifier_free, scale=2.0), 2),
        (compose(partial(autoguidance, weaker=Denoiser(Unchanged()), scale=2.0), partial(static_clamp, low=-1.0)), 2),
        (partial(autoguidance, weaker=Denoiser(Unchanged()), scale=2.0, interval=(2.0, 3.0)), 1),  # not at this level
    ],
)
def test_every_network_counts_and_the_images_stay(guidance, each):
    model, cost = Denoiser(Unchanged()), SamplingCost()
    found = counting_guidance(guidance, cost)(model)(X, SIGMA, COND)
    assert cost.evaluations == each * len(X)
    assert torch.equal(found, guidance(model)(X, SIGMA, COND)) and cost.evaluations == each * len(X)
