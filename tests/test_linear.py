"""Conjugate gradients and the proximal step, against dense solutions."""

from itertools import pairwise

import torch

from condiff.linear import LinearOperator, conjugate_gradients, proximal, recorded_residuals
from tests.diffusion.test_inverse import TRUTHS, N, problem


def test_conjugate_gradients_solve_each_image_alone():
    """Against a dense solution; a hard neighbour and another batch change nothing, and the residual falls."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 40, 40, generator=generator)
    matrices = root @ root.mT + torch.tensor([1.0, 10.0, 100.0])[:, None, None] * torch.eye(40)
    b = torch.randn(3, 40, generator=generator)

    def solve(some, iterations):
        matrix = lambda x: torch.einsum("bij,bj->bi", matrices[some], x)  # noqa: E731
        return conjugate_gradients(matrix, b[some], torch.zeros_like(b[some]), iterations, tolerance=1e-6)

    torch.testing.assert_close(solve([0, 1, 2], 200), torch.linalg.solve(matrices, b), rtol=1e-3, atol=1e-3)
    for one in range(3):
        torch.testing.assert_close(solve([0, 1, 2], 7)[one], solve([one], 7)[0], rtol=1e-5, atol=1e-6)
    exact = torch.linalg.solve(matrices, b)
    errors = []
    for iterations in range(0, 30, 3):
        left = solve([0, 1, 2], iterations) - exact
        errors.append(torch.einsum("bi,bij,bj->b", left, matrices, left))
    assert all((after <= before * 1.001).all() for before, after in pairwise(errors))


def test_residuals_of_conjugate_gradients():
    """Against |b - M x| / |b|, of every image of a batch; nothing is kept outside the block."""
    root = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    matrix, b = root @ root.T + 0.1 * torch.eye(6), torch.randn(2, 1, 6, generator=torch.Generator().manual_seed(1))
    with recorded_residuals() as residuals:
        x = conjugate_gradients(lambda z: z @ matrix, b, torch.zeros_like(b), 3)
    conjugate_gradients(lambda z: z @ matrix, b, torch.zeros_like(b), 3)
    expected = ((b - x @ matrix).norm(dim=-1) / b.norm(dim=-1))[:, 0]
    assert len(residuals) == 1
    torch.testing.assert_close(residuals[0], expected, rtol=1e-3, atol=1e-5)


def test_complex_data_are_not_taken_for_bilinear():
    """The published programs leave out the conjugate; then (1 + w A* A) z = b is not solved. Here the residual is small."""
    p = problem()
    b = p.A.adjoint(p.y)
    normal = lambda x: x + 100.0 * p.A.adjoint(p.A(x))  # noqa: E731
    x = conjugate_gradients(normal, b, torch.zeros_like(b), 60)
    assert (b - normal(x)).norm() < 1e-3 * b.norm()


def test_a_perturbed_start_keeps_its_perturbation():
    """What was not measured stays as perturbed, however few the iterations: a start at the unperturbed estimate would lose it."""
    p = problem()
    start = torch.randn(TRUTHS, 2, 1, N, generator=torch.Generator().manual_seed(1))

    class Blind(LinearOperator):
        def __call__(self, x):
            return 0 * p.A(x)

        def adjoint(self, y):
            return torch.zeros(TRUTHS, 2, 1, N)

    torch.testing.assert_close(proximal(Blind(), Blind().adjoint(None), start, 50.0, 1), start)
