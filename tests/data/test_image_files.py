"""What sample.py init= may be given: read to the same images, or refused in one line."""

import gzip
import struct
from dataclasses import replace
from functools import partial

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch

from condiff.data import image_files, planes
from condiff.data.conditioning import ContrastCondition
from condiff.data.fastmri.reader import read_magnitude
from condiff.data.image_spec import ImageSpec
from condiff.data.nifti import reader as nifti
from condiff.data.transforms import Magnitude
from condiff.errors import InputError
from tests.conftest import write_volume
from tests.data.heads import head, write_nifti

AFFINE = np.diag([6.875, 6.875, 5, 1])
SPEC = ImageSpec(read_magnitude, Magnitude(matrix=32, downsample=1), ContrastCondition(["AXT1"]))


def volume():
    axis = np.arange(32) - 15.5
    disc = (axis[:, None] ** 2 + axis**2 < 100) * (1 + axis[:, None] / 50)
    return np.stack([disc, 0.5 * disc, disc], -1).astype(np.float32)


def saved(folder, values, affine=AFFINE, kind=nib.Nifti1Image, name="a.nii"):
    nib.save(kind(values, affine), folder / name)
    return folder / name


def patched(at, form, *values):
    def make(folder):
        content = bytearray(saved(folder, volume()).read_bytes())
        struct.pack_into(form, content, at, *values)
        (folder / "a.nii").write_bytes(content)
        return folder / "a.nii"

    return make


def written(content, name="a.nii.gz"):
    def make(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return make


def compressed(change, name="a.nii.gz"):
    return lambda folder: written(change(saved(folder, volume(), name="b.nii.gz").read_bytes()), name)(folder)


READ = {
    "upper case": compressed(bytes, "A.NII.GZ"),
    "not compressed": lambda folder: saved(folder, volume()),
    "NIfTI-2": lambda folder: saved(folder, volume(), kind=nib.Nifti2Image),
    "big-endian": lambda folder: saved(folder, volume().astype(">f4")),
    "whole numbers": lambda folder: saved(folder, (1000 * volume()).astype(np.uint16)),
    "one of four axes": lambda folder: saved(folder, volume()[..., None]),
    "turned": lambda folder: saved(folder, volume()[::-1], np.diag([-6.875, 6.875, 5, 1])),
}

REFUSED = {
    "bad quaternion": (patched(252, "<hhfff", 1, 0, 0.9, 0.9, 0.9), "cannot be read as NIfTI .w2"),
    "NaN affine": (patched(252, "<hh6f12f", 0, 1, *[0] * 6, *[np.nan] * 12), "its affine .* has no three directions"),
    "zero affine": (patched(252, "<hh6f12f", 0, 1, *[0] * 6, *[0] * 12), "its affine .* has no three directions"),
    "vast": (patched(40, "<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1), "shape .32767, 32767, 32767. .* holds"),
    "negative": (patched(40, "<8h", 3, -1, 32, 4, 1, 1, 1, 1), "is of shape .-1, 32, 4."),
    "offset": (patched(108, "<f", np.nan), "cannot be read as NIfTI"),
    "unknown type": (patched(70, "<h", 9999), "cannot be read as NIfTI"),
    "bright": (patched(112, "<f", 3.3e38), "empty or not finite"),
    "tiny pixels": (lambda folder: saved(folder, volume(), np.diag([0.001, 0.001, 5, 1])), "pixels of 0.001 x 0.001 mm"),
    "complex": (lambda folder: saved(folder, volume().astype(np.complex64)), "type complex64; real magnitudes"),
    "RGB": (lambda folder: saved(folder, np.zeros((8, 8, 2), [(c, "u1") for c in "RGB"])), "real magnitudes expected"),
    "four axes": (lambda folder: saved(folder, np.stack([volume()] * 2, -1)), "give one volume"),
    "zeros": (lambda folder: saved(folder, 0 * volume()), "empty or not finite"),
    "NaN": (lambda folder: saved(folder, volume() * np.nan), "empty or not finite"),
    "text": (written(b"<html>403</html>"), "cannot be read as NIfTI .no NIfTI header"),
    "nothing": (written(b"", "a.nii"), "cannot be read as NIfTI"),
    "cut": (compressed(lambda content: content[: len(content) // 2]), "cannot be read as NIfTI"),
    "damaged": (compressed(lambda content: content[:99] + bytes(40) + content[139:]), "cannot be read as NIfTI"),
    "a checkpoint": (written(b"PK\3\4 a checkpoint", "last.ckpt"), "cannot be read as HDF5 .*give a volume"),
    "an empty HDF5 file": (lambda folder: h5py.File(folder / "a.h5", "w").close() or folder / "a.h5", "lacks ismrmrd_header"),
}


@pytest.mark.parametrize("name", READ)
def test_read_to_the_same_images(tmp_path, name):
    truth, _ = SPEC.transform(torch.from_numpy(volume().transpose(2, 1, 0).copy()), (6.875, 6.875))
    images, contrast, _ = image_files.read(READ[name](tmp_path), SPEC)
    torch.testing.assert_close(images, truth, rtol=0, atol=2e-3)
    assert contrast is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path, name):
    make, reason = REFUSED[name]
    path = make(tmp_path)
    with pytest.raises(InputError, match=reason) as error:
        image_files.read(path, SPEC)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_no_more_is_unpacked_than_the_array_needs(tmp_path):
    content = saved(tmp_path, volume()).read_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(content + bytes(2**24)))
    assert nifti._unpacked(tmp_path / "bomb.nii.gz") == content
    huge = bytearray(content)
    struct.pack_into("<4h", huge, 42, 32000, 32000, 32000, 1)
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(bytes(huge)))
    with pytest.raises(InputError, match=r"is of shape \(32000, 32000, 32000"):
        image_files.read(tmp_path / "huge.nii.gz", SPEC)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"images": np.zeros((2, 1, 16, 16), "f4")}, r"its images are \[1, 16, 16\], the model's \[1, 32, 32\]"),
        ({"images": np.full((2, 1, 32, 32), np.nan)}, "not finite"),
        ({"images": "text"}, "images is of type object"),
        ({"images": np.zeros((0, 1, 32, 32))}, "the model's"),
        ({"images": h5py.ExternalLink("/etc/passwd", "/x")}, "images is a link"),
    ],
)
def test_odd_samples(tmp_path, content, reason):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, value in content.items():
            file[name] = value
    with pytest.raises(InputError, match=rf"^.*a.h5: .*{reason}"):
        image_files.read(tmp_path / "a.h5", SPEC)


@pytest.mark.parametrize(
    ("names", "contrast"), [(["AXT1"] * 2, "AXT1"), (["AXT1", "AXT2"], None), (b"AXT1", None), ([1, 2], InputError)]
)
def test_contrast_of_samples(tmp_path, names, contrast):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"], file["contrast"] = np.zeros((2, 1, 32, 32), ">f8"), names
    if contrast is InputError:
        with pytest.raises(InputError, match="contrast is of type"):
            image_files.read(tmp_path / "a.h5", SPEC)
    else:
        images, found, _ = image_files.read(tmp_path / "a.h5", SPEC)
        assert images.dtype == torch.float32 and found == contrast


def test_a_volume_of_fastmri(tmp_path):
    images, contrast, _ = image_files.read(write_volume(tmp_path / "a.h5", contrast="AXT2"), SPEC)
    assert images.shape == (2, 1, 32, 32) and contrast == "AXT2"


def test_a_scan_is_as_bright_as_in_training(tmp_path):
    """White is that of the head; a bright neck, which training leaves out, does not darken it. A part of a head is its own."""
    values, affine = head((40, 48, 60))
    values[10:30, 12:36, :9] = 2500
    path = write_nifti(tmp_path / "a.nii", values, affine)
    spec = replace(SPEC, read=partial(nifti.read_slices, plane="axial", slice_mm=None))
    trained_on = spec.transform(*spec.read(path))[0]
    images, _, place = image_files.read(path, spec)
    stack = nifti.read_stack(path)
    first = round((planes.head(stack, "axial").affine - stack.affine)[2, 3] / 5)
    torch.testing.assert_close(images[first : first + len(trained_on)], trained_on)
    assert len(images) == 60 and place is not None
    part = write_nifti(tmp_path / "b.nii", values[..., 40:43], affine)
    assert image_files.read(part, spec)[0].shape == (3, 1, 32, 32)
