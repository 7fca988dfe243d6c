"""FastMRI's files: what one is, and the reading of magnitude images or k-space out of it.

Schema (Zbontar et al. 2018, and the dataset's own files): ``kspace`` [slices, coils, rows, cols]
complex64, ``reconstruction_rss`` [slices, R, R] float32, ``ismrmrd_header`` XML, attributes
``acquisition`` and ``patient_id``. The contrast is what the file says of itself, never its name.
Other byte orders, precisions and ways to store a text are read as well.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from condiff.data.fastmri import header
from condiff.data.fastmri.header import Header
from condiff.errors import DataFault, printable
from condiff.files import hdf5
from condiff.mri.fourier import ifft2c, readout_margins, remove_readout_oversampling, rss

ACQUISITIONS = ("AXT1", "AXT1PRE", "AXT1POST", "AXT2", "AXFLAIR")
LARGEST = {"slices": 1024, "coils": 256, "rows": 4096, "columns": 4096}
SMALLEST_K, LARGEST_K = 1e-15, 1e15  # of a slice's largest magnitude: squares and their sums stay within float32
ABSENT = ("", "none", "nan")  # what programs write for a missing text
REMEDY = "copy it again or move it out of data.root"


@dataclass(frozen=True)
class Volume:
    """One file: where it is, what it holds, which patient's it is, and what its header gives of the acquisition.

    Attributes:
        acquisition: as the file has it; ``contrast`` may be that or what it was merged into.
        official: the split whose folder it lies in (train, val or test), if any.
        slices, coils, rows, cols: shape of the k-space; without any, coils is 0 and the rest is of the image.
        norm: of the stored reconstruction; with ``measurement`` it identifies copies of a file.
        digest: `hdf5.digest` of the file's content.
        size, mtime_ns, ctime_ns: of the file, to see that it has changed.
        header: None where nothing could be read.
    """

    path: Path
    contrast: str
    patient: str
    acquisition: str = ""
    official: str = ""
    slices: int = 0
    coils: int = 0
    rows: int = 0
    cols: int = 0
    norm: float = 0.0
    digest: str = ""
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    header: Header | None = None


def probe(path: Path) -> Volume:
    """What the file is. Raises DataFault with the reason where it is no fully sampled brain volume of a known patient."""
    with hdf5.opened(path) as file:
        missing = [name for name in ("acquisition", "patient_id") if hdf5.attribute(file, name) is None]
        missing += [name for name in ("ismrmrd_header",) if not hdf5.holds(file, name)]
        if not hdf5.holds(file, "reconstruction_rss") and not hdf5.holds(file, "kspace"):
            missing.append("reconstruction_rss or kspace")
        if missing:
            raise DataFault(f"lacks {', '.join(missing)}; not fastMRI's layout")
        acquisition, patient, norm = _text(file, "acquisition"), _text(file, "patient_id"), _norm(file)
        if not patient:
            raise DataFault("patient_id is empty: without it patients cannot be kept apart; write the attribute patient_id")
        about = _header(file)
        kspace, image = _kspace(file, about), _image(file, about)
        if kspace is not None:
            slices, coils, rows, cols = kspace.shape
            about = _fully_sampled(kspace, _mask(file, (rows, cols)), about)
            if image is not None and len(image) != slices:
                raise DataFault(f"kspace has {slices} slices, reconstruction_rss {len(image)}")
        elif hdf5.holds(file, "mask"):
            raise DataFault("holds the image of undersampled k-space (it has a mask), which is no image to learn from")
        else:
            assert image is not None
            (slices, rows, cols), coils = image.shape, 0
    if acquisition not in ACQUISITIONS:
        raise DataFault(f"acquisition is {acquisition[:40]!r}, not one of {', '.join(ACQUISITIONS)}")
    shape = slices, coils, rows, cols
    digest = hdf5.digest(path)
    with hdf5.reading():
        found = path.stat()
    stamp = found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return Volume(path, acquisition, patient, acquisition, "", *shape, norm, digest, *stamp, about)


def _fully_sampled(kspace: h5py.Dataset, mask: np.ndarray | None, about: Header) -> Header:
    """The header with the columns that were measured, by one line along them through the middle of it all.

    Raises DataFault where that shows that some were not, or that the line is zero or not finite.
    """
    slices, _, rows, _ = kspace.shape
    line = _as_complex(hdf5.array(kspace, (slices // 2, slice(None), rows // 2)))  # [coils, cols]
    if not np.isfinite(line).all():
        raise DataFault("kspace holds values that are not finite")
    measured = (line != 0).any(axis=0)
    if not measured.any():
        raise DataFault("kspace is zero")
    left, right = _columns(about, measured)
    empty = int((~measured[left:right]).sum())
    if empty:
        raise DataFault(
            f"holds undersampled k-space ({empty} of {right - left} columns are zero), which is no image to learn from"
        )
    if mask is not None and not mask[:, left:right].all():
        raise DataFault("holds undersampled k-space (its mask leaves samples out), which is no image to learn from")
    return replace(about, columns=(left, right))


def _columns(about: Header, measured: np.ndarray) -> tuple[int, int]:
    """[first, last) of the columns that were to be measured, of k-space with samples in the columns ``measured`` [cols].

    By the header's limits. Where it has none (M4Raw): all between the zeros at both edges, which are padding as long as
    half of the columns are left.
    """
    there = np.flatnonzero(measured)
    if about.columns != (0, 0) or not len(there):
        return about.columns if about.columns != (0, 0) else (0, len(measured))
    left, right = int(there[0]), int(there[-1]) + 1
    return (left, right) if 2 * (right - left) >= len(measured) else (0, len(measured))


def read_magnitude(path: Path) -> tuple[Tensor, tuple[float, float]]:
    """Magnitude slices [S, H, W] in the file's own units, and the pixel size along H and W in mm.

    The stored reconstruction where there is one, else the root sum of squares of the k-space, whose
    readout still covers twice the field of view.

    Raises:
        DataFault: the file cannot be read, or holds no finite image.
    """
    with _named(path), hdf5.opened(path) as file:
        about = _header(file)
        image, kspace = _image(file, about), _kspace(file, about)
        if image is not None:
            hdf5.check_memory(4 * image.size)
            images = torch.stack([_real(one) for one in hdf5.slices(image)])
        elif kspace is not None:
            hdf5.check_memory(8 * kspace.size // kspace.shape[1])
            images = torch.stack([rss(ifft2c(_checked(one))) for one in _slices(kspace)])
        else:
            raise DataFault("lacks reconstruction_rss or kspace; not fastMRI's layout")
        if not images.isfinite().all() or images.max() <= 0:
            raise DataFault(f"its image is not finite, or empty; {REMEDY}")
        return images, about.pixel_mm


def read_kspace(path: Path) -> tuple[Tensor, tuple[float, float]]:
    """K-space [S, K, rows, cols] without what the readout was oversampled by, and its field of view along rows and cols in mm.

    Coils without any signal are left out.

    Raises:
        DataFault: the file cannot be read, has no k-space, or one that is zero or not finite.
    """
    with _named(path), hdf5.opened(path) as file:
        about = _header(file)
        found = _kspace(file, about)
        if found is None:
            raise DataFault("holds no kspace, which complex images are made of; use data.transform=magnitude")
        hdf5.check_memory(8 * found.size)
        kspace = torch.stack([remove_readout_oversampling(_checked(one), _rows(about)) for one in _slices(found)])
        if not kspace.any():
            raise DataFault(f"its k-space is zero; {REMEDY}")
        return _live_coils(kspace), (about.recon_fov_mm[0], about.fov_mm[1])


@dataclass(frozen=True)
class Acquired:
    """K-space as it was measured, all of it or an undersampled part.

    Attributes:
        volume: what the file says of itself.
        kspace: [S, K, rows, cols] of the good slices and coils with signal, without what the readout was oversampled by where
            readouts are whole.
        sampled: [rows, cols], true where it was.
        fov_mm: along rows and columns.
        full: whether all was sampled that was to be measured.
        good: their places in the volume; the others are zero or not finite.
        shape: (rows, columns) of the file's own image.
        margins: [S, K, M, cols] of the readout's margins, where it was oversampled and cropped: air, to measure noise in.
    """

    volume: Volume
    kspace: Tensor
    sampled: Tensor
    fov_mm: tuple[float, float]
    full: bool
    good: list[int]
    shape: tuple[int, int]
    margins: Tensor | None = None


def label(path: Path) -> Volume:
    """Contrast and patient alone; empty where they cannot be read."""
    texts = {"acquisition": "", "patient_id": ""}
    with suppress(DataFault), hdf5.opened(path) as file:
        for name in texts:
            with suppress(DataFault):
                texts[name] = _text(file, name)
    return Volume(path, texts["acquisition"], texts["patient_id"], texts["acquisition"])


def read_acquired(path: Path) -> Acquired:
    """All that a file has measured, fully sampled or not.

    Raises:
        DataFault: the file cannot be read, lacks something, or has no good slice.
    """
    with _named(path), hdf5.opened(path) as file:
        missing = [name for name in ("kspace", "ismrmrd_header") if not hdf5.holds(file, name)]
        missing += [name for name in ("acquisition",) if hdf5.attribute(file, name) is None]
        if missing:
            raise DataFault(f"lacks {', '.join(missing)}; give files of fastMRI's layout with k-space")
        about = _header(file)
        found, image = _kspace(file, about), _image(file, about)
        assert found is not None
        mask = _mask(file, about.matrix)
        acquisition, patient = _text(file, "acquisition"), _text(file, "patient_id")
        hdf5.check_memory(8 * found.size)
        every = torch.stack([torch.from_numpy(one) for one in _slices(found)])
        good = [index for index, one in enumerate(every) if _sound(one)]
        if not good:
            raise DataFault("every slice of its k-space is zero or not finite; copy it again")
        values = every if len(good) == len(every) else every[good]
        sampled = (values != 0).any(dim=0).any(dim=0)
        if mask is not None:
            taken = torch.from_numpy(mask)
            sampled, values = sampled & taken, values * taken
            if not sampled.any():
                raise DataFault("its mask leaves no sample of its k-space; copy it again")
    left, right = _columns(about, sampled.any(dim=0).numpy())
    full = bool(sampled[:, left:right].all())
    values, fov, margins = _live_coils(values), about.fov_mm, None
    if torch.equal(sampled.any(dim=0), sampled.all(dim=0)):
        rows, margins = _rows(about), readout_margins(values, about.recon_fov_mm[0] / about.fov_mm[0])
        values, sampled = torch.stack([remove_readout_oversampling(one, rows) for one in values]), sampled[:1].expand(rows, -1)
        fov = about.recon_fov_mm[0], about.fov_mm[1]
    about = replace(about, columns=(left, right))
    volume = Volume(path, acquisition, patient, acquisition, slices=len(every), coils=values.shape[1], header=about)
    shape = image.shape[-2:] if image is not None else (sampled.shape[0],) * 2
    return Acquired(volume, values, sampled, fov, full, good, shape, margins)


def _header(file: h5py.File) -> Header:
    return header.parse(hdf5.content(file, "ismrmrd_header", header.LONGEST))


def _kspace(file: h5py.File, about: Header) -> h5py.Dataset | None:
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


def _image(file: h5py.File, about: Header) -> h5py.Dataset | None:
    """The stored reconstruction [slices, H, W], not read yet. Raises DataFault for a shape or field of view that no head has."""
    found = hdf5.dataset(file, "reconstruction_rss", "fui", "magnitudes")
    if found is None:
        return None
    _check_shape("reconstruction_rss", found.shape, ("slices", "rows", "columns"))
    fov = [size * pixel for size, pixel in zip(found.shape[1:], about.pixel_mm, strict=True)]
    if not all(header.FOV_MM[0] <= one <= header.FOV_MM[1] for one in fov):
        low, high = header.FOV_MM
        raise DataFault(f"reconstruction_rss covers {fov[0]:.3g} x {fov[1]:.3g} mm; {low:g} to {high:g} mm expected")
    return found


def _check_shape(name: str, shape: tuple[int, ...], axes: tuple[str, ...]) -> None:
    if len(shape) != len(axes) or 0 in shape:
        raise DataFault(f"{name} has the shape {shape}, not one of {len(axes)} axes with slices first")
    for axis, size in zip(axes, shape, strict=True):
        if size > LARGEST[axis]:
            raise DataFault(f"{name} has {size} {axis}; at most {LARGEST[axis]} are read")


def _mask(file: h5py.File, shape: tuple[int, int]) -> np.ndarray | None:
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


def _slices(kspace: h5py.Dataset) -> Iterator[np.ndarray]:
    """K-space slice by slice, [coils, rows, cols]."""
    return map(_as_complex, hdf5.slices(kspace))


def _as_complex(values: np.ndarray) -> np.ndarray:
    """Complex64 of complex numbers in any byte order or precision, or of pairs, as other programs write them."""
    if values.dtype.names:
        real, imaginary = (values[name].astype(np.float32) for name in values.dtype.names)
        return real + 1j * imaginary
    with np.errstate(over="ignore"):  # inf is found later
        return values.astype(np.complex64)


def _real(values: np.ndarray) -> Tensor:
    with np.errstate(over="ignore"):
        return torch.from_numpy(values.astype(np.float32))


def _sound(kspace: Tensor) -> bool:
    """Whether a slice is neither zero nor beyond what can be squared."""
    return bool(kspace.isfinite().all()) and SMALLEST_K < kspace.abs().max().item() < LARGEST_K


def _checked(one: np.ndarray) -> Tensor:
    """A slice of k-space; it may be zero."""
    kspace = torch.from_numpy(one)
    if kspace.any() and not _sound(kspace):
        raise DataFault(f"its k-space is not finite, or its values are too large or small for float32; {REMEDY}")
    return kspace


def _live_coils(kspace: Tensor) -> Tensor:
    """Without coils [:, k] that have no signal in any slice: their noise cannot be measured."""
    alive = torch.stack([one.flatten(1).any(dim=1) for one in kspace]).any(dim=0)
    return kspace if alive.all() else kspace[:, alive]


def _rows(about: Header) -> int:
    """Of k-space without what the readout was oversampled by."""
    return round(about.matrix[0] * about.recon_fov_mm[0] / about.fov_mm[0])


def _text(file: h5py.File, name: str) -> str:
    """An attribute without space around it, safe to print; empty where it is missing."""
    value = hdf5.attribute(file, name)
    whole = int(value) if isinstance(value, float) and value.is_integer() else value  # 7.0 and 7 are one patient
    text = printable(unicodedata.normalize("NFC", str(whole))).strip()
    return "" if text.lower() in ABSENT else text


def _norm(file: h5py.File) -> float:
    """0 where it is missing or no number."""
    try:
        norm = hdf5.attribute(file, "norm")
    except DataFault:
        return 0.0
    return float(norm) if isinstance(norm, int | float) and np.isfinite(norm) else 0.0


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """A fault names its file."""
    try:
        yield
    except DataFault as fault:
        raise DataFault(f"{path}: {fault}") from None
