"""Shared fixtures: a tiny phantom, and the entry points called in this process."""

import importlib.util
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from condiff.callbacks import StopAtNaN
from condiff.data import header
from condiff.data.phantom import Phantom

ROOT = Path(__file__).parent.parent
TINY = Phantom(patients=3, slices=2, coils=2, matrix=32)


@pytest.fixture(autouse=True)
def few_threads():
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache folder with the tiny phantom in it."""
    folder = tmp_path_factory.mktemp("cache")
    TINY.build(folder)
    return folder


@pytest.fixture(scope="session")
def phantom_root(cache):
    return cache / TINY.key


TINY_RUN = [
    "data.phantom.patients=3", "data.phantom.slices=2", "data.phantom.coils=2", "data.phantom.matrix=32", "data.downsample=2",
    "data.volumes_per_contrast=1", "data.held_out_per_contrast=1", "data.batch_size=4", "data.steps_per_epoch=3",
    "net=unet_small", "net.channels=[8,8]", "net.patch=1", "trainer.max_epochs=2", "trainer.precision=32-true",
    "trainer.accelerator=cpu", "callbacks.grid.steps=3", "callbacks.grid.num_samples=1", "trainer.log_every_n_steps=1",
    "hydra.run.dir=runs/now",
]  # fmt: skip


@pytest.fixture
def run_entry(monkeypatch, cache, tmp_path):
    """Call an entry point with a command line, in tmp_path, on the tiny phantom."""

    def run(script: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [str(ROOT / script), *arguments])
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CONDIFF_CACHE", str(cache))
        specification = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        module.main()

    return run


class Poison(StopAtNaN):
    """Makes the weights not a number before step 5."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 4:
            next(pl_module.parameters()).data.fill_(float("nan"))


def diverging(denoise, x, sigmas, cond=None, noise=None, **settings):
    """A sampler that leaves the numbers at its second step."""
    for sigma in sigmas[:-1]:
        yield denoise(x, sigma, cond)
        x = x * float("nan")


def write_volume(
    path: Path,
    contrast: str = "AXT1",
    patient: str = "p0",
    slices: int = 2,
    size: int = 32,
    pixel_mm: float = 6.875,
    leave_out: tuple[str, ...] = (),
) -> Path:
    """A small file in fastMRI's layout: a bright disc of 60 mm radius in the middle of every slice."""
    axis = (np.arange(size) - (size - 1) / 2) * pixel_mm
    disc = (axis[:, None] ** 2 + axis[None] ** 2 < 60**2).astype(np.float32)
    fov = size * pixel_mm
    xml = header.TEMPLATE.format(
        measurement="m", acquisition=contrast, coils=1, rows=2 * size, cols=size, readout=2 * fov, fov=fov, thickness=5,
        last=size - 1, centre=size // 2, tr=1, te=1, ti=1, flip=90,
    )  # fmt: skip
    content = {"reconstruction_rss": np.stack([disc] * slices) * 3e-4, "ismrmrd_header": xml.encode()}
    attributes = {"acquisition": contrast, "patient_id": patient}
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if name not in leave_out:
                file[name] = value
        for name, value in attributes.items():
            if name not in leave_out:
                file.attrs[name] = value
    return path


def bad(capsys, run_entry, script, *arguments):
    """What bad input prints: one line, exit code 1, no traceback."""
    with pytest.raises(SystemExit) as exit_:
        run_entry(script, *arguments)
    assert exit_.value.code == 1
    printed = capsys.readouterr().err.strip().splitlines()
    assert [line for line in printed if line.startswith(("error", "Error", "Traceback"))] == printed[-1:]
    return printed[-1]
