"""What the time of a training step decides: the precision, and the length of the default run."""

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from condiff.data.datasets import Sample
from condiff.diffusion import Denoiser
from condiff.diffusion.schedules import Karras
from condiff.nn import ContextUNet, KLAutoencoder, PatchDiscriminator, PerceptualDistance, Pixels
from condiff.training import AutoencoderSystem, DiffusionSystem, precision
from condiff.training.budget import shortened
from condiff.training.lr_schedules import constant
from condiff.training.stage import decide
from condiff.training.step_time import StepTimer
from tests.commands.test_train import TINY
from tests.conftest import bad

CPU = torch.device("cpu")
BATCH = Sample(torch.rand(2, 1, 16, 16), torch.eye(2, 4))
BOTH = ("32-true", "bf16-mixed")
OPEN = {
    "max_epochs": {"_target_": "condiff.training.budget.shortened", "_partial_": True, "minutes": 1.0, "number": 2},
    "precision": {"_target_": "condiff.training.precision.fastest", "_partial_": True, "cache": "unused"},
}


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-2)


def diffusion():
    net = ContextUNet(image_channels=1, cond_dim=4, features=8)
    return DiffusionSystem(Denoiser(net), Karras(), adamw, constant, Pixels())


def autoencoder():
    codec = KLAutoencoder(1, latent_channels=2, channels=(8, 8), blocks=1)
    rest = PerceptualDistance(1), PatchDiscriminator(1), {"kl": 1e-4, "perceptual": 0.5, "adversarial": 0.2}
    return AutoencoderSystem(codec, adamw, constant, *rest)


def configuration(trainer, steps_per_epoch=400):
    return OmegaConf.create({"trainer": trainer, "data": {"steps_per_epoch": steps_per_epoch}})


class Timer:
    """Of known step times."""

    device, processes, batch = CPU, 1, BATCH
    system = torch.nn.Linear(2, 2)

    def __init__(self, **times):
        self.times, self.calls = {name.replace("_", "-"): seconds for name, seconds in times.items()}, 0

    def seconds(self, precisions):
        self.calls += 1
        return {name: self.times[name] for name in precisions}


@pytest.mark.parametrize("make", [diffusion, autoencoder])
def test_a_trial_leaves_no_trace(make):
    """Weights, running statistics, gradients and random numbers are as before; both precisions took some time."""
    system = make()
    before, random = copy.deepcopy(system.state_dict()), torch.get_rng_state()
    timer = StepTimer(system, BATCH, CPU)
    times = timer.seconds(BOTH)
    assert times.keys() == {*BOTH} and all(0 < seconds < 60 for seconds in times.values())
    assert timer.seconds(("32-true",)) == {"32-true": times["32-true"]}  # measured once
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in system.state_dict().items())
    assert all(parameter.grad is None for parameter in system.parameters())


def test_precision_is_measured_and_kept(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(precision, "candidates", lambda device: BOTH)
    caplog.set_level(logging.INFO)
    cache = tmp_path / "new"
    timer = Timer(**{"32_true": 0.1, "bf16_mixed": 0.15})
    assert precision.fastest(timer, cache) == "32-true"
    assert "precision 32-true: measured 100 ms a step on this" in caplog.text and "150 ms in bf16-mixed" in caplog.text
    opposite = Timer(**{"32_true": 0.2, "bf16_mixed": 0.1})
    assert precision.fastest(opposite, cache) == "32-true" and opposite.calls == 0  # a run is repeated in the same precision
    opposite.system = torch.nn.Linear(3, 3)
    assert precision.fastest(opposite, cache) == "bf16-mixed"  # another network has its own


@pytest.mark.parametrize(
    ("device", "abilities", "native", "expected"),
    [
        ("cpu", {}, False, ("32-true",)),
        ("cpu", {"avx512_bf16": True}, False, BOTH),
        ("cpu", {"amx_bf16": True}, False, BOTH),
        ("cuda", {}, True, ("bf16-mixed",)),
        ("cuda", {}, False, ("16-mixed",)),  # T4, V100, RTX 20xx
        ("mps", {"avx512_bf16": True}, False, ("32-true",)),
    ],
)
def test_candidates(monkeypatch, device, abilities, native, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert precision.candidates(torch.device(device)) == expected


@pytest.mark.parametrize(
    ("seconds", "processes", "steps"),
    [(0.01, 1, 400), (0.125, 1, 400), (0.25, 1, 240), (0.5, 1, 120), (100.0, 1, 1), (9.0, 2, 400)],
)
def test_budget(seconds, processes, steps, caplog):
    """Five epochs of 400 steps in 300 seconds."""
    caplog.set_level(logging.INFO)
    timer = Timer(**{"32_true": seconds})
    timer.processes = processes
    assert shortened(timer, "32-true", 400, minutes=5.0, number=5) == (5, steps)
    assert (f"trains for {5 * steps} of 2000 steps, to end within 5 minutes" in caplog.text) == (steps < 400)


@pytest.mark.parametrize(("interval", "steps"), [(3, 5), (300, 300), (500, 400), (0.5, 5)])
def test_an_epoch_is_no_shorter_than_the_interval_of_validations(interval, steps):
    timer = Timer(**{"32_true": 6.0})
    cfg = configuration(OPEN | {"precision": "32-true", "val_check_interval": interval})
    assert decide(cfg, None, timer).data.steps_per_epoch == steps


def test_what_is_given_is_not_measured():
    given = configuration({"max_epochs": 3, "precision": "16-mixed"})
    assert decide(given, None, None) == given


def test_a_resumed_run_keeps_precision_and_length(monkeypatch):
    monkeypatch.setattr("condiff.training.stage.candidates", lambda device: BOTH)
    timer = Timer(**{"32_true": 6.0, "bf16_mixed": 9.0})
    trainer = {"max_epochs": 4, "precision": "bf16-mixed"}
    resumed = SimpleNamespace(config={"trainer": trainer, "data": {"steps_per_epoch": 7}})
    assert decide(configuration(OPEN), resumed, timer) == resumed.config
    assert timer.calls == 0
    monkeypatch.setattr("condiff.training.precision.candidates", lambda device: BOTH[:1])
    for odd in ({"max_epochs": "x", "precision": "64-true"}, {"max_epochs": -1, "precision": []}, "text", None):
        stranger = SimpleNamespace(config={"trainer": odd, "data": {"steps_per_epoch": "x"}})
        decided = decide(configuration(OPEN), stranger, timer)
        assert decided == configuration({"max_epochs": 2, "precision": "32-true"}, steps_per_epoch=5)


def test_a_slow_machine_trains_for_fewer_steps(run_entry, capsys, tmp_path):
    """The learning rate falls to 0 at the end of the shorter run; it is finished then. If prolonged, its epochs stay short."""
    words = [word.replace("data.steps", "++data.steps") for word in TINY if not word.startswith("trainer.max_epochs")]
    none = bad(capsys, run_entry, "train.py", *words, "trainer.max_epochs.number=0")
    assert "trainer.max_epochs.number=0: give a whole number, at least 1" in none
    run_entry("train.py", *words, "trainer.max_epochs.minutes=1e-9", "trainer.max_epochs.number=2")
    assert "trains for 2 of 6 steps, to end within 1e-09 minutes" in "".join(capsys.readouterr())
    run = tmp_path / "runs/now"
    config = OmegaConf.load(run / "config.yaml")
    assert (config.trainer.max_epochs, config.data.steps_per_epoch) == (2, 1)
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == 2 and state["lr_schedulers"][0]["_last_lr"] == [0.0, 0.0]
    resume = "resume=runs/now/checkpoints/last.ckpt", "hydra.run.dir=runs/again"
    assert "is finished after 2 epochs;" in bad(capsys, run_entry, "train.py", *resume)
    other = bad(capsys, run_entry, "train.py", *resume, "trainer.max_epochs=3", "data.steps_per_epoch=5")
    assert "was trained with data.steps_per_epoch=1, not 5; leave data.steps_per_epoch out" in other
    run_entry("train.py", *resume, "trainer.max_epochs=3")
    config = OmegaConf.load(tmp_path / "runs/again/config.yaml")
    assert (config.trainer.max_epochs, config.data.steps_per_epoch) == (3, 1)
