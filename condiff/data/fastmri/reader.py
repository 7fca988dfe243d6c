"""FastMRI's files: what one is, and the reading of magnitude images or k-space out of it.

Schema (Zbontar et al. 2018, and the dataset's own files): ``kspace`` [slices, coils, rows, cols]
complex64, ``reconstruction_rss`` [slices, R, R] float32, ``ismrmrd_header`` XML, attributes
``acquisition`` and ``patient_id``. The contrast is what the file says of itself, never its name.
Other byte orders, precisions and ways to store a text are read as well.
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
    REMEDY,
    as_complex,
    as_real,
    checked,
    columns_of,
    header_of,
    image_of,
    kspace_of,
    live_coils,
    mask_of,
    naming,
    norm_of,
    rows_of,
    slices_of,
    text_of,
)
from condiff.data.header import Header
from condiff.data.volume import Volume
from condiff.errors import DataFault
from condiff.files import hdf5
from condiff.mri.fourier import ifft2c, remove_readout_oversampling, rss


def probe(path: Path) -> Volume:
    """What the file is. Raises DataFault with the reason where it is no fully sampled brain volume of a known patient."""
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
        about = header_of(file)
        kspace, image = kspace_of(file, about), image_of(file, about)
        if kspace is not None:
            slices, coils, rows, cols = kspace.shape
            about = _fully_sampled(kspace, mask_of(file, (rows, cols)), about)
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
    line = as_complex(hdf5.array(kspace, (slices // 2, slice(None), rows // 2)))  # [coils, cols]
    if not np.isfinite(line).all():
        raise DataFault("kspace holds values that are not finite")
    measured = (line != 0).any(axis=0)
    if not measured.any():
        raise DataFault("kspace is zero")
    left, right = columns_of(about, measured)
    empty = int((~measured[left:right]).sum())
    if empty:
        raise DataFault(
            f"holds undersampled k-space ({empty} of {right - left} columns are zero), which is no image to learn from"
        )
    if mask is not None and not mask[:, left:right].all():
        raise DataFault("holds undersampled k-space (its mask leaves samples out), which is no image to learn from")
    return replace(about, columns=(left, right))


def read_magnitude(path: Path) -> tuple[Tensor, tuple[float, float]]:
    """Magnitude slices [S, H, W] in the file's own units, and the pixel size along H and W in mm.

    The stored reconstruction where there is one, else the root sum of squares of the k-space, whose
    readout still covers twice the field of view.

    Raises:
        DataFault: the file cannot be read, or holds no finite image.
    """
    with naming(path), hdf5.opened(path) as file:
        about = header_of(file)
        image, kspace = image_of(file, about), kspace_of(file, about)
        if image is not None:
            hdf5.check_memory(4 * image.size)
            images = torch.stack([as_real(one) for one in hdf5.slices(image)])
        elif kspace is not None:
            hdf5.check_memory(8 * kspace.size // kspace.shape[1])
            images = torch.stack([rss(ifft2c(checked(one))) for one in slices_of(kspace)])
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
    with naming(path), hdf5.opened(path) as file:
        about = header_of(file)
        found = kspace_of(file, about)
        if found is None:
            raise DataFault("holds no kspace, which complex images are made of; use data.transform=magnitude")
        hdf5.check_memory(8 * found.size)
        kspace = torch.stack([remove_readout_oversampling(checked(one), rows_of(about)) for one in slices_of(found)])
        if not kspace.any():
            raise DataFault(f"its k-space is zero; {REMEDY}")
        return live_coils(kspace), (about.recon_fov_mm[0], about.fov_mm[1])


def label(path: Path) -> Volume:
    """Contrast and patient alone; empty where they cannot be read."""
    texts = {"acquisition": "", "patient_id": ""}
    with suppress(DataFault), hdf5.opened(path) as file:
        for name in texts:
            with suppress(DataFault):
                texts[name] = text_of(file, name)
    return Volume(path, texts["acquisition"], texts["patient_id"], texts["acquisition"])
