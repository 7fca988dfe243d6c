"""Linear operators and least squares: what inverse problems share, with a network as their prior or without one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import torch
from torch import Tensor

MAX_CONDITION_NUMBER = (
    1e4  # condition number that conjugate gradients are asked to cope with: at more noise y counts as noisier than it is
)
_residuals: ContextVar[list[Tensor] | None] = ContextVar("_residuals", default=None)


class LinearOperator(Protocol):
    """A measurement and its adjoint: Re <A x, y> = <x, A* y>."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def adjoint(self, y: Tensor) -> Tensor: ...


@contextmanager
def recorded_residuals() -> Iterator[list[Tensor]]:
    """Relative residuals |b - M x| / |b| that `conjugate_gradients` ended with inside the block, [B] each, in their order."""
    residuals: list[Tensor] = []
    token = _residuals.set(residuals)
    try:
        yield residuals
    finally:
        _residuals.reset(token)


def conjugate_gradients(
    matrix: Callable[[Tensor], Tensor], b: Tensor, x: Tensor, iterations: int, tolerance: float = 1e-4
) -> Tensor:
    """Solve M x = b for a symmetric positive M, from a first guess x [B, ...] (Hestenes & Stiefel 1952).

    Inner products are real and of each image alone, so that neighbours in a batch do not matter; an image whose residual
    is ``tolerance`` of |b| stands still.
    """
    r = b - matrix(x)
    p, rr, enough = r, inner(r, r), tolerance**2 * inner(b, b)
    for _ in range(iterations):
        going = rr > enough
        if not going.any():
            break
        q = matrix(p)
        alpha = torch.where(going, rr / inner(p, q).clamp(min=1e-30), 0)
        x, r = x + alpha * p, r - alpha * q
        before, rr = rr, inner(r, r)
        p = r + rr / before.clamp(min=1e-30) * p
    if (residuals := _residuals.get()) is not None:
        residuals.append((rr / inner(b, b).clamp(min=1e-30)).sqrt().flatten())
    return x


def proximal(A: LinearOperator, back: Tensor, center: Tensor, weight: Tensor | float, iterations: int) -> Tensor:
    """argmin_z |z - center|^2 + weight |A z - y|^2, with ``back`` = A* y: (1 + weight A* A) z = center + weight A* y.

    The first guess is ``center``; where that holds a perturbation, so does the answer, however few the iterations.
    """
    return conjugate_gradients(lambda z: z + weight * A.adjoint(A(z)), center + weight * back, center, iterations)


def data_weight(variance: Tensor, sigma_y: float) -> Tensor:
    """Of the data against an estimate of that variance."""
    return (variance / sigma_y**2).clamp(max=MAX_CONDITION_NUMBER)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Of each image, [B, 1, ...]."""
    return (a * b).flatten(1).sum(dim=1).view(-1, *[1] * (a.dim() - 1))
