"""Averaged weights against the power-law profile itself."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from condiff.callbacks import PowerEMA


@pytest.mark.parametrize("gamma", [1.0, 6.94])
def test_average_is_a_power_law_over_the_run(gamma):
    """Weights theta(t) = t for t = 1 ... n average to n (gamma + 1) / (gamma + 2): Karras et al. 2024, section 3.1."""
    n = 4000
    model = nn.Linear(1, 1, bias=False).double()
    averaged = AveragedModel(model, **PowerEMA(gamma)._kwargs)
    for t in range(1, n + 1):
        model.weight.data.fill_(t)
        averaged.update_parameters(model)
    assert averaged.module.weight.item() == pytest.approx(n * (gamma + 1) / (gamma + 2), rel=2e-3)


def test_buffers_are_copied_not_averaged():
    model = nn.BatchNorm1d(1)
    averaged = AveragedModel(model, **PowerEMA(6.94)._kwargs)
    for mean in (1.0, 5.0):
        model.running_mean.fill_(mean)
        averaged.update_parameters(model)
    assert PowerEMA(6.94)._use_buffers is False
    assert torch.equal(averaged.module.running_mean, model.running_mean)
