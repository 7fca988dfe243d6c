"""Reconstruction of arrays: a caller's k-space, mask and maps, checked, measured, and turned into a result."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from condiff.data.header import FOV_MM
from condiff.errors import InputError
from condiff.mri.fourier import to_complex
from condiff.reconstruction.measurement import ImageGrid, Measurement, measure
from condiff.reconstruction.result import Reconstruction

KINDS = {"c": "complex numbers", "ciuf": "complex or real numbers", "biuf": "real numbers or booleans"}  # of numpy's types


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
        y = _per_slice("kspace", kspace, "c")
        rows, columns = y.shape[-2:]
        given = np.abs(y.numpy()).sum(axis=(0, 1)) if mask is None else _numbers("mask", mask, "biuf")
        sampled = torch.from_numpy(np.asarray(given > 0))
        if sampled.shape not in ((columns,), (rows, columns)):
            raise InputError(f"mask: is {list(sampled.shape)}; give [{columns}] or [{rows}, {columns}], as the k-space")
        coil_maps = None if maps is None else _per_slice("maps", maps, "ciuf")
        if coil_maps is not None and np.ndim(maps) == 3:
            coil_maps = coil_maps.expand(len(y), -1, -1, -1)
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


def _per_slice(name: str, values: Any, kinds: str) -> Tensor:
    """Complex64 [S, K, H, W] of an argument that may lack S. Raises InputError as `_numbers`, or for other dimensions."""
    array = _numbers(name, values, kinds)
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise InputError(f"{name}: is {list(array.shape)}; give [K, H, W] or [S, K, H, W]")
    return torch.from_numpy(array.astype(np.complex64).reshape(-1, *array.shape[-3:]))


def _numbers(name: str, values: Any, kinds: str) -> np.ndarray:
    """An argument as an array. Raises InputError unless it is of one of numpy's ``kinds`` (c: complex …), and finite."""
    if isinstance(values, Tensor):
        values = (values.float() if values.dtype == torch.bfloat16 else values).detach().cpu().resolve_conj().numpy()
    array = np.asarray(values)
    if array.dtype.kind not in kinds:
        raise InputError(f"{name}: is of {array.dtype}; give {KINDS[kinds]}")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: {np.count_nonzero(~np.isfinite(array))} of its numbers are not finite; give others")
    return array


def _checked_fov(fov_mm: Any) -> tuple[float, float]:
    sides: tuple[Any, ...] = (fov_mm, fov_mm) if isinstance(fov_mm, Real | str) else tuple(fov_mm)
    if len(sides) != 2 or not all(isinstance(side, Real) and FOV_MM[0] <= float(side) <= FOV_MM[1] for side in sides):
        raise InputError(f"fov_mm={fov_mm!r}: give one number or two, from {FOV_MM[0]:g} to {FOV_MM[1]:g} mm")
    return float(sides[0]), float(sides[1])
