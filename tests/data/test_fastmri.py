"""The reader against files with known content, whole and broken."""

import h5py
import numpy as np
import pytest
import torch

from condiff.data.conditioning import ContrastCondition
from condiff.data.datamodule import Slices
from condiff.data.fastmri import find, probe, read_magnitude
from condiff.data.phantom import CONTRASTS
from condiff.data.transforms import Magnitude, overlap
from condiff.errors import InputError
from tests.conftest import TINY, write_volume


def test_contrast_comes_from_the_file_not_its_name(tmp_path):
    write_volume(tmp_path / "file_brain_AXT2_1.h5", contrast="AXFLAIR", patient="x")
    (volume,) = find(tmp_path).volumes
    assert (volume.contrast, volume.patient) == ("AXFLAIR", "x")


def broken_files(folder):
    """(file, what its reason must name)."""
    (folder / "text.h5").write_text("no HDF5 at all")
    whole = write_volume(folder / "whole.h5").read_bytes()
    (folder / "truncated.h5").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.h5").touch()
    for field in ("acquisition", "patient_id", "ismrmrd_header", "reconstruction_rss"):
        write_volume(folder / f"no_{field}.h5", leave_out=(field,))
        yield f"no_{field}.h5", field
    write_volume(folder / "unknown.h5", contrast="AXSWI")
    with h5py.File(write_volume(folder / "no_matrix.h5"), "a") as file:
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = b"<ismrmrdHeader xmlns='http://www.ismrm.org/ISMRMRD'></ismrmrdHeader>"
    with h5py.File(write_volume(folder / "flat.h5", leave_out=("reconstruction_rss",)), "a") as file:
        file["kspace"] = np.zeros((2, 8, 8), np.complex64)
    with h5py.File(write_volume(folder / "group.h5", leave_out=("reconstruction_rss",)), "a") as file:
        file.create_group("reconstruction_rss")
    with h5py.File(write_volume(folder / "masked.h5", leave_out=("reconstruction_rss",)), "a") as file:
        file["kspace"], file["mask"] = np.zeros((1, 1, 4, 4), np.complex64), np.ones(4, bool)
    yield from [("text.h5", "HDF5"), ("truncated.h5", "HDF5"), ("empty.h5", "HDF5"), ("unknown.h5", "AXSWI")]
    yield from [("flat.h5", "kspace has the shape"), ("group.h5", "reconstruction_rss has the shape")]
    yield from [("no_matrix.h5", "encodedSpace"), ("masked.h5", "undersampled")]


def test_broken_files_are_named_skipped_and_counted(tmp_path, caplog):
    reasons = dict(broken_files(tmp_path))
    index = find(tmp_path)
    assert [volume.path.name for volume in index.volumes] == ["whole.h5"]
    assert {path.name for path in index.skipped} == reasons.keys()
    for path, reason in index.skipped.items():
        assert reasons[path.name] in reason
        assert str(path) in caplog.text
    assert f"skipped {len(reasons)} of {len(reasons) + 1} files" in caplog.text


def test_no_folder_and_nothing_in_it(tmp_path):
    with pytest.raises(InputError, match="data.root: no folder .*nowhere"):
        find(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no readable fastMRI volume .0 .h5 files"):
        find(tmp_path)
    (tmp_path / "x.h5").write_text("x")
    with pytest.raises(InputError, match="x.h5: cannot be read as HDF5"):
        find(tmp_path)


def test_file_that_breaks_after_it_was_found(tmp_path):
    path = write_volume(tmp_path / "a.h5")
    assert probe(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="a.h5: cannot be read"):
        read_magnitude(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_volume_without_a_finite_image(tmp_path, value, caplog):
    with h5py.File(write_volume(tmp_path / "a.h5"), "a") as file:
        file["reconstruction_rss"][0] = value
        file["reconstruction_rss"][1] = value
    with pytest.raises(InputError, match="a.h5: its image is not finite, or empty"):
        read_magnitude(tmp_path / "a.h5")
    good = write_volume(tmp_path / "b.h5")
    conditioning, both = ContrastCondition(("AXT1",)), [probe(tmp_path / "a.h5"), probe(good)]
    held = Slices(both, read_magnitude, Magnitude(matrix=32), conditioning, "some")
    assert [volume.path for volume in held.volumes] == [good] and len(held) == 2
    assert "skipped" in caplog.text and "a.h5" in caplog.text


def test_attributes_as_bytes(tmp_path):
    with h5py.File(write_volume(tmp_path / "a.h5"), "a") as file:
        file.attrs["acquisition"] = np.bytes_("AXT2")
    assert probe(tmp_path / "a.h5").contrast == "AXT2"


def test_reads_the_phantom(phantom_root):
    volumes = find(phantom_root).volumes
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
