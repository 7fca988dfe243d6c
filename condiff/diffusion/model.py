"""A diffusion model: a denoiser, its noise levels and the codec of its images."""

from itertools import chain

import torch
from torch import Tensor, nn

from condiff.diffusion.denoiser import Denoiser
from condiff.diffusion.schedules import Schedule
from condiff.nn.codec import Codec


class DiffusionModel(nn.Module):
    """A trained model, for sampling, evaluation and reconstruction; itself a function ``denoise(x, sigma, cond) -> x0``.

    Args:
        denoiser: the network and its parameterization.
        schedule: the noise levels it was trained at, and the grid of sampling.
        codec: between images and x: `Pixels`, or an autoencoder.
        conditional: whether it was trained with conditions.
    """

    def __init__(self, denoiser: Denoiser, schedule: Schedule, codec: Codec, conditional: bool):
        super().__init__()
        self.denoiser, self.schedule, self.conditional = denoiser, schedule, conditional
        self.codec: Codec = codec.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(chain(self.parameters(), self.buffers())).device

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """x [B, C, H, W] at noise level sigma [B] or [] -> x0."""
        return self.denoiser(x, sigma, cond)
