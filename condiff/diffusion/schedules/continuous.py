"""Continuous noise schedules, defined in sigma."""

from dataclasses import dataclass

import torch
from torch import Tensor

from condiff.diffusion.schedules.base import Schedule, demand
from condiff.errors import InputError, check_whole

MAX_SIGMA = 1e6


def _demand_levels(low: float, high: float) -> None:
    if not 0 < low < high <= MAX_SIGMA:
        raise InputError(f"sigma_min={low}, sigma_max={high}: give two levels above 0, the lower first, up to {MAX_SIGMA:g}")


@dataclass(frozen=True)
class Karras(Schedule):
    """Karras et al. 2022, eq. 5: sigma^(1/rho) evenly spaced."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        _demand_levels(self.sigma_min, self.sigma_max)
        demand("rho", self.rho, 0.1, 100)

    def sigma(self, u: Tensor) -> Tensor:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (low + u * (high - low)) ** self.rho


@dataclass(frozen=True)
class LogNormal(Schedule):
    """Karras et al. 2022, table 1: log sigma is normal in training; sampling uses the grid of `Karras`."""

    mean: float = -1.2
    std: float = 1.2
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        _demand_levels(self.sigma_min, self.sigma_max)
        demand("rho", self.rho, 0.1, 100)
        demand("mean", self.mean, -50, 50)
        demand("std", self.std, 0, 50)

    def sigma(self, u: Tensor) -> Tensor:
        z = torch.special.ndtri(u.double().clamp(1e-9, 1 - 1e-9))
        return (self.mean + self.std * z).exp().clamp(self.sigma_min, self.sigma_max).to(u.dtype)

    def steps(self, n: int) -> Tensor:
        return Karras(self.sigma_min, self.sigma_max, self.rho).steps(n)


@dataclass(frozen=True)
class ConsistencyLevels(LogNormal):
    """Levels of a consistency model: each step ends in a clean image, so n steps start at the upper n of n + 1 levels."""

    def steps(self, n: int) -> Tensor:
        check_whole("steps", n)
        return torch.cat([super().steps(n + 1)[:n], torch.zeros(1)])


@dataclass(frozen=True)
class Geometric(Schedule):
    """Log-uniform sigma: the VE-SDE of Song et al. 2021 and annealed Langevin dynamics."""

    sigma_min: float = 0.01
    sigma_max: float = 100.0

    def __post_init__(self) -> None:
        _demand_levels(self.sigma_min, self.sigma_max)

    def sigma(self, u: Tensor) -> Tensor:
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** u


@dataclass(frozen=True)
class Flow(Schedule):
    """Rectified flow (Liu et al. 2023), x_t = (1 - t) x0 + t eps with t uniform: sigma = t / (1 - t)."""

    t_min: float = 1e-3
    t_max: float = 0.99

    def __post_init__(self) -> None:
        demand("t_min", self.t_min, 1e-9, 1 - 1e-9)
        demand("t_max", self.t_max, self.t_min, 1 - 1e-9)

    def sigma(self, u: Tensor) -> Tensor:
        t = self.t_min + u * (self.t_max - self.t_min)
        return t / (1 - t)
