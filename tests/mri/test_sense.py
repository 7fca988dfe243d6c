"""The classical reconstructions, on the problem of `tests.diffusion.test_inverse`."""

import torch

from condiff.mri.sense import sense, zero_filled
from tests.diffusion.test_inverse import SIGMA_Y, TRUTHS, N, problem


def test_linear_methods_by_closed_form():
    """SENSE is the posterior mean of a white prior, zero filling the adjoint."""
    p = problem()
    x = sense(p.A, p.y, SIGMA_Y, sigma_data=0.05)
    matrix = torch.view_as_real(p.A(torch.eye(2 * N).view(2 * N, 2, 1, N)).flatten(1)).flatten(1).T.double()
    right = torch.view_as_real(p.y.flatten(1)).flatten(1).double() @ matrix
    exact = right @ torch.linalg.inv(matrix.T @ matrix + SIGMA_Y**2 / 0.05**2 * torch.eye(2 * N, dtype=torch.float64))
    torch.testing.assert_close(x.view(TRUTHS, -1).double(), exact, rtol=0, atol=1e-3 * float(exact.abs().max()))
    x = zero_filled(p.A, p.y, SIGMA_Y)
    torch.testing.assert_close(x, p.A.adjoint(p.y))
