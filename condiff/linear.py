"""Linear operators and least squares, for inverse problems with or without a network as the prior."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import torch
from torch import Tensor

MAX_CONDITION_NUMBER = 1e4  # of 1 + weight A* A: beyond it conjugate gradients need many iterations
LOOK_EVERY = 4  # iterations, because a look at the residuals waits for the device; iterations too many change nothing
_residuals: ContextVar[list[Tensor] | None] = ContextVar("_residuals", default=None)


class LinearOperator(Protocol):
    """A measurement and its adjoint: Re <A x, y> = <x, A* y>."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def adjoint(self, y: Tensor) -> Tensor: ...

    def normal(self, x: Tensor) -> Tensor:
        """Returns A* A x, which some operators compute faster."""
        return self.adjoint(self(x))


@contextmanager
def recorded_residuals() -> Iterator[list[Tensor]]:
    """Collects the final relative residuals |b - M x| / |b| [B] of all calls of `conjugate_gradients` inside the block."""
    residuals: list[Tensor] = []
    token = _residuals.set(residuals)
    try:
        yield residuals
    finally:
        _residuals.reset(token)


def conjugate_gradients(
    matrix: Callable[[Tensor], Tensor], b: Tensor, x: Tensor, iterations: int, tolerance: float = 1e-4
) -> Tensor:
    """Returns the solution of M x = b [B, ...], M symmetric positive definite (Hestenes & Stiefel 1952).

    Inner products are real and taken per image, so that an image does not depend on the others in its batch. An image whose
    residual has fallen to ``tolerance`` |b| is no longer updated.

    Args:
        matrix: z -> M z.
        x: first guess.
    """
    r = b - matrix(x)
    p, rr, enough = r, inner(r, r), tolerance**2 * inner(b, b)
    for index in range(iterations):
        going = rr > enough
        if index % LOOK_EVERY == 0 and not going.any():
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
    """Returns argmin_z |z - center|^2 + weight |A z - y|^2, the solution of (1 + weight A* A) z = center + weight A* y.

    The first guess is ``center``, so noise in ``center`` remains even after few iterations.

    Args:
        back: A* y.
    """
    return conjugate_gradients(lambda z: z + weight * A.normal(z), center + weight * back, center, iterations)


def data_weight(variance: Tensor, sigma_y: float) -> Tensor:
    """Returns the weight of the data relative to an estimate of the given variance, at most `MAX_CONDITION_NUMBER`."""
    return (variance / sigma_y**2).clamp(max=MAX_CONDITION_NUMBER)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Returns the real inner product of each image, [B, 1, ...]."""
    return (a * b).flatten(1).sum(dim=1).view(-1, *[1] * (a.dim() - 1))
