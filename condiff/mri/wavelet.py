"""Compressed sensing with wavelets by sigpy, an optional dependency: a reference method."""

import torch
from torch import Tensor

from condiff.errors import InputError
from condiff.mri.fourier import center_crop_or_pad, to_channels
from condiff.mri.operators import Sense


def l1_wavelet(A: Sense, y: Tensor, sigma_y: float, weight: float = 0.02, iterations: int = 100) -> Tensor:
    """Returns argmin |y - A x|^2 / 2 + weight |W x|_1, W Daubechies-4 wavelets (Lustig et al. 2007).

    sigma_y is not used.

    Raises:
        InputError: sigpy is not installed.
    """
    try:
        from sigpy.mri.app import L1WaveletRecon
    except ImportError:
        raise InputError('the wavelet reconstruction needs sigpy: pip install -e ".[sigpy]"') from None
    images = []
    for data, maps in zip(y.cpu().numpy(), A.maps.cpu().numpy(), strict=True):
        app = L1WaveletRecon(data, maps, weight, weights=A.mask.float().cpu().numpy(), max_iter=iterations, show_pbar=False)
        images.append(torch.from_numpy(app.run()))
    return to_channels(center_crop_or_pad(torch.stack(images), A.shape)).to(A.maps.device)
