"""A reconstruction: images of the slices that were measured, with their uncertainty."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condiff.errors import counted
from condiff.files import dicom, nifti, pictures, suffix
from condiff.files.atomic import atomic_write_hdf5
from condiff.files.place import Place

DESCRIPTION = "reconstruction (condiff)"


@dataclass(frozen=True)
class Reconstruction:
    """Complex images of slices, in units of the scanner's root sum of squares; in a notebook a picture.

    Attributes:
        samples: complex64 [K, S, H, W], K samples of the posterior; a method without a prior gives one.
        zero_filled: complex64 [S, H, W], the zero-filled reconstruction.
        pixel_mm: side of a pixel.
    """

    samples: np.ndarray
    zero_filled: np.ndarray
    pixel_mm: float

    @property
    def mean(self) -> np.ndarray:
        """The posterior mean, complex64 [S, H, W]."""
        return self.samples.mean(axis=0)

    @property
    def std(self) -> np.ndarray:
        """Pixel-wise standard deviation of the magnitude over samples, float32 [S, H, W]; zeros for one sample."""
        return np.abs(self.samples).std(axis=0, ddof=min(1, len(self.samples) - 1))

    @property
    def magnitude(self) -> np.ndarray:
        """The magnitude of the mean, float32 [S, H, W]."""
        return np.abs(self.mean)

    @property
    def place(self) -> Place:
        """Nominal: k-space does not record its place."""
        return Place.nominal(self.magnitude.shape, (self.pixel_mm, self.pixel_mm))

    def picture(self) -> Image.Image:
        """Each slice zero-filled and reconstructed; with several samples also one of them and five times the deviation."""
        white = float(np.quantile(self.magnitude, 0.99)) or 1.0
        columns = {"zero-filled": np.abs(self.zero_filled), "reconstruction": self.magnitude}
        if len(self.samples) > 1:
            columns |= {"one sample": np.abs(self.samples[0]), "deviation x 5": 5 * self.std}
        return pictures.grid(
            {
                title: {f"slice {index}": torch.from_numpy(image[None] / white) for index, image in enumerate(images)}
                for title, images in columns.items()
            }
        )

    def save(self, path: str | Path) -> Path:
        """Write a file by the suffix of its name.

        ``.png``: `picture`. ``.gif``: the samples one after another. ``.nii.gz`` or ``.nii``: the magnitude of the mean as one
        volume. ``.dcm``: the same as a DICOM series, in a folder of that name. ``.h5``: ``reconstruction`` (`magnitude`),
        ``combined`` (`mean`), ``standard_deviation`` (`std`, with several samples), ``samples`` and ``zero_filled``, named as by
        ``reconstruct.py``.

        Raises:
            InputError: another suffix.
        """
        path = Path(path)
        suffix.by_suffix(path, SAVERS)(self, path)
        return path

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.picture().save(content, "PNG")
        return content.getvalue()

    def __repr__(self) -> str:
        samples, slices, rows, columns = self.samples.shape
        return f"Reconstruction({counted(slices, 'slice')} of {rows} x {columns}, {counted(samples, 'sample')})"


def _save_gif(result: Reconstruction, path: Path) -> None:
    white = float(np.quantile(result.magnitude, 0.99)) or 1.0
    middle = result.samples.shape[1] // 2
    frames: list[Tensor] = [torch.from_numpy(np.abs(sample[middle][None]) / white) for sample in result.samples]
    pictures.save_gif(path, [pictures.tiles(frame) for frame in frames])


def _save_h5(result: Reconstruction, path: Path) -> None:
    with atomic_write_hdf5(path) as file:
        file["reconstruction"], file["combined"] = result.magnitude, result.mean
        if len(result.samples) > 1:
            file["standard_deviation"] = result.std
        file["samples"], file["zero_filled"] = result.samples, result.zero_filled
        file.attrs["pixel_mm"] = result.pixel_mm


def _save_nifti(result: Reconstruction, path: Path) -> None:
    nifti.save_volume(path, torch.from_numpy(result.magnitude), result.place, DESCRIPTION)


def _save_dicom(result: Reconstruction, path: Path) -> None:
    dicom.save_series(path, torch.from_numpy(result.magnitude), result.place, "MR", {}, DESCRIPTION, synthetic=False)


SAVERS: Mapping[str, Callable[[Reconstruction, Path], Any]] = {
    ".png": lambda result, path: result.picture().save(path),
    ".gif": _save_gif,
    ".h5": _save_h5,
    ".nii.gz": _save_nifti,
    ".nii": _save_nifti,
    ".dcm": _save_dicom,
}
