"""Fixtures of the explorer's tests: a tiny model that knows TE and TR, and phantom scans."""

import shutil

import pytest
import torch

from condiff.data.phantom.volumes import Phantom
from tests.conftest import TINY_RUN, entry_caller

TWO_PROTOCOLS = [
    "data=phantom_protocols", "model=acquisition", "data.phantom.te_factors=[0.8,1.25]", "data.phantom.tr_factors=[0.8,1.25]",
    "data.phantom.patients=6", "data.volumes_per_contrast=4",
]  # fmt: skip


@pytest.fixture(scope="session")
def acquisition_run(cache, shared_folder):
    """The folder of a tiny run of model=acquisition, inside a folder runs/."""
    parent, lock = shared_folder
    folder = parent / "app/runs/tiny/run"
    with lock:
        if not folder.exists():
            (parent / "app").mkdir(exist_ok=True)
            words = [word for word in TINY_RUN[:-1] if not word.startswith(("data.phantom.patients", "data.volumes_per"))]
            with pytest.MonkeyPatch.context() as patch:
                entry_caller(patch, cache, parent / "app")("train.py", *words, *TWO_PROTOCOLS, f"hydra.run.dir={folder}")
    return folder


@pytest.fixture(scope="session")
def scan(tmp_path_factory):
    """A fully sampled phantom volume of a new patient."""
    phantom = Phantom(patients=1, slices=2, coils=2, matrix=64, seed=77)
    return phantom.make_volume(tmp_path_factory.mktemp("scan"), "AXT2")


@pytest.fixture(scope="session")
def runs_that_follow_te(acquisition_run, tmp_path_factory):
    """A folder of runs with the tiny model, which has learned nothing of TE, with noise on its weights: images depend on TE."""
    runs = tmp_path_factory.mktemp("follows") / "runs"
    shutil.copytree(acquisition_run, runs / "tiny/run")
    path, generator = runs / "tiny/run/checkpoints/last.ckpt", torch.Generator().manual_seed(0)
    content = torch.load(path, weights_only=False)
    for weight in content["state_dict"].values():
        weight += 0.2 * torch.randn(weight.shape, generator=generator)
    torch.save(content, path)
    return runs
