"""The sparse reconstruction that compressed sensing began with, by sigpy: a yardstick, and an extra to install."""

from collections.abc import Iterator

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.noise import Noise
from condiff.errors import InputError
from condiff.mri.fourier import fit, to_channels
from condiff.mri.operators import Sense


def l1_wavelet(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    A: Sense,
    y: Tensor,
    sigma_y: float,
    cond: Tensor | None = None,
    weight: float = 0.02,
    iterations: int = 100,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """argmin |y - A x|^2 / 2 + weight |W x|_1, W Daubechies-4 wavelets (Lustig et al. 2007). No network is asked.

    Raises:
        InputError: sigpy is not installed.
    """
    try:
        from sigpy.mri.app import L1WaveletRecon
    except ImportError:
        raise InputError('method=l1_wavelet: needs sigpy; pip install -e ".[sigpy]"') from None
    found = []
    for one, maps in zip(y.cpu().numpy(), A.maps.cpu().numpy(), strict=True):
        app = L1WaveletRecon(one, maps, weight, weights=A.mask.float().cpu().numpy(), max_iter=iterations, show_pbar=False)
        found.append(torch.from_numpy(app.run()))
    yield to_channels(fit(torch.stack(found), A.shape)).to(x)
