"""Inverse problems, y = A(x0) + noise, with a denoiser as the prior: generators that walk x down a grid of noise levels.

Each takes ``denoise(x, sigma, cond)``, a start ``x`` [B, C, H, W] of noise at ``sigmas[0]``, the decreasing grid ``sigmas``
[N + 1] whose last is 0, as samplers do, and besides them the `Problem`. Each yields x after every step; the last is the answer.
"""

from condiff.diffusion.inverse.gradient import dps
from condiff.diffusion.inverse.langevin import csgm, csgm_normalized, pula
from condiff.diffusion.inverse.problem import Method, Problem
from condiff.diffusion.inverse.projection import score_mri
from condiff.diffusion.inverse.proximal import dds, posterior

__all__ = ["Method", "Problem", "csgm", "csgm_normalized", "dds", "dps", "posterior", "pula", "score_mri"]
