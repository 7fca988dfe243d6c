"""Images given in a file: a volume of fastMRI's layout, a NIfTI volume, or samples."""

import gzip
import math
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from condiff.data.fastmri.header import FOV_MM, PIXEL_MM
from condiff.data.fastmri.reader import label
from condiff.data.image_spec import ImageSpec
from condiff.data.transforms import Magnitude
from condiff.errors import DataFault, InputError, printable
from condiff.files import hdf5

NIFTI = (".nii", ".nii.gz")
MOST = 2**30  # bytes of a NIfTI file, unpacked
AXIAL = (2, 1, 0)  # a RAS volume's axes as slices, rows from the back of the head to the front, columns
KINDS = "give a volume (.h5, .nii or .nii.gz) or samples.h5"


def read(path: Path, spec: ImageSpec) -> tuple[Tensor, str | None]:
    """Images [N, C, H, W] as the model knows them, and their contrast where the file gives it.

    A volume of fastMRI's layout, samples of `sample.py`, or a NIfTI volume, whose axial slices are taken.

    Raises:
        InputError: no such file, another kind of file, or images of another size.
    """
    if not path.is_file():
        raise InputError(f"init={path}: no such file; {KINDS}")
    try:
        if path.name.lower().endswith(NIFTI):
            return _nifti(path, spec), None
        with hdf5.opened(path) as file:
            if hdf5.holds(file, "images"):
                return _samples(file, spec)
        return spec.transform(*spec.read(path))[0], spec.contrast_of(label(path).acquisition) or None
    except DataFault as fault:
        reason = str(fault).removeprefix(f"{printable(path)}: ")
        raise InputError(f"init={path}: {reason}" + (f", or {KINDS}" if hdf5.UNREADABLE in reason else "")) from None


def _samples(file: h5py.File, spec: ImageSpec) -> tuple[Tensor, str | None]:
    """Images that `sample.py` wrote. Raises DataFault for those of another model."""
    found, contrasts = hdf5.dataset(file, "images", "f", "images"), hdf5.dataset(file, "contrast", "SO", "names")
    assert found is not None
    if found.shape[1:] != spec.shape or not len(found):
        raise DataFault(f"its images are {list(found.shape[1:])}, the model's {list(spec.shape)}; give those of the same model")
    hdf5.check_memory(4 * found.size)
    images = torch.from_numpy(hdf5.array(found).astype(np.float32))
    if not images.isfinite().all():
        raise DataFault("its images are not finite; give others")
    return images, _one_name(contrasts) if contrasts is not None and contrasts.shape == (len(images),) else None


def _one_name(contrasts: h5py.Dataset) -> str | None:
    """What all say, read one after another, for each may be a reference to one long text; None where they differ."""
    first = hdf5.array(contrasts, 0).item()
    short = isinstance(first, bytes) and len(first) <= hdf5.LONGEST
    same = short and all(hdf5.array(contrasts, index).item() == first for index in range(1, len(contrasts)))
    return first.decode("utf-8", "backslashreplace") if same else None


def _nifti(path: Path, spec: ImageSpec) -> Tensor:
    """Images of the axial slices of a volume. Raises DataFault for anything but one volume of magnitudes."""
    if not isinstance(spec.transform, Magnitude):
        raise DataFault("holds magnitudes, and the model makes complex images; give k-space, or a model of magnitudes")
    content = _unpacked(path)
    image = _parsed(content)
    dtype, count = image.get_data_dtype(), math.prod(image.shape)
    if len(image.shape) < 2 or math.prod(image.shape[3:]) != 1:
        raise DataFault(f"is of shape {image.shape}; give one volume, or one slice")
    if dtype.kind not in "fiu":
        raise DataFault(f"is of type {dtype}; real magnitudes expected")
    if not 0 < count * dtype.itemsize <= len(content):
        raise DataFault(f"is of shape {image.shape} and type {dtype}, but holds {len(content)} bytes; copy it again")
    hdf5.check_memory(4 * count)
    try:
        volume = nib.as_closest_canonical(image)
        values = np.asarray(volume.dataobj, dtype=np.float32).reshape(*volume.shape[:3], *(1,) * (3 - volume.ndim))
        width, height = (float(size) for size in volume.header.get_zooms()[:2])
    except Exception as error:  # nibabel, and what it calls, have many for damaged files
        raise _unreadable(error) from None
    if not np.isfinite(values).all() or values.max() <= 0:
        raise DataFault("is empty or not finite; give one volume of magnitudes")
    fov = width * values.shape[0], height * values.shape[1]
    if not all(PIXEL_MM[0] <= one <= PIXEL_MM[1] for one in (width, height)) or not all(
        FOV_MM[0] <= one <= FOV_MM[1] for one in fov
    ):
        raise DataFault(
            f"has pixels of {width:.3g} x {height:.3g} mm over {fov[0]:.3g} x {fov[1]:.3g} mm; pixels of {PIXEL_MM[0]:g} to "
            f"{PIXEL_MM[1]:g} mm over {FOV_MM[0]:g} to {FOV_MM[1]:g} mm expected"
        )
    return spec.transform(torch.from_numpy(values.transpose(AXIAL).copy()), (height, width))[0]


def _unpacked(path: Path) -> bytes:
    """All bytes of a file, compressed or not; at most ``MOST`` are read."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with (gzip.open if packed else open)(path, "rb") as file:
            content = file.read(MOST + 1)
    except Exception as error:  # gzip has many for damaged files
        raise _unreadable(error) from None
    if len(content) > MOST:
        raise DataFault(f"holds more than {MOST / 2**30:g} GiB; give a part of it")
    return content


def _parsed(content: bytes) -> nib.Nifti1Image:
    """The image, whose values are not decoded yet."""
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        if kind.header_class.may_contain_header(content):
            try:
                return kind.from_bytes(content)
            except Exception as error:  # nibabel has many for damaged files
                raise _unreadable(error) from None
    raise _unreadable("no NIfTI header")


def _unreadable(error: object) -> DataFault:
    return DataFault(f"{hdf5.UNREADABLE} as NIfTI ({error}); copy it again")
