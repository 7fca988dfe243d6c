"""The tabs Reconstruct and Translate without their page."""

import shutil

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch

pytest.importorskip("gradio")
from condiff.app import reconstruct as tab
from condiff.app import translate
from condiff.app.models import Models
from condiff.app.reconstruct import Settings, reconstruct
from condiff.errors import InputError

EASY = Settings("equispaced", 2.0, "sense", samples=1)


@pytest.fixture(scope="module")
def loaded(acquisition_run):
    return Models(str(acquisition_run), torch.device("cpu"))[str(acquisition_run)]


@pytest.fixture(scope="module")
def solved(loaded, scan):
    return reconstruct(loaded, scan, Settings("random", 2.0, "posterior", samples=3))


def test_a_phantom_patient_is_new_and_follows_from_the_seed(tmp_path):
    files = [tab.phantom_scan(tmp_path / name, "AXT1", seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    with h5py.File(files[0]) as one, h5py.File(files[1]) as same, h5py.File(files[2]) as other:
        assert np.array_equal(one["kspace"], same["kspace"]) and not np.array_equal(one["kspace"], other["kspace"])
        assert one.attrs["acquisition"] == "AXT1" and len(one["kspace"]) == 1
    for seed in (-1, None, 0.5):
        with pytest.raises(InputError, match="patient="):
            tab.phantom_scan(tmp_path, "AXT1", seed)


def test_a_scan_is_that_of_the_command(loaded, scan, run_entry, acquisition_run, tmp_path):
    """The same mask, measurement and samples as reconstruct.py."""
    (tmp_path / "scans").mkdir()
    shutil.copy(scan, tmp_path / "scans")
    words = [
        "data.root=scans",
        "slices=[1]",
        "mask=random",
        "acceleration=2",
        "method=posterior",
        "samples=3",
        "keep_samples=true",
    ]
    run_entry("reconstruct.py", f"ckpt={acquisition_run}", *words, "accelerator=cpu", "out=out", "seed=0")
    solved = reconstruct(loaded, scan, Settings("random", 2.0, "posterior", samples=3, slice=1))
    with h5py.File(tmp_path / "out" / scan.name) as file:
        assert np.allclose(file["samples"][:, 1], solved.samples[:, 0], atol=1e-5)


def test_a_scan_of_a_contrast_that_the_prior_does_not_know(loaded, scan, tmp_path):
    """Methods without a prior do not ask; with one another condition must be given, and it must be known."""
    other = tmp_path / "other.h5"
    shutil.copy(scan, other)
    with h5py.File(other, "a") as file:
        file.attrs["acquisition"] = "AXPD"
    assert reconstruct(loaded, other, Settings("equispaced", 2.0, "zero_filled", samples=1)).samples.isfinite().all()
    with pytest.raises(InputError, match="is AXPD, and the prior knows"):
        reconstruct(loaded, other, Settings("equispaced", 2.0, "dds", samples=1))
    with pytest.raises(InputError, match="contrast=AXPD: unknown"):
        reconstruct(loaded, other, Settings("equispaced", 2.0, "zero_filled", samples=1, contrast="AXPD"))


def test_panels_and_numbers(loaded, scan, solved):
    titles = [title for title, _ in tab.panels(solved)]
    assert titles[:3] == ["zero-filled", "mean of the samples", "full scan"]
    assert any("uncertainty" in title for title in titles) and all(image.shape == (16, 16) for _, image in tab.panels(solved))
    assert [row[0] for row in tab.numbers(solved)] == ["zero-filled", "one sample", "mean of the samples"]
    text = " ".join(tab.remarks(loaded, solved))
    assert "AXT2, slice 1 (from 0) of 2, 2 coils, acceleration 2" in text and "trained on this patient" not in text
    classical = reconstruct(loaded, scan, EASY)
    assert len(tab.panels(classical)) == 4  # neither samples nor uncertainty


def test_steps_add_up(loaded, scan):
    shares = []
    reconstruct(loaded, scan, Settings("random", 2.0, "dds", samples=1), shares.append)
    assert sum(shares) == pytest.approx(1, abs=0.05) and len(shares) > 5


def test_numbers_of_slices():
    assert tab.slice_number(" ") is None and tab.slice_number("3 ") == 3
    with pytest.raises(InputError, match="slice=x: give a whole number"):
        tab.slice_number("x")


def test_files(solved, tmp_path):
    paths = tab.save(solved, EASY, tmp_path)
    assert [path.split("_")[-1] for path in paths] == ["sense.png", "sense.nii.gz", "sense.h5"]
    assert nib.load(paths[1]).get_fdata().max() > 0
    with h5py.File(paths[2]) as file:
        assert "samples" in file


def test_a_training_patient_is_reported(loaded, cache, phantom_root):
    seen = sorted(cache.glob("phantom-*/*AXT2*.h5"))
    notes = {loaded.patient_note(h5py.File(path).attrs["patient_id"]) for path in seen}
    assert any("trained on this patient" in note for note in notes)
    assert "names no patient" in loaded.patient_note("")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slice": 9}, "slices=.9.: no valid slice"),
        ({"acceleration": 100.0}, "acceleration=100"),
        ({"acceleration": None}, "acceleration=None"),
        ({"contrast": "T9"}, "T9"),
    ],
)
def test_bad_settings(loaded, scan, change, message):
    fields = {"mask": "equispaced", "acceleration": 2.0, "method": "dds", "samples": 1} | change
    with pytest.raises(InputError, match=message):
        reconstruct(loaded, scan, Settings(**fields))


def test_a_slice_is_translated_at_its_place(loaded, tmp_path):
    path = head(tmp_path / "head.nii.gz")
    made = translate.translate(loaded.model, path, "AXT1", "AXT2", None)
    assert made.source.contrasts == ("AXT1",) and made.result.contrasts == ("AXT2",)
    assert [title for title, _ in translate.panels(made)] == ["source, AXT1", "translated to AXT2", "difference"]
    files = translate.save(made, tmp_path)
    affine = nib.load(files[1]).affine
    assert affine[2, 3] == pytest.approx(0, abs=3) and nib.load(files[1]).get_fdata().max() > 0  # the middle one


@pytest.mark.parametrize(
    ("source", "to", "number", "message"),
    [
        (None, "AXT2", None, "source contrast: the file does not record it; choose one of AXT1"),
        ("AXT2", "AXT2", None, "choose another"),
        ("AXT1", "AXT2", 99, "slice=99: the file has"),
    ],
)
def test_bad_translations(loaded, tmp_path, source, to, number, message):
    with pytest.raises(InputError, match=message):
        translate.translate(loaded.model, head(tmp_path / "head.nii.gz"), source, to, number)


def head(path):
    """A NIfTI volume of an ellipsoid, brightest in the middle."""
    x, y, z = np.meshgrid(*(np.linspace(-110, 110, 32),) * 2, np.linspace(-30, 30, 7), indexing="ij")
    affine = np.diag([220 / 32, 220 / 32, 10, 1])
    affine[:3, 3] = -110, -110, -30
    nib.save(nib.Nifti1Image(((x / 75) ** 2 + (y / 95) ** 2 + (z / 60) ** 2 < 1).astype(np.float32), affine), path)
    return path
