"""Reconstruction of arrays: a caller's k-space, mask and maps, checked, measured, and turned into a result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from condiff.data.header import FOV_MM
from condiff.errors import InputError
from condiff.mri.fourier import to_complex
from condiff.reconstruction.measurement import ImageGrid, Measurement, measure
from condiff.reconstruction.result import Reconstruction


@dataclass(frozen=True)
class Arrays:
    """A scan as arrays.

    Attributes:
        kspace: complex64 [S, K, H, W].
        sampled: [H, W], true where sampled.
        maps: the caller's coil maps, complex64 [S, K, H, W]; None: to be estimated.
        fov_mm: along rows and columns.
    """

    kspace: Tensor
    sampled: Tensor
    maps: Tensor | None
    fov_mm: tuple[float, float]

    @classmethod
    def of(cls, kspace: Any, mask: Any, maps: Any, fov_mm: float | tuple[float, float]) -> "Arrays":
        """Arrays of any library: k-space [K, H, W] or [S, K, H, W]; mask [W], [H, W] or None; maps as the k-space or None.

        Raises:
            InputError: other shapes or types, or a field of view that no head has.
        """
        y = torch.as_tensor(np.asarray(kspace))
        if y.ndim not in (3, 4) or not y.is_complex():
            raise InputError(f"kspace: is {list(y.shape)} of {y.dtype}; give complex numbers [K, H, W] or [S, K, H, W]")
        y = (y if y.ndim == 4 else y[None]).to(torch.complex64)
        rows, columns = y.shape[-2:]
        sampled = y.abs().sum(dim=(0, 1)) > 0 if mask is None else torch.as_tensor(np.asarray(mask)) > 0
        if sampled.shape not in ((columns,), (rows, columns)):
            raise InputError(f"mask: is {list(sampled.shape)}; give [{columns}] or [{rows}, {columns}], as the k-space")
        coil_maps = None if maps is None else torch.as_tensor(np.asarray(maps)).to(torch.complex64)
        if coil_maps is not None and coil_maps.ndim not in (3, 4):
            raise InputError(f"maps: is {list(coil_maps.shape)}; give [K, H, W] or [S, K, H, W]")
        if coil_maps is not None and coil_maps.ndim == 3:
            coil_maps = coil_maps.expand(len(y), *coil_maps.shape)
        return cls(y, sampled.expand(rows, columns), coil_maps, _checked_fov(fov_mm))

    def measure(
        self,
        grid: ImageGrid,
        estimate_maps: Callable[..., Tensor],
        coils: int,
        typical: Tensor | None,
        device: torch.device,
    ) -> Measurement:
        """The measurement on a device, `condiff.reconstruction.measurement.measure`. Raises InputError as it does, or where the
        coil maps of a slice cannot be estimated."""
        y, sampled, maps = (None if array is None else array.to(device) for array in (self.kspace, self.sampled, self.maps))
        assert y is not None and sampled is not None
        result = measure(y, sampled, self.fov_mm, grid, estimate_maps, coils, typical=typical, own_maps=maps)
        if result.failed:
            raise InputError(f"kspace: coil maps of slices {result.failed} cannot be estimated; leave them out, or give maps")
        return result

    def result(self, measurement: Measurement, images: Tensor) -> Reconstruction:
        """Images [K, S, H, W] of a measurement as a result in the units of the k-space's root sum of squares."""
        measurement, grid = measurement.to(torch.device("cpu")), measurement.grid
        slices = range(len(self.kspace))
        zero_filled = to_complex(measurement.operator(slices).adjoint(measurement.kspace))
        resolution = (measurement.mask.numel() / self.sampled.numel()) ** 0.5  # of the unitary transform of fewer samples
        unit = measurement.coil_rss * resolution
        return Reconstruction((images * unit).numpy(), (zero_filled * unit).numpy(), grid.fov_mm / grid.size)


def _checked_fov(fov_mm: float | tuple[float, float]) -> tuple[float, float]:
    rows, columns = (fov_mm, fov_mm) if isinstance(fov_mm, int | float) else fov_mm
    if not all(FOV_MM[0] <= side <= FOV_MM[1] for side in (rows, columns)):
        raise InputError(f"fov_mm={fov_mm}: give one number or two, from {FOV_MM[0]:g} to {FOV_MM[1]:g} mm")
    return rows, columns
