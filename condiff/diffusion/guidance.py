"""Guidance: functions from a denoiser to a denoiser.

Each returns a denoiser with the same signature, so they compose and any sampler runs them unchanged.
"""

import math
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.errors import InputError, NotANumber

Guidance = Callable[[Denoise], Denoise]
Interval = tuple[float, float]
EVERYWHERE = (0.0, math.inf)


def identity(denoise: Denoise) -> Denoise:
    """The denoiser as it is."""
    return denoise


def compose(*guidances: Guidance) -> Guidance:
    """One guidance after the other: the last has the last word."""
    return lambda denoise: reduce(lambda inner, guidance: guidance(inner), guidances, denoise)


def classifier_free(denoise: Denoise, scale: float = 1.0, interval: Interval | None = None) -> Denoise:
    """D_uncond + scale (D_cond - D_uncond), Ho & Salimans 2022 with scale = 1 + w.

    Scale 0 is unconditional, 1 conditional, more is guided. Outside ``interval`` (of sigma, low exclusive; None: everywhere)
    the conditional denoiser is used alone (Kynkäänniemi et al. 2024), as it is for scale 1 and the other for scale 0, where
    the second evaluation would be thrown away. Without a condition there is nothing to guide by.

    Raises:
        InputError: a negative scale or an interval with nothing in it.
    """
    check(scale, interval)

    def guided(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        inside = _inside(sigma, interval)
        if cond is None or scale == 1 or not inside.any():
            return denoise(x, sigma, cond)
        if scale == 0 and inside.all():
            return denoise(x, sigma, torch.zeros_like(cond))
        twice = sigma.expand(len(x)).repeat(2)
        both = denoise(x.repeat(2, 1, 1, 1), twice, torch.cat([torch.zeros_like(cond), cond]))
        unconditional, conditional = both.chunk(2)
        return _where(inside, unconditional.lerp(conditional, scale), conditional)

    return guided


def autoguidance(denoise: Denoise, weaker: Denoise, scale: float = 1.0, interval: Interval | None = None) -> Denoise:
    """D_weaker + scale (D - D_weaker), Karras et al. 2024: away from the mistakes that a worse model makes more of.

    Args:
        weaker: an earlier or a smaller model of the same images; it is given the same condition.
        scale, interval: as in `classifier_free`.

    Raises:
        InputError: a negative scale or an interval with nothing in it.
    """
    check(scale, interval)

    def guided(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        inside, strong = _inside(sigma, interval), denoise(x, sigma, cond)
        if scale == 1 or not inside.any():
            return strong
        return _where(inside, weaker(x, sigma, cond).lerp(strong, scale), strong)

    return guided


def static_clamp(denoise: Denoise, low: float = -1.0, high: float = 1.0) -> Denoise:
    """x0 cut to [low, high], as Ho et al. 2020 do at every step: what lies outside is no image."""
    if not low < high:
        raise InputError(f"low={low}, high={high}: nothing lies between them; give low below high")
    return lambda x, sigma, cond: denoise(x, sigma, cond).clamp(low, high)


def magnitude_clamp(denoise: Denoise, high: float) -> Denoise:
    """Complex x0 [B, 2, H, W] cut to magnitudes of at most ``high``; its phase stays."""
    if not high > 0:
        raise InputError(f"high={high}: give a magnitude above 0")

    def clamped(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        x0 = denoise(x, sigma, cond)
        return x0 * (high / x0.square().sum(dim=1, keepdim=True).sqrt().clamp(min=high))

    return clamped


def dynamic_clamp(denoise: Denoise, quantile: float = 0.995, high: float = 1.0, center: float = 0.0) -> Denoise:
    """Dynamic thresholding, Saharia et al. 2022, section 2.3: |x0| cut at its quantile, then shrunk to ``high`` if more.

    Image by image, so that one does not set another's range; as distances from ``center``, which stays where it is.
    """
    if not 0 < quantile <= 1:
        raise InputError(f"quantile={quantile}: give a share of the pixels, more than 0, at most 1")

    def clamped(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        far = denoise(x, sigma, cond) - center
        limit = far.flatten(1).abs().float().quantile(quantile, dim=1).clamp(min=high).to(far).view(-1, 1, 1, 1)
        return center + far.clamp(-limit, limit) * (high / limit)

    return clamped


def raise_on_nan(denoise: Denoise) -> Denoise:
    """The denoiser, which says so where it goes wrong. Raises NotANumber at the first output that is none."""
    step = 0

    def checked(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        nonlocal step
        step += 1
        x0 = denoise(x, sigma, cond)
        if not x0.isfinite().all():
            raise NotANumber(
                f"the network's output is not a number at evaluation {step}, sigma {sigma.max().item():.3g}; the training "
                "diverged or the sampler did: give an earlier checkpoint, another sampler, a clamp, or more steps"
            )
        return x0

    return checked


def check(scale: float, interval: Interval | None) -> None:
    """Raise InputError for a negative scale or an interval with nothing in it."""
    if not 0 <= scale < math.inf:
        raise InputError(f"scale={scale}: give 0 (unguided by it), 1 (the condition alone) or more; it is 1 + w")
    low, high = interval or EVERYWHERE
    if not 0 <= low < high:
        raise InputError(f"interval=[{low}, {high}]: no noise level lies in it; give two sigmas, the lower first")


def _inside(sigma: Tensor, interval: Interval | None) -> Tensor:
    low, high = interval or EVERYWHERE
    return (low < sigma) & (sigma <= high)


def _where(inside: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(inside.to(one.device).view(-1, 1, 1, 1), one, other)
