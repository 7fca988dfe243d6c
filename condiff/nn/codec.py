"""Codecs: where the diffusion happens. Pixels, the identity, is the one for image space."""

from typing import Protocol

from torch import Tensor, nn


class Codec(Protocol):
    """An image and its code: what the diffusion sees, and the way back."""

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> z."""

    def decode(self, z: Tensor) -> Tensor:
        """z -> [B, C, H, W]."""


class Pixels(nn.Module):
    """Diffusion in image space: nothing to encode."""

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return images

    def decode(self, z: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return z
