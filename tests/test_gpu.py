"""On a GPU: pytest -m gpu."""

import h5py
import pytest
import torch

from benchmarks.gpu.models import CASES, Program, Training
from benchmarks.gpu.profiling import recorded, sampler
from tests.commands.test_train import TINY
from tests.training.test_first_stage import BARE, CODEC, SMALL

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def test_trains_and_samples_as_on_the_cpu(run_entry):
    """bfloat16 training goes through; the same seeds give the same images on both devices."""
    settings = [item for item in TINY if not item.startswith(("trainer.precision", "trainer.accelerator"))]
    run_entry("train.py", *settings, "trainer.accelerator=gpu")
    for device in ("gpu", "cpu"):
        run_entry("sample.py", f"accelerator={device}", f"out={device}", "num_samples=1", "steps=10")
    with h5py.File("gpu/samples.h5") as one, h5py.File("cpu/samples.h5") as other:
        assert one["images"][()] == pytest.approx(other["images"][()], abs=1e-2)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_both_stages_of_a_latent_model(run_entry, precision):
    """With a critic; in either half precision; sampled, and guided by its own earlier self; as a prior of reconstructions."""
    bare = [item for item in BARE if not item.startswith(("trainer.precision", "trainer.accelerator"))]
    words = ["model=latent", "first.model=autoencoder_gan", "trainer.accelerator=gpu", f"trainer.precision={precision}"]
    run_entry("train.py", *bare, *SMALL, *CODEC, *words, "hydra.run.dir=runs/now")
    for device in ("gpu", "cpu"):
        run_entry("sample.py", f"accelerator={device}", f"out={device}", "num_samples=1", "steps=10")
    with h5py.File("gpu/samples.h5") as one, h5py.File("cpu/samples.h5") as other:
        assert one["images"][()] == pytest.approx(other["images"][()], abs=1e-2)
    run_entry("sample.py", "accelerator=gpu", "guidance=autoguidance", "num_samples=1", "steps=3", "out=guided")
    run_entry(
        "reconstruct.py",
        "accelerator=gpu",
        "method=dps",
        "steps=3",
        "volumes=1",
        "slices=[0]",
        "acceleration=2",
        "mask.center_fraction=0.3",
        "out=r",
    )


def waits_of(step):
    """How often the host waits for the device in a step, after one that warms up, and the lines that wait."""
    step()
    torch.cuda.synchronize()
    with recorded() as lines:
        step()
    return lines.total(), lines


def test_the_host_does_not_wait_in_a_step():
    """Once in a training step, where torch's `AveragedModel` copies its count; in sampling a few times a batch, not a step."""
    program = Program(CASES["default, 64"].words, toy=True)
    waits, lines = waits_of(Training(program, 4, True))
    assert waits <= 1, lines
    (few, _), (more, lines) = (waits_of(sampler(program, 4, steps)) for steps in (4, 12))
    assert few == more, lines
