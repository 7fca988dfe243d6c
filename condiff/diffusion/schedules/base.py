"""What all noise schedules share."""

import torch
from torch import Tensor

from condiff.errors import InputError


def demand(name: str, value: float, low: float, high: float) -> None:
    """Raise InputError where a setting is out of its range, or no number."""
    if not low <= value <= high:
        raise InputError(f"{name}={value}: give {low:g} to {high:g}")


class Schedule:
    """A noise schedule, defined by ``sigma(u)``."""

    def sigma(self, u: Tensor) -> Tensor:
        """Noise level at quantile ``u`` in [0, 1]; same shape as ``u``."""
        raise NotImplementedError

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` noise levels for training, one from each n-th of the distribution, shuffled; [n], on the CPU."""
        offset = torch.rand(1, generator=generator)
        return self.sigma((offset + torch.randperm(n, generator=generator)) / n)

    def steps(self, n: int) -> Tensor:
        """Noise levels of an ``n``-step sampler, from the largest down to exactly 0; [n + 1]."""
        if n < 1:
            raise InputError(f"steps={n}: a sampler takes at least one step")
        return torch.cat([self.sigma(torch.linspace(1, 0, n, dtype=torch.float64)).float(), torch.zeros(1)])

    @property
    def terminal_snr(self) -> float:
        """Signal-to-noise ratio where sampling begins, 1 / sigma^2 for data of unit variance."""
        return float(self.steps(1)[0]) ** -2

    @property
    def terminal_signal(self) -> float:
        """sqrt(alpha_bar_T), the share of the image in x_T: sampling begins without it, so it should be next to 0."""
        return (1 + 1 / self.terminal_snr) ** -0.5
