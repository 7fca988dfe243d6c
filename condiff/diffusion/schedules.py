"""Noise schedules.

Everything in ``condiff.diffusion`` lives in variance-exploding coordinates, ``x = x0 + sigma * eps``,
where sigma is the noise-to-signal ratio. A schedule is the quantile function of sigma: a non-decreasing
map from u in [0, 1] to sigma. Uniform u gives the noise levels of training; evenly spaced u gives the
grid of sampling.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from condiff.errors import InputError

LARGEST_SIGMA = 1e6
LONGEST_CHAIN = 100_000
LARGEST_BETA = 0.999  # Nichol & Dhariwal 2021: a beta of 1 has no way back


def _demand(name: str, value: float, low: float, high: float) -> None:
    """Raise InputError where a setting is out of its range, or no number."""
    if not low <= value <= high:
        raise InputError(f"schedule.{name}={value}: give {low:g} to {high:g}")


def _demand_levels(low: float, high: float) -> None:
    if not 0 < low < high <= LARGEST_SIGMA:
        raise InputError(
            f"schedule.sigma_min={low}, sigma_max={high}: give two levels above 0, the lower first, up to {LARGEST_SIGMA:g}"
        )


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
    def signal_left(self) -> float:
        """sqrt(alpha_bar_T), the share of the image in x_T: sampling begins without it, so it should be next to 0."""
        return (1 + 1 / self.terminal_snr) ** -0.5


class BetaChain(Schedule):
    """A DDPM chain of ``num_steps`` discrete levels: sigma_t^2 = (1 - alpha_bar_t) / alpha_bar_t."""

    num_steps: int

    @property
    def betas(self) -> Tensor:
        """beta_t for t = 1 ... T, float64; [T]."""
        raise NotImplementedError

    @cached_property
    def table(self) -> Tensor:
        """sigma_t for t = 1 ... T, float64; [T]."""
        alpha_bar = torch.cumprod(1 - self.betas, dim=0)
        return ((1 - alpha_bar) / alpha_bar).sqrt()

    def sigma(self, u: Tensor) -> Tensor:
        index = (u * self.num_steps).ceil().long().sub(1).clamp(min=0)
        return self.table[index].to(u.dtype)

    def steps(self, n: int) -> Tensor:
        """``n`` of the chain's own levels, evenly spaced in t with both ends but for rounding, and then 0; [n + 1].

        Raises:
            InputError: no steps, or more than the chain has levels.
        """
        if not 1 <= n <= self.num_steps:
            raise InputError(f"steps={n}: this chain has {self.num_steps} levels; ask for 1 to {self.num_steps} steps")
        index = torch.linspace(self.num_steps - 1, 0, n, dtype=torch.float64).round().long()
        return torch.cat([self.table[index].float(), torch.zeros(1)])


@dataclass(frozen=True)
class LinearBeta(BetaChain):
    """The chain of Ho et al. 2020, section 4: beta linear in t.

    The defaults are the paper's at T = 1000. A shorter chain keeps its end points only when betas are
    rescaled by 1000 / T (Nichol & Dhariwal 2021), which is what happens here: without it
    sqrt(alpha_bar_T) is 0.36 at T = 200, and sampling starts from noise the network never saw.

    Args:
        num_steps: T.
        beta_min, beta_max: beta_1 and beta_T of a chain of ``reference_steps``.
        reference_steps: with ``num_steps`` here, the betas are taken as they stand.
    """

    num_steps: int = 1000
    beta_min: float = 1e-4
    beta_max: float = 0.02
    reference_steps: int = 1000

    def __post_init__(self) -> None:
        _demand("num_steps", self.num_steps, 1, LONGEST_CHAIN)
        _demand("beta_min", self.beta_min, 0, 1)
        _demand("beta_max", self.beta_max, max(self.beta_min, 1e-9), 1)
        _demand("reference_steps", self.reference_steps, 1, LONGEST_CHAIN)

    @property
    def betas(self) -> Tensor:
        scale = self.reference_steps / self.num_steps
        ends = scale * self.beta_min, scale * self.beta_max
        return torch.linspace(*ends, self.num_steps, dtype=torch.float64).clamp(max=LARGEST_BETA)


@dataclass(frozen=True)
class ScaledLinearBeta(BetaChain):
    """The chain of latent diffusion (Rombach et al. 2022), which calls it linear: sqrt(beta) is linear in t.

    The defaults are those of its models of natural images; with Stable Diffusion's 0.00085 and 0.012 a
    share of 0.068 of the image is left at T. Betas are rescaled as in `LinearBeta`.
    """

    num_steps: int = 1000
    beta_min: float = 0.0015
    beta_max: float = 0.0195
    reference_steps: int = 1000

    def __post_init__(self) -> None:
        _demand("num_steps", self.num_steps, 1, LONGEST_CHAIN)
        _demand("beta_min", self.beta_min, 0, 1)
        _demand("beta_max", self.beta_max, max(self.beta_min, 1e-9), 1)
        _demand("reference_steps", self.reference_steps, 1, LONGEST_CHAIN)

    @property
    def betas(self) -> Tensor:
        roots = torch.linspace(self.beta_min**0.5, self.beta_max**0.5, self.num_steps, dtype=torch.float64)
        return (self.reference_steps / self.num_steps * roots**2).clamp(max=LARGEST_BETA)


@dataclass(frozen=True)
class CosineBeta(BetaChain):
    """Nichol & Dhariwal 2021, eq. 17: alpha_bar = cos^2((t/T + s) / (1 + s) pi/2), beta at most 0.999."""

    num_steps: int = 1000
    offset: float = 0.008

    def __post_init__(self) -> None:
        _demand("num_steps", self.num_steps, 1, LONGEST_CHAIN)
        _demand("offset", self.offset, 0, 1)

    @property
    def betas(self) -> Tensor:
        t = torch.linspace(0, 1, self.num_steps + 1, dtype=torch.float64)
        return betas_of(((t + self.offset) / (1 + self.offset) * math.pi / 2).cos().square())


@dataclass(frozen=True)
class SigmoidBeta(BetaChain):
    """Jabri et al. 2022: alpha_bar falls as a sigmoid does between ``start`` and ``end``, beta at most 0.999."""

    num_steps: int = 1000
    start: float = -3.0
    end: float = 3.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _demand("num_steps", self.num_steps, 1, LONGEST_CHAIN)
        _demand("temperature", self.temperature, 1e-3, 1e3)
        _demand("start", self.start, -100, 100)
        _demand("end", self.end, self.start + 1e-6, 100)

    @property
    def betas(self) -> Tensor:
        t = torch.linspace(self.start, self.end, self.num_steps + 1, dtype=torch.float64)
        curve = (-t / self.temperature).sigmoid()
        return betas_of((curve - curve[-1]) / (curve[0] - curve[-1]))


def betas_of(alpha_bar: Tensor) -> Tensor:
    """beta_t for t = 1 ... T of a curve alpha_bar at t = 0 ... T; [T]."""
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=LARGEST_BETA)


@dataclass(frozen=True)
class Karras(Schedule):
    """Karras et al. 2022, eq. 5: sigma^(1/rho) evenly spaced."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        _demand_levels(self.sigma_min, self.sigma_max)
        _demand("rho", self.rho, 0.1, 100)

    def sigma(self, u: Tensor) -> Tensor:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (low + u * (high - low)) ** self.rho


@dataclass(frozen=True)
class LogNormal(Schedule):
    """Karras et al. 2022, table 1: log sigma is normal in training, the grid of sampling is `Karras`."""

    mean: float = -1.2
    std: float = 1.2
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        _demand_levels(self.sigma_min, self.sigma_max)
        _demand("rho", self.rho, 0.1, 100)
        _demand("mean", self.mean, -50, 50)
        _demand("std", self.std, 0, 50)

    def sigma(self, u: Tensor) -> Tensor:
        z = torch.special.ndtri(u.double().clamp(1e-9, 1 - 1e-9))
        return (self.mean + self.std * z).exp().clamp(self.sigma_min, self.sigma_max).to(u.dtype)

    def steps(self, n: int) -> Tensor:
        return Karras(self.sigma_min, self.sigma_max, self.rho).steps(n)


@dataclass(frozen=True)
class Consistency(LogNormal):
    """Levels of a consistency model, whose few steps each end in a clean image: n of them start at the upper n of n + 1."""

    def steps(self, n: int) -> Tensor:
        return torch.cat([super().steps(n + 1)[:n] if n > 0 else super().steps(n), torch.zeros(1)])


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
        _demand("t_min", self.t_min, 1e-9, 1 - 1e-9)
        _demand("t_max", self.t_max, self.t_min, 1 - 1e-9)

    def sigma(self, u: Tensor) -> Tensor:
        t = self.t_min + u * (self.t_max - self.t_min)
        return t / (1 - t)
