"""Diffusion models in torch. All parts share one function, ``denoise(x, sigma, cond) -> x0``."""

from condiff.diffusion.denoiser import Denoiser

__all__ = ["Denoiser"]
