"""Ways to pose a measurement as an inverse problem."""

import pytest
import torch

from condiff.mri.fourier import fft2c, to_complex
from condiff.mri.maps import espirit
from condiff.reconstruction.formulations import per_coil, phase_constrained, sense_problem
from condiff.reconstruction.measurement import ImageGrid, Measurement
from tests.reconstruction.test_measurement import measured


def test_problems_of_one_truth(tmp_path):
    """A real image of smooth phase: each way to pose it meets the data with that image."""
    scan, one = measured(tmp_path, 1.0, noise=1e-4)
    target, _ = one.reference(scan.kspace, espirit)
    for pose in (sense_problem, phase_constrained, per_coil):
        problem = pose(one, [0, 1])
        x = problem.A.adjoint(problem.y)  # all was sampled: the adjoint is the inverse
        error = (problem.assemble(x).abs() - target.abs()).norm() / target.norm()
        assert error < 0.1, pose.__name__  # coil by coil the noise adds up


def full_measurement(kspace, calibration=(5, 5)):
    """A fully sampled measurement [S, V, N, N] whose coil maps are equal everywhere."""
    _, coils, size, _ = kspace.shape
    maps = torch.full_like(kspace, coils**-0.5)
    mask = torch.ones(size, size, dtype=torch.bool)
    return Measurement(kspace, mask, maps, calibration, torch.eye(coils), torch.eye(coils), [], 1.0, 0.1,
                       ImageGrid(size, 220.0, 0.99))  # fmt: skip


def test_phase_is_that_of_the_calibration_region_under_its_window():
    """Three waves: at the center, one row beside it, and outside the region, which has no part in the phase.

    The Hann window of five samples is 1 in the middle, and sin^2(2 pi / 3) = 3/4 beside it.
    """
    size, center = 8, 4
    kspace = torch.zeros(1, 1, size, size, dtype=torch.complex64)
    kspace[..., center, center] = 8 * torch.exp(torch.tensor(0.7j))
    kspace[..., center + 1, center] = 4.0
    kspace[..., center + 3, center - 3] = 6.0j
    wave = torch.polar(torch.ones(size), 2 * torch.pi * (torch.arange(size) - center) / size)
    phase = (8 * torch.exp(torch.tensor(0.7j)) + 0.75 * 4.0 * wave).angle()
    problem = phase_constrained(full_measurement(kspace), [0])
    x = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    expected = torch.polar(x[:, 0] + 1, phase[:, None].expand(size, size))
    torch.testing.assert_close(problem.assemble(x), expected)


def test_magnitude_of_known_phase_meets_the_data():
    """An image whose phase is the same everywhere, in units in which air is -1: A(x) = y."""
    magnitude = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.5
    image = magnitude * torch.exp(torch.tensor(-2.1j))
    kspace = fft2c(3**-0.5 * image[:, None]).repeat(1, 3, 1, 1)
    problem = phase_constrained(full_measurement(kspace), [0, 1])
    x = magnitude[:, None] - 1
    torch.testing.assert_close(problem.A(x), problem.y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(problem.assemble(x), image, rtol=1e-4, atol=1e-5)


def test_every_coil_has_the_scale_of_the_prior():
    """Coils of constant images 0.5 to 8: each is 2 to the prior, the noise as much less; together they are what they were."""
    levels = torch.tensor([[0.5, 2.0, 8.0], [1.0, 3.0, 4.0]])
    phase = torch.exp(torch.tensor(0.4j))
    images = (levels * phase)[..., None, None].expand(2, 3, 16, 16)
    problem = per_coil(full_measurement(fft2c(images.contiguous()), calibration=(1, 1)), [0, 1])
    x = problem.A.adjoint(problem.y)
    torch.testing.assert_close(to_complex(x), 2 * phase.expand(6, 16, 16), rtol=1e-4, atol=1e-5)
    assert problem.per_slice == 3 and problem.sigma_y == pytest.approx(0.1 / (levels / 2).mean().item(), rel=1e-4)
    together = levels.square().sum(dim=1).sqrt() * phase
    torch.testing.assert_close(problem.assemble(x), together[:, None, None].expand(2, 16, 16), rtol=1e-4, atol=1e-5)
