"""NIfTI files: the axial slices of a volume of magnitudes."""

import gzip
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from condiff.data.header import FOV_MM, PIXEL_MM
from condiff.errors import DataFault
from condiff.files import hdf5

SUFFIXES = (".nii", ".nii.gz")
LARGEST = 2**30  # bytes of a file, unpacked
AXIAL = (2, 1, 0)  # a RAS volume's axes as slices, rows from the back of the head to the front, columns


def read_magnitude(path: Path) -> tuple[Tensor, tuple[float, float]]:
    """Axial slices [S, H, W] in the file's own units, and the pixel size along H and W in mm.

    Raises:
        DataFault: the file cannot be read, or holds anything but one volume of finite magnitudes with the size of a head.
    """
    content = _unpacked(path)
    image = _parsed(content)
    _check_shape_and_type(image, len(content))
    hdf5.check_memory(4 * math.prod(image.shape))
    try:
        volume = nib.as_closest_canonical(image)
        values = np.asarray(volume.dataobj, dtype=np.float32).reshape(*volume.shape[:3], *(1,) * (3 - volume.ndim))
        width, height = (float(size) for size in volume.header.get_zooms()[:2])
    except Exception as error:  # nibabel, and what it calls, have many for damaged files
        raise _unreadable(error) from None
    if not np.isfinite(values).all() or values.max() <= 0:
        raise DataFault("is empty or not finite; give one volume of magnitudes")
    fov = width * values.shape[0], height * values.shape[1]
    if not all(PIXEL_MM[0] <= size <= PIXEL_MM[1] for size in (width, height)) or not all(
        FOV_MM[0] <= size <= FOV_MM[1] for size in fov
    ):
        raise DataFault(
            f"has pixels of {width:.3g} x {height:.3g} mm over {fov[0]:.3g} x {fov[1]:.3g} mm; pixels of {PIXEL_MM[0]:g} to "
            f"{PIXEL_MM[1]:g} mm over {FOV_MM[0]:g} to {FOV_MM[1]:g} mm expected"
        )
    return torch.from_numpy(values.transpose(AXIAL).copy()), (height, width)


def _check_shape_and_type(image: nib.Nifti1Image, size: int) -> None:
    """Raise DataFault for anything but one volume of real numbers that the file's ``size`` bytes can hold."""
    dtype, count = image.get_data_dtype(), math.prod(image.shape)
    if len(image.shape) < 2 or math.prod(image.shape[3:]) != 1:
        raise DataFault(f"is of shape {image.shape}; give one volume, or one slice")
    if dtype.kind not in "fiu":
        raise DataFault(f"is of type {dtype}; real magnitudes expected")
    if not 0 < count * dtype.itemsize <= size:
        raise DataFault(f"is of shape {image.shape} and type {dtype}, but holds {size} bytes; copy it again")


def _unpacked(path: Path) -> bytes:
    """All bytes of a file, compressed or not; at most ``LARGEST`` are read."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with (gzip.open if packed else open)(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except Exception as error:  # gzip has many for damaged files
        raise _unreadable(error) from None
    if len(content) > LARGEST:
        raise DataFault(f"holds more than {LARGEST / 2**30:g} GiB; give a part of it")
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
