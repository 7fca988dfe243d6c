"""Averaged weights against the sums they stand for."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from condiff.errors import InputError
from condiff.training import ema, posthoc_ema
from condiff.training.callbacks import EMA, PostHocEMASnapshots

STD = partial(ema.power, std=0.1)
WEIGHTS = torch.randn(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64).cumsum(0)  # theta(t), a random walk


def run(decay):
    """The average after every step."""
    model = nn.Linear(1, 1, bias=False).double()
    averaged = AveragedModel(model, **EMA(decay)._kwargs)
    for weight in WEIGHTS:
        model.weight.data.fill_(weight)
        averaged.update_parameters(model)
        yield averaged.module.weight.item()


def last(values):
    *_, value = values
    return value


@pytest.mark.parametrize("std", [0.05, 0.1, 0.2])
def test_power_average_is_a_sum(std):
    """Against the product of all it kept, step by step; and the profile has the mean and the width asked for."""
    n, g = len(WEIGHTS), ema.gamma(std)
    kept = [(1 - 1 / t) ** (g + 1) for t in range(1, n + 1)]
    shares = torch.tensor([(1 - kept[t]) * torch.tensor(kept[t + 1 :]).prod() for t in range(n)], dtype=torch.float64)
    assert last(run(partial(ema.power, std=std))) == pytest.approx((shares * WEIGHTS).sum().item(), rel=1e-6)
    when = torch.arange(1, n + 1) / n
    mean = (shares * when).sum()
    assert mean.item() == pytest.approx((g + 1) / (g + 2), abs=0.01)
    assert (shares * (when - mean) ** 2).sum().sqrt().item() == pytest.approx(std, rel=0.03)


def test_gamma_of_the_paper():
    """Karras et al. 2024: 0.1 is gamma 6.94, 0.05 is 16.97."""
    assert ema.gamma(0.1) == pytest.approx(6.94, abs=0.005)
    assert ema.gamma(0.05) == pytest.approx(16.97, abs=0.005)


def test_constant_average_is_a_sum():
    average = WEIGHTS[0]
    for n, weight in enumerate(WEIGHTS[1:], start=1):
        keep = min(0.95, (1 + n) / (10 + n))
        average = keep * average + (1 - keep) * weight
    assert last(run(partial(ema.constant, decay=0.95))) == pytest.approx(average.item(), rel=1e-9)


def normalized_steps(module, steps=100):
    """The steps of a linear layer whose weights drift and jump about, followed by a BatchNorm that measures them."""
    torch.manual_seed(0)
    module.layer, module.norm = nn.Linear(8, 8), nn.BatchNorm1d(8, momentum=0.5)
    start = module.layer.weight.detach().clone()
    for step in range(steps):
        module.layer.weight.data.copy_(start * (1 + step / 50) + 0.1 * torch.randn(8, 8))
        module.layer.bias.data.fill_(step / 20)
        module.norm(module.layer(torch.randn(256, 8)))
        yield step + 1


def test_statistics_of_batch_norm_belong_to_the_averaged_weights():
    """Against those of the averaged layer's own outputs, which differ from the running ones of the raw weights."""
    module, averaged = nn.Module(), None
    for _ in normalized_steps(module):
        averaged = averaged or AveragedModel(module, use_buffers=(ema := EMA(STD))._use_buffers, **ema._kwargs)
        averaged.update_parameters(module)
    outputs = averaged.module.layer(torch.randn(20_000, 8)).detach()
    for own, averages, raw in (
        (outputs.mean(0), averaged.module.norm.running_mean, module.norm.running_mean),
        (outputs.var(0).sqrt(), averaged.module.norm.running_var.sqrt(), module.norm.running_var.sqrt()),
    ):
        assert (averages - own).norm() < 0.3 * (raw - own).norm()
    assert averaged.module.norm.num_batches_tracked == 100


def test_average_of_constant_weights_is_exact():
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    module[1].running_var.uniform_(0, 2)
    averaged = AveragedModel(module, use_buffers=True, **EMA(STD)._kwargs)
    for _ in range(20):
        averaged.update_parameters(module)
    assert all(torch.equal(value, averaged.module.state_dict()[name]) for name, value in module.state_dict().items())


def stored_run(folder, module, steps):
    """What a run leaves in its folder, with averages of widths 0.05 and 0.1 stored at every eighth of 100 steps."""
    callback = PostHocEMASnapshots(folder / "averages")
    for step in steps:
        trainer = SimpleNamespace(global_step=step, estimated_stepping_batches=100, is_global_zero=True)
        callback.on_train_batch_end(trainer, module)
    config = {"model": {}, "data": {}, "overrides": []}
    torch.save({"hyper_parameters": config, "state_dict": module.state_dict()}, folder / "last.ckpt")
    return folder / "last.ckpt"


def test_statistics_of_batch_norm_are_averaged_afterwards_too(tmp_path):
    module, averaged = nn.Module(), None

    def steps():
        nonlocal averaged
        for step in normalized_steps(module):
            averaged = averaged or AveragedModel(module, use_buffers=True, **EMA(partial(ema.power, std=0.07))._kwargs)
            averaged.update_parameters(module)
            yield step

    ckpt = stored_run(tmp_path, module, steps())
    state = posthoc_ema.reconstruct_ema(ckpt, 0.07)[0]["state_dict"]
    for name, value in averaged.module.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=0.02, atol=0.02)
    assert not torch.allclose(state["norm.running_mean"], module.norm.running_mean, rtol=0.05)


def test_variances_stay_positive_where_shares_are_negative(tmp_path):
    """A narrower average is the narrow one less some of the wide one, which has seen a variance a million times as large."""
    module = nn.BatchNorm1d(1)

    def steps():
        for step in range(1, 101):
            module.running_var.fill_(1e3 if step < 80 else 1e-3)
            yield step

    ckpt = stored_run(tmp_path, module, steps())
    assert posthoc_ema.reconstruct_ema(ckpt, 0.03)[0]["state_dict"]["running_var"].item() > 1e-4


def test_a_run_stored_without_statistics_goes_on():
    callback, module = PostHocEMASnapshots("x", times=1), nn.BatchNorm1d(2)
    callback.load_state_dict({"count": 4, "averages": [[torch.zeros(2), torch.zeros(2)] for _ in range(2)]})
    callback.on_train_batch_end(SimpleNamespace(global_step=5, estimated_stepping_batches=100, is_global_zero=True), module)
    assert all(len(average) == 4 and torch.equal(average[3], torch.ones(2)) for average in callback.averages)


@pytest.mark.parametrize("decay", [partial(ema.power, std=0.5), partial(ema.constant, decay=1.0)])
def test_bad_averages_are_named(decay):
    with pytest.raises(InputError, match=r"std=0.5|averaging.decay=1.0"):
        decay(3)


def test_weights_do_not_depend_on_the_default_device():
    """A guiding model is made with an accelerator as the default device, whose linear algebra may lack what this needs."""
    stored = [(8, ema.gamma(0.05)), (8, ema.gamma(0.1))]
    with torch.device("meta"):
        shares, left = ema.solve_posthoc_weights(stored, (8, ema.gamma(0.07)))
    assert shares.device.type == "cpu" and left < 0.2


def test_product_is_the_integral():
    t = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 100_000
    profile = lambda at, g: (g + 1) * t**g / at ** (g + 1) * (t <= at)  # noqa: E731
    for one, other in [((1.0, 6.94), (4.0, 16.97)), ((4.0, 2.0), (4.0, 6.94)), ((3.0, 16.97), (2.0, 6.94))]:
        expected = (profile(*one) * profile(*other)).sum().item() / 100_000
        assert ema.p_dot_p(one, other) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("std", "as_of"), [(0.05, 300), (0.07, 300), (0.15, 300), (0.1, 225)])
def test_any_average_is_made_of_stored_ones(std, as_of):
    """Of two widths stored eight times, as near to the true average as is said, and nearer than the stored one."""
    averages = {width: list(run(partial(ema.power, std=width))) for width in (0.05, 0.1)}
    steps = [round(300 * k / 8) for k in range(1, 9) if round(300 * k / 8) <= as_of]
    stored = [(step, width) for step in steps for width in averages]
    shares, left = ema.solve_posthoc_weights([(step, ema.gamma(width)) for step, width in stored], (as_of, ema.gamma(std)))
    made = sum(float(share) * averages[width][step - 1] for share, (step, width) in zip(shares, stored, strict=True))
    true = list(run(partial(ema.power, std=std)))[as_of - 1]
    assert left < 0.05 and shares.sum().item() == pytest.approx(1, abs=0.02)
    assert abs(made - true) < 0.25 * min(abs(averages[width][as_of - 1] - true) for width in averages) or abs(made - true) < 0.05
