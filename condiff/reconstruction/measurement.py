"""From what a scanner measured to an inverse problem: white virtual coils, their maps, a scale and a noise level.

Everything comes from the samples that were taken: where a full scan is accelerated afterwards, nothing of the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from condiff.data.transforms import Transform
from condiff.errors import InputError
from condiff.mri.coils import (
    apply_coil_matrix,
    coil_covariance,
    compression_matrix,
    noise_samples,
    prewhitening_matrix,
    sense_combine,
)
from condiff.mri.fourier import center_crop_or_pad, fft2c, ifft2c, rss
from condiff.mri.maps import normalize_phase
from condiff.mri.masks import acs_size
from condiff.mri.operators import Sense
from condiff.reconstruction.scale import bias, brightness

FEWEST = 4  # lines of calibration on a side, below which no maps can be made
AREA = 24 * 24  # samples of calibration that are enough: where there are few columns, more rows are taken


@dataclass(frozen=True)
class Grid:
    """The images of a model: [size, size] over ``fov_mm``, their ``quantile`` of magnitudes in a volume at ``white``."""

    size: int
    fov_mm: float
    quantile: float
    white: float = 2.0

    @classmethod
    def of(cls, transform: Transform) -> "Grid":
        return cls(transform.shape[-1], transform.fov_mm, transform.quantile)

    def matrix(self, fov_mm: tuple[float, float]) -> tuple[int, int]:
        """Pixels of a field of view."""
        return round(fov_mm[0] * self.size / self.fov_mm), round(fov_mm[1] * self.size / self.fov_mm)


@dataclass(frozen=True)
class Measurement:
    """Slices of a volume as inverse problems, y = A(x) + noise, in the units of a model of complex images.

    Attributes:
        kspace: y [S, V, h, w], zero where nothing was sampled.
        mask: [h, w].
        maps: [S, V, h, w].
        calibration: rows and columns of the block that the maps are from.
        mixing, unmixing: [V, K] from the scanner's coils to the virtual ones, and [K, V] back.
        failed: places of the slices whose maps could not be made; they are zero.
        scale: of white virtual coils' images that is 1 here.
        sigma_y: standard deviation of the noise in each real component of y.
    """

    kspace: Tensor
    mask: Tensor
    maps: Tensor
    calibration: tuple[int, int]
    mixing: Tensor
    unmixing: Tensor
    failed: list[int]
    scale: float
    sigma_y: float
    grid: Grid

    def operator(self, slices: Sequence[int]) -> Sense:
        """A of some slices; one may come several times."""
        return Sense(self.maps[list(slices)], self.mask, (self.grid.size, self.grid.size))

    def to(self, device: torch.device) -> "Measurement":
        """On a device."""
        names = ("kspace", "mask", "maps", "mixing", "unmixing")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    @property
    def brightness(self) -> Tensor:
        """[S, H, W]: the root sum of squares of the scanner's coils, in their units, where the image is 1."""
        seen = torch.stack([rss(apply_coil_matrix(self.unmixing, one)) for one in self.maps])
        return self.scale * center_crop_or_pad(seen, (self.grid.size, self.grid.size))

    def target(self, full: Tensor, maps: Callable[..., Tensor] | None) -> tuple[Tensor, Tensor]:
        """Of all samples [S, K, rows, cols] of these slices: complex images [S, H, W], the scanner's root sum of squares.

        Args:
            maps: one of `condiff.mri.maps`, of all samples; None: combine coils by the maps of the measurement.
        """
        shape, size = (self.mask.shape[0], self.mask.shape[1]), (self.grid.size, self.grid.size)
        combined, squares = [], []
        for one, own in zip(full, self.maps, strict=True):
            coils = center_crop_or_pad(one, shape)
            white = apply_coil_matrix(self.mixing, coils)
            sensitivities = own if maps is None else maps(white[None])[0]
            combined.append(center_crop_or_pad(sense_combine(ifft2c(white), sensitivities), size) / self.scale)
            squares.append(center_crop_or_pad(rss(ifft2c(coils)), size))
        return torch.stack(combined), torch.stack(squares)

    def simulated(self, target: Tensor, generator: torch.Generator) -> "Measurement":
        """The same scan of the images [S, H, W] by these maps, without the model error of a real one."""
        images = center_crop_or_pad(target, (self.mask.shape[0], self.mask.shape[1]))[:, None]
        noise = torch.view_as_complex(torch.randn(*self.kspace.shape, 2, generator=generator))
        return replace(self, kspace=self.mask * (fft2c(self.maps * images) + self.sigma_y * noise.to(images)))


def measure(
    kspace: Tensor,
    mask: Tensor,
    fov_mm: tuple[float, float],
    grid: Grid,
    maps: Callable[..., Tensor],
    coils: int = 8,
    margins: Tensor | None = None,
    places: Sequence[int] | None = None,
    typical: Tensor | None = None,
    own_maps: Tensor | None = None,
) -> Measurement:
    """Prepare undersampled k-space [S, K, rows, cols], mask [rows, cols], for a model of images on ``grid``.

    Noise, virtual coils and scale are the whole volume's; maps, which take long, are made of the slices at ``places`` alone.

    Args:
        maps: one of `condiff.mri.maps`.
        coils: at most so many virtual ones.
        margins: of the readout, [S, K, M, cols], where it was oversampled (`condiff.mri.fourier.readout_margins`).
        places: of the slices in the measurement, all where None.
        typical: images [N, size, size] of such heads, of any scale: samples of the prior. They say how much of the scale the mask
            hides, which without them is not made up for.
        own_maps: coil maps [S, K, H, W] of the caller's own over the whole field of view, in place of ``maps``.

    Raises:
        InputError: nothing sampled, no calibration lines, noise that cannot be measured, or maps of other coils or slices.
    """
    if own_maps is not None and own_maps.shape[:2] != kspace.shape[:2]:
        raise InputError(
            f"maps: of {own_maps.shape[0]} slices and {own_maps.shape[1]} coils, the k-space has {kspace.shape[0]} and "
            f"{kspace.shape[1]}; give maps [S, K, H, W] of the same scan"
        )
    if not mask.any():
        raise InputError("mask: samples nothing; ask for a smaller acceleration, or give a file that holds samples")
    kspace = kspace * mask
    shape = grid.matrix(fov_mm)
    there = center_crop_or_pad(mask, shape)
    rows, cols = acs_size(there)
    if min(rows, cols) < FEWEST:
        raise InputError(
            f"mask: {rows} x {cols} samples lie without gaps about the centre of k-space; coil maps need {FEWEST} x {FEWEST}: "
            "ask for a larger mask.center_fraction"
        )
    whole_readouts = torch.equal(mask.any(dim=0), mask.all(dim=0))
    try:
        white = prewhitening_matrix(noise_samples(kspace, margins * mask[0] if margins is not None and whole_readouts else None))
    except ValueError as error:
        raise InputError(f"kspace: {error}") from None
    kspace = center_crop_or_pad(kspace, shape)
    leading = compression_matrix(white @ coil_covariance(kspace) @ white.mH, coils)
    kspace = apply_coil_matrix(leading @ white, kspace)
    scale = brightness(kspace, there, (rows, cols), (grid.size, grid.size), grid.quantile) / grid.white or 1.0
    if typical is not None:
        scale /= bias(typical.to(kspace), there, (rows, cols), grid.quantile)
    kspace = kspace if places is None else kspace[list(places)]
    block = min(rows, max(AREA // cols, 24)), min(cols, max(AREA // rows, 24))
    if own_maps is None:
        found, failed = estimated_maps(kspace, block, maps)
    else:
        chosen = own_maps if places is None else own_maps[list(places)]
        found, failed = virtual_maps(chosen.to(kspace), leading @ white, shape), []
    back = torch.linalg.solve(white, leading.mH)  # of the coils that compression keeps, not the shortest that would do
    return Measurement(kspace / scale, there, found, block, leading @ white, back, failed, scale, 0.5**0.5 / scale, grid)


def estimated_maps(kspace: Tensor, block: tuple[int, int], maps: Callable[..., Tensor]) -> tuple[Tensor, list[int]]:
    """Coil maps [S, V, h, w] of k-space [S, V, h, w], and the places of slices of which none could be made, which are zero.

    Args:
        block: rows and columns about the center that are sampled.

    Raises:
        InputError: of no slice maps could be made.
    """
    made, failed = torch.zeros_like(kspace), []
    for index, one in enumerate(kspace):
        try:
            made[index] = maps(one[None], calibration=block)[0]
        except torch.linalg.LinAlgError:
            failed.append(index)
    if len(failed) == len(kspace):
        raise InputError(
            "kspace: no slice's coil maps could be made; try others, estimate_maps._target_=condiff.mri.maps.low_resolution"
        )
    return made, failed


def virtual_maps(maps: Tensor, mixing: Tensor, shape: tuple[int, int]) -> Tensor:
    """Maps [S, V, h, w] of virtual coils on a grid, of maps [S, K, H, W] of the scanner's coils on any.

    Of unit norm over coils, the first coil real and not negative, as estimated maps are.
    """
    resampled = ifft2c(center_crop_or_pad(fft2c(maps), shape))
    return normalize_phase(torch.stack([apply_coil_matrix(mixing, one) for one in resampled]))
