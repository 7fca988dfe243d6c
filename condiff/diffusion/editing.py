"""Sampling that starts from images instead of noise: SDEdit, interpolation, translation, inpainting.

`sdedit` and `interpolate` run a sampler on the lower part of a grid; `translation` runs the ODE up the grid and down again.
`replace_known` and `condition_on_known` turn any sampler into inpainting by keeping the known part of the image: they are
functions from a denoiser to a denoiser, as guidance is. `repaint` is a sampler that repeats each part of the grid, so that the
known and the new part agree.
A mask [B, 1, H, W], or what broadcasts to it, is 1 where the image is known and 0 where it is to be made.
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
    """SDEdit, Meng et al. 2022: noise is added to an image [B, C, H, W] and taken away again.

    Args:
        sigmas: the whole grid [N + 1].
        strength: the share of its steps that is walked, the last ones; with 1 next to nothing of the image is left.

    Raises:
        InputError: a strength that is no share, or less than one step.
    """
    grid = _tail(sigmas, strength)
    yield from sampler(denoise, image + grid[0] * noise(image), grid, cond, noise=noise)


def interpolate(
    denoise: Denoise,
    sampler: Sampler,
    one: Tensor,
    other: Tensor,
    weight: float,
    sigmas: Tensor,
    strength: float,
    cond: Tensor | None = None,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Between two images, Ho et al. 2020, section 4.3: both are noised, mixed, and denoised together.

    Each has noise of its own. Mixed as the images are, noise would lose variance, which the network takes for
    another level; here the mixture is scaled back to unit variance, so that the level stays what it says.

    Args:
        weight: of the other image, from 0 to 1.
        strength: as in `sdedit`.

    Raises:
        InputError: a weight that is none, and as `sdedit` does.
    """
    if not 0 <= weight <= 1:
        raise InputError(f"weight={weight}: give the share of the other image, from 0 to 1")
    grid = _tail(sigmas, strength)
    size = ((1 - weight) ** 2 + weight**2) ** 0.5
    eps = torch.lerp(noise(one), noise(other), weight) / size
    yield from sampler(denoise, torch.lerp(one, other, weight) + grid[0] * eps, grid, cond, noise=noise)


def translation(
    denoise: Denoise, image: Tensor, sigmas: Tensor, source: Tensor | None, target: Tensor | None
) -> Iterator[Tensor]:
    """Dual diffusion bridges, Su et al. 2023: the ODE up to noise under one condition, and down again under another.

    No noise is drawn; under one and the same condition the image comes back, but for the error of the steps. 4N - 3
    evaluations; yields the N - 1 steps up and the N down.

    Args:
        image: [B, C, H, W], taken for an image at the smallest level but 0.
        sigmas: the whole grid [N + 1].
        source, target: conditions [B, D]: what the image is, and what it is to be.
    """
    x = image
    for x in heun(denoise, image, sigmas[:-1].flip(0), source):
        yield x
    yield from heun(denoise, x, sigmas, target)


def replace_known(denoise: Denoise, image: Tensor, mask: Tensor) -> Denoise:
    """The known part is put into every estimate of x0, so a sampler keeps it at the noise level of the rest.

    The replacement of Song et al. 2021, appendix I.2, here by way of the sampler's own noise.
    """
    return lambda x, sigma, cond: torch.where(mask > 0, image, denoise(x, sigma, cond))


def condition_on_known(denoise: Denoise, image: Tensor, mask: Tensor) -> Denoise:
    """The network always sees the known part without noise: Sohl-Dickstein et al. 2015, section 2.5, with r(x) a delta."""

    def kept(x: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        return torch.where(mask > 0, image, denoise(torch.where(mask > 0, image, x), sigma, cond))

    return kept


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
    """RePaint, Lugmayr et al. 2022: DDPM's sampler, which goes back up ``jump`` steps and down again, ``repeats`` times.

    Takes the denoiser that `replace_known` returns. About N repeats evaluations; yields after each of the N steps
    when it is passed for the last time.
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
