"""Diffusion models of brain MR images: train, sample, and choose the contrast."""

__version__ = "0.2.0"
