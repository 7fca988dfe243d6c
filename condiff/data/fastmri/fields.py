"""The fields of a fastMRI file, read with care: shapes, types and numbers that no scan has are faults of the data."""

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

ACQUISITIONS = ("AXT1", "AXT1PRE", "AXT1POST", "AXT2", "AXFLAIR")
LARGEST = {"slices": 1024, "coils": 256, "rows": 4096, "columns": 4096}
SMALLEST_K, LARGEST_K = 1e-15, 1e15  # of a slice's largest magnitude: squares and their sums stay within float32
ABSENT = ("", "none", "nan")  # what programs write for a missing text
REMEDY = "copy it again or move it out of data.root"


def header_of(file: h5py.File) -> Header:
    return ismrmrd.parse(hdf5.content(file, "ismrmrd_header", ismrmrd.LONGEST))


def kspace_of(file: h5py.File, about: Header) -> h5py.Dataset | None:
    """The k-space [slices, coils, rows, cols], not read yet. Raises DataFault for one that does not fit the header."""
    found = hdf5.dataset(file, "kspace", "cV", "complex numbers")
    if found is None:
        return None
    if found.dtype.kind == "V" and found.dtype.names not in (("r", "i"), ("real", "imag")):
        raise DataFault(f"kspace is of type {found.dtype}; complex numbers expected")
    _check_shape("kspace", found.shape, ("slices", "coils", "rows", "columns"))
    rows, cols = found.shape[2:]
    if (rows, cols) != about.matrix:
        raise DataFault(f"kspace has {rows} x {cols} samples, its header says {about.matrix[0]} x {about.matrix[1]}")
    return found


def image_of(file: h5py.File, about: Header) -> h5py.Dataset | None:
    """The stored reconstruction [slices, H, W], not read yet. Raises DataFault for a shape or field of view that no head has."""
    found = hdf5.dataset(file, "reconstruction_rss", "fui", "magnitudes")
    if found is None:
        return None
    _check_shape("reconstruction_rss", found.shape, ("slices", "rows", "columns"))
    fov = [size * pixel for size, pixel in zip(found.shape[1:], about.pixel_mm, strict=True)]
    if not all(FOV_MM[0] <= one <= FOV_MM[1] for one in fov):
        low, high = FOV_MM
        raise DataFault(f"reconstruction_rss covers {fov[0]:.3g} x {fov[1]:.3g} mm; {low:g} to {high:g} mm expected")
    return found


def _check_shape(name: str, shape: tuple[int, ...], axes: tuple[str, ...]) -> None:
    if len(shape) != len(axes) or 0 in shape:
        raise DataFault(f"{name} has the shape {shape}, not one of {len(axes)} axes with slices first")
    for axis, size in zip(axes, shape, strict=True):
        if size > LARGEST[axis]:
            raise DataFault(f"{name} has {size} {axis}; at most {LARGEST[axis]} are read")


def mask_of(file: h5py.File, shape: tuple[int, int]) -> np.ndarray | None:
    """The file's own mask [rows, cols], of columns or of single samples; None without one."""
    found = hdf5.dataset(file, "mask", "bfui", "0 and 1")
    if found is None:
        return None
    kept = tuple(size for size in found.shape if size > 1)
    if kept not in (shape[1:], shape):
        raise DataFault(f"mask has the shape {found.shape}, not one of {shape[1]} columns or {shape[0]} x {shape[1]} samples")
    values = hdf5.array(found).reshape(kept)
    if not np.isfinite(values).all():
        raise DataFault("mask holds values that are not finite; 0 and 1 expected")
    return np.broadcast_to(values != 0, shape).copy()


def slices_of(kspace: h5py.Dataset) -> Iterator[np.ndarray]:
    """K-space slice by slice, [coils, rows, cols]."""
    return map(as_complex, hdf5.slices(kspace))


def as_complex(values: np.ndarray) -> np.ndarray:
    """Complex64 of complex numbers in any byte order or precision, or of pairs, as other programs write them."""
    if values.dtype.names:
        real, imaginary = (values[name].astype(np.float32) for name in values.dtype.names)
        return real + 1j * imaginary
    with np.errstate(over="ignore"):  # inf is found later
        return values.astype(np.complex64)


def as_real(values: np.ndarray) -> Tensor:
    with np.errstate(over="ignore"):
        return torch.from_numpy(values.astype(np.float32))


def is_sound(kspace: Tensor) -> bool:
    """Whether a slice is neither zero nor beyond what can be squared."""
    return bool(kspace.isfinite().all()) and SMALLEST_K < kspace.abs().max().item() < LARGEST_K


def checked(one: np.ndarray) -> Tensor:
    """A slice of k-space; it may be zero."""
    kspace = torch.from_numpy(one)
    if kspace.any() and not is_sound(kspace):
        raise DataFault(f"its k-space is not finite, or its values are too large or small for float32; {REMEDY}")
    return kspace


def live_coils(kspace: Tensor) -> Tensor:
    """Without coils [:, k] that have no signal in any slice: their noise cannot be measured."""
    alive = torch.stack([one.flatten(1).any(dim=1) for one in kspace]).any(dim=0)
    return kspace if alive.all() else kspace[:, alive]


def rows_of(about: Header) -> int:
    """Of k-space without what the readout was oversampled by."""
    return round(about.matrix[0] * about.recon_fov_mm[0] / about.fov_mm[0])


def text_of(file: h5py.File, name: str) -> str:
    """An attribute without space around it, safe to print; empty where it is missing."""
    value = hdf5.attribute(file, name)
    whole = int(value) if isinstance(value, float) and value.is_integer() else value  # 7.0 and 7 are one patient
    text = printable(unicodedata.normalize("NFC", str(whole))).strip()
    return "" if text.lower() in ABSENT else text


def norm_of(file: h5py.File) -> float:
    """0 where it is missing or no number."""
    try:
        norm = hdf5.attribute(file, "norm")
    except DataFault:
        return 0.0
    return float(norm) if isinstance(norm, int | float) and np.isfinite(norm) else 0.0


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A fault names its file."""
    try:
        yield
    except DataFault as fault:
        raise DataFault(f"{path}: {fault}") from None


def columns_of(about: Header, measured: np.ndarray) -> tuple[int, int]:
    """[first, last) of the columns that were to be measured, of k-space with samples in the columns ``measured`` [cols].

    By the header's limits. Where it has none (M4Raw): all between the zeros at both edges, which are padding as long as
    half of the columns are left.
    """
    there = np.flatnonzero(measured)
    if about.columns != (0, 0) or not len(there):
        return about.columns if about.columns != (0, 0) else (0, len(measured))
    left, right = int(there[0]), int(there[-1]) + 1
    return (left, right) if 2 * (right - left) >= len(measured) else (0, len(measured))
