"""Classical reconstruction: plain functions of the operator A and the data y."""

import torch
from torch import Tensor

from condiff.linear import LinearOperator, data_weight, proximal


def zero_filled(A: LinearOperator, y: Tensor, sigma_y: float) -> Tensor:
    """Returns A* y, in which missing samples are zero. sigma_y is not used."""
    return A.adjoint(y)


def sense(A: LinearOperator, y: Tensor, sigma_y: float, sigma_data: float = 0.5, iterations: int = 30) -> Tensor:
    """Returns the CG-SENSE reconstruction (Pruessmann et al. 2001), regularized by a white prior of variance sigma_data^2.

    Args:
        sigma_y: standard deviation of the noise in each real component of y.
        sigma_data: standard deviation of the images' channels.
        iterations: of conjugate gradients.
    """
    back = A.adjoint(y)
    return proximal(A, back, torch.zeros_like(back), data_weight(torch.tensor(sigma_data**2), sigma_y), iterations)
