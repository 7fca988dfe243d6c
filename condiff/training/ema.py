"""Power-function EMA of the weights, and the weights of its post-hoc reconstruction (Karras et al. 2024).

At update t the average is multiplied by ``decay(t)`` before the new weights are added. With (1 - 1/t)^(gamma + 1) the weights
of step tau count in proportion to tau^gamma: a profile whose relative standard deviation, ``std``, is its width as a share of
the run (section 3.1 and appendix C).
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from condiff.errors import InputError

Profile = tuple[float, float]  # step, gamma
MAX_STD = 0.28  # gamma = 0, equal weights for all steps, has 0.289


def power(count: int, std: float) -> float:
    """Returns the decay of an average of relative width ``std`` at update ``count`` = 1, 2, ...: Karras et al. 2024, eq. 127."""
    return (1 - 1 / count) ** (gamma(std) + 1)


def constant(count: int, decay: float) -> float:
    """Returns ``decay``, limited to (1 + n) / (10 + n) at first, so that the initialization is forgotten.

    Raises:
        InputError: the decay is not in [0, 1).
    """
    if not 0 <= decay < 1:
        raise InputError(f"averaging.decay={decay}: give the share of the average that is kept per step, 0 or more and below 1")
    return min(decay, count / (9 + count))


@lru_cache
def gamma(std: float) -> float:
    """Returns the exponent of the profile of relative width ``std``: std^2 = (gamma+1) / ((gamma+2)^2 (gamma+3)), algorithm 2.

    Raises:
        InputError: the width is not in (0, `MAX_STD`).
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
    """Returns weights [N] of the stored ``profiles`` that approximate ``target`` by least squares (algorithm 3).

    Also returns the distance of the approximation from the target profile, relative to the norm of the target.
    """
    gram = torch.tensor([[p_dot_p(row, column) for column in profiles] for row in profiles], dtype=torch.float64, device="cpu")
    projections = torch.tensor([p_dot_p(row, target) for row in profiles], dtype=torch.float64, device="cpu")
    x = torch.linalg.lstsq(gram, projections[:, None], driver="gelsd").solution[:, 0]
    residual = 1 - (2 * x @ projections - x @ gram @ x) / p_dot_p(target, target)
    return x, float(residual.clamp(min=0).sqrt())


def p_dot_p(a: Profile, b: Profile) -> float:
    """Returns the inner product of two profiles (g + 1) tau^g / t^(g + 1), integrated up to the earlier t."""
    (early, g_early), (late, g_late) = sorted([a, b])
    return (g_early + 1) * (g_late + 1) / (g_early + g_late + 1) * (early / late) ** g_late / late
