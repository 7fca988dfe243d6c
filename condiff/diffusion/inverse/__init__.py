"""Inverse problems, y = A(x0) + noise, with a denoiser as the prior: generators that walk x down a grid of noise levels.

Each takes ``denoise(x, sigma, cond)``, a start ``x`` [B, C, H, W] of noise at ``sigmas[0]``, the decreasing grid ``sigmas``
[N + 1] whose last is 0, as samplers do, and besides them the operator A, the measurement y and the standard deviation
``sigma_y`` of its noise, in each real component of y as sigma is in each channel of x. Each yields x after every step; the
last is the answer. y may be complex, and may be one for the whole batch, [1, ...].
"""

from collections.abc import Callable, Iterator

from torch import Tensor

from condiff.diffusion.inverse.gradient import dps
from condiff.diffusion.inverse.langevin import csgm, csgm_normalised, pula
from condiff.diffusion.inverse.projection import score_mri
from condiff.diffusion.inverse.proximal import dds, posterior

Method = Callable[..., Iterator[Tensor]]

__all__ = ["Method", "csgm", "csgm_normalised", "dds", "dps", "posterior", "pula", "score_mri"]
