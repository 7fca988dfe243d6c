"""Reconstruction of a volume: its slices solved, and their metrics."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from condiff.data.fastmri.raw_scan import RawScan
from condiff.linear import recorded_residuals
from condiff.mri.fourier import to_channels, to_complex
from condiff.reconstruction.acquisition import Acquisition
from condiff.reconstruction.measurement import Measurement
from condiff.reconstruction.metrics import similarity, uncertainty_calibration
from condiff.reconstruction.numbers import without_nan
from condiff.reconstruction.solver import Solver

MIN_MAGNITUDE = 0.1  # of white, where the uncertainty is compared with the error


@dataclass(frozen=True)
class SolvedVolume:
    """The reconstructed slices of a file, on the CPU.

    Attributes:
        acquisition: the measurement and its reference.
        slices: their numbers in the file.
        places: their indices in the measurement.
        failed: numbers of the slices without coil maps, which are left out.
        samples: complex [K, S, H, W].
        trajectory: states [F, H, W] of one sample.
        evaluations: of the network, in all.
        seconds: per slice.
        residuals: relative residuals of the conjugate gradients, one tensor per solve.
    """

    raw: RawScan
    acquisition: Acquisition
    slices: list[int]
    places: list[int]
    failed: list[int]
    samples: Tensor
    trajectory: Tensor
    evaluations: int
    seconds: float
    residuals: list[Tensor]

    @property
    def white(self) -> float:
        """The intensity that is white in pictures."""
        return self.acquisition.measurement.grid.reference_intensity

    @property
    def zero_filled(self) -> Tensor:
        """The zero-filled reconstruction, complex [S, H, W]."""
        measurement = self.acquisition.measurement
        return to_complex(measurement.operator(self.places).adjoint(measurement.kspace[self.places]))

    @property
    def sensitivity(self) -> Tensor:
        """Root sum of squares of the scanner's coils [S, H, W], `Measurement.coil_rss`."""
        return self.acquisition.measurement.coil_rss[self.places]

    @property
    def reference(self) -> tuple[Tensor, Tensor] | None:
        """Of a fully sampled file: combined, complex [S, H, W], and root sum of squares [S, H, W]."""
        reference = self.acquisition.reference
        return (reference[0].cpu()[self.places], reference[1].cpu()[self.places]) if reference else None


def solve_volume(
    raw: RawScan,
    acquisition: Acquisition,
    solver: Solver,
    cond: Tensor | None,
    slices: list[int],
    on_step: Callable[[float], None],
) -> SolvedVolume:
    """Reconstructs the slices of an acquisition that have coil maps.

    Args:
        cond: [S, D], of ``slices``.
        slices: numbers in the file of the measurement's slices.
    """
    measurement, name = acquisition.measurement, raw.volume.path.name
    failed = [slices[place] for place in measurement.failed]
    places = [place for place in range(len(slices)) if place not in measurement.failed]
    slices, cond = [slices[place] for place in places], None if cond is None else cond[places]
    begin, before = time.monotonic(), solver.cost.evaluations
    with recorded_residuals() as residuals:
        samples, trajectory = solver(measurement, places, [(name, index) for index in slices], cond, on_step)
    seconds = acquisition.seconds + (time.monotonic() - begin) / len(slices)
    acquisition = acquisition._replace(measurement=measurement.to(torch.device("cpu")))
    evaluations = solver.cost.evaluations - before
    return SolvedVolume(raw, acquisition, slices, places, failed, samples, trajectory, evaluations, seconds, list(residuals))


def results_of(solved: SolvedVolume, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Returns provenance and metrics of a volume, as JSON takes them."""
    acquisition, samples, count = solved.acquisition, solved.samples, len(solved.slices)
    measurement, valid = acquisition.measurement, solved.raw.valid_slices
    estimates = {"one": samples[0]} | ({"mean": samples.mean(dim=0)} if len(samples) > 1 else {})
    results: dict[str, Any] = {
        "file": solved.raw.volume.path.name, "contrast": solved.raw.volume.contrast, **provenance, "slices": solved.slices,
        "bad_slices": [index for index in range(solved.raw.volume.slices) if index in solved.failed or index not in valid],
        "acceleration": acquisition.acceleration[0], "acceleration_on_grid": acquisition.acceleration[1],
        "calibration": list(measurement.calibration), "sigma_y": measurement.sigma_y, "scale": measurement.scale,
        "samples": len(samples), "data": "simulated" if acquisition.simulated else "raw",
        "evaluations_per_slice": solved.evaluations / count, "seconds_per_slice": solved.seconds,
        "chi2": {key: reduced_chi2(measurement, solved.places, images) for key, images in estimates.items()},
    }  # fmt: skip
    if solved.residuals:
        largest = [residual.max().item() for residual in solved.residuals]
        results["cg_residual"] = {"largest": max(largest), "last": largest[-1]}
    if solved.reference:
        combined, squares = solved.reference
        versions = {"zero_filled": solved.zero_filled} | estimates
        for title, truth, unit in (("combined", combined.abs(), 1.0), ("rss", squares, solved.sensitivity)):
            results[title] = {key: similarity(truth, image.abs() * unit) for key, image in versions.items()}
        if len(samples) > 1 and (combined.abs() > MIN_MAGNITUDE * solved.white).any():
            results["uncertainty"] = visible_calibration(combined, samples, solved.white, acquisition.noise)
    return without_nan(results)


def reduced_chi2(measurement: Measurement, slices: list[int], images: Tensor) -> float:
    """Reduced chi-squared |y - A x|^2 / (2 sigma_y^2 N) over N samples of k-space; images [S, H, W]."""
    y = measurement.kspace[slices]
    residual = (y - measurement.operator(slices)(to_channels(images))).abs().square().sum()
    return (residual / (2 * measurement.sigma_y**2 * measurement.mask.sum() * y.shape[0] * y.shape[1])).item()


def visible_calibration(truth: Tensor, samples: Tensor, white: float, noise: float) -> dict[str, float]:
    """`uncertainty_calibration` of real and imaginary parts outside the air; truth [S, H, W], samples [K, S, H, W]."""
    visible = truth.abs() > MIN_MAGNITUDE * white
    return uncertainty_calibration(torch.view_as_real(truth[visible]), torch.view_as_real(samples[:, visible]), noise)
