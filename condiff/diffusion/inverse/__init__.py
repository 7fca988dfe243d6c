"""Inverse problems, y = A(x0) + noise, with a denoiser as the prior.

Methods are generators, as samplers are: each takes ``denoise(x, sigma, cond)``, noise ``x`` [B, C, H, W] at ``sigmas[0]``, the
decreasing grid ``sigmas`` [N + 1] that ends with 0, and the `Problem`. Each yields x after every step; the last is the solution.
"""

from condiff.diffusion.inverse.gradient import dps
from condiff.diffusion.inverse.langevin import csgm, csgm_normalized, pula
from condiff.diffusion.inverse.problem import Method, Problem
from condiff.diffusion.inverse.projection import score_mri
from condiff.diffusion.inverse.proximal import dds, posterior

__all__ = ["Method", "Problem", "csgm", "csgm_normalized", "dds", "dps", "posterior", "pula", "score_mri"]
