"""Starting from images instead of noise: variation, interpolation, translation, inpainting.

`variation` and `interpolation` yield what a sampler does on the lower part of a grid, `translation` what the ODE does up
it and down again. `keep` and `keep_clean` make inpainting of any sampler by holding on to the known part of the image: they
are functions from a denoiser to a denoiser, as guidance is. `repaint` is a sampler that goes over each step several times, so
that the two parts agree.
A mask is 1 where the image is known, 0 where it is to be made, [B, 1, H, W] or what broadcasts to it.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.noise import Noise
from condiff.diffusion.samplers import Sampler, ancestral, heun
from condiff.errors import InputError


def variation(
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
    grid = _rest(sigmas, strength)
    yield from sampler(denoise, image + grid[0] * noise(image), grid, cond, noise=noise)


def interpolation(
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
        strength: as in `variation`.

    Raises:
        InputError: a weight that is none, and as `variation` does.
    """
    if not 0 <= weight <= 1:
        raise InputError(f"weight={weight}: give the share of the other image, from 0 to 1")
    grid = _rest(sigmas, strength)
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


def keep(denoise: Denoise, image: Tensor, mask: Tensor) -> Denoise:
    """The known part is put into every estimate of x0, so a sampler keeps it at the noise level of the rest.

    The replacement of Song et al. 2021, appendix I.2, here by way of the sampler's own noise.
    """
    return lambda x, sigma, cond: torch.where(mask > 0, image, denoise(x, sigma, cond))


def keep_clean(denoise: Denoise, image: Tensor, mask: Tensor) -> Denoise:
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

    To be run on a denoiser that `keep`s something. About N repeats evaluations; yields after each of the N steps
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


def _rest(sigmas: Tensor, strength: float) -> Tensor:
    whole = len(sigmas) - 1
    steps = round(strength * whole)
    if not 0 < strength <= 1 or steps < 1:
        raise InputError(f"strength={strength}: give the share of {whole} steps to walk, at least one of them, at most all")
    return sigmas[-1 - steps :]
