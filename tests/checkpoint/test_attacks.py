"""Hostile checkpoints, the table of `benchmarks.faults.attacks`: each is refused in one line or does what any checkpoint may."""

import signal

import pytest
import torch

from benchmarks.faults.attacks import ATTACKS, Aim, arrange, snapshot, write
from condiff.checkpoint import Checkpoint, registry
from condiff.commands import resume
from condiff.errors import InputError
from condiff.training.resumed_state import read_state

LIMIT = 20  # seconds, after which an attack counts as endless


@pytest.fixture(scope="module")
def good(trained_once):
    """The content of a checkpoint, of a smaller network and with a few of its states: 900 files are made of it."""
    content = torch.load(trained_once / "checkpoints/last.ckpt", weights_only=True)
    content["hyper_parameters"]["overrides"] = content["hyper_parameters"]["overrides"][:2]
    net = {"channels": [8], "blocks": [1], "attention": [False]}
    for config in (content["hyper_parameters"]["net"], content["hyper_parameters"]["model"]["denoiser"]["net"]):
        config |= net
    denoiser = registry.build("denoiser", content["hyper_parameters"]["model"]["denoiser"], "x")
    state = {f"model.denoiser.{name}": weight for name, weight in denoiser.state_dict().items()}
    optimizer, averages = content["optimizer_states"][0], content["callbacks"]["PostHocEMASnapshots"]
    optimizer["state"] = dict(list(optimizer["state"].items())[:2])
    averages["averages"] = [average[:2] for average in averages["averages"]]
    few = dict(list(content["current_model_state"].items())[:2])
    return content | {"state_dict": state, "current_model_state": few}


def everything(path, good):
    """All that entry points do with a checkpoint before they act on it; with parts that are a good one's, nothing."""
    checkpoint = Checkpoint.read(path)
    resume.overrides(checkpoint.config["overrides"], path)
    read_state(checkpoint)
    _ = checkpoint.training_patients
    if not same(checkpoint.config, good["hyper_parameters"]) or not same(checkpoint.content["state_dict"], good["state_dict"]):
        checkpoint.codec()
        checkpoint.model()
        checkpoint.spec()
        checkpoint.data()


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one if key != "overrides")
    return one == other


@pytest.mark.parametrize("family", sorted({name.split("_")[0] for name in ATTACKS}))
def test_attacks(family, good, tmp_path):
    def endless(*_):
        raise AssertionError(f"{name}: not refused within {LIMIT} s")

    aim = Aim(tmp_path / "pwn", tmp_path / "victim")
    arrange(aim)
    before = snapshot(aim)
    signal.signal(signal.SIGALRM, endless)
    for name in [name for name in ATTACKS if name.split("_")[0] == family]:
        path = write(name, good, aim, tmp_path / "hostile/checkpoints/x.ckpt")
        signal.alarm(LIMIT)
        try:
            everything(path, good)
        except InputError as error:
            assert str(path) in str(error), name
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__} {error}") from error
        finally:
            signal.alarm(0)
        assert snapshot(aim) == before, name
