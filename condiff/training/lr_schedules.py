"""Learning-rate factors: (step, total steps) -> factor on the learning rate of the optimizer."""

import math
from collections.abc import Callable

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def constant(step: int, total: int, warmup: int = 0) -> float:
    """Returns 1, after a linear rise over ``warmup`` steps."""
    return min(1.0, (step + 1) / max(warmup, 1))


def cosine(step: int, total: int, warmup: int = 100) -> float:
    """Returns a linear rise over ``warmup`` steps, at most a quarter of all, then half a cosine down to 0 at the last step."""
    warmup = min(warmup, total // 4)
    progress = min(max(step - warmup, 0) / max(total - warmup, 1), 1.0)
    return min(1.0, (step + 1) / max(warmup, 1)) * 0.5 * (1 + math.cos(math.pi * progress))


def with_lr_schedule(optimizer: Optimizer, factor: Callable[[int, int], float], total: int) -> OptimizerLRScheduler:
    """Returns Lightning's description of an optimizer whose learning rate is multiplied by ``factor(step, total)``."""
    # a fused step could unscale the gradients of 16-mixed itself, but then they cannot be clipped before
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    scheduler = LambdaLR(optimizer, lambda step: factor(step, total))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
