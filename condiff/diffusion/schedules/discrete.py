"""Discrete noise schedules: the chains of DDPM, defined by their betas."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from condiff.diffusion.schedules.base import Schedule, demand
from condiff.errors import InputError, check_whole

MAX_CHAIN_STEPS = 100_000
MAX_BETA = 0.999  # Nichol & Dhariwal 2021: beta = 1 has no inverse


class DiscreteVP(Schedule):
    """A DDPM chain of ``num_steps`` discrete levels: sigma_t^2 = (1 - alpha_bar_t) / alpha_bar_t."""

    num_steps: int

    @property
    def betas(self) -> Tensor:
        """beta_t for t = 1 ... T, float64; [T]."""
        raise NotImplementedError

    @cached_property
    def sigmas(self) -> Tensor:
        """sigma_t for t = 1 ... T, float64; [T]."""
        alpha_bar = torch.cumprod(1 - self.betas, dim=0)
        return ((1 - alpha_bar) / alpha_bar).sqrt()

    def sigma(self, u: Tensor) -> Tensor:
        index = (u * self.num_steps).ceil().long().sub(1).clamp(min=0)
        return self.sigmas[index].to(u.dtype)

    def steps(self, n: int) -> Tensor:
        """Returns ``n`` of the chain's own levels, evenly spaced in t up to rounding and with both ends, then 0; [n + 1].

        Raises:
            InputError: n is less than 1 or more than the number of levels.
        """
        check_whole("steps", n)
        if n > self.num_steps:
            raise InputError(f"steps={n}: this chain has {self.num_steps} levels; give 1 to {self.num_steps} steps")
        index = torch.linspace(self.num_steps - 1, 0, n, dtype=torch.float64).round().long()
        return torch.cat([self.sigmas[index].float(), torch.zeros(1)])


@dataclass(frozen=True)
class LinearBeta(DiscreteVP):
    """The chain of Ho et al. 2020, section 4: beta linear in t.

    The defaults are the paper's at T = 1000. For other T, betas are rescaled by 1000 / T (Nichol & Dhariwal 2021), which keeps
    the end points of the chain. Without it sqrt(alpha_bar_T) would be 0.36 at T = 200: sampling would start from a noise level
    that the network was not trained on.

    Args:
        num_steps: T.
        beta_min, beta_max: beta_1 and beta_T of a chain of ``reference_steps``.
        reference_steps: the chain length that the betas are for; equal to ``num_steps``, they are used as they are.
    """

    num_steps: int = 1000
    beta_min: float = 1e-4
    beta_max: float = 0.02
    reference_steps: int = 1000

    def __post_init__(self) -> None:
        demand("num_steps", self.num_steps, 1, MAX_CHAIN_STEPS)
        demand("beta_min", self.beta_min, 0, 1)
        demand("beta_max", self.beta_max, max(self.beta_min, 1e-9), 1)
        demand("reference_steps", self.reference_steps, 1, MAX_CHAIN_STEPS)

    @property
    def betas(self) -> Tensor:
        scale = self.reference_steps / self.num_steps
        ends = scale * self.beta_min, scale * self.beta_max
        return torch.linspace(*ends, self.num_steps, dtype=torch.float64).clamp(max=MAX_BETA)


@dataclass(frozen=True)
class ScaledLinearBeta(DiscreteVP):
    """The chain of latent diffusion (Rombach et al. 2022), there called linear: sqrt(beta) is linear in t.

    The defaults are those of the paper's models of natural images; with Stable Diffusion's 0.00085 and 0.012,
    sqrt(alpha_bar_T) is 0.068. Betas are rescaled as in `LinearBeta`.
    """

    num_steps: int = 1000
    beta_min: float = 0.0015
    beta_max: float = 0.0195
    reference_steps: int = 1000

    def __post_init__(self) -> None:
        demand("num_steps", self.num_steps, 1, MAX_CHAIN_STEPS)
        demand("beta_min", self.beta_min, 0, 1)
        demand("beta_max", self.beta_max, max(self.beta_min, 1e-9), 1)
        demand("reference_steps", self.reference_steps, 1, MAX_CHAIN_STEPS)

    @property
    def betas(self) -> Tensor:
        roots = torch.linspace(self.beta_min**0.5, self.beta_max**0.5, self.num_steps, dtype=torch.float64)
        return (self.reference_steps / self.num_steps * roots**2).clamp(max=MAX_BETA)


@dataclass(frozen=True)
class CosineBeta(DiscreteVP):
    """Nichol & Dhariwal 2021, eq. 17: alpha_bar = cos^2((t/T + s) / (1 + s) pi/2), beta at most 0.999."""

    num_steps: int = 1000
    offset: float = 0.008

    def __post_init__(self) -> None:
        demand("num_steps", self.num_steps, 1, MAX_CHAIN_STEPS)
        demand("offset", self.offset, 0, 1)

    @property
    def betas(self) -> Tensor:
        t = torch.linspace(0, 1, self.num_steps + 1, dtype=torch.float64)
        return betas_of(((t + self.offset) / (1 + self.offset) * math.pi / 2).cos().square())


@dataclass(frozen=True)
class SigmoidBeta(DiscreteVP):
    """Jabri et al. 2022: alpha_bar is a sigmoid between ``start`` and ``end``, beta at most 0.999."""

    num_steps: int = 1000
    start: float = -3.0
    end: float = 3.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        demand("num_steps", self.num_steps, 1, MAX_CHAIN_STEPS)
        demand("temperature", self.temperature, 1e-3, 1e3)
        demand("start", self.start, -100, 100)
        demand("end", self.end, self.start + 1e-6, 100)

    @property
    def betas(self) -> Tensor:
        t = torch.linspace(self.start, self.end, self.num_steps + 1, dtype=torch.float64)
        curve = (-t / self.temperature).sigmoid()
        return betas_of((curve - curve[-1]) / (curve[0] - curve[-1]))


def betas_of(alpha_bar: Tensor) -> Tensor:
    """Returns beta_t for t = 1 ... T [T], from alpha_bar at t = 0 ... T."""
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=MAX_BETA)
