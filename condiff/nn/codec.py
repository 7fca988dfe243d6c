"""Codecs: where the diffusion happens. Pixels, the identity, is the one for image space."""

from torch import Tensor, nn


class Codec(nn.Module):
    """An image and its code: what the diffusion sees, and the way back."""

    is_latent = True  # whether codes are anything else than the images

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """[C, H, W] of an image -> [c, h, w] of its code."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> z [B, c, h, w]."""
        raise NotImplementedError

    def decode(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """z -> [B, C, H, W] with H, W = size."""
        raise NotImplementedError

    def standardise(self, mean: Tensor, variance: Tensor) -> None:
        """Take over the mean and variance [c] that all z of the training set have now."""
        raise NotImplementedError


class Pixels(Codec):
    """Diffusion in image space: nothing to encode."""

    is_latent = False

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """The same."""
        return image

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return images

    def decode(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, C, H, W] -> the same."""
        return z
