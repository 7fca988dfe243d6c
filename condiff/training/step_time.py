"""The time that a training step takes on this machine, which decides what a configuration leaves open.

The precision (`condiff.training.precision`) and the length of the default run (`condiff.training.budget`) depend on it.
"""

import copy
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from condiff.data.datasets import Sample
from condiff.diffusion.model import AUTOCAST

TRIAL_SECONDS = 1.0  # for each precision, after a first step that does not count
MAX_STEPS = 10


class StepTimer:
    """Times training steps of a copy of a system.

    Args:
        system: with ``trial_loss(batch)`` and ``optimizer(parameters)``.
        batch: of training images.
        processes: that train together.
    """

    def __init__(self, system: Any, batch: Sample, device: torch.device, processes: int = 1):
        self.system, self.batch, self.device, self.processes = system, batch, device, processes
        self._times: dict[str, float] = {}

    def seconds(self, precisions: Sequence[str]) -> dict[str, float]:
        """Returns the seconds of a step in each precision: the median of a few, taken in turn; measured once."""
        if not self._times.keys() >= {*precisions}:
            self._times = self._measure(precisions)
        return {precision: self._times[precision] for precision in precisions}

    def _measure(self, precisions: Sequence[str]) -> dict[str, float]:
        cuda = [self.device] if self.device.type == "cuda" else []
        times: dict[str, list[float]] = {precision: [] for precision in precisions}
        with torch.random.fork_rng(cuda):
            system = copy.deepcopy(self.system).to(self.device).train()
            optimizer = system.optimizer([parameter for parameter in system.parameters() if parameter.requires_grad])
            batch = Sample(self.batch.image.to(self.device), self.batch.cond.to(self.device))
            for precision in precisions:
                _step(system, optimizer, batch, precision)
            begin = time.monotonic()
            for _ in range(MAX_STEPS):
                for precision in precisions:
                    times[precision].append(_step(system, optimizer, batch, precision))
                if time.monotonic() - begin > TRIAL_SECONDS * len(precisions):
                    break
        return {precision: statistics.median(measured) for precision, measured in times.items()}


def _step(system: Any, optimizer: Optimizer, batch: Sample, precision: str) -> float:
    """Returns the seconds of a step."""
    begin = time.perf_counter()
    with torch.autocast(system.device.type, AUTOCAST.get(precision), enabled=AUTOCAST.get(precision) is not None):
        loss = system.trial_loss(batch)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if system.device.type == "cuda":
        torch.cuda.synchronize(system.device)
    return time.perf_counter() - begin
