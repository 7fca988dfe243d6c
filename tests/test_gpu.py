"""On a GPU: pytest -m gpu."""

import h5py
import pytest
import torch

from tests.test_training import TINY

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def test_trains_and_samples_as_on_the_cpu(run_entry):
    """bfloat16 training goes through; the same seeds give the same images on both devices."""
    settings = [item for item in TINY if not item.startswith(("trainer.precision", "trainer.accelerator"))]
    run_entry("train.py", *settings, "trainer.accelerator=gpu")
    for device in ("gpu", "cpu"):
        run_entry("sample.py", f"accelerator={device}", f"out={device}", "num_samples=1", "steps=10")
    with h5py.File("gpu/samples.h5") as one, h5py.File("cpu/samples.h5") as other:
        assert one["images"][()] == pytest.approx(other["images"][()], abs=1e-2)
