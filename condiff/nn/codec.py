"""Codecs: where the diffusion happens. Pixels, the identity, is the one for image space."""

from torch import Tensor, nn


class Pixels(nn.Module):
    """Diffusion in image space: nothing to encode."""

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return images

    def decode(self, z: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return z
