"""Generation: noise from seeds, denoised by a sampler."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.noise import SeededNoise
from condiff.diffusion.samplers import Sampler


def generate(
    denoise: Denoise,
    sampler: Sampler,
    sigmas: Tensor,
    seeds: Sequence[int],
    shape: Sequence[int],
    cond: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Yields x [B, *shape] at ``sigmas[0]``, ..., ``sigmas[-1] = 0``: the first is noise, the last the samples.

    Sample i depends on ``seeds[i]`` and ``cond[i]`` alone. It starts from N(0, sigmas[0]^2), which
    neglects the part of the image that is left at that level (`Schedule.terminal_signal`).
    """
    noise = SeededNoise(seeds)
    x = sigmas[0] * noise.draw(shape, device)
    yield x
    yield from sampler(denoise, x, sigmas, cond, noise=noise)


def to_vp(x: Tensor, sigma: Tensor) -> Tensor:
    """x / sqrt(1 + sigma^2): Ho's x_t at the same noise level, in a range that can be displayed."""
    return x / (1 + sigma**2).sqrt()
