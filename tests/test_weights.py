"""The models that come with condiff: small, evaluated, found by name and taken where there is no run."""

import json
from math import exp

import h5py
import numpy as np
import pytest
import torch

import condiff
from condiff.checkpoint.model_folder import SHIPPED, shipped
from condiff.data.phantom.volumes import TISSUES, Phantom
from condiff.errors import InputError
from condiff.mri.fourier import center_crop, fft2c, ifft2c
from condiff.mri.masks import equispaced
from tests.conftest import TINY_RUN, bad

NAMES = ["phantom", "phantom_prior"]


@pytest.mark.parametrize("name", NAMES)
def test_small_and_evaluated(name):
    folder = SHIPPED / name
    assert (folder / "model.safetensors").stat().st_size <= 4_000_000
    config, card = (json.loads((folder / "config.json").read_text()), (folder / "README.md").read_text())
    assert config["evaluation"]["held_out"]["patients"] > 10 and "| real vs real | samples |" in card
    assert "Simulated heads, the phantom of condiff" in card and "## Copies of training patients" in card
    assert "No patient is in its training data" in card and "license: mit" in card
    model = condiff.load(name)
    assert model.spec.shape == ({"phantom": 1, "phantom_prior": 2}[name], 128, 128) and len(model.contrasts) == 4


def test_names():
    assert shipped() == NAMES
    with pytest.raises(InputError, match="phantoms: no such checkpoint; .*comes with condiff: phantom, phantom_prior"):
        condiff.load("phantoms")


def test_taken_where_there_is_no_run(run_entry, tmp_path, capsys):
    run_entry("sample.py", "contrast=AXT2", "num_samples=1", "steps=2", "accelerator=cpu", "out=drawn")
    printed = capsys.readouterr().out
    assert "no run in runs: phantom, which comes with condiff; for another give ckpt=RUN" in printed
    assert "weights/phantom/model.safetensors" in printed
    assert h5py.File(tmp_path / "drawn/samples.h5")["images"].shape == (1, 1, 128, 128)
    assert "runs: no run in this folder has a checkpoint" in bad(capsys, run_entry, "evaluate.py")


def test_the_signal_follows_te():
    """In T2 images of one noise fluid grows brighter against white matter with TE, as exp(TE (1 / T2 - 1 / T2')) says."""
    model = condiff.load("phantom")
    ratios = []
    for te in (70.0, 150.0):
        image = model.sample("AXT2", n=4, seed=5, steps=10, te=te, tr=6000.0, slice=0.6, guidance=1.0).magnitude
        head = image[image > 0.15]
        ratios.append(np.quantile(head, 0.98) / np.quantile(head, 0.35))
    expected = exp(80 * (1 / TISSUES["white"].t2 - 1 / TISSUES["csf"].t2))
    assert ratios[1] / ratios[0] == pytest.approx(expected, rel=0.4) and ratios[1] > 1.5 * ratios[0]


def test_the_prior_reconstructs_a_new_head(tmp_path):
    """Ten steps of dds on a four-fold accelerated scan halve the error of zero filling."""
    path = Phantom(patients=1, slices=1, seed=99).make_volume(tmp_path, "AXT2")
    with h5py.File(path) as file:
        coils = center_crop(ifft2c(torch.from_numpy(file["kspace"][0])), (128, 128))  # without readout oversampling
    kspace, mask = fft2c(coils), equispaced((128, 128), 4.0, 0.08, torch.Generator().manual_seed(0))
    truth, zero_filled = (x.abs().square().sum(dim=0).sqrt() for x in (coils, ifft2c(kspace * mask)))
    found = condiff.load("phantom_prior").reconstruct(kspace.numpy(), mask.numpy().reshape(-1)[:128], method="dds", steps=10)
    reconstruction = torch.from_numpy(np.abs(found.mean[0]))
    assert (reconstruction - truth).norm() < (zero_filled - truth).norm() / 2


def test_a_run_begins_with_it(run_entry, capsys):
    """On heads that it has not seen, as those of data=phantom; the condition of contrasts is found by name."""
    words = ["train.py", "init=phantom", "trainer.max_epochs=1", *(word for word in TINY_RUN if not word.startswith("net"))]
    refused = "held out here; give the data and data.seed of its training, or other heads, data.phantom.seed=1"
    assert refused in bad(capsys, run_entry, *words, "data.phantom.seed=2020")
    run_entry(*words)
    assert (
        "model.safetensors; not used by this model: agent, sequence, slice, tr, te, ti, flip, field\n" in capsys.readouterr().out
    )
    begun = condiff.load("runs/now")
    assert begun.contrasts == condiff.load("phantom").contrasts and len(begun.checkpoint.patients.elsewhere) == 1
