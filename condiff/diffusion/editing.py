"""Sampling that starts from images instead of noise: SDEdit, interpolation, translation, inpainting.

`sdedit` and `interpolate` run a sampler on the lower part of a grid; `translation` runs the ODE up the grid and down again.
`replace_known` and `condition_on_known` turn any sampler into inpainting by keeping the known part of the image: they are
functions from a denoiser to a denoiser, as guidance is. `repaint` is a sampler that repeats each part of the grid, so that the
known and the new part agree.
A mask [B, 1, H, W], or what broadcasts to it, is 1 where the image is known and 0 where it is generated.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.noise import Noise
from condiff.diffusion.samplers import Sampler, ancestral, heun
from condiff.errors import InputError


def sdedit(
    denoise: Denoise,
    sampler: Sampler,
    image: Tensor,
    sigmas: Tensor,
    strength: float,
    cond: Tensor | None = None,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """SDEdit, Meng et al. 2022: adds noise to an image [B, C, H, W] and removes it under ``cond``.

    Args:
        sigmas: the whole grid [N + 1].
        strength: share of the steps that is run, the last ones; at 1 almost nothing of the image is left.

    Raises:
        InputError: the strength is not in (0, 1], or makes less than one step.
    """
    grid = _tail(sigmas, strength)
    yield from sampler(denoise, image + grid[0] * noise(image), grid, cond, noise=noise)


def interpolate(
    denoise: Denoise,
    sampler: Sampler,
    first: Tensor,
    second: Tensor,
    weight: float,
    sigmas: Tensor,
    strength: float,
    cond: Tensor | None = None,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Interpolation of two images, Ho et al. 2020, section 4.3: both are noised, mixed, and denoised together.

    Each has noise of its own. Mixing independent noise lowers its variance; here the mixture is scaled back to unit variance, so
    that the noise level is that of the grid.

    Args:
        weight: of the second image, from 0 to 1.
        strength: as in `sdedit`.

    Raises:
        InputError: the weight is not in [0, 1], and as `sdedit`.
    """
    if not 0 <= weight <= 1:
        raise InputError(f"weight={weight}: give the share of the second image, from 0 to 1")
    grid = _tail(sigmas, strength)
    size = ((1 - weight) ** 2 + weight**2) ** 0.5
    eps = torch.lerp(noise(first), noise(second), weight) / size
    yield from sampler(denoise, torch.lerp(first, second, weight) + grid[0] * eps, grid, cond, noise=noise)


def translation(
    denoise: Denoise, image: Tensor, sigmas: Tensor, source: Tensor | None, target: Tensor | None
) -> Iterator[Tensor]:
    """DDIM inversion, Su et al. 2023: the ODE up to noise under one condition, and down again under another.

    No noise is drawn; with ``source`` equal to ``target`` the image is recovered up to the error of the steps. 4N - 3
    evaluations; yields the N - 1 steps up and the N down.

    Args:
        image: [B, C, H, W], taken to be at the smallest level above 0.
        sigmas: the whole grid [N + 1].
        source, target: conditions [B, D] of the image and of its translation.
    """
    x = image
    for x in heun(denoise, image, sigmas[:-1].flip(0), source):
        yield x
    yield from heun(denoise, x, sigmas, target)


def replace_known(denoise: Denoise, image: Tensor, mask: Tensor) -> Denoise:
    """Returns a denoiser that replaces the known part of every estimate of x0.

    The sampler then gives the known part the noise level of the rest: imputation as in Song et al. 2021, appendix I.2.
    """
    return lambda x, sigma, cond: torch.where(mask > 0, image, denoise(x, sigma, cond))


def condition_on_known(denoise: Denoise, image: Tensor, mask: Tensor) -> Denoise:
    """Returns a denoiser whose network gets a known part without noise: Sohl-Dickstein et al. 2015, section 2.5, r(x) a delta."""

    def inpainting(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        return torch.where(mask > 0, image, denoise(torch.where(mask > 0, image, x), sigma, cond))

    return inpainting


@torch.no_grad()
def repaint(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    cond: Tensor | None = None,
    repeats: int = 10,
    jump: int = 10,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """RePaint, Lugmayr et al. 2022: DDPM's sampler, with each part of ``jump`` steps run ``repeats`` times.

    Between the runs noise is added up to the first level of the part. About N * repeats evaluations; yields the N states of the
    last runs.

    Args:
        denoise: as `replace_known` returns it.
    """
    n = len(sigmas) - 1
    for begin in range(0, n, jump):
        part = sigmas[begin : min(begin + jump, n) + 1]
        for again in range(repeats):
            if again:
                x = x + (part[0] ** 2 - part[-1] ** 2).sqrt() * noise(x)
            states = list(ancestral(denoise, x, part, cond, noise=noise))
            x = states[-1]
        yield from states


def _tail(sigmas: Tensor, strength: float) -> Tensor:
    whole = len(sigmas) - 1
    steps = round(strength * whole)
    if not 0 < strength <= 1 or steps < 1:
        raise InputError(f"strength={strength}: give the share of the {whole} steps to run, at least one of them, at most all")
    return sigmas[-1 - steps :]
