"""Transforms: from the slices of a volume to images in the network's units, and back."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from condiff.errors import DataFault, InputError
from condiff.mri.coils import sense_combine, virtual_coils
from condiff.mri.fourier import center_crop_or_pad, ifft2c, to_channels, to_complex
from condiff.mri.maps import espirit

MIN_PHASE_MAGNITUDE = 0.1  # of white, where a picture shows the phase
MAX_SIZE = 2048  # pixels along a side of an image
MAX_VALUES = 10_000_000  # that torch.quantile takes
SPIKE = 100  # times white: a defect, beside which the rest of the volume disappears
MIN_SIZE = 4  # pixels along a side, for coil maps


class Transform(Protocol):
    """Makes images [S, C, H, W] of a reader's slices or k-space, and turns images back into magnitudes.

    A call raises `DataFault` for a fault of the data; any other error is a fault of the transform.
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
    """Magnitude images on one grid: cropped to a field of view, downsampled by area, scaled to about [-1, 1].

    Air is -1 and the ``quantile`` of the whole volume is 1, so slices keep their relative brightness. The few brighter pixels
    are not clipped.

    Args:
        matrix: pixels along the field of view at full resolution.
        downsample: factor by which each side is reduced; the image has matrix // downsample pixels.
        fov_mm: side of the square field of view; images are cropped or zero-padded to it.
        quantile: this quantile of the volume's magnitudes becomes 1.
    """

    matrix: int
    downsample: int = 2
    fov_mm: float = 220.0
    quantile: float = 0.99

    def __post_init__(self) -> None:
        _check_grid(self.matrix, self.downsample, self.fov_mm)
        _check_quantile(self.quantile)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of every image."""
        return 1, self.matrix // self.downsample, self.matrix // self.downsample

    def __call__(self, slices: Tensor, pixel_mm: tuple[float, float]) -> tuple[Tensor, float]:
        """[S, H, W] with pixels of ``pixel_mm`` -> images [S, 1, size, size] and the scale they were divided by.

        Raises:
            DataFault: as `check_image` does.
        """
        size = self.shape[-1]
        rows = overlap(slices.shape[-2], pixel_mm[0], size, self.fov_mm / size).to(slices)
        cols = overlap(slices.shape[-1], pixel_mm[1], size, self.fov_mm / size).to(slices)
        images = rows @ slices @ cols.T
        scale = _quantile(images, self.quantile)
        return check_image((2 * images / scale - 1)[:, None]), scale

    def image(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """The inverse: [B, 1, H, W] -> magnitudes [B, H, W], not negative, in units of ``scale``."""
        return ((x[:, 0] + 1) / 2 * scale).clamp(min=0)

    def magnitude(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """The same as `image`."""
        return self.image(x, scale)

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """Pictures: title -> [B, H, W] from 0, black, to 1, white. The magnitude has an empty title."""
        return {"": self.magnitude(x)}


@dataclass(frozen=True)
class Complex:
    """Complex images on one grid, from multicoil k-space: the minimum-variance combination, scaled to a magnitude of about 2.

    The noise is prewhitened; k-space is cropped or padded to the common pixel size and compressed to a few virtual coils; these
    are combined with coil maps from the center of k-space. The phase is that of the first virtual coil's image. The
    ``quantile`` of the volume's magnitudes becomes 2, as far from air as in `Magnitude`.

    Args:
        matrix, downsample, fov_mm, quantile: as of `Magnitude`.
        coils: number of virtual coils, at most.
        maps: k-space [S, K, H, W] -> coil maps [S, K, H, W].
    """

    matrix: int
    downsample: int = 1
    fov_mm: float = 220.0
    quantile: float = 0.99
    coils: int = 8
    maps: Callable[[Tensor], Tensor] = espirit

    def __post_init__(self) -> None:
        _check_grid(self.matrix, self.downsample, self.fov_mm)
        _check_quantile(self.quantile)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of every image."""
        return 2, self.matrix // self.downsample, self.matrix // self.downsample

    def __call__(self, kspace: Tensor, fov_mm: tuple[float, float]) -> tuple[Tensor, float]:
        """[S, K, rows, cols] of a field of view -> images [S, 2, size, size] and the scale they were divided by.

        Raises:
            DataFault: the noise or the maps of its coils cannot be measured, or as `check_image` does.
        """
        size = self.shape[-1]
        coils = self.virtual_coils(kspace, fov_mm)
        try:
            # one slice at a time: all at once is gigabytes
            images = torch.stack([sense_combine(ifft2c(kspace), self.maps(kspace[None])[0]) for kspace in coils])
        except torch.linalg.LinAlgError as error:
            raise DataFault(f"no coil maps can be made of its k-space ({error})") from None
        images = center_crop_or_pad(images, (size, size))
        scale = _quantile(images.abs(), self.quantile)
        return check_image(to_channels(2 * images / scale)), scale

    def virtual_coils(self, kspace: Tensor, fov_mm: tuple[float, float]) -> Tensor:
        """Prewhitened, compressed k-space [S, V, h, w] with the images' pixel size, over its own field of view."""
        pixel = self.fov_mm / self.shape[-1]
        shape = round(fov_mm[0] / pixel), round(fov_mm[1] / pixel)
        if min(shape) < MIN_SIZE:
            raise DataFault(
                f"its field of view of {fov_mm[0]:g} x {fov_mm[1]:g} mm is {shape[0]} x {shape[1]} pixels of the images"
            )
        try:
            return virtual_coils(kspace, shape, self.coils)[0]
        except (ValueError, torch.linalg.LinAlgError) as error:
            raise DataFault(f"k-space: {error}") from None

    def image(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """The inverse: [B, 2, H, W] -> complex images [B, H, W] in units of ``scale``."""
        return to_complex(x) / 2 * scale

    def magnitude(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """[B, 2, H, W] -> magnitudes [B, H, W]."""
        return self.image(x, scale).abs()

    def views(self, x: Tensor) -> dict[str, Tensor]:
        """Pictures: the magnitude, and the phase from -pi, black, to pi, white, where there is signal."""
        image = self.image(x)
        return {"": image.abs(), "phase": (image.angle() / (2 * torch.pi) + 0.5) * (image.abs() > MIN_PHASE_MAGNITUDE)}


def check_image(images: Tensor) -> Tensor:
    """Returns the images. Raises DataFault where float16 cannot hold them, a spike outshines the rest, or they are constant."""
    if not images.half().isfinite().all() or images.abs().max() > 2 * SPIKE:
        raise DataFault(f"its image is not finite, or has a pixel {SPIKE} times as bright as white: a spike, or damage")
    if images.numel() and images.half().std() == 0:
        raise DataFault("its image is the same everywhere: nothing is seen in the field of view")
    return images


def _check_quantile(quantile: float) -> None:
    if not 0 < quantile <= 1:
        raise InputError(f"data.transform.quantile={quantile}: give a share of the pixels, above 0 and at most 1")


def _check_grid(matrix: int, downsample: int, fov_mm: float) -> None:
    """Raise InputError where images would have no pixels, or more than memory holds."""
    is_whole = all(isinstance(number, int) and not isinstance(number, bool) and number >= 1 for number in (matrix, downsample))
    if not is_whole or not 1 <= matrix // downsample <= MAX_SIZE:
        raise InputError(
            f"data.matrix={matrix}, data.downsample={downsample}: images have matrix / downsample pixels along a side; give "
            f"whole numbers with 1 to {MAX_SIZE} of them"
        )
    if not 20 <= fov_mm <= 1000:
        raise InputError(f"data.transform.fov_mm={fov_mm}: give a field of view of 20 to 1000 mm")


def _quantile(magnitudes: Tensor, quantile: float) -> float:
    """The quantile of the magnitudes. Raises DataFault where it is zero or not finite."""
    value = torch.quantile(magnitudes.flatten()[:: 1 + magnitudes.numel() // MAX_VALUES], quantile).item()
    if not 0 < value < math.inf:
        raise DataFault(f"the {quantile:.0%} quantile of its image's magnitudes is {value:g}: nothing is seen, or not finite")
    return value


def overlap(n: int, pixel: float, m: int, new_pixel: float) -> Tensor:
    """The matrix [m, n] that averages n pixels of size ``pixel`` over m pixels of size ``new_pixel``, with centers aligned.

    Each row holds the share of a new pixel that each old pixel covers: resampling by area, exact for any ratio and for odd sizes.
    Rows of new pixels outside the old image sum to less than 1, which pads with zeros.
    """
    old = (torch.arange(n + 1, dtype=torch.float64) - n / 2) * pixel
    new = (torch.arange(m + 1, dtype=torch.float64) - m / 2) * new_pixel
    covered = torch.minimum(new[1:, None], old[None, 1:]) - torch.maximum(new[:-1, None], old[None, :-1])
    return (covered.clamp(min=0) / new_pixel).float()
