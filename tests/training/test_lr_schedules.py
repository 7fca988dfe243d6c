"""Learning-rate factors against PyTorch's own schedules."""

from functools import partial

import pytest
import torch
from lightning.fabric.plugins.precision.amp import _optimizer_handles_unscaling
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from condiff.training.lr_schedules import constant, cosine, with_lr_schedule

RATE, WARMUP, TOTAL = 0.3, 10, 110


def test_fused_steps_leave_unscaling_to_lightning():
    """Lightning refuses to clip gradients for optimizers that unscale them."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], fused=True)
    assert _optimizer_handles_unscaling(optimizer)
    assert not _optimizer_handles_unscaling(with_lr_schedule(optimizer, constant, TOTAL)["optimizer"])


def sgd():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


def rates(optimizer, scheduler):
    """The learning rate of every step, and of the one after the last."""
    found = []
    for _ in range(TOTAL + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def warmed_up(optimizer, then):
    rise = LinearLR(optimizer, start_factor=1 / WARMUP, end_factor=1.0, total_iters=WARMUP - 1)
    return SequentialLR(optimizer, [rise, then(optimizer)], milestones=[WARMUP])


@pytest.mark.parametrize(
    ("factor", "after_warmup"),
    [
        (cosine, partial(CosineAnnealingLR, T_max=TOTAL - WARMUP)),
        (constant, partial(LinearLR, start_factor=1.0)),
    ],
)
def test_rates_are_those_of_pytorch(factor, after_warmup):
    optimizer, reference = sgd(), sgd()
    ours = with_lr_schedule(optimizer, partial(factor, warmup=WARMUP), TOTAL)
    assert ours["optimizer"] is optimizer and ours["lr_scheduler"]["interval"] == "step"
    expected = rates(reference, warmed_up(reference, after_warmup))
    assert rates(optimizer, ours["lr_scheduler"]["scheduler"]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_cosine_ends_at_zero():
    """1 after the warmup, 1/2 in the middle, 0 at the end and beyond, in a short run too."""
    assert [cosine(step, 110, warmup=10) for step in (10, 60, 110, 200)] == pytest.approx([1, 0.5, 0, 0])
    assert [cosine(step, 40, warmup=100) for step in (0, 9, 10, 25, 40)] == pytest.approx([0.1, 1, 1, 0.5, 0])
    assert cosine(0, 1, warmup=100) == 1
