"""Codecs: where the diffusion happens. Pixels, the identity, is the one for image space."""

from typing import Protocol

from torch import Tensor, nn


class Codec(Protocol):
    """An image and its code: what the diffusion sees, and the way back."""

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """[C, H, W] of an image -> [c, h, w] of its code."""

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> z [B, c, h, w]."""

    def decode(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """z -> [B, C, H, W] with H, W = size."""


class Pixels(nn.Module):
    """Diffusion in image space: nothing to encode."""

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """The same."""
        return image

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return images

    def decode(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, C, H, W] -> the same."""
        return z
