"""From k-space to an inverse problem: prewhitened virtual coils, their maps, a scale and a noise level.

All of it is estimated from the given samples. Where a full scan is undersampled in retrospect, the omitted samples are not used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from condiff.data.transforms import Transform
from condiff.errors import InputError, check_whole
from condiff.mri.coils import apply_coil_matrix, sense_combine, virtual_coils
from condiff.mri.fourier import center_crop_or_pad, fft2c, ifft2c, rss
from condiff.mri.maps import normalize_phase
from condiff.mri.masks import acs_size
from condiff.mri.operators import Sense
from condiff.reconstruction.scale import bias, estimate_quantile

MIN_ACS = 4  # calibration samples along a side, for coil maps
ACS_AREA = 24 * 24  # calibration samples that suffice; of few columns more rows are taken


@dataclass(frozen=True)
class ImageGrid:
    """The grid and the scale of a model's images: [size, size] over ``fov_mm``.

    Attributes:
        quantile: of a volume's magnitudes; it has the value ``reference_intensity``.
    """

    size: int
    fov_mm: float
    quantile: float
    reference_intensity: float = 2.0

    @classmethod
    def of(cls, transform: Transform) -> "ImageGrid":
        return cls(transform.shape[-1], transform.fov_mm, transform.quantile)

    def matrix(self, fov_mm: tuple[float, float]) -> tuple[int, int]:
        """Pixels (rows, columns) of a field of view."""
        return round(fov_mm[0] * self.size / self.fov_mm), round(fov_mm[1] * self.size / self.fov_mm)


@dataclass(frozen=True)
class Measurement:
    """Slices of a volume as inverse problems, y = A(x) + noise, in the units of a model of complex images.

    Attributes:
        kspace: y [S, V, h, w], zero where nothing was sampled.
        mask: [h, w].
        maps: [S, V, h, w].
        calibration: rows and columns of the calibration block (ACS) that the maps were estimated from.
        mixing, unmixing: [V, K] from the scanner's coils to the virtual ones, and [K, V] back.
        failed: indices of the slices whose maps could not be estimated; their maps are zero.
        scale: intensity in images of prewhitened virtual coils that is 1 in these units.
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
    grid: ImageGrid

    def operator(self, slices: Sequence[int]) -> Sense:
        """The operator A of some slices, in which a slice may occur several times."""
        return Sense(self.maps[list(slices)], self.mask, (self.grid.size, self.grid.size))

    def to(self, device: torch.device) -> "Measurement":
        """The same on a device."""
        names = ("kspace", "mask", "maps", "mixing", "unmixing")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    @property
    def coil_rss(self) -> Tensor:
        """Root sum of squares of the scanner's coils, in their units, for an image of 1 [S, H, W]."""
        sensitivity = torch.stack([rss(apply_coil_matrix(self.unmixing, maps)) for maps in self.maps])
        return self.scale * center_crop_or_pad(sensitivity, (self.grid.size, self.grid.size))

    def reference(self, full: Tensor, maps: Callable[..., Tensor] | None) -> tuple[Tensor, Tensor]:
        """Reference images of the fully sampled slices: combined, complex [S, H, W], and root sum of squares [S, H, W].

        Args:
            full: all samples [S, K, rows, cols].
            maps: one of `condiff.mri.maps`, applied to all samples; None: the maps of the measurement combine the coils.
        """
        shape, size = (self.mask.shape[0], self.mask.shape[1]), (self.grid.size, self.grid.size)
        combined, squares = [], []
        for kspace, own_maps in zip(full, self.maps, strict=True):
            coils = center_crop_or_pad(kspace, shape)
            virtual = apply_coil_matrix(self.mixing, coils)
            try:
                sensitivities = own_maps if maps is None else maps(virtual[None])[0]
            except torch.linalg.LinAlgError:  # as in `estimate_maps`; where that failed too, the slice has no image
                sensitivities = own_maps
            combined.append(center_crop_or_pad(sense_combine(ifft2c(virtual), sensitivities), size) / self.scale)
            squares.append(center_crop_or_pad(rss(ifft2c(coils)), size))
        return torch.stack(combined), torch.stack(squares)

    def simulate(self, images: Tensor, generator: torch.Generator) -> "Measurement":
        """A simulated scan y = A(x) + noise of images [S, H, W]: it has no model error, unlike a real one."""
        images = center_crop_or_pad(images, (self.mask.shape[0], self.mask.shape[1]))[:, None]
        noise = torch.view_as_complex(torch.randn(*self.kspace.shape, 2, generator=generator))
        return replace(self, kspace=self.mask * (fft2c(self.maps * images) + self.sigma_y * noise.to(images)))


def measure(
    kspace: Tensor,
    mask: Tensor,
    fov_mm: tuple[float, float],
    grid: ImageGrid,
    maps: Callable[..., Tensor],
    coils: int = 8,
    margins: Tensor | None = None,
    places: Sequence[int] | None = None,
    typical: Tensor | None = None,
    own_maps: Tensor | None = None,
) -> Measurement:
    """Prepare undersampled k-space [S, K, rows, cols], mask [rows, cols], for a model of images on ``grid``.

    Noise, virtual coils and scale are estimated from the whole volume; maps, which take long, for the slices at ``places`` only.

    Args:
        maps: one of `condiff.mri.maps`.
        coils: number of virtual coils, at most.
        margins: of the readout, [S, K, M, cols], where it was oversampled (`condiff.mri.fourier.readout_margins`).
        places: indices of the slices of the measurement; None: all.
        typical: samples of the prior [N, size, size], of any scale. They correct the bias of the scale estimate that the mask
            causes; without them it is not corrected.
        own_maps: coil maps [S, K, H, W] of the caller's own over the whole field of view, in place of ``maps``.

    Raises:
        InputError: nothing sampled, no calibration lines, noise that cannot be measured, or maps of other coils or slices.
    """
    if own_maps is not None and own_maps.shape[:2] != kspace.shape[:2]:
        raise InputError(
            f"maps: of {own_maps.shape[0]} slices and {own_maps.shape[1]} coils, the k-space has {kspace.shape[0]} and "
            f"{kspace.shape[1]}; give maps [S, K, H, W] of the same scan"
        )
    check_whole("coils", coils)
    if not mask.any():
        raise InputError("mask: samples nothing; give k-space that holds samples, or a smaller acceleration")
    kspace = kspace * mask
    shape = grid.matrix(fov_mm)
    grid_mask = center_crop_or_pad(mask, shape)
    rows, cols = acs_size(grid_mask)
    if min(rows, cols) < MIN_ACS:
        raise InputError(
            f"mask: {rows} x {cols} fully sampled points at the center of k-space (ACS); coil maps need {MIN_ACS} x {MIN_ACS}: "
            "sample more of the center (center_fraction)"
        )
    whole_readouts = torch.equal(mask.any(dim=0), mask.all(dim=0))
    margins = margins * mask[0] if margins is not None and whole_readouts else None
    try:
        kspace, mixing, unmixing = virtual_coils(kspace, shape, coils, margins)
    except ValueError as error:
        raise InputError(f"kspace: {error}") from None
    white = estimate_quantile(kspace, grid_mask, (rows, cols), (grid.size, grid.size), grid.quantile)
    scale = white / grid.reference_intensity or 1.0
    if typical is not None:
        scale /= bias(typical.to(kspace), grid_mask, (rows, cols), grid.quantile)
    kspace = kspace if places is None else kspace[list(places)]
    block = min(rows, max(ACS_AREA // cols, 24)), min(cols, max(ACS_AREA // rows, 24))
    if own_maps is None:
        virtual_maps, failed = estimate_maps(kspace, block, maps)
    else:
        selected = own_maps if places is None else own_maps[list(places)]
        virtual_maps, failed = maps_of_virtual_coils(selected.to(kspace), mixing, shape), []
    return Measurement(kspace / scale, grid_mask, virtual_maps, block, mixing, unmixing, failed, scale, 0.5**0.5 / scale, grid)


def estimate_maps(kspace: Tensor, block: tuple[int, int], maps: Callable[..., Tensor]) -> tuple[Tensor, list[int]]:
    """Coil maps [S, V, h, w] of k-space [S, V, h, w], and the indices of slices where that failed, whose maps are zero.

    Args:
        block: rows and columns of the calibration block.

    Raises:
        InputError: it failed for every slice.
    """
    estimates, failed = torch.zeros_like(kspace), []
    for index, coils in enumerate(kspace):
        try:
            estimates[index] = maps(coils[None], calibration=block)[0]
        except torch.linalg.LinAlgError:
            failed.append(index)
    if len(failed) == len(kspace):
        raise InputError(
            "kspace: coil maps could not be estimated for any slice; try estimate_maps._target_=condiff.mri.maps.low_resolution"
        )
    return estimates, failed


def maps_of_virtual_coils(maps: Tensor, mixing: Tensor, shape: tuple[int, int]) -> Tensor:
    """Maps [S, V, h, w] of virtual coils, from maps [S, K, H, W] of the scanner's coils on any grid.

    As estimated maps, they have unit norm over coils, and the first coil is real and not negative.
    """
    resampled = ifft2c(center_crop_or_pad(fft2c(maps), shape))
    return normalize_phase(torch.stack([apply_coil_matrix(mixing, coils) for coils in resampled]))
