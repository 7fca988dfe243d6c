"""Methods that replace the measured part after every step."""

from collections.abc import Iterator

import torch
from torch import Tensor

from condiff.diffusion.denoiser import Denoise
from condiff.diffusion.inverse.problem import Problem
from condiff.diffusion.noise import Noise
from condiff.diffusion.samplers import predictor_corrector


def score_mri(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    problem: Problem,
    cond: Tensor | None = None,
    corrections: int = 1,
    snr: float = 0.16,
    noise: Noise = torch.randn_like,
) -> Iterator[Tensor]:
    """Score-MRI (Chung & Ye 2022), algorithm 2: predictor-corrector sampling, with a projection after each step.

    The projection x - A*(A x - y) replaces the measured samples for a single coil. The data are taken to be free of noise.
    """
    A, back = problem.A, problem.A.adjoint(problem.y)
    yield from predictor_corrector(
        denoise, x, sigmas, cond, corrections, snr, project=lambda x: x + back - A.normal(x), noise=noise
    )
