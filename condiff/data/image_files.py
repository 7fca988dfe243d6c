"""Images from a file: a volume of fastMRI's layout, a NIfTI volume, a DICOM series, or samples."""

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from condiff.data.dicom import reader as dicom
from condiff.data.dicom.frames import is_dicom
from condiff.data.dicom.layout import series_at
from condiff.data.fastmri.reader import read_identity, read_magnitude
from condiff.data.image_spec import ImageSpec
from condiff.data.nifti import reader as nifti
from condiff.data.planes import averaged, head
from condiff.data.transforms import Magnitude
from condiff.errors import DataFault, InputError, printable
from condiff.files import foreign, hdf5
from condiff.files.place import Place

KINDS = "give a volume (.h5, .nii or .nii.gz), the folder of a DICOM series, or samples.h5"


def read(path: Path, spec: ImageSpec) -> tuple[Tensor, str | None, Place | None]:
    """Images [N, C, H, W] in the model's units, their contrast where the file gives it, and the place of a scan that has one.

    A volume of fastMRI's layout, samples of `sample.py`, or a NIfTI volume or a DICOM series, of which all slices of the model's
    plane are taken, as thick as the model's.

    Raises:
        InputError: no such file, another kind of file, or images of another size.
    """
    if not path.exists():
        raise InputError(f"{printable(path)}: no such file; {KINDS}")
    try:
        if path.is_dir() or path.name.lower().endswith((*nifti.SUFFIXES, ".dcm")) or is_dicom(path):
            return _of_scan(path, spec)
        with hdf5.opened(path) as file:
            if hdf5.holds(file, "images"):
                return *_samples(file, spec), None
        take = read_magnitude if "plane" in spec.reading else spec.read
        return spec.transform(*take(path))[0], spec.contrast_of(read_identity(path).acquisition) or None, None
    except DataFault as fault:
        reason = str(fault).removeprefix(f"{printable(path)}: ")
        raise InputError(f"{printable(path)}: {reason}" + (f", or {KINDS}" if foreign.UNREADABLE in reason else "")) from None


def _of_scan(path: Path, spec: ImageSpec) -> tuple[Tensor, str | None, Place]:
    """The slices of a NIfTI volume or a DICOM series; white is that of the head, as in training.

    Raises DataFault for a model of complex images, or another file.
    """
    if not isinstance(spec.transform, Magnitude):
        raise DataFault("holds magnitudes, and the model makes complex images; give k-space, or a model of magnitudes")
    reading, contrast = spec.reading, None
    plane = reading.get("plane", "axial")
    geometry = {name: value for name, value in reading.items() if name != "slice_mm"}
    if path.name.lower().endswith(nifti.SUFFIXES):
        stack = nifti.read_stack(path, **geometry)
    else:
        series = series_at(path)
        stack, contrast = dicom.read_stack(series.files, **geometry), spec.contrast_of(series.contrast) or None
    whole = averaged(stack, reading.get("slice_mm"))
    try:
        white = spec.transform(averaged(head(stack, plane), reading.get("slice_mm")).values, stack.voxel_mm[1:])[1]
    except DataFault:  # a part of a head
        white = None
    size = whole.values.shape[1], whole.values.shape[2]
    place = whole.place.on_grid(size, (spec.shape[1], spec.shape[2]), spec.pixel_mm)
    images, own_white = spec.transform(whole.values, whole.voxel_mm[1:])
    return (images + 1) * (own_white / (white or own_white)) - 1, contrast, place


def _samples(file: h5py.File, spec: ImageSpec) -> tuple[Tensor, str | None]:
    """Images of a ``samples.h5`` and their common contrast. Raises DataFault for images of another shape."""
    stored, contrasts = hdf5.dataset(file, "images", "f", "images"), hdf5.dataset(file, "contrast", "SO", "names")
    assert stored is not None
    if stored.shape[1:] != spec.shape or not len(stored):
        raise DataFault(f"its images are {list(stored.shape[1:])}, the model's {list(spec.shape)}; give those of the same model")
    foreign.check_memory(4 * stored.size)
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
