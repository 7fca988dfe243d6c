"""reconstruct.py and sample.py init=, as their users call them, on the tiny phantom."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch

from condiff.checkpoint import Checkpoint
from condiff.data.fastmri.raw_scan import read_raw_scan
from condiff.mri.fourier import center_crop_or_pad, ifft2c, rss
from condiff.mri.maps import espirit
from tests.conftest import ROOT, TINY_RUN, bad, write_raw

ARGUMENTS = ["volumes=1", "steps=4", "batch_size=3", "mask.center_fraction=0.3", "acceleration=2", "accelerator=cpu"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def checkpoint_of(run_entry, kept, tmp_path):
    """Trains a tiny model once, by name and further arguments."""

    def train(name, *arguments):
        path = kept / f"{name}.ckpt"
        if not path.is_file():
            run_entry("train.py", *TINY_RUN, *arguments, f"hydra.run.dir={name}")
            path.write_bytes(Path(f"{name}/checkpoints/last.ckpt").read_bytes())
        return path

    return train


@pytest.fixture
def prior(checkpoint_of):
    """Of complex images."""
    return checkpoint_of("complex", "data.transform=complex", "data.downsample=1")


@pytest.fixture
def magnitudes(checkpoint_of):
    """Of magnitude images."""
    return checkpoint_of("magnitude")


def test_own_grid_and_units(prior, run_entry, tmp_path):
    """All samples, twice the model's resolution: the file's root sum of squares comes back, low-passed, in its units."""
    folder = tmp_path / "scans"
    folder.mkdir()
    path = write_raw(folder / "one.h5", shape=(128, 64), noise=1e-6)
    (folder / "one.two.h5").write_bytes(path.read_bytes())  # a name of its own, dots or not
    arguments = "acceleration=1", "method=zero_filled", "steps=1", "mask.center_fraction=0", f"data.root={folder}", "out=out"
    run_entry("reconstruct.py", f"ckpt={prior}", *ARGUMENTS[2:3], "accelerator=cpu", *arguments)
    scan = read_raw_scan(path)
    whole = rss(ifft2c(center_crop_or_pad(center_crop_or_pad(scan.kspace, (32, 32)), (64, 64))))
    with h5py.File("out/one.h5") as file:
        found = torch.from_numpy(file["reconstruction"][()])
    assert Path("out/one.two.h5").is_file() and Path("out/one.two.png").is_file()
    assert found.shape == whole.shape and (found - whole).norm() < 0.05 * whole.norm()


def test_reconstruct(prior, run_entry, tmp_path, capsys, phantom_root):
    run_entry("reconstruct.py", f"ckpt={prior}", *ARGUMENTS, "method=posterior", "samples=3", "keep_samples=true", "out=out")
    (path,) = Path("out").glob("*.h5")
    with h5py.File(path) as file:
        numbers = json.loads(file.attrs["metrics"])
        assert file["samples"].shape == (3, 2, 32, 32) and file["reconstruction"].shape == (2, 32, 32)
        np.testing.assert_allclose(file["samples"][()].mean(0), file["combined"][()], rtol=1e-4, atol=1e-6)
        assert (file["standard_deviation"][()] >= 0).all()
    assert {path.suffix for path in Path("out").iterdir()} == {".h5", ".png", ".gif", ".json"}
    assert numbers["evaluations_per_slice"] == 3 * 4
    assert numbers["acceleration"] == pytest.approx(2, rel=0.1) and 0 < numbers["cg_residual"]["last"] < 0.05
    assert set(numbers["combined"]) == {"zero_filled", "one", "mean"} and numbers["uncertainty"]["coverage_3"] <= 1
    before = path.stat().st_mtime_ns
    capsys.readouterr()
    run_entry("reconstruct.py", f"ckpt={prior}", *ARGUMENTS, "method=posterior", "samples=3", "keep_samples=true", "out=out")
    assert path.stat().st_mtime_ns == before and "1 of 1" in capsys.readouterr().out
    with h5py.File(path) as file, h5py.File(next(phantom_root.glob(path.name))) as source:
        assert file["reconstruction"].shape == source["reconstruction_rss"].shape
    assert "results of other settings" in bad(capsys, run_entry, "reconstruct.py", f"ckpt={prior}", *ARGUMENTS, "out=out")


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_other_formats_hold_the_reconstruction(prior, run_entry, kind):
    """On the grid of the file, with its parameters; nothing of a patient, and no orientation."""
    run_entry("reconstruct.py", f"ckpt={prior}", *ARGUMENTS, f"format={kind}", "out=out")
    (path,) = Path("out").glob("*.h5")
    with h5py.File(path) as file:
        images, size = file["reconstruction"][()], 220 / 32
    if kind == "nifti":
        volume = nib.load(path.with_suffix(".nii.gz"))
        assert np.array_equal(volume.get_fdata().transpose(2, 1, 0), images) and volume.header["sform_code"] == 0
        assert volume.header.get_zooms() == pytest.approx((size, size, 5), rel=1e-3)
        assert volume.header["descrip"].item() == b"reconstruction (condiff)"
    else:
        files = [pydicom.dcmread(part) for part in sorted(path.with_suffix(".dcm").iterdir())]
        pixels = np.stack([file.pixel_array * float(file.RescaleSlope) for file in files])
        np.testing.assert_allclose(pixels[:, ::-1, ::-1], images, atol=images.max() / 5e4)
        assert files[0].SyntheticData == "NO" and not files[0].PatientID and files[0].RepetitionTime > 0
        assert [float(value) for value in files[0].PixelSpacing] == pytest.approx([size, size], rel=1e-3)


@pytest.mark.parametrize(
    ("method", "each", "models"),
    [  # evaluations of the network an image in 4 steps
        ("dds", 4, ("complex", "magnitude")),
        ("posterior", 4, ("complex",)),
        ("pula", 4 * 4, ("complex",)),
        ("dps", 4, ("magnitude",)),
        ("score_mri", 4 * 2 - 1, ("complex", "magnitude")),
        pytest.param("score_mri_ssos", (4 * 2 - 1) * 2, ("complex", "magnitude"), marks=pytest.mark.slow),
        ("csgm", 4 * 3 + 1, ("complex",)),
        pytest.param("csgm_normalized", 4 * 3 + 1, ("complex",), marks=pytest.mark.slow),
        ("sense", 0, ("complex",)),
        ("zero_filled", 0, ("magnitude",)),
    ],
)
def test_every_method(method, each, models, prior, magnitudes, run_entry):
    """On priors of complex images and of magnitudes; by components a magnitude prior is asked twice."""
    for name in models:
        ckpt = {"complex": prior, "magnitude": magnitudes}[name]
        steps = [] if each else ["steps=1"]
        run_entry("reconstruct.py", f"ckpt={ckpt}", *ARGUMENTS, f"method={method}", "slices=[1]", f"out={name}", *steps)
        numbers = json.loads(Path(f"{name}/metrics.json").read_text())["mean"]["all"]
        twice = 2 if name == "magnitude" and method.startswith("score_mri") else 1
        assert numbers["evaluations_per_slice"] == each * twice
        assert np.isfinite(numbers["combined.one.psnr"])


@pytest.mark.parametrize(
    "mask",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("random", "equispaced", "equispaced_fraction")]
    + ["poisson", "gaussian1d"],
)
def test_every_mask(mask, prior, run_entry):
    """Asked for threefold, it is about that, and what is reported is what was kept."""
    simple = [
        "method=zero_filled",
        "steps=1",
        f"mask={mask}",
        "mask.center_fraction=0.15",
        "acceleration=3",
        "simulate=true",
        "out=out",
    ]
    run_entry(
        "reconstruct.py", f"ckpt={prior}", *[word for word in ARGUMENTS if word[:5] not in ("steps", "mask.", "accel")], *simple
    )
    numbers = json.loads(Path("out/metrics.json").read_text())["volumes"][0]
    assert numbers["data"] == "simulated"
    assert numbers["acceleration"] == pytest.approx(3, rel=0.35 if mask == "equispaced" else 0.15)  # whose centre comes on top


def test_a_width_of_its_own(prior, run_entry, tmp_path):
    """Columns that were never acquired, and a field of view that is not the grid's, as the 213 columns of fastMRI."""
    folder = tmp_path / "scans"
    folder.mkdir()
    path = write_raw(folder / "one.h5", shape=(64, 27), fov_mm=(440.0, 185.625), last=24)
    with h5py.File(path, "r+") as file:
        file["kspace"][..., 25:] = 0
    run_entry("reconstruct.py", f"ckpt={prior}", *ARGUMENTS, "method=zero_filled", "steps=1", f"data.root={folder}", "out=out")
    numbers = json.loads(Path("out/metrics.json").read_text())["volumes"][0]
    with h5py.File("out/one.h5") as file:
        assert np.isfinite(file["reconstruction"][()]).all() and file["reconstruction"][()].any()
    assert numbers["combined"]["one"]["psnr"] > 20  # its coils tell nothing of places, so there is nothing to unfold by


@pytest.mark.slow
def test_two_processes_reconstruct_as_one(prior, run_entry, cache, tmp_path):
    environment = os.environ | {"CONDIFF_CACHE": str(cache), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [f"ckpt={prior}", *ARGUMENTS, "volumes=2"]
    command = [sys.executable, str(ROOT / "reconstruct.py"), *words, "devices=2", "out=two"]
    subprocess.run(command, cwd=tmp_path, env=environment, timeout=240, check=True)
    run_entry("reconstruct.py", *words, "out=one")
    for path in Path("one").glob("*.h5"):
        with h5py.File(path) as one, h5py.File(Path("two") / path.name) as two:
            assert one["reconstruction"][()] == pytest.approx(two["reconstruction"][()], rel=1e-4, abs=1e-9)
    assert len([*Path("two").glob("*.h5")]) == 2


def test_wavelets(prior, run_entry):
    pytest.importorskip("sigpy")
    found = {}
    for weight in (1e-3, 0.3):
        arguments = "method=l1_wavelet", "steps=1", f"method.fn.weight={weight}", "acceleration=1", f"out=weight{weight}"
        run_entry("reconstruct.py", f"ckpt={prior}", *ARGUMENTS, *arguments)
        found[weight] = json.loads(Path(f"weight{weight}/metrics.json").read_text())["mean"]["all"]
    assert found[1e-3]["combined.one.psnr"] > 40 > found[0.3]["combined.one.psnr"]
    assert found[0.3]["evaluations_per_slice"] == 0


def test_a_file_that_is_undersampled_already(prior, run_entry, tmp_path, capsys):
    """FastMRI's test files: a mask, zeros, no truth; its own samples are taken, whatever acceleration= says."""
    folder = tmp_path / "scans"
    folder.mkdir()
    path = write_raw(folder / "one.h5", shape=(64, 32))
    with h5py.File(path, "r+") as file:
        mask = np.arange(32) % 2 == 0
        mask[10:22] = True
        file["kspace"][...] = file["kspace"][()] * mask
        file["mask"] = mask
    run_entry("reconstruct.py", f"ckpt={prior}", *ARGUMENTS, f"data.root={folder}", "acceleration=8", "out=out")
    numbers = json.loads(Path("out/metrics.json").read_text())["volumes"][0]
    assert numbers["acceleration"] == pytest.approx(32 / mask.sum()) and "combined" not in numbers


def test_one_bad_slice_leaves_the_others(prior, run_entry, tmp_path, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    path = write_raw(folder / "one.h5", shape=(64, 32), slices=3)
    with h5py.File(path, "r+") as file:
        file["kspace"][1, 0, 3, 3] = np.nan
    (folder / "two.h5").write_bytes(b"not HDF5")
    run_entry("reconstruct.py", f"ckpt={prior}", *ARGUMENTS, "volumes=2", f"data.root={folder}", "out=out")
    alone = folder / "alone"
    alone.mkdir()
    with h5py.File(path) as file, h5py.File(alone / "one.h5", "w") as copy:
        copy["kspace"], copy["ismrmrd_header"] = file["kspace"][[0, 2]], file["ismrmrd_header"][()]
        copy.attrs.update(file.attrs)
    run_entry("reconstruct.py", f"ckpt={prior}", *ARGUMENTS, f"data.root={alone}", "out=alone")
    with h5py.File("out/one.h5") as file, h5py.File("alone/one.h5") as other:
        with_bad, without = (json.loads(one.attrs["metrics"]) for one in (file, other))
        assert (with_bad["sigma_y"], with_bad["scale"]) == (without["sigma_y"], without["scale"])
    with h5py.File("out/one.h5") as file:
        empty = [not one.any() for one in file["reconstruction"][()]]
        assert empty == [False, True, False] and json.loads(file.attrs["metrics"])["bad_slices"] == [1]
    assert not Path("out/two.h5").exists()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["data.root=nowhere"], "data.root: no folder nowhere"),
        (["mask.center_fraction=0.0", "mask=random"], "sample more of the center (center_fraction)"),
        (["acceleration=1000"], "acceleration=1000"),
        (["contrast=AXT9"], "AXT9"),
        (["slices=[70]"], "slices"),
        (["samples=0"], "samples=0"),
        (["samples=2.5"], "samples=2.5"),
        (["acceleration=[4,8]"], "acceleration=[4,8]"),
        (["acceleration=four"], "acceleration=four"),
        (["acceleration=null"], "acceleration=null"),
        (["slices=[-1]"], "slices=[-1]"),
        (["slices=[]"], "slices=[]"),
        (["steps=1"], "steps=1"),
        (["mask.center_fraction=-0.1"], "mask.center_fraction=-0.1"),
        (["method.fn.prior_weight=-1"], "method.fn.prior_weight=-1"),
        (["method.fn.eta=2"], "method.fn.eta=2"),
        (["method=nonsense"], "dds"),
        (["out=file"], "out=file"),
    ],
)
def test_bad_input(prior, run_entry, capfd, tmp_path, arguments, names):
    """Named on the last line, or, where it is a volume's own, on the one before."""
    (tmp_path / "file").touch()
    out = [] if "out=file" in arguments else ["out=out"]
    with pytest.raises(SystemExit) as exit_:
        run_entry("reconstruct.py", f"ckpt={prior}", *ARGUMENTS, *out, *arguments)
    assert exit_.value.code == 1
    told = capfd.readouterr()
    assert names in told.out + told.err and "Traceback" not in told.err


def test_nobody_it_was_trained_on(prior, run_entry, capsys):
    known = Checkpoint.read(prior).training_patients
    run_entry("reconstruct.py", f"ckpt={prior}", *ARGUMENTS, "volumes=null", "steps=1", "method=zero_filled", "out=out")
    told = capsys.readouterr().out
    assert f"skipped     {len(known[0].hashes)} of 12" in told


def test_translation(magnitudes, run_entry, capsys, tmp_path, phantom_root):
    volume = next(phantom_root.glob("*_AXT1_*.h5"))
    run_entry("sample.py", f"ckpt={magnitudes}", f"init={volume}", "contrast=AXT2", "steps=3", "out=a", "accelerator=cpu")
    run_entry(
        "sample.py",
        f"ckpt={magnitudes}",
        f"init={volume}",
        "strength=0.5",
        "steps=4",
        "out=b",
        "accelerator=cpu",
        "init_slices=[1]",
    )
    with h5py.File("a/translated.h5") as file:
        assert file["images"].shape == (2, 1, 16, 16) and file.attrs["source"] == "AXT1"
    with h5py.File("b/translated.h5") as file:
        assert set(file["contrast"].asstr()[()]) == {"AXT1POST", "AXT2", "AXFLAIR"}
    run_entry("sample.py", f"ckpt={magnitudes}", "init=a/translated.h5", "contrast=AXT1", "steps=3", "out=c", "accelerator=cpu")
    for arguments, names in (
        (["init=nothing.h5"], "no such file"),
        ([f"init={volume}", "init_slices=[9]"], "has 2"),
        (["source=AXT1"], "give the image, init=FILE"),
        ([f"init={volume}", "strength=3"], "strength=3"),
    ):
        assert names in bad(capsys, run_entry, "sample.py", f"ckpt={magnitudes}", *arguments, "accelerator=cpu", "out=d")


def test_maps_of_a_file(prior, run_entry, tmp_path, capsys, phantom_root):
    """Maps count by their ratios between coils: three times as large they give the same image, exchanged another."""
    path = sorted(phantom_root.rglob("*.h5"))[0]
    given = torch.stack([espirit(one[None], calibration=(24, 24))[0] for one in read_raw_scan(path).kspace])
    files = {"given": given, "larger": 3 * given, "exchanged": given.flip(1), "few": given[:, :1], "real": torch.ones(2, 3, 4)}
    for name, maps in files.items():
        np.save(tmp_path / f"{name}.npy", maps.numpy())
    words = [f"ckpt={prior}", f"data.root={path.parent}", "seen=true", "volumes=1", "method=sense", "accelerator=cpu"]
    images = []
    for name in ("given", "larger", "exchanged"):
        run_entry("reconstruct.py", *words, "acceleration=2", "mask.center_fraction=0.3", f"maps={name}.npy", f"out={name}")
        with h5py.File(next((tmp_path / name).rglob("*.h5"))) as file:
            images.append(file["reconstruction"][()])
    assert np.allclose(images[0], images[1], rtol=1e-3, atol=1e-3 * images[0].max())
    assert np.abs(images[0] - images[2]).max() > 0.05 * images[0].max()
    for name, message in {
        "few.npy": "maps: of .* coils, the k-space has",
        "real.npy": r"maps=real.npy: is \[2, 3, 4\] of float32",
        "none.npy": "maps=none.npy: no such file",
    }.items():
        assert re.search(message, bad(capsys, run_entry, "reconstruct.py", *words, f"maps={name}", "out=refused")), name
