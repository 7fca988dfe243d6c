"""Transforms: from the slices of a volume to images a network can learn, and back."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from condiff.errors import DataFault, InputError
from condiff.mri.coils import (
    apply_coil_matrix,
    coil_covariance,
    compression_matrix,
    noise_samples,
    prewhitening_matrix,
    sense_combine,
)
from condiff.mri.fourier import center_crop_or_pad, ifft2c, to_channels, to_complex
from condiff.mri.maps import espirit

VISIBLE = 0.1  # of white: where phase is shown
LARGEST = 2048  # pixels a side of an image
LONGEST = 10_000_000  # values that torch takes a quantile of
SPIKE = 100  # times white: no tissue, but a defect in which the rest of the volume disappears
FEWEST = 4  # pixels on a side that coil maps need


class Transform(Protocol):
    """From what a reader gives to images, and back to what can be looked at.

    A call raises `DataFault` where the data are at fault; any other error is one of the transform.
    """

    fov_mm: float
    quantile: float

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def __call__(self, slices: Tensor, geometry: tuple[float, float]) -> tuple[Tensor, float]: ...

    def image(self, x: Tensor, scale: float = 1.0) -> Tensor: ...

    def magnitude(self, x: Tensor, scale: float = 1.0) -> Tensor: ...

    def views(self, x: Tensor) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Magnitude:
    """Magnitude images on one grid: cut to a field of view, averaged down, scaled to about [-1, 1].

    Air is -1 and the ``quantile`` of the whole volume is 1, so slices keep their relative brightness;
    the few brighter pixels stay brighter.

    Args:
        matrix: pixels along the field of view at full resolution.
        downsample: by how much each side is reduced; the image has matrix // downsample pixels.
        fov_mm: side of the square field of view; what lies outside is cut, what is missing is zero.
        quantile: of the volume's magnitudes, the one that becomes 1.
    """

    matrix: int
    downsample: int = 2
    fov_mm: float = 220.0
    quantile: float = 0.99

    def __post_init__(self) -> None:
        _demand_grid(self.matrix, self.downsample, self.fov_mm)
        _demand_share(self.quantile)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of every image."""
        return 1, self.matrix // self.downsample, self.matrix // self.downsample

    def __call__(self, slices: Tensor, pixel_mm: tuple[float, float]) -> tuple[Tensor, float]:
        """[S, H, W] with pixels of ``pixel_mm`` -> images [S, 1, size, size] and the scale that was divided by.

        Raises:
            DataFault: as of `sound`.
        """
        size = self.shape[-1]
        rows = overlap(slices.shape[-2], pixel_mm[0], size, self.fov_mm / size).to(slices)
        cols = overlap(slices.shape[-1], pixel_mm[1], size, self.fov_mm / size).to(slices)
        images = rows @ slices @ cols.T
        scale = _quantile(images, self.quantile)
        return sound((2 * images / scale - 1)[:, None]), scale

    def image(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """Back: [B, 1, H, W] -> magnitudes [B, H, W], not negative, in units of ``scale``."""
        return ((x[:, 0] + 1) / 2 * scale).clamp(min=0)

    def magnitude(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """The same."""
        return self.image(x, scale)

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """What there is to look at: title -> [B, H, W] between black, 0, and white, 1. The magnitude goes without a title."""
        return {"": self.magnitude(x)}


@dataclass(frozen=True)
class Complex:
    """Complex images on one grid, from multicoil k-space: the minimum-variance combination, scaled to a magnitude of about 2.

    Noise is made white, k-space cut or padded to the common pixel size, compressed to few virtual coils, combined with
    maps measured on its centre. The phase is that of the first virtual coil's image. The ``quantile`` of the volume's
    magnitudes becomes 2, as far from air as in `Magnitude`.

    Args:
        matrix, downsample, fov_mm, quantile: as of `Magnitude`.
        coils: at most so many virtual ones.
        maps: k-space [S, K, H, W] -> coil maps [S, K, H, W].
    """

    matrix: int
    downsample: int = 1
    fov_mm: float = 220.0
    quantile: float = 0.99
    coils: int = 8
    maps: Callable[[Tensor], Tensor] = espirit

    def __post_init__(self) -> None:
        _demand_grid(self.matrix, self.downsample, self.fov_mm)
        _demand_share(self.quantile)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of every image."""
        return 2, self.matrix // self.downsample, self.matrix // self.downsample

    def __call__(self, kspace: Tensor, fov_mm: tuple[float, float]) -> tuple[Tensor, float]:
        """[S, K, rows, cols] of a field of view -> images [S, 2, size, size] and the scale that was divided by.

        Raises:
            DataFault: the noise or the maps of its coils cannot be measured, or as of `sound`.
        """
        size = self.shape[-1]
        coils = self.virtual_coils(kspace, fov_mm)
        try:
            # one slice at a time: all at once is gigabytes
            images = torch.stack([sense_combine(ifft2c(one), self.maps(one[None])[0]) for one in coils])
        except torch.linalg.LinAlgError as error:
            raise DataFault(f"no coil maps can be made of its k-space ({error})") from None
        images = center_crop_or_pad(images, (size, size))
        scale = _quantile(images.abs(), self.quantile)
        return sound(to_channels(2 * images / scale)), scale

    def virtual_coils(self, kspace: Tensor, fov_mm: tuple[float, float]) -> Tensor:
        """White, compressed k-space [S, V, h, w] whose pixels are those of the images, over its own field of view."""
        pixel = self.fov_mm / self.shape[-1]
        shape = round(fov_mm[0] / pixel), round(fov_mm[1] / pixel)
        if min(shape) < FEWEST:
            raise DataFault(
                f"its field of view of {fov_mm[0]:g} x {fov_mm[1]:g} mm is {shape[0]} x {shape[1]} pixels of the images"
            )
        try:
            white = prewhitening_matrix(noise_samples(kspace))
            kspace = center_crop_or_pad(kspace, shape)
            leading = compression_matrix(white @ coil_covariance(kspace) @ white.mH, self.coils)
        except (ValueError, torch.linalg.LinAlgError) as error:
            raise DataFault(f"k-space: {error}") from None
        return apply_coil_matrix(leading @ white, kspace)

    def image(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """Back: [B, 2, H, W] -> complex images [B, H, W] in units of ``scale``."""
        return to_complex(x) / 2 * scale

    def magnitude(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """[B, 2, H, W] -> magnitudes [B, H, W]."""
        return self.image(x, scale).abs()

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """Magnitude, and phase from -pi, black, to pi, white, where there is signal."""
        image = self.image(x)
        return {"": image.abs(), "phase": (image.angle() / (2 * torch.pi) + 0.5) * (image.abs() > VISIBLE)}


def sound(images: Tensor) -> Tensor:
    """Images as they are. Raises DataFault where float16 cannot hold them, a spike outshines the rest, or nothing is seen."""
    if not images.half().isfinite().all() or images.abs().max() > 2 * SPIKE:
        raise DataFault(f"its image is not finite, or has a pixel {SPIKE} times as bright as white: a spike, or damage")
    if images.numel() and images.half().std() == 0:
        raise DataFault("its image is the same everywhere: nothing is seen in the field of view")
    return images


def _demand_share(quantile: float) -> None:
    if not 0 < quantile <= 1:
        raise InputError(f"data.transform.quantile={quantile}: give a share of the pixels, above 0 and at most 1")


def _demand_grid(matrix: int, downsample: int, fov_mm: float) -> None:
    """Raise InputError where images would have no pixels, or more than memory holds."""
    whole = all(isinstance(number, int) and not isinstance(number, bool) and number >= 1 for number in (matrix, downsample))
    if not whole or not 1 <= matrix // downsample <= LARGEST:
        raise InputError(
            f"data.matrix={matrix}, data.downsample={downsample}: images have matrix / downsample pixels a side; give whole "
            f"numbers with 1 to {LARGEST} of them"
        )
    if not 20 <= fov_mm <= 1000:
        raise InputError(f"data.transform.fov_mm={fov_mm}: give a field of view of 20 to 1000 mm")


def _quantile(magnitudes: Tensor, quantile: float) -> float:
    """Raises DataFault where so large a share of the magnitudes is zero or one is not finite."""
    found = torch.quantile(magnitudes.flatten()[:: 1 + magnitudes.numel() // LONGEST], quantile).item()
    if not 0 < found < math.inf:
        raise DataFault(f"the {quantile:.0%} quantile of its image's magnitudes is {found:g}: nothing is seen, or not finite")
    return found


def overlap(n: int, pixel: float, m: int, new_pixel: float) -> Tensor:
    """The matrix [m, n] that averages n pixels of size ``pixel`` over m pixels of size ``new_pixel``, centres aligned.

    Each row holds the share of a new pixel that every old one covers: resampling by area, exact for any
    ratio and for odd sizes. Where nothing is covered the row is short of 1 and the image is padded by zero.
    """
    old = (torch.arange(n + 1, dtype=torch.float64) - n / 2) * pixel
    new = (torch.arange(m + 1, dtype=torch.float64) - m / 2) * new_pixel
    covered = torch.minimum(new[1:, None], old[None, 1:]) - torch.maximum(new[:-1, None], old[None, :-1])
    return (covered.clamp(min=0) / new_pixel).float()
