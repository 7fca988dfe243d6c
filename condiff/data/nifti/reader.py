"""The reader of NIfTI files: one volume of magnitudes, as slices of a plane."""

import gzip
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from torch import Tensor

from condiff.data.planes import Stack, averaged, head, stack_of
from condiff.errors import DataFault
from condiff.files import foreign
from condiff.files.place import ALIGNED

SUFFIXES = (".nii", ".nii.gz")
LARGEST = 2**30  # bytes of a file, unpacked
HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
KINDS = (nib.Nifti1Image, nib.Nifti2Image)


def read_slices(
    path: Path,
    plane: str = "axial",
    slice_mm: float | None = None,
    voxel_mm: Sequence[float] | None = None,
    resample_mm: float | None = None,
) -> tuple[Tensor, tuple[float, float]]:
    """Slices of the head [S, H, W] in the file's own units, and the pixel size along H and W in mm.

    Args:
        plane: axial, coronal or sagittal; the closest one of the file's own.
        slice_mm: thickness to which thinner slices are averaged; None: none.
        voxel_mm: true size of a voxel along the file's own axes, if the header has a wrong one.
        resample_mm: size of the cubes along the scanner's axes to which an oblique volume is resampled; None: none.

    Raises:
        DataFault: as `read_stack` and `planes.head` do.
    """
    stack = averaged(head(read_stack(path, plane, voxel_mm, resample_mm), plane), slice_mm)
    return stack.values, stack.voxel_mm[1:]


def read_stack(
    path: Path, plane: str = "axial", voxel_mm: Sequence[float] | None = None, resample_mm: float | None = None
) -> Stack:
    """All slices of a plane. Background that is not a number becomes 0, as do the few negative values of an interpolation.

    Raises:
        DataFault: the file cannot be read, or holds anything but one volume of magnitudes with the size of a head.
    """
    content = _unpacked(path)
    with _reading():
        image = _kind(content).from_bytes(content)  # values are not decoded yet
    check(image.header, len(content))
    check_place(image.header)
    foreign.check_memory(8 * math.prod(image.shape))
    with _reading():
        values = np.asarray(image.dataobj, dtype=np.float32).reshape(*image.shape[:3], *(1,) * (3 - image.ndim))
        affine = image.affine
    stack = stack_of(values, affine, plane, voxel_mm, resample_mm)
    return replace(stack, code=min(int(image.header["sform_code"] or image.header["qform_code"]), ALIGNED))


def check_place(header: Any) -> None:
    """Raise DataFault where nothing says how the head lies."""
    if not header["sform_code"] and not header["qform_code"]:
        raise DataFault("does not say how the head lies (sform_code and qform_code are 0); write its affine into the file")


def read_header(path: Path) -> Any:
    """The header alone, checked. Raises DataFault for a file that is no NIfTI, or holds no volume of real numbers."""
    with _reading(), _opened(path) as file:
        begin = file.read(HEADER_BYTES)
    return _header(begin)


def _header(begin: bytes) -> Any:
    kind = _kind(begin).header_class
    with _reading():
        header = kind(begin[: kind.template_dtype.itemsize])  # extensions are not read
    check(header, LARGEST)
    return header


def _kind(begin: bytes) -> type[nib.Nifti1Image]:
    """NIfTI-1 or NIfTI-2."""
    for kind in KINDS:
        if kind.header_class.may_contain_header(begin):
            return kind
    raise DataFault(f"{foreign.UNREADABLE} as NIfTI (no NIfTI header); copy it again")


def check(header: Any, size: int) -> None:
    """Raise DataFault for anything but one volume of real numbers that ``size`` bytes can hold."""
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if len(shape) < 2 or math.prod(shape[3:]) != 1:
        raise DataFault(f"is of shape {shape}; give one volume, or one slice")
    if dtype.kind not in "fiu":
        kind = "holds colours" if dtype.names else f"is of type {dtype}"
        raise DataFault(f"{kind}; real magnitudes expected, so convert it, or move it out of data.root")
    if not 0 < math.prod(shape) * dtype.itemsize <= size:
        raise DataFault(f"is of shape {shape} and type {dtype}, but holds {size} bytes; copy it again")


def _unpacked(path: Path) -> bytes:
    """The bytes of a file, compressed or not, up to the end of its array; none of a file whose header is refused."""
    with _reading(), _opened(path) as file:
        begin = file.read(HEADER_BYTES)
        header = _header(begin)
        size = int(header.get_data_offset()) + math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
        foreign.check_memory(size)
        return begin + file.read(max(size - len(begin), 0))


def _opened(path: Path) -> gzip.GzipFile | BinaryIO:
    """A regular file, unpacked where it is compressed, whatever its name says."""
    foreign.check_regular(path)
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def _reading() -> AbstractContextManager[None]:
    """nibabel and gzip have many kinds of errors for damaged files."""
    return foreign.reading(" as NIfTI")
