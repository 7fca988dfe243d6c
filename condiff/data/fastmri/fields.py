"""The fields of a fastMRI file. Shapes, types and numbers that no scan has raise DataFault."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from condiff.data.fastmri import ismrmrd
from condiff.data.header import FOV_MM, Header
from condiff.errors import DataFault, printable
from condiff.files import hdf5

ACQUISITIONS = ("AXT1", "AXT1PRE", "AXT1POST", "AXT2", "AXFLAIR")  # of fastMRI's brains
NAME = re.compile(r"\w[\w-]{0,39}")  # of an acquisition; M4Raw and fastMRI's knees have others
LARGEST = {"slices": 1024, "coils": 256, "rows": 4096, "columns": 4096}
SMALLEST_K, LARGEST_K = 1e-15, 1e15  # of a slice's largest magnitude, so that squares and their sums fit into float32
ABSENT = ("", "none", "nan")  # written by programs for a missing text
REMEDY = "copy it again or move it out of data.root"


def header_of(file: h5py.File) -> Header:
    return ismrmrd.parse(hdf5.content(file, "ismrmrd_header", ismrmrd.LONGEST))


def kspace_of(file: h5py.File, header: Header) -> h5py.Dataset | None:
    """The dataset of k-space [slices, coils, rows, cols], unread. Raises DataFault where it does not fit the header."""
    kspace = hdf5.dataset(file, "kspace", "cV", "complex numbers")
    if kspace is None:
        return None
    if kspace.dtype.kind == "V" and kspace.dtype.names not in (("r", "i"), ("real", "imag")):
        raise DataFault(f"kspace is of type {kspace.dtype}; complex numbers expected")
    _check_shape("kspace", kspace.shape, ("slices", "coils", "rows", "columns"))
    rows, cols = kspace.shape[2:]
    if (rows, cols) != header.matrix:
        raise DataFault(f"kspace has {rows} x {cols} samples, its header has {header.matrix[0]} x {header.matrix[1]}")
    return kspace


def image_of(file: h5py.File, header: Header) -> h5py.Dataset | None:
    """The dataset of the stored reconstruction [slices, H, W], unread. Raises DataFault for the size of no head."""
    image = hdf5.dataset(file, "reconstruction_rss", "fui", "magnitudes")
    if image is None:
        return None
    _check_shape("reconstruction_rss", image.shape, ("slices", "rows", "columns"))
    fov = [size * pixel for size, pixel in zip(image.shape[1:], header.pixel_mm, strict=True)]
    if not all(FOV_MM[0] <= side <= FOV_MM[1] for side in fov):
        low, high = FOV_MM
        raise DataFault(f"reconstruction_rss covers {fov[0]:.3g} x {fov[1]:.3g} mm; {low:g} to {high:g} mm expected")
    return image


def _check_shape(name: str, shape: tuple[int, ...], axes: tuple[str, ...]) -> None:
    if len(shape) != len(axes) or 0 in shape:
        raise DataFault(f"{name} has the shape {shape}, not one of {len(axes)} axes with slices first")
    for axis, size in zip(axes, shape, strict=True):
        if size > LARGEST[axis]:
            raise DataFault(f"{name} has {size} {axis}; at most {LARGEST[axis]} are read")


def mask_of(file: h5py.File, shape: tuple[int, int]) -> np.ndarray | None:
    """The file's own mask [rows, cols], which may be stored as columns [cols]; None without one."""
    mask = hdf5.dataset(file, "mask", "bfui", "0 and 1")
    if mask is None:
        return None
    sizes = tuple(size for size in mask.shape if size > 1)
    if sizes not in (shape[1:], shape):
        raise DataFault(f"mask has the shape {mask.shape}, not one of {shape[1]} columns or {shape[0]} x {shape[1]} samples")
    values = hdf5.array(mask).reshape(sizes)
    if not np.isfinite(values).all():
        raise DataFault("mask holds values that are not finite; 0 and 1 expected")
    return np.broadcast_to(values != 0, shape).copy()


def slices_of(kspace: h5py.Dataset) -> Iterator[np.ndarray]:
    """The slices of k-space, complex64 [coils, rows, cols]."""
    return map(as_complex, hdf5.slices(kspace))


def as_complex(values: np.ndarray) -> np.ndarray:
    """Complex64 values of complex numbers of any byte order and precision, or of pairs (real, imaginary)."""
    if values.dtype.names:
        real, imaginary = (values[name].astype(np.float32) for name in values.dtype.names)
        return real + 1j * imaginary
    with np.errstate(over="ignore"):  # infinite values are rejected later
        return values.astype(np.complex64)


def as_real(values: np.ndarray) -> Tensor:
    with np.errstate(over="ignore"):
        return torch.from_numpy(values.astype(np.float32))


def is_sound(kspace: Tensor) -> bool:
    """Whether a slice is finite, not zero, and can be squared within float32."""
    return bool(kspace.isfinite().all()) and SMALLEST_K < kspace.abs().max().item() < LARGEST_K


def checked_slice(values: np.ndarray) -> Tensor:
    """A slice of k-space as a tensor. Raises DataFault where it is neither zero nor sound."""
    kspace = torch.from_numpy(values)
    if kspace.any() and not is_sound(kspace):
        raise DataFault(f"its k-space is not finite, or its values are too large or small for float32; {REMEDY}")
    return kspace


def live_coils(kspace: Tensor) -> Tensor:
    """K-space without the coils that have no signal in any slice, because their noise cannot be measured."""
    has_signal = torch.stack([image.flatten(1).any(dim=1) for image in kspace]).any(dim=0)
    return kspace if has_signal.all() else kspace[:, has_signal]


def rows_of(header: Header) -> int:
    """The number of rows of k-space after readout oversampling is removed."""
    return round(header.matrix[0] * header.recon_fov_mm[0] / header.fov_mm[0])


def text_of(file: h5py.File, name: str) -> str:
    """An attribute as text, stripped and safe to print; empty where it is missing."""
    value = hdf5.attribute(file, name)
    value = int(value) if isinstance(value, float) and value.is_integer() else value  # 7.0 and 7 are one patient
    text = printable(unicodedata.normalize("NFC", str(value))).strip()
    return "" if text.lower() in ABSENT else text


def norm_of(file: h5py.File) -> float:
    """The attribute ``norm``; 0 where it is missing or no number."""
    try:
        norm = hdf5.attribute(file, "norm")
    except DataFault:
        return 0.0
    return float(norm) if isinstance(norm, int | float) and np.isfinite(norm) else 0.0


@contextmanager
def faults_name(path: Path) -> Iterator[None]:
    """Puts the file's name in front of the message of a DataFault."""
    try:
        yield
    except DataFault as fault:
        raise DataFault(f"{path}: {fault}") from None


def columns_of(header: Header, measured: np.ndarray) -> tuple[int, int]:
    """[first, last) of the columns of a full acquisition, from the header's encoding limits.

    Where the header has no limits (M4Raw): the columns between the zeros at both edges. Those zeros are taken as padding if at
    least half of the columns are left.

    Args:
        measured: [cols], true for the columns with samples.
    """
    if header.columns != (0, 0):
        return header.columns
    nonzero = np.flatnonzero(measured)
    if not len(nonzero):
        return 0, len(measured)
    left, right = int(nonzero[0]), int(nonzero[-1]) + 1
    return (left, right) if 2 * (right - left) >= len(measured) else (0, len(measured))
