"""Shared fixtures: a tiny phantom, and the entry points called in this process."""

import gc
import importlib.util
import os
import pickle
import resource
import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from filelock import FileLock
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import Overrides
from hydra._internal.hydra import Hydra
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource
from matplotlib.figure import Figure
from scipy.special import j1

from condiff.data import patients
from condiff.data.fastmri import ismrmrd
from condiff.data.phantom.volumes import Phantom
from condiff.evaluation import evaluate, features, report
from condiff.training.callbacks import StopAtNaN, curves

ROOT = Path(__file__).parent.parent
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2  # workers that share cores slow each other down
torch.set_num_threads(THREADS)
TINY = Phantom(patients=3, slices=2, coils=2, matrix=32)


@pytest.fixture(autouse=True)
def same_numbers():
    """The number of threads, on which sums depend, and the random numbers, which else depend on the tests before."""
    torch.set_num_threads(THREADS)
    torch.default_generator.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def quick_fingerprints(monkeypatch):
    """Slow on purpose; here every run would wait for them."""
    monkeypatch.setattr(patients, "COST", 2)


@pytest.fixture(scope="session", autouse=True)
def little_garbage_collection():
    """What was imported stays, and need not be looked through for garbage again and again: a tenth of the time."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def files_of_conf_read_once():
    """A quarter of the time in which Hydra composes, which the tests have it do a thousand times."""
    known = {}

    def remembered(read):
        def load_config(self, config_path):
            if self.scheme() == "file" and Path(self.path) != ROOT / "conf":  # a test's own
                return read(self, config_path)
            key = self.path, self.provider, config_path
            if key not in known:
                known[key] = pickle.dumps(read(self, config_path))
            return pickle.loads(known[key])  # a copy, in a quarter of deepcopy's time

        return load_config

    with pytest.MonkeyPatch.context() as patch:
        for source in Plugins.instance().discover(ConfigSource):
            if source.scheme() in ("file", "pkg"):
                patch.setattr(source, "load_config", remembered(source.load_config))
        yield


@pytest.fixture(scope="session", autouse=True)
def groups_composed_once():
    """Most of the rest of that time: what Hydra makes of the groups of a command line, before it sets values."""
    known = {}
    make_list, compose = config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list

    def sources(repo):
        return [(source.scheme(), source.path) for source in repo.get_sources()]

    def has_own_files(repo):
        return any(scheme == "file" and Path(path) != ROOT / "conf" for scheme, path in sources(repo))

    def remembered_list(repo, config_name, overrides_list, **options):
        if has_own_files(repo):
            return make_list(repo, config_name, overrides_list, **options)
        given = Overrides(repo, overrides_list)
        groups = given.override_choices, given.append_group_defaults, given.deletions
        key = f"{sources(repo)} {config_name} {groups} {options}"
        if key not in known:
            known[key] = make_list(repo, config_name, overrides_list, **options)
        return replace(known[key], config_overrides=given.config_overrides)

    def remembered_composition(self, defaults, repo):
        if has_own_files(repo):
            return compose(self, defaults, repo)
        key = f"{sources(repo)} {defaults}"
        if key not in known:
            known[key] = pickle.dumps(compose(self, defaults, repo))
        return pickle.loads(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_loader_impl, "create_defaults_list", remembered_list)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", remembered_composition)
        yield


@pytest.fixture(autouse=True)
def empty_curves(monkeypatch):
    """The picture of the losses without content, which takes as long to draw as a tiny run to train."""
    monkeypatch.setattr(curves, "draw", lambda *_: Figure())


@pytest.fixture
def quick_evaluation(monkeypatch):
    """Classifiers that have learned little, few half-splits, no page: what they show is tested in tests/evaluation."""
    monkeypatch.setattr(features, "STEPS", 3)
    monkeypatch.setattr(evaluate, "NUM_SPLITS", 3)
    monkeypatch.setattr(report, "full_page", lambda *_: Figure())


@pytest.fixture(scope="session")
def shared_folder(request, tmp_path_factory):
    """A temporary folder of all workers, and a lock for what the first one makes in it."""
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if hasattr(request.config, "workerinput") else own
    return folder, FileLock(folder / "shared.lock")


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
    return entry_caller(monkeypatch, cache, tmp_path)


def entry_caller(monkeypatch, cache, folder):
    def run(script: str, *arguments: str) -> None:
        monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)  # -m alone says it; else Hydra composes twice
        monkeypatch.setattr(sys, "argv", [str(ROOT / script), *arguments])
        monkeypatch.chdir(folder)
        monkeypatch.setenv("CONDIFF_CACHE", str(cache))
        specification = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        module.main()

    return run


@pytest.fixture(scope="session")
def trained_once(cache, shared_folder):
    """The folder of one tiny run, for tests that read or copy it."""
    parent, lock = shared_folder
    folder = parent / "trained/run"
    with lock:
        if not folder.exists():
            folder.parent.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                entry_caller(patch, cache, folder.parent)("train.py", *TINY_RUN[:-1], f"hydra.run.dir={folder}")
    return folder


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
    xml = ismrmrd.TEMPLATE.format(
        measurement=path.stem, acquisition=contrast, coils=1, rows=2 * size, cols=size, readout=2 * fov, fov=fov, recon=fov,
        thickness=5, last=size - 1, center=size // 2, tr=1, te=1, ti=1, flip=90, field=2.8936, sequence="TurboSpinEcho",
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


def write_raw(
    path: Path,
    contrast: str = "AXT2",
    patient: str = "p0",
    coils: int = 4,
    shape: tuple[int, int] = (64, 32),
    fov_mm: tuple[float, float] = (440.0, 220.0),
    recon_mm: float = 220.0,
    centre_mm: tuple[float, float] = (10.0, -15.0),
    slices: int = 2,
    noise: float = 1e-4,
    **header_fields,
) -> Path:
    """Raw multicoil k-space in fastMRI's layout, without a reconstruction: an ellipse of 60 by 80 mm semi-axes, exactly.

    Its Fourier transform is a b J1(2 pi q) / q with q^2 = (a k_a)^2 + (b k_b)^2; every coil has one sensitivity everywhere.
    """
    rows, cols = ((np.arange(n) - n // 2) / fov for n, fov in zip(shape, fov_mm, strict=True))
    q = np.maximum(np.hypot(60 * rows[:, None], 80 * cols), 1e-9)
    shift = np.exp(-2j * np.pi * (rows[:, None] * centre_mm[0] + cols * centre_mm[1]))
    ellipse = (
        60 * 80 * j1(2 * np.pi * q) / q * shift / (np.sqrt(shape[0] * shape[1]) * fov_mm[0] / shape[0] * fov_mm[1] / shape[1])
    )
    random = np.random.default_rng(sum(map(ord, str(path.name))))
    weights = 1 + np.arange(coils) + 0.5j * random.standard_normal(coils)
    kspace = np.broadcast_to(weights[:, None, None] * ellipse, (slices, coils, *shape)) * 1.0
    kspace = kspace + noise * (random.standard_normal(kspace.shape) + 1j * random.standard_normal(kspace.shape))
    about = {
        "measurement": path.stem, "acquisition": contrast, "coils": coils, "rows": shape[0], "cols": shape[1],
        "readout": fov_mm[0], "fov": fov_mm[1], "recon": recon_mm, "thickness": 5, "last": shape[1] - 1, "center": shape[1] // 2,
        "tr": 6000, "te": 103, "ti": 100, "flip": 150, "field": 2.8936, "sequence": "TurboSpinEcho",
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        file["kspace"] = (1e-4 * kspace).astype(np.complex64)
        file["ismrmrd_header"] = ismrmrd.TEMPLATE.format(**about | header_fields).encode()
        file.attrs["acquisition"], file.attrs["patient_id"] = contrast, patient
    return path


def bad(capsys, run_entry, script, *arguments):
    """What bad input prints: one line, exit code 1, no traceback."""
    with pytest.raises(SystemExit) as exit_:
        run_entry(script, *arguments)
    assert exit_.value.code == 1
    printed = capsys.readouterr().err.strip().splitlines()
    assert [line for line in printed if line.startswith(("error", "Error", "Traceback"))] == printed[-1:]
    return printed[-1]


@pytest.fixture
def size_limit():
    """Inside ``with size_limit(n)`` files may have so many bytes, as on a disk that is nearly full."""

    @contextmanager
    def limit(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, ignored)

    return limit
