"""Guidance: functions from a denoiser to a denoiser.

The returned denoiser has the same signature, so guidances compose and every sampler accepts them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import TypeVar

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise, Denoiser
from condiff.diffusion.model import DiffusionModel
from condiff.errors import InputError, NotANumber

Guidance = Callable[[Denoise], Denoise]
Interval = tuple[float, float]
EVERYWHERE = (0.0, math.inf)
C = TypeVar("C", bound=Callable[..., Denoise])


def identity(denoise: Denoise) -> Denoise:
    """Returns the denoiser unchanged."""
    return denoise


@dataclass(frozen=True)
class Composition:
    """The guidance that applies ``guidances`` in their order."""

    guidances: tuple[Guidance, ...]

    def __call__(self, denoise: Denoise) -> Denoise:
        return reduce(lambda inner, guidance: guidance(inner), self.guidances, denoise)


def compose(*guidances: Guidance) -> Composition:
    """Returns a guidance that applies ``guidances`` in their order."""
    return Composition(guidances)


def around_models(guidance: Guidance, decorate: Guidance) -> Guidance:
    """Returns the guidance with ``decorate`` around each model that it evaluates: the one that it is given, and its own."""
    decorated = decorate_bound_models(guidance, decorate)
    return lambda denoise: decorated(decorate(denoise))


def decorate_bound_models(guidance: Guidance, decorate: Callable[..., Denoise]) -> Guidance:
    """Returns the guidance with ``decorate`` around each model that a partial binds: the weaker one of `autoguidance`."""
    if isinstance(guidance, Composition):
        return Composition(tuple(decorate_bound_models(part, decorate) for part in guidance.guidances))
    if isinstance(guidance, partial):
        models = {name: value for name, value in guidance.keywords.items() if isinstance(value, Denoiser | DiffusionModel)}
        return partial(guidance, **{name: decorate(model) for name, model in models.items()})
    return guidance


def classifier_free(denoise: Denoise, scale: float = 1.0, interval: Interval | None = None) -> Denoise:
    """D_uncond + scale (D_cond - D_uncond), Ho & Salimans 2022 with scale = 1 + w.

    Scale 0 is unconditional, 1 conditional, more is guided. Outside ``interval`` (of sigma, low exclusive; None: everywhere)
    the conditional denoiser is used alone (Kynkäänniemi et al. 2024). Scales 0 and 1 take one evaluation, because the other has
    weight 0. Without a condition there is no guidance.

    Raises:
        InputError: a negative scale or an empty interval.
    """
    check(scale, interval)

    def guided(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        inside = _inside(sigma, interval)
        if cond is None or scale == 1 or not inside.any():
            return denoise(x, sigma, cond)
        if scale == 0 and inside.all():
            return denoise(x, sigma, torch.zeros_like(cond))
        twice = sigma.repeat(2) if sigma.dim() else sigma
        both = denoise(x.repeat(2, 1, 1, 1), twice, torch.cat([torch.zeros_like(cond), cond]))
        unconditional, conditional = both.chunk(2)
        return _where(inside, unconditional.lerp(conditional, scale), conditional)

    return guided


def autoguidance(denoise: Denoise, weaker: Denoise, scale: float = 1.0, interval: Interval | None = None) -> Denoise:
    """D_weaker + scale (D - D_weaker), Karras et al. 2024: away from the errors of a weaker model.

    Args:
        weaker: an earlier or a smaller model of the same images; it gets the same condition.
        scale, interval: as in `classifier_free`.

    Raises:
        InputError: a negative scale or an empty interval.
    """
    check(scale, interval)

    def guided(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        inside, strong = _inside(sigma, interval), denoise(x, sigma, cond)
        if scale == 1 or not inside.any():
            return strong
        return _where(inside, weaker(x, sigma, cond).lerp(strong, scale), strong)

    return guided


def made_for(channels: int) -> Callable[[C], C]:
    """Decorator: marks a clamp for images with ``channels`` channels, by its attribute ``channels``."""

    def mark(clamp: C) -> C:
        clamp.channels = channels  # type: ignore[attr-defined]
        return clamp

    return mark


def clamped_channels(guidance: Guidance) -> int | None:
    """Returns the channels of the images that a clamp is made for; None for other guidance, or a clamp without that attribute."""
    return getattr(guidance.func if isinstance(guidance, partial) else guidance, "channels", None)


@made_for(channels=1)
def static_clamp(denoise: Denoise, low: float = -1.0, high: float = 1.0) -> Denoise:
    """Clips x0 to [low, high], the range of images, at every step: Ho et al. 2020."""
    if not low < high:
        raise InputError(f"low={low}, high={high}: the range is empty; give low below high")
    return lambda x, sigma, cond: denoise(x, sigma, cond).clamp(low, high)


@made_for(channels=2)
def magnitude_clamp(denoise: Denoise, high: float) -> Denoise:
    """Clips the magnitude of complex x0 [B, 2, H, W] to ``high`` and keeps its phase."""
    if not high > 0:
        raise InputError(f"high={high}: give a magnitude above 0")

    def clamped(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        x0 = denoise(x, sigma, cond)
        return x0 * (high / x0.square().sum(dim=1, keepdim=True).sqrt().clamp(min=high))

    return clamped


@made_for(channels=1)
def dynamic_clamp(denoise: Denoise, quantile: float = 0.995, high: float = 1.0, center: float = 0.0) -> Denoise:
    """Dynamic thresholding, Saharia et al. 2022, section 2.3: clips |x0| at its quantile and rescales it to ``high`` if above.

    Per image, so that images do not change each other; |x0| is the distance from ``center``, which is not changed.
    """
    if not 0 < quantile <= 1:
        raise InputError(f"quantile={quantile}: give a share of the pixels, more than 0, at most 1")

    def clamped(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        far = denoise(x, sigma, cond) - center
        limit = far.flatten(1).abs().float().quantile(quantile, dim=1).clamp(min=high).to(far).view(-1, 1, 1, 1)
        return center + far.clamp(-limit, limit) * (high / limit)

    return clamped


class FiniteWatch:
    """A denoiser that remembers the first output of another that is not finite; `check` raises it after a trajectory.

    Looking at every output at once would make the program wait for the device at every step.
    """

    def __init__(self, denoise: Denoise):
        self.denoise, self._sigmas = denoise, list[Tensor]()
        self._finite: Tensor | int = 0  # number of outputs before the first that is not finite, on their device

    def __call__(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        x0 = self.denoise(x, sigma, cond)
        is_finite = x0.detach().isfinite().all()
        self._finite = self._finite + (is_finite & (self._finite == len(self._sigmas)))
        self._sigmas.append(sigma.detach())
        return x0

    def check(self) -> None:
        """Raises NotANumber if an output was not finite."""
        sigmas, finite = self._sigmas, int(self._finite)
        if finite < len(sigmas):
            raise NotANumber(
                f"the network's output is not a number at evaluation {finite + 1}, sigma {sigmas[finite].max().item():.3g}; the "
                "training diverged or the sampler did: give an earlier checkpoint, another sampler, a clamp, or more steps"
            )


def check(scale: float, interval: Interval | None) -> None:
    """Raises InputError for a negative scale or an empty interval."""
    if not 0 <= scale < math.inf:
        raise InputError(f"scale={scale}: give 0 (unconditional), 1 (conditional, no guidance) or more; it is 1 + w")
    low, high = interval or EVERYWHERE
    if not 0 <= low < high:
        raise InputError(f"interval=[{low}, {high}]: no noise level is in it; give two sigmas, the lower first")


def _inside(sigma: Tensor, interval: Interval | None) -> Tensor:
    low, high = interval or EVERYWHERE
    return (low < sigma) & (sigma <= high)


def _where(inside: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Returns a for images inside of the interval, b for others; they have one level each, or all the same."""
    if not inside.dim():
        return a if inside else b
    return torch.where(inside.to(a.device).view(-1, 1, 1, 1), a, b)
