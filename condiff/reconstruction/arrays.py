"""Conversion of a caller's arrays to the tensors that a reconstruction takes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from condiff.errors import InputError


def as_tensors(kspace: Any, mask: Any, maps: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """K-space [S, K, H, W], mask [H, W] and maps [S, K, H, W] as tensors. Raises InputError for other shapes."""
    y = torch.as_tensor(np.asarray(kspace))
    if y.ndim not in (3, 4) or not y.is_complex():
        raise InputError(f"kspace: is {list(y.shape)} of {y.dtype}; give complex numbers [K, H, W] or [S, K, H, W]")
    y = (y if y.ndim == 4 else y[None]).to(torch.complex64)
    rows, columns = y.shape[-2:]
    sampled = y.abs().sum(dim=(0, 1)) > 0 if mask is None else torch.as_tensor(np.asarray(mask)) > 0
    if sampled.shape not in ((columns,), (rows, columns)):
        raise InputError(f"mask: is {list(sampled.shape)}; give [{columns}] or [{rows}, {columns}], as the k-space")
    if maps is None:
        return y, sampled.expand(rows, columns), None
    coil_maps = torch.as_tensor(np.asarray(maps)).to(torch.complex64)
    if coil_maps.ndim not in (3, 4):
        raise InputError(f"maps: is {list(coil_maps.shape)}; give [K, H, W] or [S, K, H, W]")
    return y, sampled.expand(rows, columns), coil_maps if coil_maps.ndim == 4 else coil_maps.expand(len(y), *coil_maps.shape)
