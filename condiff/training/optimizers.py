"""Muon for the matrices of a network, AdamW for the rest."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the quintic iteration, Jordan et al. 2024
ITERATIONS = 5
SMALLEST = 16  # rows and columns of a matrix; images, conditions and vectors are AdamW's


class MuonAdamW(torch.optim.AdamW):
    """Muon (Jordan et al. 2024) for matrices and convolutions, whose filters are rows; AdamW for all other parameters.

    A step of Muon is ``lr`` times the orthogonal matrix nearest to the momentum, times sqrt(rows / columns) for tall matrices.

    Args:
        lr: learning rate of the matrices.
        adamw_share: learning rate of AdamW, as a share of it.
        momentum: of Muon, with Nesterov's look-ahead.
        settings: of AdamW.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float = 0.02, adamw_share: float = 0.15, momentum: float = 0.95, **settings: Any
    ):
        params = list(params)
        matrices = [parameter for parameter in params if is_matrix(parameter)]
        others = [parameter for parameter in params if not is_matrix(parameter)]
        groups = {"params": others, "lr": adamw_share * lr}, {"params": matrices, "lr": lr, "momentum": momentum}
        super().__init__([group for group in groups if group["params"]], lr=lr, **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes a step. The gradients of matrices are None after it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if "momentum" in group:
                by_shape: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        by_shape[len(parameter), parameter[0].numel()].append(parameter)
                for parameters in by_shape.values():
                    self._muon_step(parameters, group["lr"], group["momentum"])
        super().step()
        return loss

    def _muon_step(self, parameters: list[Tensor], lr: float, momentum: float) -> None:
        """Updates matrices of one shape, and takes their gradients away, so that AdamW passes over them."""
        averages: list[Tensor] = []
        gradients: list[Any] = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"], state["average"] = torch.zeros(()), torch.zeros_like(parameter)  # AdamW expects the first
            state["step"] += 1
            averages.append(state["average"])
            gradients.append(parameter.grad)
            parameter.grad = None
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        directions = torch._foreach_lerp(gradients, averages, momentum)
        updates = orthogonalize(torch.stack([as_matrix(direction) for direction in directions]))
        rows, columns = updates.shape[1:]
        updates = updates.mul_(-lr * max(1.0, rows / columns) ** 0.5)
        torch._foreach_add_(parameters, [like_parameter(update, p) for update, p in zip(updates, parameters, strict=True)])


def as_matrix(parameter: Tensor) -> Tensor:
    """Returns a parameter [M, C, ...] as a matrix whose columns are in the order of channels-last memory."""
    return parameter.movedim(1, -1).flatten(1)


def like_parameter(matrix: Tensor, parameter: Tensor) -> Tensor:
    """Returns a matrix of `as_matrix` in the shape of the parameter."""
    return matrix.view(parameter.movedim(1, -1).shape).movedim(-1, 1)


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon takes the parameter."""
    return parameter.dim() > 1 and min(len(parameter), parameter[0].numel()) >= SMALLEST


def orthogonalize(matrices: Tensor) -> Tensor:
    """Returns the matrices [n, M, N] with singular values of about 1, from 0.7 to 1.2, and the same singular vectors.

    The Newton-Schulz iteration X <- a X + b (X X^T) X + c (X X^T)^2 X, in terms of the smaller Gram matrix X X^T: a
    polynomial in it is gathered, and multiplied with X once.
    """
    is_wide = matrices.shape[1] <= matrices.shape[2]
    wide = matrices if is_wide else matrices.mT
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-20)
    gram = wide @ wide.mT
    product = factor = _factor(gram)
    for _ in range(ITERATIONS - 1):
        gram = factor @ (factor @ gram)
        factor = _factor(gram)
        product = factor @ product
    result = product @ wide
    return result if is_wide else result.mT


def _factor(gram: Tensor) -> Tensor:
    """Returns a + b G + c G^2, by which an iteration multiplies X."""
    a, b, c = COEFFICIENTS
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=1, dim2=2).add_(a)
    return factor
