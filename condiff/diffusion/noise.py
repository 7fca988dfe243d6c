"""Noise with one seed per image, independent of the batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Noise = Callable[[Tensor], Tensor]  # x -> standard normal noise of its shape


class SeededNoise:
    """Standard normal noise for a batch whose i-th image draws from a generator seeded by ``seeds[i]``.

    Drawn on the CPU, so that an image is the same alone, in a batch, on another device or in another process.
    """

    def __init__(self, seeds: Sequence[int]):
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def draw(self, shape: Sequence[int]) -> Tensor:
        """[B, *shape], float32 on the CPU."""
        return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in self.generators])

    def __call__(self, x: Tensor) -> Tensor:
        """Noise of the shape [B, ...], device and dtype of ``x``."""
        return self.draw(x.shape[1:]).to(x)
