"""Ways to pose a measurement as an inverse problem."""

from condiff.mri.maps import espirit
from condiff.reconstruction.formulations import per_coil, phase_constrained, sense_problem
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
