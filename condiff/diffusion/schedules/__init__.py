"""Noise schedules.

Everything in ``condiff.diffusion`` lives in variance-exploding coordinates, ``x = x0 + sigma * eps``,
where sigma is the noise-to-signal ratio. A schedule is the quantile function of sigma: a non-decreasing
map from u in [0, 1] to sigma. Uniform u gives the noise levels of training; evenly spaced u gives the
grid of sampling.
"""

from condiff.diffusion.schedules.base import Schedule
from condiff.diffusion.schedules.continuous import ConsistencyLevels, Flow, Geometric, Karras, LogNormal
from condiff.diffusion.schedules.discrete import CosineBeta, DiscreteVP, LinearBeta, ScaledLinearBeta, SigmoidBeta, betas_of

__all__ = [
    "ConsistencyLevels",
    "CosineBeta",
    "DiscreteVP",
    "Flow",
    "Geometric",
    "Karras",
    "LinearBeta",
    "LogNormal",
    "ScaledLinearBeta",
    "Schedule",
    "SigmoidBeta",
    "betas_of",
]
