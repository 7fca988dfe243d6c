"""Patch discriminator for the adversarial loss of an autoencoder."""

from torch import Tensor, nn

from condiff.nn.blocks import norm


class PatchDiscriminator(nn.Module):
    """PatchGAN: [B, C, H, W] -> logits [B, 1, h, w], one per patch (Isola et al. 2017), with GroupNorm instead of BatchNorm."""

    def __init__(self, image_channels: int, channels: tuple[int, ...] = (32, 64, 128)):
        super().__init__()
        layers: list[nn.Module] = []
        inside = image_channels
        for level, width in enumerate(channels):
            layers += [nn.Conv2d(inside, width, 4, stride=2, padding=1), norm(width) if level else nn.Identity()]
            layers += [nn.LeakyReLU(0.2)]
            inside = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(inside, 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
