"""Translate: a slice of a scan made into another contrast."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from condiff.errors import InputError
from condiff.files import nifti
from condiff.images import Images
from condiff.model import Model
from condiff.sampling import ANY
from condiff.sampling.translation import Source


class Translation(NamedTuple):
    """A slice before and after."""

    source: Images
    result: Images


def read(model: Model, path: Path) -> Source:
    """Returns the slices of a file as images of the model. Raises InputError if it cannot be read as such."""
    if not model.contrasts:
        raise InputError("model: is unconditional, so it cannot translate between contrasts; start the page with another, ckpt=")
    return Source.of(path, model.spec)


def brightest(source: Source, model: Model) -> int:
    """Returns the number of the slice with the most signal, which shows most of a head."""
    return int(model.spec.transform.magnitude(source.images).mean(dim=(1, 2)).argmax())


def one_slice(source: Source, model: Model, number: int | None) -> Images:
    """Returns a slice of a scan, by default the `brightest`. Raises InputError if the scan has no such slice."""
    number, count = brightest(source, model) if number is None else number, len(source.images)
    if not 0 <= number < count:
        raise InputError(f"slice={number}: the file has {count}, counted from 0; give one of these")
    scan = source.scan.of_slices([number]) if source.scan else None
    contrast = source.contrast or ANY
    return Images(source.images[number : number + 1], model.spec, (contrast,), (0,), scan=scan)


def translate(model: Model, path: Path, source: str | None, to: str, number: int | None) -> Translation:
    """Returns a slice of a file and its translation, by DDIM inversion.

    Args:
        source: contrast of the file, where it does not record one.
        number: of the slice, counted from 0; None: the `brightest`.

    Raises:
        InputError: a file that cannot be read, or contrasts that do not fit.
    """
    before = one_slice(read(model, path).named(source), model, number)
    if before.contrasts == (ANY,):
        raise InputError(f"source contrast: the file does not record it; choose one of {', '.join(model.contrasts)}")
    if before.contrasts == (to,):
        raise InputError(f"target contrast={to}: is that of the file; choose another")
    return Translation(before, model.translate(before, to))


def panels(translation: Translation) -> list[tuple[str, np.ndarray]]:
    """Returns titles and magnitudes [H, W]: the slice, its translation, and the absolute difference of both."""
    before, after = translation.source.magnitude[0], translation.result.magnitude[0]
    titles = f"source, {translation.source.contrasts[0]}", f"translated to {translation.result.contrasts[0]}", "difference"
    return [*zip(titles, (before, after, np.abs(after - before)), strict=True)]


def save(translation: Translation, folder: Path) -> list[str]:
    """Writes the translated slice as PNG, NIfTI, at its place in the scan, and HDF5. Returns the paths."""
    stem = f"translated_{nifti.file_stem(translation.result.contrasts[0])}"
    return [str(translation.result.save(folder / f"{stem}{suffix}")) for suffix in (".png", ".nii.gz", ".h5")]
