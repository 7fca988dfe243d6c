"""DICOM series and NIfTI files of the same slices: the same array at the same place, opened without a warning."""

import shutil
import subprocess
import warnings

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from pydicom.pixels import apply_rescale, apply_windowing

from condiff.data.dicom.layout import series_at
from condiff.data.dicom.reader import read_stack
from condiff.data.nifti import reader as nifti_reader
from condiff.errors import InputError
from condiff.files import dicom, nifti
from condiff.files.place import ALIGNED, PLANES, SCANNER, UNKNOWN, Place
from tests.data.heads import head, tilted

PARAMETERS = {"te": 90.0, "tr": 4000.0, "ti": 2500.0, "flip": 120.0, "field": 2.8936, "agent": "with"}


def slices_at(plane, code=SCANNER):
    """Slices [S, H, W] of a head with voxels of three sizes, and their oblique place."""
    values, affine = head((36, 40, 24), (5.0, 6.0, 6.5))
    axes = [int(np.argmax(direction)) for direction in PLANES[plane]]  # of columns, rows, slices
    turned = tilted(affine)[:, [*axes, 3]]
    return torch.from_numpy(values.transpose(axes[::-1]).copy()), Place(turned, code)


def saved(folder, images, place, synthetic=True):
    dicom.save_series(folder / "a.dcm", images, place, "AXT2", PARAMETERS, nifti.DESCRIPTION, synthetic)
    nifti.save_volume(folder / "a.nii.gz", images, place)
    return sorted((folder / "a.dcm").iterdir())


@pytest.mark.parametrize("plane", PLANES)
def test_both_formats_hold_the_same(plane, tmp_path):
    """Read by our readers, which are tested against nibabel and dcm2niix, in all three planes."""
    images, place = slices_at(plane)
    paths = saved(tmp_path, images, place)
    for target in PLANES:
        ours, theirs = read_stack(paths, target), nifti_reader.read_stack(tmp_path / "a.nii.gz", target)
        torch.testing.assert_close(ours.values, theirs.values, atol=float(images.max()) / 5e4, rtol=0)
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
    back = read_stack(paths, plane)
    torch.testing.assert_close(back.values, images, atol=float(images.max()) / 5e4, rtol=0)
    np.testing.assert_allclose(back.affine, place.affine, atol=1e-3)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.skipif(not shutil.which("dcm2niix"), reason="dcm2niix is not installed")
def test_dcm2niix_makes_of_it_our_nifti(plane, tmp_path):
    images, place = slices_at(plane)
    saved(tmp_path, images, place)
    subprocess.run(["dcm2niix", "-f", "b", "-o", tmp_path, tmp_path / "a.dcm"], check=True, capture_output=True)
    ours, theirs = (nib.as_closest_canonical(nib.load(tmp_path / name)) for name in ("a.nii.gz", "b.nii"))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
    np.testing.assert_allclose(ours.get_fdata(), theirs.get_fdata(), atol=float(images.max()) / 5e4)


def test_what_is_written_says_what_it_is(tmp_path):
    """No warning; parameters in their units; no patient; rows and columns as viewers show them; new identifiers every time."""
    images, place = slices_at("axial", UNKNOWN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = [pydicom.dcmread(path) for path in saved(tmp_path, images, place)]
        pixels = [file.pixel_array for file in files]
    first = files[0]
    assert first.SOPClassUID.name == "MR Image Storage" and first.SyntheticData == "YES"
    assert first.ImageType[:2] == ["DERIVED", "SECONDARY"] and first.PatientName == first.PatientID == "SYNTHETIC"
    assert (first.EchoTime, first.RepetitionTime, first.InversionTime, first.FlipAngle) == (90, 4000, 2500, 120)
    assert first.MagneticFieldStrength == 2.8936 and not first.PatientBirthDate and "left and right" in first.ImageComments
    assert first.SeriesDescription == "AXT2 synthetic (condiff)"
    left, down = np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3)
    assert left[0] > 0.9 and down[1] > 0.9  # columns to the patient's left, rows to the back
    assert len({file.SOPInstanceUID for file in files}) == len(files) and len({file.SeriesInstanceUID for file in files}) == 1
    assert pixels[12].max() / max(pixel.max() for pixel in pixels) > 0.8
    again = saved(tmp_path / "again", images, place, synthetic=False)
    other = pydicom.dcmread(again[0])
    assert other.SyntheticData == "NO" and not other.PatientID and other.SeriesInstanceUID != first.SeriesInstanceUID
    with pytest.raises(InputError, match="holds files; a series needs a folder of its own"):
        saved(tmp_path, images, place)


def test_orientation_codes(tmp_path):
    for code in (UNKNOWN, SCANNER, ALIGNED):
        images, place = slices_at("axial", code)
        nifti.save_volume(tmp_path / "a.nii", images, place)
        header = nib.load(tmp_path / "a.nii").header
        assert header["sform_code"] == header["qform_code"] == code and header["descrip"].item() == b"synthetic (condiff)"


def test_slices_and_grids_keep_their_place():
    """The middle of the images stays where it is on another grid; a slice is where it was in the volume."""
    _, place = slices_at("axial")
    other = place.on_grid((40, 36), (64, 48), 2.5)
    middle = lambda p, size: p.affine @ [(size[1] - 1) / 2, (size[0] - 1) / 2, 3, 1]  # noqa: E731
    np.testing.assert_allclose(middle(place, (40, 36)), middle(other, (64, 48)))
    np.testing.assert_allclose(nib.affines.voxel_sizes(other.affine), [2.5, 2.5, 6.5])
    part = place.of_slices([4, 6, 8])
    assert part.thickness_mm == place.thickness_mm == pytest.approx(np.linalg.norm(part.affine[:3, 2]) / 2)
    np.testing.assert_allclose(part.affine @ [1, 2, 2, 1], place.affine @ [1, 2, 8, 1])
    np.testing.assert_allclose(place.of_slices([5]).affine @ [1, 2, 0, 1], place.affine @ [1, 2, 5, 1])


@pytest.mark.parametrize("plane", PLANES)
def test_nominal_places_lie_about_the_origin(plane):
    place = Place.nominal((5, 7, 9), (2.0, 3.0), 4.0, plane)
    np.testing.assert_allclose(place.affine @ [4, 3, 2, 1], [0, 0, 0, 1])
    assert (nib.affines.voxel_sizes(place.affine) == [3, 2, 4]).all()
    expected = {"axial": "RAS", "coronal": "RSA", "sagittal": "ASR"}[plane]
    assert "".join(nib.aff2axcodes(place.affine)) == expected


def test_a_series_is_found_by_a_file_or_its_folder(tmp_path):
    images, place = slices_at("axial")
    paths = saved(tmp_path, images, place)
    assert series_at(paths[3]).files == series_at(tmp_path / "a.dcm").files == tuple(paths)


def test_small_values_and_long_numbers(tmp_path):
    """Values of raw data, 1e-5, keep their window; numbers have at most 16 characters; text is UTF-8."""
    images, place = slices_at("axial")
    images = 3.3e-5 * images / images.max()
    dicom.save_series(tmp_path / "a", images, place, "T1w_früh", {"te": 3.350333333333334, "tr": 1000 / 3}, "made", True)
    file = pydicom.dcmread(tmp_path / "a/0001.dcm")
    assert float(file.WindowWidth) == pytest.approx(3.3e-5, rel=1e-6) == 2 * float(file.WindowCenter)
    assert float(file.EchoTime) == pytest.approx(3.35033333, rel=1e-9) and file.SeriesDescription == "T1w_früh made"
    assert all(len(str(file[name].value)) <= 16 for name in ("EchoTime", "RepetitionTime", "RescaleSlope", "WindowCenter"))
    assert float(file.RescaleSlope) * 30000 == pytest.approx(3.3e-5, rel=1e-6)
    shown = apply_windowing(apply_rescale(file.pixel_array, file), file)  # as a viewer does; 0 to 65,535
    assert shown.max() == pytest.approx(65535 * float(images.flip(-1).flip(-2)[0].max()) / 3.3e-5, rel=1e-3)
