"""The phantom: fastMRI's schema, the same bytes from the same seed, and the physics of each contrast."""

import dataclasses
import hashlib

import h5py
import numpy as np
import pytest
import torch

from condiff.data.fastmri.layout import FastMRI
from condiff.data.index import index
from condiff.data.phantom import volumes
from condiff.data.phantom.anatomy import TEMPLATE, draw_subject, load_template, smooth_field
from condiff.data.phantom.volumes import CONTRASTS, TISSUES, Phantom, _plane
from condiff.errors import InputError
from tests.conftest import TINY

MAPS = {"white": "5a09d2306130e92b", "grey": "89732e8ad5ecdec5", "brain": "e5b5e89e1d10c396", "origin": "b9920f861c997c58"}


def test_template():
    """Its maps are these to the byte, so that a phantom in a cache is what would be made again; and they are small."""
    with np.load(TEMPLATE) as file:
        checksums = {name: hashlib.sha256(file[name].tobytes()).hexdigest()[:16] for name in file}
    assert checksums == MAPS
    assert TEMPLATE.stat().st_size < 500_000


def test_template_lies_in_mni_space():
    callosum, caudate, air = [0.0, 26.0, 2.0], [12.0, 12.0, 10.0], [0.0, 0.0, 110.0]
    white, grey, distance = load_template().sample(torch.tensor([callosum, caudate, air]))
    assert white[0] > 0.8 and grey[1] > 0.8 and white[2] == grey[2] == 0
    assert max(distance[:2]) < -20 and distance[2] > 30


def test_schema(phantom_root):
    with h5py.File(next(phantom_root.glob("*_AXT2_*.h5"))) as file:
        assert file["kspace"].shape == (2, 2, 64, 32) and file["kspace"].dtype == np.complex64
        assert file["reconstruction_rss"].shape == (2, 32, 32) and file["reconstruction_rss"].dtype == np.float32
        image = file["reconstruction_rss"][()]
        assert file.attrs["acquisition"] == "AXT2" and len(file.attrs["patient_id"]) == 64
        assert file.attrs["max"] == pytest.approx(image.max())
        assert file.attrs["norm"] == pytest.approx(np.linalg.norm(image), rel=1e-5)
        assert b"<TR>6000</TR>" in file["ismrmrd_header"][()]


def test_same_seed_same_bytes(phantom_root, tmp_path):
    again = TINY.build(tmp_path)
    other = dataclasses.replace(TINY, seed=1)
    assert other.key != TINY.key
    for path in phantom_root.glob("*.h5"):
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_interrupted_build_is_not_taken_for_whole(phantom_root, tmp_path, monkeypatch):
    written = []

    def interrupted(self, folder, contrast, patient):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(original(self, folder, contrast, patient))

    original = Phantom._write
    monkeypatch.setattr(Phantom, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TINY.build(tmp_path)
    assert not (tmp_path / TINY.key).exists()
    monkeypatch.setattr(Phantom, "_write", original)
    root = TINY.build(tmp_path)
    assert {path.name for path in root.iterdir()} == {path.name for path in phantom_root.iterdir()}
    assert not (tmp_path / f"{TINY.key}.partial").exists()


def test_a_disk_that_fills_while_a_volume_is_written(tmp_path, size_limit):
    volumes = Phantom(patients=1, slices=1, coils=2, matrix=32)
    with pytest.raises(InputError, match=r"data.cache: cannot make the phantom .*free some"), size_limit(10_000):
        volumes.build(tmp_path)
    again = volumes.build(tmp_path)
    assert {path.suffix for path in again.iterdir()} == {".h5"} and len([*again.iterdir()]) == 4


def test_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    def full(self, folder, contrast, patient):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Phantom, "_write", full)
    with pytest.raises(InputError, match=r"data.cache: .*No space left.*needs \d+ MB.*data.cache=DIR"):
        TINY.build(tmp_path)
    assert not list(tmp_path.glob("*.partial"))


def test_default_fits_its_budget():
    assert Phantom()._bytes() < 600e6


def test_contrasts_are_ordered_as_radiologists_know_them():
    def signal(contrast):
        of = CONTRASTS[contrast]
        return {name: of.signal(tissue.enhanced(of.agent.get(name, 0)), of.protocol) for name, tissue in TISSUES.items()}

    t1, t1post, t2, flair = map(signal, CONTRASTS)
    assert t1["fat"] > t1["white"] > t1["grey"] > t1["csf"]
    assert t2["csf"] > t2["grey"] > t2["white"] > t2["bone"]
    assert flair["csf"] < 0.1 * flair["grey"]
    assert t1post["vein"] > 2 * t1["vein"] and t1post["white"] == t1["white"]


def test_heads_differ_and_tissues_share_the_space():
    points = _plane(48, torch.zeros(2), torch.tensor(10.0))
    one, other = (draw_subject(torch.Generator().manual_seed(seed))(points) for seed in (0, 1))
    assert set(one) == set(TISSUES)
    total = sum(one.values())
    assert total.max() <= 1 + 1e-5 and min(tissue.min() for tissue in one.values()) >= 0
    assert total[24, 24] > 0.9 and total[0, 0] < 0.05
    assert (one["white"] - other["white"]).abs().mean() > 0.02


def test_smooth_field_has_unit_variance_and_is_smooth():
    field = smooth_field(torch.Generator().manual_seed(0), 4, 20.0)
    points = (torch.rand(20_000, 3) - 0.5) * 240
    values = field(points)
    assert values.std().item() == pytest.approx(1, abs=0.2)
    assert (field(points + 1.0) - values).std() < 0.2


def test_every_volume_has_its_own_protocol(tmp_path):
    """The header tells field strength, TR, TE and TI of a volume; the signal of white matter follows them, by the equation."""
    signals = dict[tuple[float, str], float]()
    for field, ti in ((2.8936, 1.0), (1.5, 0.6)):
        root = Phantom(1, 1, 1, matrix=64, tr_factors=[0.8], ti_factors=[ti], fields_t=[field]).build(tmp_path)
        for volume in index(root, tmp_path, FastMRI()).volumes:
            made, header = CONTRASTS[volume.contrast], volume.header
            assert (header.field_t, header.tr, header.te) == (field, pytest.approx(0.8 * made.protocol.tr), made.protocol.te)
            assert (header.ti or 0) == pytest.approx(ti * made.protocol.ti)
            with h5py.File(volume.path) as file:
                white = file["reconstruction_rss"][0][file["tissue"][0, 0] > 240].mean()
            protocol = dataclasses.replace(made.protocol, tr=header.tr, ti=header.ti or 0)
            signals[field, volume.contrast] = white / made.signal(TISSUES["white"].in_field(field / 2.8936), protocol)
    for contrast in CONTRASTS:
        assert signals[1.5, contrast] == pytest.approx(signals[2.8936, contrast], rel=0.05)


def test_a_parameter_that_no_scanner_has():
    with pytest.raises(InputError, match=r"data.phantom.fields_t=0: give a number of at least 0.1"):
        Phantom(fields_t=[0])
    with pytest.raises(InputError, match=r"data.phantom.te_factors=None: give a number"):
        Phantom(te_factors=[])


def test_building_twice_does_nothing(phantom_root, cache, monkeypatch):
    monkeypatch.setattr(volumes.Phantom, "_write", None)  # would fail if called
    assert TINY.build(cache) == phantom_root
