"""A diffusion model: a denoiser, its noise levels and the codec of its images."""

import copy
from contextlib import nullcontext
from itertools import chain

import torch
from torch import Tensor, nn

from condiff.diffusion.denoiser import Denoiser
from condiff.diffusion.schedules import Schedule
from condiff.errors import InputError
from condiff.nn.codec import Codec

AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # Lightning's names


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
        self.autocast: torch.dtype | None = None

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(chain(self.parameters(), self.buffers())).device

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        """x [B, C, H, W] at noise level sigma [B] or [] -> x0."""
        with torch.autocast(x.device.type, self.autocast) if self.autocast else nullcontext():
            return self.denoiser(x, sigma, cond)

    def in_precision(self, precision: str) -> "DiffusionModel":
        """The model, with the same float32 weights, whose network computes in 32-true, bf16-mixed or 16-mixed."""
        if precision not in AUTOCAST:
            raise InputError(f"precision={precision}: give {', '.join(AUTOCAST)}")
        model = copy.copy(self)
        model.autocast = AUTOCAST[precision]
        return model
