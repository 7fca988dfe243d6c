"""Measurements of files: a scan, undersampled where it is fully sampled, with its reference images."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from condiff.data.fastmri.raw_scan import RawScan
from condiff.errors import InputError
from condiff.mri import masks
from condiff.mri.fourier import center_crop_or_pad
from condiff.reconstruction.measurement import ImageGrid, Measurement, measure
from condiff.seeds import derive_seed

Draw = Callable[..., Tensor]  # a mask, (shape, acceleration, generator=…)


class Acquisition(NamedTuple):
    """A measurement of a file.

    Attributes:
        reference: of a fully sampled file, `Measurement.reference`.
        acceleration: of the file's k-space, and of the part on the model's grid.
        seconds: per slice, of the measurement.
        noise: standard deviation of the reference's own noise.
        simulated: whether the k-space is that of the reference under the operator.
    """

    measurement: Measurement
    reference: tuple[Tensor, Tensor] | None
    acceleration: tuple[float, float]
    seconds: float
    noise: float
    simulated: bool = False


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
            return Acquisition(measurement.simulate(reference[0], generator), reference, rates, seconds, 0.0, simulated=True)
        noise = measurement.sigma_y * float(acquired_on_grid.double().mean()) ** 0.5
        return Acquisition(measurement, reference, rates, seconds, noise)
