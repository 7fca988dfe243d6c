"""The denoiser: turns a raw network into an estimate of the clean image.

A parameterization is what the network F predicts, written as three coefficients that depend on sigma
(Karras et al. 2022, eq. 7):

    D(x, sigma) = c_skip x + c_out F(c_in x, log(sigma) / 4)

The MSE of F with unit weight is then the usual loss of each: Ho's L_simple (eq. 14) for ``eps``, progressive
distillation's v for ``v`` (Salimans & Ho 2022), EDM's for ``edm``, flow matching's for ``flow``.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Coefficients = tuple[Tensor, Tensor, Tensor]  # c_skip, c_out, c_in
Parameterization = Callable[[Tensor], Coefficients]
Denoise = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # x [B, C, H, W], sigma [] or [B], cond [B, D] or None -> x0


def eps(sigma: Tensor) -> Coefficients:
    """The noise, (x - x0) / sigma: Ho et al. 2020."""
    return torch.ones_like(sigma), -sigma, (1 + sigma**2).rsqrt()


def x0(sigma: Tensor) -> Coefficients:
    """The clean image x0 itself."""
    return torch.zeros_like(sigma), torch.ones_like(sigma), (1 + sigma**2).rsqrt()


def v(sigma: Tensor) -> Coefficients:
    """v = alpha eps - sigma_vp x0 with alpha = 1 / sqrt(1 + sigma^2): Salimans & Ho 2022, appendix D."""
    c_in = (1 + sigma**2).rsqrt()
    return c_in**2, -sigma * c_in, c_in


def edm(sigma: Tensor, sigma_data: float = 0.5) -> Coefficients:
    """EDM: input and target of unit variance at every sigma. Karras et al. 2022, table 1."""
    c_in = (sigma_data**2 + sigma**2).rsqrt()
    return (sigma_data * c_in) ** 2, sigma * sigma_data * c_in, c_in


def flow(sigma: Tensor) -> Coefficients:
    """eps - x0, the velocity of x_t = (1 - t) x0 + t eps: Lipman et al. 2023."""
    c_in = 1 / (1 + sigma)
    return c_in, -sigma * c_in, c_in


class Denoiser(nn.Module):
    """D(x, sigma, cond), an estimate of E[x0 | x = x0 + sigma * eps, cond].

    Args:
        net: F(x [B, C, H, W], c_noise [B], cond [B, D] or None) -> [B, C, H, W].
        parameterization: maps sigma to (c_skip, c_out, c_in).
    """

    def __init__(self, net: nn.Module, parameterization: Parameterization = eps):
        super().__init__()
        self.net = net
        self.parameterization = parameterization

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Returns x0 [B, C, H, W], for ``x`` [B, C, H, W] at noise level ``sigma``, [B] or []."""
        is_on_host = not sigma.dim() and sigma.device != x.device  # a level of the grid: copying it waits for a GPU
        sigma = x.new_full(x.shape[:1], sigma.item()) if is_on_host else sigma.to(x).expand(x.shape[0])
        c_skip, c_out, c_in = self._coefficients(sigma)
        return c_skip * x + c_out * self.net(c_in * x, sigma.log() / 4, cond).to(x.dtype)

    def loss(self, x0: Tensor, eps: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """Returns the mean squared error of the network on its own target, per image [B].

        Args:
            x0, eps: clean images and standard normal noise [B, C, H, W].
            sigma: noise levels [B].
            cond: [B, D] or None.
        """
        c_skip, c_out, c_in = self._coefficients(sigma)
        x = x0 + sigma.view(-1, 1, 1, 1) * eps
        target = (x0 - c_skip * x) / c_out
        return (self.net(c_in * x, sigma.log() / 4, cond) - target).square().mean(dim=(1, 2, 3))

    def _coefficients(self, sigma: Tensor) -> Coefficients:
        return self.parameterization(sigma.view(-1, 1, 1, 1))
