"""The reader of fastMRI's files: the record of a file, its magnitude images, its k-space.

Schema (Zbontar et al. 2018, and the dataset's own files): ``kspace`` [slices, coils, rows, cols]
complex64, ``reconstruction_rss`` [slices, R, R] float32, ``ismrmrd_header`` XML, attributes
``acquisition`` and ``patient_id``. The contrast comes from the attribute, never from the file's name.
Other byte orders, precisions and encodings of texts are read as well.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from condiff.data.fastmri.fields import (
    ACQUISITIONS,
    NAME,
    REMEDY,
    as_complex,
    as_real,
    checked_slice,
    columns_of,
    faults_name,
    header_of,
    image_of,
    kspace_of,
    live_coils,
    mask_of,
    norm_of,
    rows_of,
    slices_of,
    text_of,
)
from condiff.data.header import Header
from condiff.data.volume import Volume
from condiff.errors import DataFault
from condiff.files import foreign, hdf5
from condiff.mri.fourier import ifft2c, remove_readout_oversampling, rss


def probe(path: Path) -> Volume:
    """The record of a file. Raises DataFault with the reason where it is no fully sampled brain volume of a known patient."""
    with hdf5.opened(path) as file:
        missing = [name for name in ("acquisition", "patient_id") if hdf5.attribute(file, name) is None]
        missing += [name for name in ("ismrmrd_header",) if not hdf5.holds(file, name)]
        if not hdf5.holds(file, "reconstruction_rss") and not hdf5.holds(file, "kspace"):
            missing.append("reconstruction_rss or kspace")
        if missing:
            raise DataFault(f"lacks {', '.join(missing)}; not fastMRI's layout")
        acquisition, patient, norm = text_of(file, "acquisition"), text_of(file, "patient_id"), norm_of(file)
        if not patient:
            raise DataFault("patient_id is empty: without it patients cannot be kept apart; write the attribute patient_id")
        header = header_of(file)
        kspace, image = kspace_of(file, header), image_of(file, header)
        if kspace is not None:
            slices, coils, rows, cols = kspace.shape
            header = _fully_sampled(kspace, mask_of(file, (rows, cols)), header)
            if image is not None and len(image) != slices:
                raise DataFault(f"kspace has {slices} slices, reconstruction_rss {len(image)}")
        elif hdf5.holds(file, "mask"):
            raise DataFault("holds the image of undersampled k-space (it has a mask), which makes no training image")
        else:
            assert image is not None
            (slices, rows, cols), coils = image.shape, 0
    if not NAME.fullmatch(acquisition):
        raise DataFault(f"acquisition is {acquisition[:40]!r}; a plain word such as {', '.join(ACQUISITIONS)} expected")
    shape = slices, coils, rows, cols
    digest = foreign.digest(path)
    with hdf5.reading():
        stat = path.stat()
    stamp = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    return Volume(path, acquisition, patient, acquisition, "", *shape, norm, digest, *stamp, header)


def _fully_sampled(kspace: h5py.Dataset, mask: np.ndarray | None, header: Header) -> Header:
    """The header with the range of measured columns, found from one line through the middle of k-space.

    Raises:
        DataFault: a column of that range was not measured, or the line is zero or not finite.
    """
    slices, _, rows, _ = kspace.shape
    line = as_complex(hdf5.array(kspace, (slices // 2, slice(None), rows // 2)))  # [coils, cols]
    if not np.isfinite(line).all():
        raise DataFault("kspace holds values that are not finite")
    measured = (line != 0).any(axis=0)
    if not measured.any():
        raise DataFault("kspace is zero")
    left, right = columns_of(header, measured)
    empty = int((~measured[left:right]).sum())
    if empty:
        raise DataFault(f"holds undersampled k-space ({empty} of {right - left} columns are zero), which makes no training image")
    if mask is not None and not mask[:, left:right].all():
        raise DataFault("holds undersampled k-space (its mask leaves samples out), which makes no training image")
    return replace(header, columns=(left, right))


def read_magnitude(path: Path) -> tuple[Tensor, tuple[float, float]]:
    """Magnitude slices [S, H, W] in the file's own units, and the pixel size along H and W in mm.

    They are the stored reconstruction where there is one, else the root sum of squares of the k-space, whose readout still
    covers twice the field of view.

    Raises:
        DataFault: the file cannot be read, or holds no finite image.
    """
    with faults_name(path), hdf5.opened(path) as file:
        header = header_of(file)
        image, kspace = image_of(file, header), kspace_of(file, header)
        if image is not None:
            foreign.check_memory(4 * image.size)
            images = torch.stack([as_real(values) for values in hdf5.slices(image)])
        elif kspace is not None:
            foreign.check_memory(8 * kspace.size // kspace.shape[1])
            images = torch.stack([rss(ifft2c(checked_slice(values))) for values in slices_of(kspace)])
        else:
            raise DataFault("lacks reconstruction_rss or kspace; not fastMRI's layout")
        if not images.isfinite().all() or images.max() <= 0:
            raise DataFault(f"its image is not finite, or empty; {REMEDY}")
        return images, header.pixel_mm


def read_kspace(path: Path) -> tuple[Tensor, tuple[float, float]]:
    """K-space [S, K, rows, cols] without readout oversampling, and its field of view along rows and cols in mm.

    Coils without signal are left out.

    Raises:
        DataFault: the file cannot be read, has no k-space, or one that is zero or not finite.
    """
    with faults_name(path), hdf5.opened(path) as file:
        header = header_of(file)
        stored = kspace_of(file, header)
        if stored is None:
            raise DataFault("holds no kspace, which complex images are made of; use data.transform=magnitude")
        foreign.check_memory(8 * stored.size)
        rows = rows_of(header)
        kspace = torch.stack([remove_readout_oversampling(checked_slice(values), rows) for values in slices_of(stored)])
        if not kspace.any():
            raise DataFault(f"its k-space is zero; {REMEDY}")
        return live_coils(kspace), (header.recon_fov_mm[0], header.fov_mm[1])


def read_identity(path: Path) -> Volume:
    """A record of contrast and patient alone; each is empty where it cannot be read."""
    texts = {"acquisition": "", "patient_id": ""}
    with suppress(DataFault), hdf5.opened(path) as file:
        for name in texts:
            with suppress(DataFault):
                texts[name] = text_of(file, name)
    return Volume(path, texts["acquisition"], texts["patient_id"], texts["acquisition"])
