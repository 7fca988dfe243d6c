"""Coil maps that the user supplies in a file."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from condiff.data.fastmri.raw_scan import RawScan
from condiff.errors import DataFault, InputError
from condiff.files import foreign, hdf5

KINDS = "give .npy, or .h5 with a dataset maps, of complex numbers [K, H, W] or [S, K, H, W]"


def read(path: Path) -> Tensor:
    """Coil maps, complex64 [K, H, W] or [S, K, H, W].

    Raises:
        InputError: no such file, another kind of file, or values of another type or shape.
    """
    if not path.is_file():
        raise InputError(f"maps={path}: no such file; {KINDS}")
    try:
        values = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _from_hdf5(path)
    except (DataFault, OSError, ValueError, EOFError) as error:
        raise InputError(f"maps={path}: cannot be read ({error}); {KINDS}") from None
    if values.ndim not in (3, 4) or values.dtype.kind != "c" or not np.isfinite(values).all():
        raise InputError(f"maps={path}: is {list(values.shape)} of {values.dtype}, or not finite; {KINDS}")
    return torch.from_numpy(values.astype(np.complex64))


def of_valid_slices(maps: Tensor, scan: RawScan) -> Tensor:
    """Maps [S, K, H, W] of the valid slices of a scan. Raises InputError for maps of another number of slices."""
    if maps.ndim == 3:
        return maps.expand(len(scan.valid_slices), *maps.shape)
    if len(maps) != scan.volume.slices:
        raise InputError(f"maps: of {len(maps)} slices, the scan has {scan.volume.slices}; {KINDS}")
    return maps[scan.valid_slices]


def _from_hdf5(path: Path) -> np.ndarray:
    with hdf5.opened(path) as file:
        stored = hdf5.dataset(file, "maps", "c", "complex numbers")
        if stored is None:
            raise DataFault("lacks a dataset maps")
        foreign.check_memory(8 * stored.size)
        return hdf5.array(stored)
