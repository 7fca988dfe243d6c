"""Files of a reconstructed volume: HDF5, with a picture and an animation beside it."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condiff.data.metadata import header_parameters
from condiff.data.volume import Volume
from condiff.files import dicom, nifti, pictures
from condiff.files.atomic import atomic_write_hdf5
from condiff.files.place import Place
from condiff.mri.fourier import center_crop, center_crop_or_pad, fft2c, ifft2c
from condiff.reconstruction.pipeline import SolvedVolume
from condiff.reconstruction.result import DESCRIPTION

Export = Callable[[Path, Tensor, Place, Volume], None]  # path of the HDF5 file, magnitudes, their place, what was scanned
FIGURE_SLICES = 3
ERROR_GAIN = 5  # of errors in the figure


def no_export(path: Path, images: Tensor, place: Place, volume: Volume) -> None:
    """Writes no other format."""


def export_nifti(path: Path, images: Tensor, place: Place, volume: Volume) -> None:
    """Writes magnitudes [S, H, W] as one NIfTI file beside the HDF5 file."""
    nifti.save_volume(path.with_suffix(".nii.gz"), images, place, DESCRIPTION)


def export_dicom(path: Path, images: Tensor, place: Place, volume: Volume) -> None:
    """Writes magnitudes [S, H, W] as one DICOM series beside the HDF5 file, in place of that of an interrupted run."""
    folder = path.with_suffix(".dcm")
    dicom.remove_series(folder)
    dicom.save_series(folder, images, place, volume.acquisition, header_parameters(volume), DESCRIPTION, synthetic=False)


EXPORTS: Mapping[str, Export] = {"h5": no_export, "nifti": export_nifti, "dicom": export_dicom}


def write_volume(
    path: Path, solved: SolvedVolume, results: dict[str, Any], keep_samples: bool, export: Export = no_export
) -> None:
    """Writes a volume and its results as HDF5, with a .png and a .gif beside it; the HDF5 file comes last, as a sign of success.

    ``reconstruction`` and its standard deviation are on the grid and in the units of the file, the rest is on the model's grid.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure(solved).save(path.with_suffix(".png"))
    pictures.save_gif(path.with_suffix(".gif"), [pictures.tiles(state[None] / solved.white) for state in solved.trajectory.abs()])
    raw, grid, samples = solved.raw, solved.acquisition.measurement.grid, solved.samples
    whole_volume = partial(_whole_volume, raw.volume.slices, solved.slices)
    rows, cols = (round(grid.fov_mm / fov * n) for fov, n in zip(raw.fov_mm, raw.sampled.shape, strict=True))

    def on_file_grid(images: Tensor) -> np.ndarray:
        resampled = ifft2c(center_crop_or_pad(fft2c(images.to(torch.complex64)), (rows, cols)))
        return whole_volume(center_crop(center_crop_or_pad(resampled.abs(), raw.shape), raw.shape)).numpy()

    sensitivity = solved.sensitivity
    mean = on_file_grid(samples.mean(dim=0) * sensitivity)
    pixel_mm = raw.fov_mm[0] / raw.sampled.shape[0], raw.fov_mm[1] / raw.sampled.shape[1]
    export(path, torch.from_numpy(mean), Place.nominal(mean.shape, pixel_mm), raw.volume)
    with atomic_write_hdf5(path) as file:
        file["reconstruction"] = mean
        file["combined"] = whole_volume(samples.mean(dim=0)).numpy()
        if len(samples) > 1:
            file["standard_deviation"] = on_file_grid(samples.abs().std(dim=0) * sensitivity)
        if keep_samples:
            file["samples"] = torch.stack([whole_volume(sample) for sample in samples]).numpy()
        file.attrs["metrics"] = json.dumps(results, allow_nan=False)
        file.attrs["acquisition"] = raw.volume.acquisition


def figure(solved: SolvedVolume) -> Image.Image:
    """Returns a picture with a row per slice: zero-filled, reconstruction, full scan, error, standard deviation."""
    slices, samples = solved.slices, solved.samples
    rows = torch.linspace(0, len(slices) - 1, min(FIGURE_SLICES, len(slices))).round().long().tolist()
    mean = samples.mean(dim=0)
    columns = {"zero-filled": solved.zero_filled.abs(), "mean" if len(samples) > 1 else "reconstruction": mean.abs()}
    if len(samples) > 1:
        columns["one sample"] = samples[0].abs()
    if solved.reference:
        truth = solved.reference[0].abs()
        columns["full scan"] = truth
        columns[f"error x {ERROR_GAIN}"] = ERROR_GAIN * (mean.abs() - truth).abs()
    if len(samples) > 1:
        columns[f"deviation x {ERROR_GAIN}"] = ERROR_GAIN * samples.abs().std(dim=0)
    return pictures.grid(
        {title: {f"slice {slices[i]}": images[i][None] / solved.white for i in rows} for title, images in columns.items()}
    )


def _whole_volume(count: int, slices: list[int], images: Tensor) -> Tensor:
    """Returns [count, H, W] from images [S, H, W] of ``slices``, zero where nothing was reconstructed."""
    volume = images.new_zeros(count, *images.shape[1:])
    volume[slices] = images
    return volume
