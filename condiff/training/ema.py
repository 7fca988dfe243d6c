"""Averages of the weights over training: how fast each forgets, and mixing stored ones into any other.

After t updates an average keeps a share ``decay(t)`` of itself. With (1 - 1/t)^(gamma + 1) it weighs the
weights of step tau by tau^gamma: a profile that grows with the run, whose relative standard deviation,
``std``, says over which part of the run it averages (Karras et al. 2024, section 3.1 and appendix C).
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from condiff.errors import InputError

Profile = tuple[float, float]  # step, gamma
MAX_STD = 0.28  # gamma = 0, every step alike, has 0.289


def power(count: int, std: float) -> float:
    """What an average of relative width ``std`` keeps of itself at update ``count`` = 1, 2, ...: Karras et al. 2024, eq. 127."""
    return (1 - 1 / count) ** (gamma(std) + 1)


def constant(count: int, decay: float) -> float:
    """``decay``, after a warm-up of (1 + n) / (10 + n), lest it remember the initialization. Raises InputError for none."""
    if not 0 <= decay < 1:
        raise InputError(f"averaging.decay={decay}: give what an average keeps of itself, 0 or more and below 1")
    return min(decay, count / (9 + count))


@lru_cache
def gamma(std: float) -> float:
    """Exponent of the profile of relative width ``std``: the root of std^2 = (gamma+1) / ((gamma+2)^2 (gamma+3)), algorithm 2.

    Raises InputError for a width that no profile has which grows.
    """
    if not 0 < std < MAX_STD:
        raise InputError(f"std={std}: the relative width of an average lies between 0 and {MAX_STD}; 0.1 is the usual")
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        wide = (middle + 1) / ((middle + 2) ** 2 * (middle + 3)) > std**2
        low, high = (middle, high) if wide else (low, middle)
    return low


def solve_posthoc_weights(profiles: Sequence[Profile], target: Profile) -> tuple[Tensor, float]:
    """How much of each stored average makes the wanted one best, in the least squares of their profiles: algorithm 3.

    Returns the weights [N], and the distance between the profiles that is left, a share of the wanted one's norm.
    """
    gram = torch.tensor([[p_dot_p(row, column) for column in profiles] for row in profiles], dtype=torch.float64, device="cpu")
    projections = torch.tensor([p_dot_p(row, target) for row in profiles], dtype=torch.float64, device="cpu")
    x = torch.linalg.lstsq(gram, projections[:, None], driver="gelsd").solution[:, 0]
    residual = 1 - (2 * x @ projections - x @ gram @ x) / p_dot_p(target, target)
    return x, float(residual.clamp(min=0).sqrt())


def p_dot_p(a: Profile, b: Profile) -> float:
    """Inner product of two profiles: the integral of (g1 + 1) tau^g1 / t1^(g1 + 1) times the same of 2, up to the earlier t."""
    (early, g_early), (late, g_late) = sorted([a, b])
    return (g_early + 1) * (g_late + 1) / (g_early + g_late + 1) * (early / late) ** g_late / late
