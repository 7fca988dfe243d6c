"""Learning-rate factors: (step, total steps) -> what the optimizer's own rate is multiplied by."""

import math
from collections.abc import Callable

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def constant(step: int, total: int, warmup: int = 0) -> float:
    """1, after a linear rise over ``warmup`` steps."""
    return min(1.0, (step + 1) / max(warmup, 1))


def cosine(step: int, total: int, warmup: int = 100) -> float:
    """A linear rise over ``warmup`` steps, then half a cosine down to 0 at the last."""
    progress = min(max(step - warmup, 0) / max(total - warmup, 1), 1.0)
    return min(1.0, (step + 1) / max(warmup, 1)) * 0.5 * (1 + math.cos(math.pi * progress))


def with_lr_schedule(optimizer: Optimizer, factor: Callable[[int, int], float], total: int) -> OptimizerLRScheduler:
    """The optimizer with its rate multiplied by ``factor(step, total)``, as Lightning takes it."""
    scheduler = LambdaLR(optimizer, lambda step: factor(step, total))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
