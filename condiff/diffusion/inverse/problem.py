"""The inverse problem y = A(x0) + noise, and the interface of methods that solve it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.noise import Noise
from condiff.linear import LinearOperator


@dataclass(frozen=True)
class Problem:
    """y = A(x0) + noise.

    Attributes:
        A: the operator, from images [B, C, H, W] to data.
        y: the data, real or complex; [1, ...] where the whole batch shares them.
        sigma_y: standard deviation of the noise in each real component of y.
    """

    A: LinearOperator
    y: Tensor
    sigma_y: float


class Method(Protocol):
    """Yields x [B, C, H, W] after each step, from noise at ``sigmas[0]`` down the grid to a solution of the problem."""

    def __call__(
        self, denoise: Denoise, x: Tensor, sigmas: Tensor, problem: Problem, cond: Tensor | None = None, *, noise: Noise = ...
    ) -> Iterator[Tensor]: ...


def noise_like(y: Tensor, x: Tensor, noise: Noise) -> Tensor:
    """Returns noise of the shape of y for each image of x, of unit standard deviation in each real component."""
    y = y.expand(len(x), *y.shape[1:])
    return torch.view_as_complex(noise(torch.view_as_real(y))) if y.is_complex() else noise(y)
