"""Reconstruction of a volume from file to file: undersample, measure, solve, compare with the reference, write."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from condiff.data.fastmri.raw_scan import RawScan
from condiff.errors import InputError
from condiff.files import pictures
from condiff.files.atomic import atomic_write_hdf5
from condiff.linear import recorded_residuals
from condiff.mri import masks
from condiff.mri.fourier import center_crop, center_crop_or_pad, fft2c, ifft2c, to_channels, to_complex
from condiff.reconstruction.measurement import ImageGrid, Measurement, measure
from condiff.reconstruction.metrics import similarity, uncertainty_calibration
from condiff.reconstruction.numbers import without_nan
from condiff.reconstruction.solver import Solver
from condiff.seeds import derive_seed

FIGURE_SLICES = 3
MIN_MAGNITUDE = 0.1  # of white, where the uncertainty is compared with the error
ERROR_GAIN = 5  # of errors in the figure
Draw = Callable[..., Tensor]  # a mask, (shape, acceleration, generator=…)


class Acquisition(NamedTuple):
    """A measurement of a file.

    Attributes:
        reference: of a fully sampled file, `Measurement.reference`.
        acceleration: of the file's k-space, and of the part on the model's grid.
        seconds: per slice, of the measurement.
        noise: standard deviation of the reference's own noise.
    """

    measurement: Measurement
    reference: tuple[Tensor, Tensor] | None
    acceleration: tuple[float, float]
    seconds: float
    noise: float


@dataclass(frozen=True)
class AcquisitionModel:
    """Makes measurements of files.

    Args:
        grid: of the model's images.
        maps: one of `condiff.mri.maps`.
        coils: number of virtual coils, at most.
        mask, acceleration: for fully sampled files, which are undersampled with them.
        simulate: replace the measured k-space by that of the full scan's image under the operator.
        seed: of the masks, and of the simulation's noise.
        own_maps: scan -> coil maps [S, K, H, W] of its valid slices, in place of ``maps``.
    """

    grid: ImageGrid
    maps: Callable[..., Tensor]
    coils: int
    mask: Draw
    acceleration: float
    simulate: bool
    seed: int
    own_maps: Callable[[RawScan], Tensor] | None = None

    def __call__(self, raw: RawScan, slices: list[int], device: torch.device, typical: Tensor | None = None) -> Acquisition:
        """Measures slices of a file, which is undersampled first if it is fully sampled.

        Args:
            slices: their numbers in the file.
            typical: samples [N, H, W] of the prior, as `measure` takes them.
        """
        sampled, name = raw.sampled, raw.volume.path.name
        generator = torch.Generator().manual_seed(derive_seed("mask", self.seed, name))
        left, right = raw.volume.header.columns if raw.volume.header else (0, sampled.shape[1])
        acquired = torch.zeros_like(sampled)  # without zero-padded columns
        acquired[:, left:right] = True
        if raw.full:
            mask = torch.zeros_like(sampled)
            mask[:, left:right] = self.mask((sampled.shape[0], right - left), self.acceleration, generator=generator)
            sampled = sampled & mask
        elif self.simulate:
            raise InputError(f"simulate=true: {name} is not fully sampled, so its image is unknown; leave it out")
        kspace, begin = raw.kspace.to(device), time.monotonic()
        margins = None if raw.margins is None else raw.margins.to(device)
        places = [raw.valid_slices.index(index) for index in slices]
        settings = raw.fov_mm, self.grid, self.maps, self.coils
        own_maps = None if self.own_maps is None else self.own_maps(raw)
        measurement = measure(kspace, sampled.to(device), *settings, margins, places, typical, own_maps)
        seconds = (time.monotonic() - begin) / len(slices)
        acquired_on_grid = center_crop_or_pad(acquired.to(device), (measurement.mask.shape[0], measurement.mask.shape[1]))
        rates = masks.acceleration(sampled[acquired]), masks.acceleration(measurement.mask[acquired_on_grid])
        if not raw.full:
            return Acquisition(measurement, None, rates, seconds, 0.0)
        reference = measurement.reference(kspace[places], self.maps if own_maps is None else None)
        if self.simulate:
            return Acquisition(measurement.simulate(reference[0], generator), reference, rates, seconds, 0.0)
        noise = measurement.sigma_y * float(acquired_on_grid.double().mean()) ** 0.5
        return Acquisition(measurement, reference, rates, seconds, noise)


def reconstruct(
    raw: RawScan,
    scan: AcquisitionModel,
    solver: Solver,
    cond: Tensor | None,
    typical: Tensor | None,
    slices: list[int],
    device: torch.device,
    out: Path,
    keep_samples: bool,
    provenance: Mapping[str, Any],
    on_step: Callable[[float], None],
) -> dict[str, Any]:
    """Writes ``out``, an HDF5 file, with a .png and a .gif beside it. Returns the results, which the HDF5 file holds too.

    Args:
        cond: [S, D], of ``slices``.
        typical: samples [N, H, W] of the prior, which correct the scale estimate.
        provenance: stored with the results.
    """
    acquisition = scan(raw, slices, device, typical)
    measurement, name = acquisition.measurement, raw.volume.path.name
    failed = [slices[place] for place in measurement.failed]
    places = [place for place in range(len(slices)) if place not in measurement.failed]
    slices, cond = [slices[place] for place in places], None if cond is None else cond[places]
    begin, before = time.monotonic(), solver.cost.evaluations
    with recorded_residuals() as residuals:
        samples, trajectory = solver(measurement, places, [(name, index) for index in slices], cond, on_step)  # [K, S, H, W]
    seconds = acquisition.seconds + (time.monotonic() - begin) / len(slices)
    measurement, white = measurement.to(torch.device("cpu")), measurement.grid.reference_intensity
    estimates = {"one": samples[0]} | ({"mean": samples.mean(dim=0)} if len(samples) > 1 else {})
    numbers: dict[str, Any] = {
        "file": name, "contrast": raw.volume.contrast, **provenance, "slices": slices,
        "bad_slices": [i for i in range(raw.volume.slices) if i not in raw.valid_slices or i in failed],
        "acceleration": acquisition.acceleration[0], "acceleration_on_grid": acquisition.acceleration[1],
        "calibration": list(measurement.calibration), "sigma_y": measurement.sigma_y, "scale": measurement.scale,
        "samples": len(samples), "data": "simulated" if scan.simulate else "raw",
        "evaluations_per_slice": (solver.cost.evaluations - before) / len(slices), "seconds_per_slice": seconds,
        "chi2": {key: reduced_chi2(measurement, places, images) for key, images in estimates.items()},
    }  # fmt: skip
    if residuals:
        numbers["cg_residual"] = {
            "largest": max(residual.max().item() for residual in residuals),
            "last": residuals[-1].max().item(),
        }
    zero_filled = to_complex(measurement.operator(places).adjoint(measurement.kspace[places]))
    sensitivity = measurement.coil_rss[places]
    combined = None
    if acquisition.reference:
        combined, squares = (part.cpu()[places] for part in acquisition.reference)
        for title, truth, unit in (("combined", combined.abs(), 1.0), ("rss", squares, sensitivity)):
            versions = {"zero_filled": zero_filled} | estimates
            numbers[title] = {key: similarity(truth, image.abs() * unit) for key, image in versions.items()}
        if len(samples) > 1 and (combined.abs() > MIN_MAGNITUDE * white).any():
            numbers["uncertainty"] = visible_calibration(combined, samples, white, acquisition.noise)
    numbers = without_nan(numbers)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure(combined, zero_filled, samples, slices, white).save(out.with_suffix(".png"))
    frames = [pictures.tiles(frame[None] / white) for frame in trajectory.abs()]
    pictures.save_gif(out.with_suffix(".gif"), frames)
    _write(out, raw, measurement.grid, samples, keep_samples, slices, sensitivity, numbers)
    return numbers


def reduced_chi2(measurement: Measurement, slices: list[int], images: Tensor) -> float:
    """Reduced chi-squared |y - A x|^2 / (2 sigma_y^2 N) over N samples of k-space; images [S, H, W]."""
    y = measurement.kspace[slices]
    residual = (y - measurement.operator(slices)(to_channels(images))).abs().square().sum()
    return (residual / (2 * measurement.sigma_y**2 * measurement.mask.sum() * y.shape[0] * y.shape[1])).item()


def visible_calibration(truth: Tensor, samples: Tensor, white: float, noise: float) -> dict[str, float]:
    """`uncertainty_calibration` of real and imaginary parts outside the air; truth [S, H, W], samples [K, S, H, W]."""
    visible = truth.abs() > MIN_MAGNITUDE * white
    return uncertainty_calibration(torch.view_as_real(truth[visible]), torch.view_as_real(samples[:, visible]), noise)


def figure(truth: Tensor | None, zero_filled: Tensor, samples: Tensor, slices: list[int], white: float):
    """A figure with a row per slice: zero-filled, reconstruction, full scan, error, standard deviation."""
    rows = torch.linspace(0, len(slices) - 1, min(FIGURE_SLICES, len(slices))).round().long().tolist()
    mean = samples.mean(dim=0)
    columns = {"zero-filled": zero_filled.abs(), "mean" if len(samples) > 1 else "reconstruction": mean.abs()}
    if len(samples) > 1:
        columns["one sample"] = samples[0].abs()
    if truth is not None:
        columns["full scan"] = truth.abs()
        columns[f"error x {ERROR_GAIN}"] = ERROR_GAIN * (mean.abs() - truth.abs()).abs()
    if len(samples) > 1:
        columns[f"deviation x {ERROR_GAIN}"] = ERROR_GAIN * samples.abs().std(dim=0)
    return pictures.grid(
        {title: {f"slice {slices[i]}": images[i][None] / white for i in rows} for title, images in columns.items()}
    )


def _write(
    path: Path,
    raw: RawScan,
    grid: ImageGrid,
    samples: Tensor,
    keep_samples: bool,
    slices: list[int],
    sensitivity: Tensor,
    numbers: dict[str, Any],
) -> None:
    """Write ``reconstruction`` and its standard deviation on the file's grid and in its units, the rest on the model's grid."""
    whole_volume = partial(_whole_volume, raw.volume.slices, slices)
    rows, cols = (round(grid.fov_mm / fov * n) for fov, n in zip(raw.fov_mm, raw.sampled.shape, strict=True))

    def on_file_grid(images: Tensor) -> np.ndarray:
        resampled = ifft2c(center_crop_or_pad(fft2c(images.to(torch.complex64)), (rows, cols)))
        return whole_volume(center_crop(center_crop_or_pad(resampled.abs(), raw.shape), raw.shape)).numpy()

    with atomic_write_hdf5(path) as file:
        file["reconstruction"] = on_file_grid(samples.mean(dim=0) * sensitivity)
        file["combined"] = whole_volume(samples.mean(dim=0)).numpy()
        if len(samples) > 1:
            file["standard_deviation"] = on_file_grid(samples.abs().std(dim=0) * sensitivity)
        if keep_samples:
            file["samples"] = torch.stack([whole_volume(sample) for sample in samples]).numpy()
        file.attrs["metrics"] = json.dumps(numbers, allow_nan=False)
        file.attrs["acquisition"] = raw.volume.acquisition


def _whole_volume(count: int, slices: list[int], images: Tensor) -> Tensor:
    """[len(slices), H, W] -> [count, H, W], zero where nothing was reconstructed."""
    volume = images.new_zeros(count, *images.shape[1:])
    volume[slices] = images
    return volume
