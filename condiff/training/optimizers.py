"""Muon for the matrices of a network, AdamW for the rest."""

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
            for parameter in group["params"] if "momentum" in group else ():
                if parameter.grad is not None:
                    self._muon_step(parameter, parameter.grad, group["lr"], group["momentum"])
                    parameter.grad = None  # AdamW passes over it
        super().step()
        return loss

    def _muon_step(self, parameter: Tensor, gradient: Tensor, lr: float, momentum: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"], state["average"] = torch.zeros(()), torch.zeros_like(parameter)  # AdamW expects the first
        state["step"] += 1
        state["average"].lerp_(gradient, 1 - momentum)
        update = orthogonalize(gradient.lerp(state["average"], momentum).flatten(1))
        rows, columns = update.shape
        parameter.add_(update.view_as(parameter), alpha=-lr * max(1.0, rows / columns) ** 0.5)


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon takes the parameter."""
    return parameter.dim() > 1 and min(len(parameter), parameter[0].numel()) >= SMALLEST


def orthogonalize(matrix: Tensor) -> Tensor:
    """Returns the matrix [M, N] with singular values of about 1, from 0.7 to 1.2, and the same singular vectors.

    The Newton-Schulz iteration X <- a X + b (X X^T) X + c (X X^T)^2 X, in terms of the smaller Gram matrix X X^T: a
    polynomial in it is gathered, and multiplied with X once.
    """
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-20)
    gram = wide @ wide.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = identity
    for _ in range(ITERATIONS):
        factor = a * identity + b * gram + c * (gram @ gram)
        product, gram = factor @ product, factor @ (factor @ gram)
    result = product @ wide
    return result if result.shape == matrix.shape else result.T
