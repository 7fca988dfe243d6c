"""Samplers: generators that integrate from noise to an image, down a grid of noise levels.

Each takes a denoiser ``denoise(x, sigma, cond)``, a start ``x`` [B, C, H, W] at noise level ``sigmas[0]``
and the decreasing grid ``sigmas`` [N + 1] that ends with 0. It yields the image after every step; the
last one is the sample. Guidance changes the denoiser, not the sampler. ``noise(x)`` draws standard
normal noise of the shape of x; `condiff.diffusion.noise.SeededNoise` gives each image its own seed.
The grid may be on the CPU whatever the device of x; comparing its levels then needs no synchronization.
"""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.noise import Noise
from condiff.diffusion.samplers.ancestral import ancestral, ancestral_beta, consistency
from condiff.diffusion.samplers.heun import heun
from condiff.diffusion.samplers.langevin import annealed_langevin, predictor_corrector
from condiff.diffusion.samplers.multistep import dpmpp_2m, dpmpp_2m_sde, unipc


class Sampler(Protocol):
    """Yields x [B, C, H, W] after each step, from noise at ``sigmas[0]`` down to a sample."""

    def __call__(
        self, denoise: Denoise, x: Tensor, sigmas: Tensor, cond: Tensor | None = None, *, noise: Noise = ...
    ) -> Iterator[Tensor]: ...


__all__ = [
    "Sampler",
    "ancestral",
    "ancestral_beta",
    "annealed_langevin",
    "consistency",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "heun",
    "predictor_corrector",
    "unipc",
]
