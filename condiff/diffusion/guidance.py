"""Guidance: functions from a denoiser to a denoiser.

Each returns a denoiser with the same signature, so they compose and any sampler runs them unchanged.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from condiff.diffusion.samplers import Denoise

Guidance = Callable[[Denoise], Denoise]


def unguided(denoise: Denoise) -> Denoise:
    """The denoiser as it is."""
    return denoise


def classifier_free(denoise: Denoise, scale: float = 1.0, interval: tuple[float, float] = (0.0, math.inf)) -> Denoise:
    """D_uncond + scale (D_cond - D_uncond), Ho & Salimans 2022 with scale = 1 + w.

    Scale 0 is unconditional, 1 conditional, more is guided. Outside ``interval`` (of sigma, low exclusive)
    the conditional denoiser is used alone (Kynkäänniemi et al. 2024), as it is for scale 1, where the
    second evaluation would be thrown away. Without a condition there is nothing to guide by.
    """
    low, high = interval

    def guided(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        inside = (low < sigma) & (sigma <= high)
        if cond is None or scale == 1 or not inside.any():
            return denoise(x, sigma, cond)
        twice = sigma.expand(len(x)).repeat(2)
        both = denoise(x.repeat(2, 1, 1, 1), twice, torch.cat([torch.zeros_like(cond), cond]))
        unconditional, conditional = both.chunk(2)
        return torch.where(inside.view(-1, 1, 1, 1), unconditional.lerp(conditional, scale), conditional)

    return guided
