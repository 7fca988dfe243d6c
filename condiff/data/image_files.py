"""Images from a file: a volume of fastMRI's layout, a NIfTI volume, or samples."""

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from condiff.data.fastmri.reader import read_identity
from condiff.data.image_spec import ImageSpec
from condiff.data.nifti import reader as nifti
from condiff.data.transforms import Magnitude
from condiff.errors import DataFault, InputError, printable
from condiff.files import hdf5

KINDS = "give a volume (.h5, .nii or .nii.gz) or samples.h5"


def read(path: Path, spec: ImageSpec) -> tuple[Tensor, str | None]:
    """Images [N, C, H, W] in the model's units, and their contrast where the file gives it.

    A volume of fastMRI's layout, samples of `sample.py`, or a NIfTI volume, whose axial slices are taken.

    Raises:
        InputError: no such file, another kind of file, or images of another size.
    """
    if not path.is_file():
        raise InputError(f"{printable(path)}: no such file; {KINDS}")
    try:
        if path.name.lower().endswith(nifti.SUFFIXES):
            if not isinstance(spec.transform, Magnitude):
                raise DataFault("holds magnitudes, and the model makes complex images; give k-space, or a model of magnitudes")
            return spec.transform(*nifti.read_magnitude(path))[0], None
        with hdf5.opened(path) as file:
            if hdf5.holds(file, "images"):
                return _samples(file, spec)
        return spec.transform(*spec.read(path))[0], spec.contrast_of(read_identity(path).acquisition) or None
    except DataFault as fault:
        reason = str(fault).removeprefix(f"{printable(path)}: ")
        raise InputError(f"{printable(path)}: {reason}" + (f", or {KINDS}" if hdf5.UNREADABLE in reason else "")) from None


def _samples(file: h5py.File, spec: ImageSpec) -> tuple[Tensor, str | None]:
    """Images of a ``samples.h5`` and their common contrast. Raises DataFault for images of another shape."""
    stored, contrasts = hdf5.dataset(file, "images", "f", "images"), hdf5.dataset(file, "contrast", "SO", "names")
    assert stored is not None
    if stored.shape[1:] != spec.shape or not len(stored):
        raise DataFault(f"its images are {list(stored.shape[1:])}, the model's {list(spec.shape)}; give those of the same model")
    hdf5.check_memory(4 * stored.size)
    images = torch.from_numpy(hdf5.array(stored).astype(np.float32))
    if not images.isfinite().all():
        raise DataFault("its images are not finite; give others")
    return images, _one_name(contrasts) if contrasts is not None and contrasts.shape == (len(images),) else None


def _one_name(contrasts: h5py.Dataset) -> str | None:
    """The name that all entries have, None where they differ. Entries are read singly: each may refer to one long text."""
    first = hdf5.array(contrasts, 0).item()
    is_short = isinstance(first, bytes) and len(first) <= hdf5.LONGEST
    is_same = is_short and all(hdf5.array(contrasts, index).item() == first for index in range(1, len(contrasts)))
    return first.decode("utf-8", "backslashreplace") if is_same else None
