"""Images given in a file: a volume of fastMRI's layout, a NIfTI volume, or samples."""

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from condiff.data import nifti
from condiff.data.fastmri.reader import label
from condiff.data.image_spec import ImageSpec
from condiff.data.transforms import Magnitude
from condiff.errors import DataFault, InputError, printable
from condiff.files import hdf5

KINDS = "give a volume (.h5, .nii or .nii.gz) or samples.h5"


def read(path: Path, spec: ImageSpec) -> tuple[Tensor, str | None]:
    """Images [N, C, H, W] as the model knows them, and their contrast where the file gives it.

    A volume of fastMRI's layout, samples of `sample.py`, or a NIfTI volume, whose axial slices are taken.

    Raises:
        InputError: no such file, another kind of file, or images of another size.
    """
    if not path.is_file():
        raise InputError(f"init={path}: no such file; {KINDS}")
    try:
        if path.name.lower().endswith(nifti.SUFFIXES):
            if not isinstance(spec.transform, Magnitude):
                raise DataFault("holds magnitudes, and the model makes complex images; give k-space, or a model of magnitudes")
            return spec.transform(*nifti.read_magnitude(path))[0], None
        with hdf5.opened(path) as file:
            if hdf5.holds(file, "images"):
                return _samples(file, spec)
        return spec.transform(*spec.read(path))[0], spec.contrast_of(label(path).acquisition) or None
    except DataFault as fault:
        reason = str(fault).removeprefix(f"{printable(path)}: ")
        raise InputError(f"init={path}: {reason}" + (f", or {KINDS}" if hdf5.UNREADABLE in reason else "")) from None


def _samples(file: h5py.File, spec: ImageSpec) -> tuple[Tensor, str | None]:
    """Images that `sample.py` wrote. Raises DataFault for those of another model."""
    found, contrasts = hdf5.dataset(file, "images", "f", "images"), hdf5.dataset(file, "contrast", "SO", "names")
    assert found is not None
    if found.shape[1:] != spec.shape or not len(found):
        raise DataFault(f"its images are {list(found.shape[1:])}, the model's {list(spec.shape)}; give those of the same model")
    hdf5.check_memory(4 * found.size)
    images = torch.from_numpy(hdf5.array(found).astype(np.float32))
    if not images.isfinite().all():
        raise DataFault("its images are not finite; give others")
    return images, _one_name(contrasts) if contrasts is not None and contrasts.shape == (len(images),) else None


def _one_name(contrasts: h5py.Dataset) -> str | None:
    """What all say, read one after another, for each may be a reference to one long text; None where they differ."""
    first = hdf5.array(contrasts, 0).item()
    short = isinstance(first, bytes) and len(first) <= hdf5.LONGEST
    same = short and all(hdf5.array(contrasts, index).item() == first for index in range(1, len(contrasts)))
    return first.decode("utf-8", "backslashreplace") if same else None
