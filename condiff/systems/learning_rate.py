"""Learning-rate factors: (step, total steps) -> what the optimizer's own rate is multiplied by."""

import math


def constant(step: int, total: int, warmup: int = 0) -> float:
    """1, after a linear rise over ``warmup`` steps."""
    return min(1.0, (step + 1) / max(warmup, 1))


def cosine(step: int, total: int, warmup: int = 100) -> float:
    """A linear rise over ``warmup`` steps, then half a cosine down to 0 at the last."""
    progress = min(max(step - warmup, 0) / max(total - warmup, 1), 1.0)
    return min(1.0, (step + 1) / max(warmup, 1)) * 0.5 * (1 + math.cos(math.pi * progress))
