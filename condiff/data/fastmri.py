"""FastMRI's files: what one is, and the reading of magnitude images or k-space out of it.

Schema (Zbontar et al. 2018, and the dataset's own files): ``kspace`` [slices, coils, rows, cols]
complex64, ``reconstruction_rss`` [slices, R, R] float32, ``ismrmrd_header`` XML, attributes
``acquisition`` and ``patient_id``. The contrast is what the file says of itself, never its name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from condiff.data import header
from condiff.data.header import Header
from condiff.errors import InputError
from condiff.mri.fourier import crop_readout, ifft2c, readout_margins, rss

ACQUISITIONS = ("AXT1", "AXT1PRE", "AXT1POST", "AXT2", "AXFLAIR")
UNREADABLE = "cannot be read"  # in the reason, where another try may go better


@dataclass(frozen=True)
class Volume:
    """One file: where it is, what it holds, whose head it is, and what its header says of the acquisition.

    Attributes:
        acquisition: as the file has it; ``contrast`` may be that or what it was merged into.
        official: the split whose folder it lies in (train, val or test), if any.
        slices, coils, rows, cols: shape of the k-space; without any, coils is 0 and the rest is of the image.
        norm: of the stored reconstruction; with ``measurement`` it tells copies of a file.
        size, mtime_ns: of the file, to see that it has changed.
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
    size: int = 0
    mtime_ns: int = 0
    header: Header | None = None


def probe(path: Path) -> Volume:
    """What the file is. Raises ValueError with the reason where it is no fully sampled brain volume."""
    try:
        with h5py.File(path) as file:
            missing = [name for name in ("acquisition", "patient_id") if name not in file.attrs]
            missing += [name for name in ("ismrmrd_header",) if name not in file]
            if "reconstruction_rss" not in file and "kspace" not in file:
                missing.append("reconstruction_rss or kspace")
            if missing:
                raise ValueError(f"lacks {', '.join(missing)}; not fastMRI's layout")
            if "mask" in file:
                raise ValueError("holds undersampled k-space (it has a mask), which is no image to learn from")
            about = header.parse(file["ismrmrd_header"][()])
            for name, ndim in (("reconstruction_rss", 3), ("kspace", 4)):
                shape = getattr(file[name], "shape", ()) if name in file else (1,) * ndim
                if len(shape) != ndim or 0 in shape:
                    raise ValueError(f"{name} has the shape {shape}, not one of {ndim} axes with slices first")
            if "kspace" in file:
                slices, coils, rows, cols = file["kspace"].shape
                _check_kspace(file["kspace"], about)
            else:
                (slices, rows, cols), coils = file["reconstruction_rss"].shape, 0
            acquisition, patient = _text(file.attrs["acquisition"]), _text(file.attrs["patient_id"])
            norm, found = float(file.attrs.get("norm", 0.0)), path.stat()
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"{UNREADABLE} as HDF5 ({error}); copy or download it again") from None
    if acquisition not in ACQUISITIONS:
        raise ValueError(f"acquisition is {acquisition!r}, not one of {', '.join(ACQUISITIONS)}")
    return Volume(
        path, acquisition, patient, acquisition, "", slices, coils, rows, cols, norm, found.st_size, found.st_mtime_ns, about
    )


def _check_kspace(kspace: h5py.Dataset, about: Header) -> None:
    """Raise ValueError where one line along the columns, through the middle of it all, shows that it is no good."""
    slices, _, rows, cols = kspace.shape
    if not np.issubdtype(kspace.dtype, np.complexfloating):
        raise ValueError(f"kspace is of type {kspace.dtype}, not complex")
    if (rows, cols) != about.matrix:
        raise ValueError(f"kspace has {rows} x {cols} samples, its header says {about.matrix[0]} x {about.matrix[1]}")
    line = kspace[slices // 2, :, rows // 2]  # [coils, cols]
    if not np.isfinite(line).all():
        raise ValueError("kspace holds values that are not finite")
    measured = (line != 0).any(axis=0)
    if not measured.any():
        raise ValueError("kspace is zero")
    left, right = about.columns
    empty = int((~measured[left:right]).sum())
    if empty:
        raise ValueError(
            f"holds undersampled k-space ({empty} of {right - left} columns are zero), which is no image to learn from"
        )


def read_magnitude(path: Path) -> tuple[Tensor, tuple[float, float]]:
    """Magnitude slices [S, H, W] in the file's own units, and the pixel size along H and W in mm.

    The stored reconstruction where there is one, else the root sum of squares of the k-space, whose
    readout still covers twice the field of view.

    Raises:
        InputError: the file cannot be read, or holds no finite image.
    """
    with _reading(path), h5py.File(path) as file:
        pixel = header.parse(file["ismrmrd_header"][()]).pixel_mm
        if "reconstruction_rss" in file:
            images = torch.from_numpy(file["reconstruction_rss"][()]).float()
        else:
            images = torch.stack([rss(ifft2c(torch.from_numpy(kspace))) for kspace in file["kspace"]])
    if not images.isfinite().all() or images.max() <= 0:
        raise InputError(f"{path}: its image is not finite, or empty; copy it again or move it out of data.root")
    return images, pixel


def read_kspace(path: Path) -> tuple[Tensor, tuple[float, float]]:
    """K-space [S, K, rows, cols] without what the readout was oversampled by, and its field of view along rows and cols in mm.

    Raises:
        InputError: the file cannot be read, has no k-space, or one that is zero or not finite.
    """
    with _reading(path), h5py.File(path) as file:
        about = header.parse(file["ismrmrd_header"][()])
        if "kspace" not in file:
            raise InputError(f"{path}: holds no kspace, which complex images are made of; use data.transform=magnitude")
        rows = round(file["kspace"].shape[-2] * about.recon_fov_mm[0] / about.fov_mm[0])
        kspace = torch.stack([crop_readout(torch.from_numpy(one), rows) for one in file["kspace"]])
    if not kspace.isfinite().all() or not kspace.any():
        raise InputError(f"{path}: its k-space is not finite, or zero; copy it again or move it out of data.root")
    return kspace, (about.recon_fov_mm[0], about.fov_mm[1])


@dataclass(frozen=True)
class Acquired:
    """K-space as it was measured, all of it or an undersampled part.

    Attributes:
        volume: what the file says of itself.
        kspace: [S, K, rows, cols] of the good slices, without what the readout was oversampled by where readouts are whole.
        sampled: [rows, cols], true where it was.
        fov_mm: along rows and columns.
        full: whether all was sampled that the header calls measured.
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
    """Contrast and patient alone; nobody's where they cannot be read."""
    try:
        with h5py.File(path) as file:
            acquisition = _text(file.attrs["acquisition"])
            return Volume(path, acquisition, _text(file.attrs["patient_id"]), acquisition)
    except (OSError, KeyError):
        return Volume(path, "", "")


def read_acquired(path: Path) -> Acquired:
    """All that a file has measured, fully sampled or not.

    Raises:
        InputError: the file cannot be read, lacks something, or has no good slice.
    """
    with _reading(path), h5py.File(path) as file:
        missing = [name for name in ("kspace", "ismrmrd_header") if name not in file]
        missing += [name for name in ("acquisition",) if name not in file.attrs]
        if missing:
            raise InputError(f"{path}: lacks {', '.join(missing)}; give files of fastMRI's layout with k-space")
        about = header.parse(file["ismrmrd_header"][()])
        kspace = file["kspace"][()]
        if kspace.ndim != 4 or not np.issubdtype(kspace.dtype, np.complexfloating):
            raise InputError(f"{path}: kspace is {kspace.dtype} {kspace.shape}, not complex [slices, coils, rows, columns]")
        if kspace.shape[2:] != about.matrix:
            rows, cols = kspace.shape[2:]
            raise InputError(f"{path}: kspace has {rows} x {cols} samples, its header says {about.matrix[0]} x {about.matrix[1]}")
        columns = torch.from_numpy(np.asarray(file["mask"])).bool().flatten() if "mask" in file else None
        image = file["reconstruction_rss"].shape[-2:] if "reconstruction_rss" in file else None
        acquisition, patient = _text(file.attrs["acquisition"]), _text(file.attrs.get("patient_id", path.stem))
    every = torch.from_numpy(kspace.astype(np.complex64, copy=False))
    good = [index for index, one in enumerate(every) if one.isfinite().all() and one.any()]
    if not good:
        raise InputError(f"{path}: every slice of its k-space is zero or not finite; copy it again")
    values = every if len(good) == len(every) else every[good]
    sampled = (values != 0).any(dim=0).any(dim=0)
    if columns is not None:
        if len(columns) != sampled.shape[1]:
            raise InputError(f"{path}: its mask has {len(columns)} columns and its kspace {sampled.shape[1]}; copy it again")
        sampled, values = sampled & columns, values * columns
    left, right = about.columns
    if left >= right:
        raise InputError(f"{path}: its header's encoding limits leave no column of {sampled.shape[1]}; copy it again")
    full = columns is None and bool(sampled[:, left:right].all())
    fov, margins = about.fov_mm, None
    if torch.equal(sampled.any(dim=0), sampled.all(dim=0)):
        rows = round(values.shape[-2] * about.recon_fov_mm[0] / about.fov_mm[0])
        margins = readout_margins(values, about.recon_fov_mm[0] / about.fov_mm[0])
        values, sampled = torch.stack([crop_readout(one, rows) for one in values]), sampled[:1].expand(rows, -1)
        fov = about.recon_fov_mm[0], about.fov_mm[1]
    volume = Volume(path, acquisition, patient, acquisition, slices=len(every), coils=values.shape[1], header=about)
    return Acquired(volume, values, sampled, fov, full, good, image or (sampled.shape[0],) * 2, margins)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: {UNREADABLE} ({error}); copy it again or move it out of data.root") from None


def _text(attribute: str | bytes) -> str:
    return attribute.decode() if isinstance(attribute, bytes) else str(attribute)
