"""The base class of noise schedules."""

import torch
from torch import Tensor

from condiff.errors import InputError, check_whole


def demand(name: str, value: float, low: float, high: float) -> None:
    """Raises InputError if a setting is out of its range or not a number."""
    if not low <= value <= high:
        raise InputError(f"{name}={value}: give {low:g} to {high:g}")


class Schedule:
    """A noise schedule, defined by ``sigma(u)``."""

    def sigma(self, u: Tensor) -> Tensor:
        """Returns the noise level at quantile ``u`` in [0, 1]; same shape as ``u``."""
        raise NotImplementedError

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Returns ``n`` noise levels for training [n], on the CPU: one from each n-th of the distribution, shuffled."""
        offset = torch.rand(1, generator=generator)
        return self.sigma((offset + torch.randperm(n, generator=generator)) / n)

    def steps(self, n: int) -> Tensor:
        """Returns the noise levels of an ``n``-step sampler [n + 1], from the largest down to exactly 0."""
        check_whole("steps", n)
        return torch.cat([self.sigma(torch.linspace(1, 0, n, dtype=torch.float64)).float(), torch.zeros(1)])

    @property
    def terminal_snr(self) -> float:
        """Signal-to-noise ratio at the level where sampling begins, 1 / sigma^2 for data of unit variance."""
        return float(self.steps(1)[0]) ** -2

    @property
    def terminal_signal(self) -> float:
        """sqrt(alpha_bar_T), the share of the image in x_T. Sampling begins from noise alone, so it should be close to 0."""
        return (1 + 1 / self.terminal_snr) ** -0.5
