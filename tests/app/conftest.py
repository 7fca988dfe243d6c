"""Fixtures of the explorer's tests: a tiny model that knows TE and TR, and phantom scans."""

import pytest

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
