"""Generation: noise from seeds, walked down a grid by a sampler."""

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
    """Yield x [B, *shape] at ``sigmas[0]``, ..., ``sigmas[-1] = 0``: the first is noise, the last the samples.

    Sample i depends on ``seeds[i]`` and ``cond[i]`` alone, not on the device. It starts from N(0, sigmas[0]^2), as if nothing of
    the image were left at that level, which `Schedule.terminal_signal` measures.
    """
    noise = SeededNoise(seeds)
    x = sigmas[0] * noise.draw(shape).to(device)
    yield x
    yield from sampler(denoise, x, sigmas, cond, noise=noise)


def to_vp(x: Tensor, sigma: Tensor) -> Tensor:
    """x / sqrt(1 + sigma^2): Ho's x_t of the same noise level, whose size one can look at."""
    return x / (1 + sigma**2).sqrt()
