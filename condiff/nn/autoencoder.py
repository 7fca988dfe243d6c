"""KL autoencoder for latent diffusion (Rombach et al. 2022, section 3.1), small and fully convolutional.

As in the U-Net, a stem of p x p patches avoids convolutions at full resolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condiff.errors import InputError
from condiff.nn.blocks import ResidualBlock, Upsample2x, norm
from condiff.nn.codec import Codec

MAX_FACTOR = 64  # f
MIN_VARIANCE = 1e-6  # of a channel; below it the KL divergence has collapsed the channel


class KLAutoencoder(Codec):
    """Maps images [B, C, H, W] to Gaussians of codes and back; codes are f times smaller each way, f = patch 2^(levels - 1).

    As a codec it uses the mean of the Gaussian, scaled such that every channel has mean 0 and variance 1 over the training set
    (`standardize`). Images have any size: their last rows and columns are replicated up to a multiple of f.

    Args:
        image_channels: C, 1 for magnitude, 2 for complex.
        latent_channels: of the code.
        channels: width of each level, from fine to coarse.
        blocks: residual blocks of each level, in the encoder and in the decoder.
        patch: side of the patches of the stem.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        image_channels: int,
        latent_channels: int = 4,
        channels: tuple[int, ...] = (32, 64),
        blocks: int = 2,
        patch: int = 2,
    ):
        super().__init__()
        self.latent_channels, self.patch = latent_channels, patch
        self.size_multiple = patch * 2 ** (len(channels) - 1)
        if self.size_multiple > MAX_FACTOR:
            raise InputError(
                f"channels={channels}, patch={patch}: one code would cover {self.size_multiple} x {self.size_multiple} "
                f"pixels; at most {MAX_FACTOR} x {MAX_FACTOR} make sense: give fewer channels or a smaller patch"
            )
        down: list[nn.Module] = [nn.PixelUnshuffle(patch), nn.Conv2d(image_channels * patch**2, channels[0], 3, padding=1)]
        inside = channels[0]
        for level, width in enumerate(channels):
            down += [nn.AvgPool2d(2)] if level else []
            down += [ResidualBlock(width if i else inside, width) for i in range(blocks)]
            inside = width
        down += [ResidualBlock(inside, inside), norm(inside), nn.SiLU(), nn.Conv2d(inside, 2 * latent_channels, 3, padding=1)]
        up: list[nn.Module] = [nn.Conv2d(latent_channels, inside, 3, padding=1), ResidualBlock(inside, inside)]
        for level, width in enumerate(reversed(channels)):
            up += [Upsample2x()] if level else []
            up += [ResidualBlock(width if i else inside, width) for i in range(blocks)]
            inside = width
        up += [norm(inside), nn.SiLU(), nn.Conv2d(inside, image_channels * patch**2, 3, padding=1), nn.PixelShuffle(patch)]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)
        self.register_buffer("shift", torch.zeros(latent_channels, 1, 1))
        self.register_buffer("scale", torch.ones(latent_channels, 1, 1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """[C, H, W] of an image -> [c, h, w] of its code."""
        h, w = (-(-size // self.size_multiple) for size in image[1:])
        return self.latent_channels, h, w

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log variance of the codes, each [B, c, h, w]."""
        rows, cols = (-size % self.size_multiple for size in images.shape[-2:])
        padded = F.pad(images, (0, cols, 0, rows), mode="replicate")
        mean, log_variance = self.encoder(padded.contiguous(memory_format=torch.channels_last)).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def decode_unscaled(self, code: Tensor, size: tuple[int, int]) -> Tensor:
        """A code before standardization -> [B, C, H, W] with H, W = size."""
        return self.decoder(code)[..., : size[0], : size[1]]

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> z [B, c, h, w]."""
        return (self.moments(images)[0] - self.shift) / self.scale

    def decode(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """z -> [B, C, H, W] with H, W = size."""
        return self.decode_unscaled(z * self.scale + self.shift, size)

    def standardize(self, mean: Tensor, variance: Tensor) -> None:
        """Rescales codes, given the mean and variance [c] of all z of the training set.

        Raises:
            InputError: a dead channel.
        """
        dead = (variance < MIN_VARIANCE).nonzero()[:, 0].tolist()
        if dead:
            raise InputError(
                f"the autoencoder's code: channels {dead} hardly vary; train it again with a lower weight of the KL divergence "
                "or fewer latent_channels"
            )
        self.shift += self.scale * mean.view_as(self.shift).to(self.shift)
        self.scale *= variance.sqrt().view_as(self.scale).to(self.scale)
