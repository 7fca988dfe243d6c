"""Normal noise with one seed per image: the same alone or in a batch, on every device, and drawn without waiting for one."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Noise = Callable[[Tensor], Tensor]  # x -> standard normal noise of its shape
MULTIPLIERS, WEYL, ROUNDS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85), 10  # of Philox4x32-10
WORD = 0xFFFFFFFF  # the lower 32 bits


class SeededNoise:
    """Standard normal noise for a batch whose i-th image depends on ``seeds[i]`` alone, up to the rounding of a device.

    Each draw is another part of the image's random stream.
    """

    def __init__(self, seeds: Sequence[int]):
        self.keys = torch.tensor([[seed & WORD, seed >> 32 & WORD] for seed in map(int, seeds)], dtype=torch.int64).view(-1, 2)
        self.draws = 0

    def draw(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Noise [B, *shape], float32."""
        count = math.prod(shape)
        self.keys = self.keys.to(device)
        blocks = torch.arange(-(-count // 4), device=device)
        zero = torch.zeros_like(blocks)
        words = philox((blocks, zero + self.draws, zero, zero), (self.keys[:, :1], self.keys[:, 1:]))
        self.draws += 1
        normal = torch.cat([*box_muller(*words[:2]), *box_muller(*words[2:])], dim=1)
        return normal[:, :count].reshape(-1, *shape)

    def __call__(self, x: Tensor) -> Tensor:
        """Noise of the shape [B, ...], device and dtype of ``x``."""
        return self.draw(x.shape[1:], x.device).to(x.dtype)


def philox(counter: Sequence[Tensor], key: Sequence[Tensor]) -> Sequence[Tensor]:
    """Four random words of 32 bits, in int64, for a counter of four words and a key of two: Salmon et al. 2011, Philox4x32-10.

    A pure function of integers, so its words are equal on every device. `torch.func._random` has it for CUDA, not yet public.
    """
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(ROUNDS):
        p0, p1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2  # an overflow of int64 keeps all 64 bits
        c0, c1, c2, c3 = p1 >> 32 & WORD ^ c1 ^ k0, p1 & WORD, p0 >> 32 & WORD ^ c3 ^ k1, p0 & WORD
        k0, k1 = k0 + WEYL[0] & WORD, k1 + WEYL[1] & WORD
    return c0, c1, c2, c3


def box_muller(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent standard normal numbers from two random words of 32 bits, float32."""
    radius = (-2 * ((a + 0.5) * 2.0**-32).log()).sqrt()
    angle = b * (2 * math.pi * 2.0**-32)
    return radius * angle.cos(), radius * angle.sin()
