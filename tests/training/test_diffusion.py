"""The training step of a diffusion model: what its loss receives."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from condiff.data.datasets import Sample
from condiff.diffusion.schedules import Karras
from condiff.nn import Pixels
from condiff.training.diffusion import DiffusionSystem

FIELDS = (3, 1, 2)
BATCHES, SIZE = 20, 500


def known_fields(**settings):
    """Which fields [N, 3] of the condition the loss gets, of many batches whose conditions are all ones."""
    conditions = []

    def loss(denoiser, x0, eps, sigma, cond, progress):
        conditions.append(cond)
        return torch.zeros(len(x0))

    system = DiffusionSystem(nn.Identity(), Karras(), None, None, Pixels(), loss, fields=FIELDS, **settings)
    fit_loop = SimpleNamespace(total_batch_idx=-1)
    system.trainer = SimpleNamespace(fit_loop=fit_loop, global_rank=0, global_step=0, estimated_stepping_batches=BATCHES)
    system.log = lambda *args, **kwargs: None
    for index in range(BATCHES):
        fit_loop.total_batch_idx = index - 1
        system.training_step(Sample(torch.zeros(SIZE, 1, 1, 1), torch.ones(SIZE, sum(FIELDS))), index)
    parts = torch.cat(conditions).split(FIELDS, dim=1)
    assert all(torch.equal(part.amin(1), part.amax(1)) for part in parts)  # a field is known as a whole or not at all
    return torch.stack([part[:, 0] for part in parts], dim=1)


@pytest.mark.parametrize("p_uncond", [0.0, 0.1, 0.4, 1.0])
def test_share_of_dropped_conditions(p_uncond):
    """Whole conditions are dropped, p_uncond of them: within five standard errors, and with 0 and 1 exactly."""
    known = known_fields(p_uncond=p_uncond)
    dropped = (known == 0).all(dim=1)
    assert (known[~dropped] == 1).all()
    error = (p_uncond * (1 - p_uncond) / len(known)) ** 0.5
    assert dropped.double().mean().item() == pytest.approx(p_uncond, abs=5 * error + 1e-9)


@pytest.mark.parametrize(("p_uncond", "p_drop_fields"), [(0.0, 0.5), (0.2, 0.6)])
def test_share_of_dropped_fields(p_uncond, p_drop_fields):
    """Number of known fields: all, or with p_drop_fields any number alike; none of them where the condition is dropped."""
    known = known_fields(p_uncond=p_uncond, p_drop_fields=p_drop_fields)
    shares = torch.bincount(known.sum(dim=1).long(), minlength=4) / len(known)
    expected = (1 - p_uncond) * p_drop_fields / 4 * torch.ones(4)
    expected[3] += (1 - p_uncond) * (1 - p_drop_fields)
    expected[0] += p_uncond
    torch.testing.assert_close(shares, expected, rtol=0, atol=5 * 0.5 / len(known) ** 0.5)
    torch.testing.assert_close(known.mean(dim=0), known.mean().expand(3), rtol=0, atol=0.02)  # no field more than another
