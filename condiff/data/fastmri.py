"""The fastMRI reader: finds the volumes of a folder tree and reads magnitude images out of one.

Schema (Zbontar et al. 2018, and the dataset's own files): ``kspace`` [slices, coils, rows, cols]
complex64, ``reconstruction_rss`` [slices, R, R] float32, ``ismrmrd_header`` XML, attributes
``acquisition`` and ``patient_id``. The contrast is what the file says of itself, never its name.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import torch
from rich.progress import track
from torch import Tensor

from condiff.data import header
from condiff.errors import InputError
from condiff.mri.fourier import ifft2c, rss

ACQUISITIONS = ("AXT1", "AXT1PRE", "AXT1POST", "AXT2", "AXFLAIR")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Volume:
    """One file: where it is, what contrast it holds, whose head it is."""

    path: Path
    contrast: str
    patient: str


@dataclass(frozen=True)
class Index:
    """The readable volumes of a folder, and for each file that is none the reason."""

    volumes: list[Volume]
    skipped: dict[Path, str]


def find(root: Path) -> Index:
    """Look into every .h5 file under ``root``; one that is broken is reported and left out.

    Raises:
        InputError: no folder there, or no readable volume in it.
    """
    if not root.is_dir():
        raise InputError(f"data.root: no folder {root}; give the one that holds fastMRI's .h5 files, data.root=DIR")
    paths = sorted(root.rglob("*.h5"))
    volumes, skipped = [], {}
    for path in _tracked(paths):
        try:
            volumes.append(probe(path))
        except ValueError as reason:
            skipped[path] = str(reason)
            log.warning("skipped %s: %s", path, reason)
    if skipped:
        log.warning("skipped %d of %d files in %s", len(skipped), len(paths), root)
    if not volumes:
        first = f", the first being {next(iter(skipped))}: {next(iter(skipped.values()))}" if skipped else ""
        raise InputError(
            f"data.root: {root} holds no readable fastMRI volume ({len(paths)} .h5 files{first}); "
            "give the folder with the multicoil brain files, data.root=DIR"
        )
    return Index(volumes, skipped)


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
            if "mask" in file and "reconstruction_rss" not in file:
                raise ValueError("holds undersampled k-space (it has a mask), which is no image to learn from")
            header.parse(file["ismrmrd_header"][()])
            name, ndim = ("reconstruction_rss", 3) if "reconstruction_rss" in file else ("kspace", 4)
            shape = getattr(file[name], "shape", ())
            if len(shape) != ndim or 0 in shape:
                raise ValueError(f"{name} has the shape {shape}, not one of {ndim} axes with slices first")
            contrast, patient = _text(file.attrs["acquisition"]), _text(file.attrs["patient_id"])
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"cannot be read as HDF5 ({error}); copy or download it again") from None
    if contrast not in ACQUISITIONS:
        raise ValueError(f"acquisition is {contrast!r}, not one of {', '.join(ACQUISITIONS)}")
    return Volume(path, contrast, patient)


def read_magnitude(path: Path) -> tuple[Tensor, tuple[float, float]]:
    """Magnitude slices [S, H, W] in the file's own units, and the pixel size along H and W in mm.

    The stored reconstruction where there is one, else the root sum of squares of the k-space, whose
    readout still covers twice the field of view.

    Raises:
        InputError: the file cannot be read, or holds no finite image.
    """
    try:
        with h5py.File(path) as file:
            pixel = header.parse(file["ismrmrd_header"][()]).pixel_mm
            if "reconstruction_rss" in file:
                images = torch.from_numpy(file["reconstruction_rss"][()]).float()
            else:
                images = torch.stack([rss(ifft2c(torch.from_numpy(kspace))) for kspace in file["kspace"]])
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); copy it again or move it out of data.root") from None
    if not images.isfinite().all() or images.max() <= 0:
        raise InputError(f"{path}: its image is not finite, or empty; copy it again or move it out of data.root")
    return images, pixel


def _text(attribute: str | bytes) -> str:
    return attribute.decode() if isinstance(attribute, bytes) else str(attribute)


def _tracked(paths: list[Path]) -> Iterable[Path]:
    return track(paths, "Reading headers", transient=True) if len(paths) > 100 else paths
