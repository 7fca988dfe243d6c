"""Transforms: from the slices of a volume to images a network can learn, and back."""

from dataclasses import dataclass

import torch
from torch import Tensor


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

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of every image."""
        return 1, self.matrix // self.downsample, self.matrix // self.downsample

    def __call__(self, slices: Tensor, pixel_mm: tuple[float, float]) -> tuple[Tensor, float]:
        """[S, H, W] with pixels of ``pixel_mm`` -> images [S, 1, size, size] and the scale that was divided by."""
        size = self.shape[-1]
        rows = overlap(slices.shape[-2], pixel_mm[0], size, self.fov_mm / size)
        cols = overlap(slices.shape[-1], pixel_mm[1], size, self.fov_mm / size)
        images = rows @ slices @ cols.T
        scale = torch.quantile(images.flatten()[:: 1 + images.numel() // 10_000_000], self.quantile).item() or 1.0
        return (2 * images / scale - 1)[:, None], scale

    def magnitude(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """Back: [B, 1, H, W] -> magnitudes [B, H, W], not negative, in units of ``scale``."""
        return ((x[:, 0] + 1) / 2 * scale).clamp(min=0)


def overlap(n: int, pixel: float, m: int, new_pixel: float) -> Tensor:
    """The matrix [m, n] that averages n pixels of size ``pixel`` over m pixels of size ``new_pixel``, centres aligned.

    Each row holds the share of a new pixel that every old one covers: resampling by area, exact for any
    ratio and for odd sizes. Where nothing is covered the row is short of 1 and the image is padded by zero.
    """
    old = (torch.arange(n + 1, dtype=torch.float64) - n / 2) * pixel
    new = (torch.arange(m + 1, dtype=torch.float64) - m / 2) * new_pixel
    covered = torch.minimum(new[1:, None], old[None, 1:]) - torch.maximum(new[:-1, None], old[None, :-1])
    return (covered.clamp(min=0) / new_pixel).float()
