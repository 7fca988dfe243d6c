"""A volume from file to file: read, undersampled where it is not, solved, judged where the truth is known, written."""

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

from condiff.data.fastmri.acquired import Acquired
from condiff.errors import InputError
from condiff.files import pictures
from condiff.files.atomic import whole_hdf5
from condiff.linear import recorded_residuals
from condiff.mri import masks
from condiff.mri.fourier import center_crop, center_crop_or_pad, fft2c, ifft2c, to_channels, to_complex
from condiff.reconstruction.measurement import Grid, Measurement, measure
from condiff.reconstruction.metrics import calibration, similarity
from condiff.reconstruction.numbers import without_nan
from condiff.reconstruction.solver import Solver
from condiff.seeds import derive_seed

SHOWN = 3  # slices in the figure
VISIBLE = 0.1  # of white: where uncertainty is judged
GAIN = 5  # of errors in the figure
Draw = Callable[..., Tensor]  # a mask, (shape, acceleration, generator=…)


class Scanned(NamedTuple):
    """A measurement, and what is known of it: the truth of fully sampled files (`Measurement.target`), acceleration of the
    file and of what of it lies on the model's grid, seconds a slice, and the standard deviation of the truth's own noise."""

    measured: Measurement
    target: tuple[Tensor, Tensor] | None
    acceleration: tuple[float, float]
    seconds: float
    noise: float


@dataclass(frozen=True)
class Scan:
    """How measurements are had from files.

    Args:
        grid: of the model's images.
        maps: one of `condiff.mri.maps`.
        coils: at most so many virtual ones.
        mask, acceleration: for files that are fully sampled.
        simulate: replace what was measured by what the operator makes of the full scan's image.
        seed: of the masks, and of the simulation's noise.
        own_maps: from a file to coil maps [S, K, H, W] of its good slices, in place of ``maps``.
    """

    grid: Grid
    maps: Callable[..., Tensor]
    coils: int
    mask: Draw
    acceleration: float
    simulate: bool
    seed: int
    own_maps: Callable[[Acquired], Tensor] | None = None

    def __call__(self, acquired: Acquired, slices: list[int], device: torch.device, typical: Tensor | None = None) -> Scanned:
        """Measure slices of a file, by their numbers in it, undersampled first where it is fully sampled.

        Args:
            typical: images [N, H, W] of the prior, as `measure` takes them.
        """
        sampled, name = acquired.sampled, acquired.volume.path.name
        generator = torch.Generator().manual_seed(derive_seed("mask", self.seed, name))
        left, right = acquired.volume.header.columns if acquired.volume.header else (0, sampled.shape[1])
        there = torch.zeros_like(sampled)
        there[:, left:right] = True
        if acquired.full:
            taken = torch.zeros_like(sampled)
            taken[:, left:right] = self.mask((sampled.shape[0], right - left), self.acceleration, generator=generator)
            sampled = sampled & taken
        elif self.simulate:
            raise InputError(f"simulate=true: {name} is not fully sampled, and its image is not known; leave it out")
        kspace, begin = acquired.kspace.to(device), time.monotonic()
        margins = None if acquired.margins is None else acquired.margins.to(device)
        places = [acquired.good.index(index) for index in slices]
        about = acquired.fov_mm, self.grid, self.maps, self.coils
        own = None if self.own_maps is None else self.own_maps(acquired)
        measured = measure(kspace, sampled.to(device), *about, margins, places, typical, own)
        seconds = (time.monotonic() - begin) / len(slices)
        fitted = center_crop_or_pad(there.to(device), (measured.mask.shape[0], measured.mask.shape[1]))
        rates = masks.acceleration(sampled[there]), masks.acceleration(measured.mask[fitted])
        if not acquired.full:
            return Scanned(measured, None, rates, seconds, 0.0)
        target = measured.target(kspace[places], self.maps if own is None else None)
        if self.simulate:
            return Scanned(measured.simulated(target[0], generator), target, rates, seconds, 0.0)
        return Scanned(measured, target, rates, seconds, measured.sigma_y * float(fitted.double().mean()) ** 0.5)


def reconstruct(
    acquired: Acquired,
    scan: Scan,
    solver: Solver,
    cond: Tensor | None,
    typical: Tensor | None,
    slices: list[int],
    device: torch.device,
    out: Path,
    keep_samples: bool,
    about: Mapping[str, Any],
    on_step: Callable[[float], None],
) -> dict[str, Any]:
    """Write ``out``, an HDF5 file, a .png and a .gif beside it, and return the numbers, which the first holds too.

    Args:
        cond: [S, D], of ``slices``.
        typical: images [N, H, W] of the prior, which the scale is corrected by.
        about: written beside the numbers.
    """
    scanned = scan(acquired, slices, device, typical)
    measured, name = scanned.measured, acquired.volume.path.name
    failed = [slices[place] for place in measured.failed]
    places = [place for place in range(len(slices)) if place not in measured.failed]
    slices, cond = [slices[place] for place in places], None if cond is None else cond[places]
    begin, before = time.monotonic(), solver.cost.evaluations
    with recorded_residuals() as residuals:
        samples, way = solver(measured, places, [(name, index) for index in slices], cond, on_step)  # [K, S, H, W]
    seconds = scanned.seconds + (time.monotonic() - begin) / len(slices)
    measured = measured.to(torch.device("cpu"))
    estimates = {"one": samples[0]} | ({"mean": samples.mean(dim=0)} if len(samples) > 1 else {})
    numbers: dict[str, Any] = {
        "file": name, "contrast": acquired.volume.contrast, **about, "slices": slices,
        "bad_slices": [i for i in range(acquired.volume.slices) if i not in acquired.good or i in failed],
        "acceleration": scanned.acceleration[0], "acceleration_on_grid": scanned.acceleration[1],
        "calibration": list(measured.calibration), "sigma_y": measured.sigma_y, "scale": measured.scale,
        "samples": len(samples), "data": "simulated" if scan.simulate else "raw",
        "evaluations_per_slice": (solver.cost.evaluations - before) / len(slices), "seconds_per_slice": seconds,
        "chi2": {key: chi2(measured, places, images) for key, images in estimates.items()},
    }  # fmt: skip
    if residuals:
        numbers["cg_residual"] = {"largest": max(one.max().item() for one in residuals), "last": residuals[-1].max().item()}
    zero_filled = to_complex(measured.operator(places).adjoint(measured.kspace[places]))
    brightness = measured.brightness[places]
    combined = None
    if scanned.target:
        combined, squares = (part.cpu()[places] for part in scanned.target)
        for title, truth, unit in (("combined", combined.abs(), 1.0), ("rss", squares, brightness)):
            versions = {"zero_filled": zero_filled} | estimates
            numbers[title] = {key: similarity(truth, image.abs() * unit) for key, image in versions.items()}
        if len(samples) > 1 and (combined.abs() > VISIBLE * measured.grid.white).any():
            numbers["uncertainty"] = claimed(combined, samples, measured.grid.white, scanned.noise)
    numbers = without_nan(numbers)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture(combined, zero_filled, samples, slices, measured.grid.white).save(out.with_suffix(".png"))
    pictures.save_gif(out.with_suffix(".gif"), [pictures.tiles(frame[None] / measured.grid.white) for frame in way.abs()])
    _write(out, acquired, measured.grid, samples, keep_samples, slices, brightness, numbers)
    return numbers


def chi2(measured: Measurement, slices: list[int], images: Tensor) -> float:
    """|y - A x|^2 over its expectation, per measured point; images [S, H, W]."""
    y = measured.kspace[slices]
    rest = (y - measured.operator(slices)(to_channels(images))).abs().square().sum()
    return (rest / (2 * measured.sigma_y**2 * measured.mask.sum() * y.shape[0] * y.shape[1])).item()


def claimed(truth: Tensor, samples: Tensor, white: float, noise: float) -> dict[str, float]:
    """Whether the uncertainty of real and imaginary parts is right, where something is to be seen."""
    seen = truth.abs() > VISIBLE * white
    return calibration(torch.view_as_real(truth[seen]), torch.view_as_real(samples[:, seen]), noise)


def picture(truth: Tensor | None, zero_filled: Tensor, samples: Tensor, slices: list[int], white: float):
    """Some slices, a row each: what was measured alone, reconstruction, the full scan, the error, the uncertainty."""
    chosen = torch.linspace(0, len(slices) - 1, min(SHOWN, len(slices))).round().long().tolist()
    mean = samples.mean(dim=0)
    columns = {"zero-filled": zero_filled.abs(), "mean" if len(samples) > 1 else "reconstruction": mean.abs()}
    if len(samples) > 1:
        columns["one sample"] = samples[0].abs()
    if truth is not None:
        columns["full scan"] = truth.abs()
        columns[f"error x {GAIN}"] = GAIN * (mean.abs() - truth.abs()).abs()
    if len(samples) > 1:
        columns[f"deviation x {GAIN}"] = GAIN * samples.abs().std(dim=0)
    return pictures.grid(
        {title: {f"slice {slices[i]}": images[i][None] / white for i in chosen} for title, images in columns.items()}
    )


def _write(
    path: Path,
    acquired: Acquired,
    grid: Grid,
    samples: Tensor,
    keep_samples: bool,
    slices: list[int],
    brightness: Tensor,
    numbers: dict[str, Any],
) -> None:
    """`reconstruction` and its deviation on the file's own grid and in its units, the rest on the model's."""
    every = partial(_whole_volume, acquired.volume.slices, slices)
    rows, cols = (round(grid.fov_mm / fov * n) for fov, n in zip(acquired.fov_mm, acquired.sampled.shape, strict=True))

    def own(images: Tensor) -> np.ndarray:
        resampled = ifft2c(center_crop_or_pad(fft2c(images.to(torch.complex64)), (rows, cols)))
        return every(center_crop(center_crop_or_pad(resampled.abs(), acquired.shape), acquired.shape)).numpy()

    with whole_hdf5(path) as file:
        file["reconstruction"] = own(samples.mean(dim=0) * brightness)
        file["combined"] = every(samples.mean(dim=0)).numpy()
        if len(samples) > 1:
            file["standard_deviation"] = own(samples.abs().std(dim=0) * brightness)
        if keep_samples:
            file["samples"] = torch.stack([every(one) for one in samples]).numpy()
        file.attrs["metrics"] = json.dumps(numbers, allow_nan=False)
        file.attrs["acquisition"] = acquired.volume.acquisition


def _whole_volume(count: int, slices: list[int], images: Tensor) -> Tensor:
    """[len(slices), H, W] -> [count, H, W], zero where nothing was reconstructed."""
    volume = images.new_zeros(count, *images.shape[1:])
    volume[slices] = images
    return volume
