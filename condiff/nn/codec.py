"""Codecs: maps between images and the space of the diffusion. `Pixels` is the identity."""

from torch import Tensor, nn


class Codec(nn.Module):
    """Encodes images for the diffusion, and decodes."""

    is_latent = True  # whether codes differ from the images

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """[C, H, W] of an image -> [c, h, w] of its code."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> z [B, c, h, w]."""
        raise NotImplementedError

    def decode(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """z -> [B, C, H, W] with H, W = size."""
        raise NotImplementedError

    def standardize(self, mean: Tensor, variance: Tensor) -> None:
        """Rescales codes, given the mean and variance [c] of all z of the training set."""
        raise NotImplementedError


class Pixels(Codec):
    """The identity: diffusion in image space."""

    is_latent = False

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """Returns the shape unchanged."""
        return image

    def encode(self, images: Tensor) -> Tensor:
        """Returns the images unchanged."""
        return images

    def decode(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """Returns z unchanged."""
        return z
