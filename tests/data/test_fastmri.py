"""The reader against files with known content, whole and broken."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from condiff.data.fastmri import ismrmrd
from condiff.data.fastmri.layout import FastMRI
from condiff.data.fastmri.raw_scan import read_raw_scan
from condiff.data.fastmri.reader import probe, read_kspace, read_magnitude
from condiff.data.index import index
from condiff.data.phantom.volumes import CONTRASTS
from condiff.data.transforms import Magnitude, overlap
from condiff.errors import InputError
from condiff.reconstruction.select_files import select_files
from tests.conftest import TINY, write_raw, write_volume


def test_contrast_comes_from_the_file_not_its_name(tmp_path):
    volume = probe(write_volume(tmp_path / "file_brain_AXT2_1.h5", contrast="AXFLAIR", patient="x"))
    assert (volume.contrast, volume.patient) == ("AXFLAIR", "x")


def test_header_is_read(tmp_path):
    volume = probe(write_raw(tmp_path / "a.h5", shape=(64, 32), coils=3, slices=5, te=81.5, last=23, center=12))
    about = volume.header
    assert (volume.slices, volume.coils, volume.rows, volume.cols) == (5, 3, 64, 32)
    assert (about.tr, about.te, about.ti, about.flip, about.field_t) == (6000, 81.5, 100, 150, 2.8936)
    assert (about.matrix, about.fov_mm, about.recon_fov_mm) == ((64, 32), (440, 220), (220, 220))
    assert about.columns == (4, 28) and about.sequence == "TurboSpinEcho" and about.measurement == "a"


def test_header_as_ismrmrd_reads_it(phantom_root):
    """The schema's own parser agrees, where it takes a header: it refuses those that lack, say, a patient's position."""
    xsd = pytest.importorskip("ismrmrd.xsd")
    with h5py.File(next(phantom_root.glob("*AXFLAIR*.h5"))) as file:
        ours, theirs = ismrmrd.parse(file["ismrmrd_header"][()]), xsd.CreateFromDocument(file["ismrmrd_header"][()])
    encoding, sequence = theirs.encoding[0], theirs.sequenceParameters
    assert ours.matrix == (encoding.encodedSpace.matrixSize.x, encoding.encodedSpace.matrixSize.y)
    assert ours.fov_mm == (encoding.encodedSpace.fieldOfView_mm.x, encoding.encodedSpace.fieldOfView_mm.y)
    assert ours.recon_fov_mm == (encoding.reconSpace.fieldOfView_mm.x, encoding.reconSpace.fieldOfView_mm.y)
    assert [ours.tr, ours.te, ours.ti, ours.flip] == [
        values[0] for values in (sequence.TR, sequence.TE, sequence.TI, sequence.flipAngle_deg)
    ]
    assert ours.field_t == theirs.acquisitionSystemInformation.systemFieldStrength_T
    assert ours.measurement == theirs.measurementInformation.measurementID and ours.sequence == sequence.sequence_type
    limits = encoding.encodingLimits.kspace_encoding_step_1
    first = ours.matrix[1] // 2 - limits.center
    assert ours.columns == (first, first + limits.maximum + 1)


def broken_files(folder):
    """(file, what its reason must name)."""
    (folder / "text.h5").write_text("no HDF5 at all")
    whole = write_volume(folder / "whole.h5").read_bytes()
    (folder / "truncated.h5").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.h5").touch()
    for field in ("acquisition", "patient_id", "ismrmrd_header", "reconstruction_rss"):
        write_volume(folder / f"no_{field}.h5", leave_out=(field,))
        yield f"no_{field}.h5", field
    write_volume(folder / "unknown.h5", contrast="a contrast")
    with h5py.File(write_volume(folder / "no_matrix.h5"), "a") as file:
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = b"<ismrmrdHeader xmlns='http://www.ismrm.org/ISMRMRD'></ismrmrdHeader>"
    with h5py.File(write_volume(folder / "flat.h5", leave_out=("reconstruction_rss",)), "a") as file:
        file["kspace"] = np.zeros((2, 8, 8), np.complex64)
    with h5py.File(write_volume(folder / "group.h5", leave_out=("reconstruction_rss",)), "a") as file:
        file.create_group("reconstruction_rss")
    with h5py.File(write_raw(folder / "masked.h5"), "a") as file:
        file["mask"] = np.arange(32) % 4 == 0
    yield from [("text.h5", "HDF5"), ("truncated.h5", "HDF5"), ("empty.h5", "HDF5"), ("unknown.h5", "a plain word such as AXT1")]
    yield from [("flat.h5", "kspace has the shape"), ("group.h5", "reconstruction_rss is no dataset")]
    yield from [("no_matrix.h5", "encodedSpace"), ("masked.h5", "undersampled")]


def broken_kspace(folder):
    """(file, what its reason must name): raw data that are no good."""

    def spoil(name, change, **settings):
        with h5py.File(write_raw(folder / name, **settings), "a") as file:
            change(file)

    def replaced(content):
        def change(file):
            del file["kspace"]
            file["kspace"] = content

        return change

    spoil("zeros.h5", replaced(np.zeros((2, 4, 64, 32), np.complex64)))
    spoil("nan.h5", replaced(np.full((2, 4, 64, 32), np.nan, np.complex64)))
    spoil("rank.h5", replaced(np.ones((2, 64, 32), np.complex64)))
    spoil("real.h5", replaced(np.ones((2, 4, 64, 32), np.float32)))
    spoil("odd.h5", replaced(np.ones((2, 4, 60, 31), np.complex64)))
    undersampled = np.ones((2, 4, 64, 32), np.complex64)
    undersampled[..., ::3] = 0
    spoil("undersampled.h5", replaced(undersampled))

    def no_xml(file):
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = b"<ismrmrdHeader"

    spoil("xml.h5", no_xml)
    yield from [
        ("zeros.h5", "kspace is zero"),
        ("nan.h5", "not finite"),
        ("rank.h5", "not one of 4 axes"),
        ("real.h5", "float32"),
    ]
    yield from [("odd.h5", "60 x 31 samples, its header has 64 x 32"), ("undersampled.h5", "columns are zero")]
    yield ("xml.h5", "no XML")


def test_broken_files_are_named_skipped_and_counted(tmp_path, caplog):
    root = tmp_path / "data"
    root.mkdir()
    reasons = dict(broken_files(root)) | dict(broken_kspace(root))
    (root / "copy.h5").write_bytes((root / "whole.h5").read_bytes())
    (root / "whole.h5").rename(root / "zz_whole.h5")
    reasons["zz_whole.h5"] = "the same measurement as"
    found = index(root, tmp_path / "cache", FastMRI())
    assert [volume.path.name for volume in found.volumes] == ["copy.h5"]
    assert {path.name for path in found.skipped} == reasons.keys()
    for path, reason in found.skipped.items():
        assert reasons[path.name] in reason, path
    assert f"skipped {len(reasons)} of {len(reasons) + 1} files" in caplog.text and str(found.report) in caplog.text
    with found.report.open() as file:
        report = {Path(row["file"]).name: row["reason"] for row in csv.DictReader(file)}
    assert report.keys() == reasons.keys() and all(reasons[name] in reason for name, reason in report.items())


@pytest.mark.parametrize("settings", [{"coils": 1}, {"coils": 28}, {"coils": 2}, {"shape": (64, 21)}, {"last": 23, "center": 12}])
def test_unusual_files_are_good(tmp_path, settings):
    """One coil or many, fewer columns than the image, partial phase encoding."""
    path = write_raw(tmp_path / "a.h5", **settings)
    if "last" in settings:
        with h5py.File(path, "a") as file:
            file["kspace"][..., :4] = file["kspace"][..., 28:] = 0
    assert probe(path).coils == settings.get("coils", 4)
    assert read_kspace(path)[0].shape[2] == 32


def test_no_folder_and_nothing_in_it(tmp_path):
    with pytest.raises(InputError, match="data.root: no folder .*nowhere"):
        index(tmp_path / "nowhere", tmp_path / "cache", FastMRI())
    root = tmp_path / "data"
    (root / "sub").mkdir(parents=True)
    remedy = "; give the folder with fastMRI's .*data.root=DIR; for NIfTI, BIDS or DICOM use data=nifti, .*docs/data.md"
    with pytest.raises(InputError, match=f"data.root: {root} holds no .h5 file .no files found.{remedy}"):
        index(root, tmp_path / "cache", FastMRI())
    for name in ("sub/a.nii.gz", "sub/b.NII.gz", "c.png"):
        (root / name).touch()
    for find in (lambda: index(root, tmp_path / "cache", FastMRI()), lambda: select_files(root, [], None, print)):
        with pytest.raises(InputError, match=f"holds no .h5 file .2 .nii.gz and 1 .png files found.{remedy}"):
            find()
    (root / "x.h5").write_text("x")
    with pytest.raises(InputError, match=rf"readable volume \(1 .h5 file; the first: .*x.h5: cannot be read as HDF5.*\){remedy}"):
        index(root, tmp_path / "cache", FastMRI())


def test_file_that_breaks_after_it_was_found(tmp_path):
    path = write_volume(tmp_path / "a.h5")
    assert probe(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="a.h5: cannot be read"):
        read_magnitude(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_volume_without_a_finite_image(tmp_path, value):
    with h5py.File(write_volume(tmp_path / "a.h5"), "a") as file:
        file["reconstruction_rss"][0] = value
        file["reconstruction_rss"][1] = value
    with pytest.raises(InputError, match="a.h5: its image is not finite, or empty"):
        read_magnitude(tmp_path / "a.h5")


def test_attributes_as_bytes(tmp_path):
    with h5py.File(write_volume(tmp_path / "a.h5"), "a") as file:
        file.attrs["acquisition"] = np.bytes_("AXT2")
    assert probe(tmp_path / "a.h5").contrast == "AXT2"


def test_reads_the_phantom(phantom_root):
    volumes = [probe(path) for path in sorted(phantom_root.glob("*.h5"))]
    assert len(volumes) == TINY.patients * len(CONTRASTS) == len({volume.patient for volume in volumes})
    slices, pixel = read_magnitude(volumes[0].path)
    assert slices.shape == (TINY.slices, TINY.matrix, TINY.matrix)
    assert pixel == pytest.approx((220 / 32, 220 / 32))


def test_kspace_gives_the_stored_reconstruction(phantom_root, tmp_path):
    """Without reconstruction_rss the image comes from the k-space, over twice the field of view; cut, they agree."""
    source = next(phantom_root.glob("*.h5"))
    with h5py.File(source) as whole, h5py.File(tmp_path / "kspace.h5", "w") as file:
        file["kspace"], file["ismrmrd_header"] = whole["kspace"][()], whole["ismrmrd_header"][()]
        file.attrs.update(whole.attrs)
    assert probe(tmp_path / "kspace.h5").patient == probe(source).patient
    transform = Magnitude(matrix=32, downsample=1)
    stored, scale = transform(*read_magnitude(source))
    computed, scale_k = transform(*read_magnitude(tmp_path / "kspace.h5"))
    torch.testing.assert_close(computed, stored, rtol=1e-4, atol=1e-4)
    assert scale == pytest.approx(scale_k, rel=1e-4)


@pytest.mark.parametrize(("size", "pixel"), [(32, 6.875), (48, 4.583), (48, 6.875), (31, 7.5), (20, 6.875)])
def test_field_of_view_not_pixel_count(tmp_path, size, pixel):
    """A disc of 60 mm has the area pi 60^2 mm^2 on the common grid, whatever matrix it was stored on."""
    path = write_volume(tmp_path / "a.h5", size=size, pixel_mm=pixel)
    transform = Magnitude(matrix=64, downsample=2)
    images, scale = transform(*read_magnitude(path))
    assert images.shape == (2, 1, 32, 32)
    covered = transform.magnitude(images).sum(dim=(1, 2)) * (220 / 32) ** 2
    assert covered.tolist() == pytest.approx([3.1416 * 60**2] * 2, rel=0.05)
    assert transform.magnitude(images, scale).max().item() == pytest.approx(3e-4, rel=1e-3)


def test_overlap_identity_mean_and_padding():
    x = torch.rand(6, 6)
    assert torch.equal(overlap(6, 1.0, 6, 1.0) @ x, x)
    torch.testing.assert_close(overlap(6, 1.0, 3, 2.0) @ x, (x[::2] + x[1::2]) / 2)
    torch.testing.assert_close(overlap(7, 1.3, 5, 1.1).sum(1), torch.ones(5))
    assert overlap(2, 1.0, 4, 1.0).sum(1).tolist() == [0, 1, 1, 0]
    assert overlap(3, 1.0, 4, 1.0).sum(1).tolist() == [0.5, 1, 1, 0.5]


def test_readouts_are_cropped_where_they_are_whole(tmp_path):
    scan = read_raw_scan(write_raw(tmp_path / "one.h5", shape=(128, 64), recon_mm=220.0))
    assert scan.kspace.shape[-2:] == (64, 64) and scan.full and scan.fov_mm == (220.0, 220.0)


def test_other_acquisitions_are_contrasts_of_their_own(tmp_path):
    """Of M4Raw, several repetitions of a patient, and of fastMRI's knees."""
    for name, contrast in (("T101", "T1"), ("T102", "T1"), ("FLAIR01", "FLAIR"), ("knee", "CORPDFS_FBK")):
        write_volume(tmp_path / f"{name}.h5", contrast, patient="2022061003")
    found = index(tmp_path, tmp_path / "cache", FastMRI())
    assert sorted(volume.contrast for volume in found.volumes) == ["CORPDFS_FBK", "FLAIR", "T1", "T1"]
