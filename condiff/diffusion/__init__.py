"""Diffusion, in torch alone. Its parts share one callable, ``denoise(x, sigma, cond) -> x0``."""

from condiff.diffusion.denoiser import Denoiser

__all__ = ["Denoiser"]
