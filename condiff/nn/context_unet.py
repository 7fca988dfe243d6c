"""The context U-Net of Pearce's Conditional_Diffusion_MNIST, for images of any size.

Built from its description: double convolutions with BatchNorm, a bottleneck pooled over windows of 7 x 7 (the
whole image for MNIST's 28 x 28), and a decoder that is multiplied by the condition and shifted by the time, at two
places. Two things differ. Windows at the border may be cut, so any size divisible by 4 works. And the condition is
the one-hot vector itself; the original uses its negative, so to load its weights negate those of the first layer of
both condition embeddings.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condiff.errors import InputError


class ContextUNet(nn.Module):
    """F(x, c_noise, cond): a raw network, the same size out as in.

    Args:
        image_channels: C of the image, 1 for magnitude, 2 for complex.
        cond_dim: D of the condition, 0 for none.
        features: channels at full resolution; twice as many below.
        window: side of the windows of the bottleneck, in pixels of a quarter of the resolution.

    Raises:
        InputError: an image whose sides are not multiples of 4.
    """

    size_multiple = 4

    def __init__(self, image_channels: int, cond_dim: int, features: int = 128, window: int = 7):
        super().__init__()
        wide = 2 * features
        self.window = window
        self.first, self.second = convolution(image_channels, features), convolution(features, features)
        self.down1, self.down2 = double(features, features), double(features, wide)
        self.time1, self.time2 = embedding(1, wide), embedding(1, features)
        self.cond_dim = cond_dim
        self.cond1 = embedding(cond_dim, wide) if cond_dim else None
        self.cond2 = embedding(cond_dim, features) if cond_dim else None
        self.up0 = nn.Sequential(nn.ConvTranspose2d(wide, wide, window, window), nn.GroupNorm(8, wide), nn.ReLU())
        self.up1 = upward(2 * wide, features)
        self.up2 = upward(wide, features)
        self.head = nn.Sequential(
            nn.Conv2d(wide, features, 3, padding=1),
            nn.GroupNorm(8, features),
            nn.ReLU(),
            nn.Conv2d(features, image_channels, 3, padding=1),
        )

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor | None = None) -> Tensor:
        """x [B, C, H, W], c_noise [B], cond [B, D] or None -> [B, C, H, W]."""
        if any(size % self.size_multiple for size in x.shape[-2:]):
            raise InputError(f"an image of {tuple(x.shape[-2:])} pixels: this network needs multiples of {self.size_multiple}")
        time = c_noise.to(x)[:, None]
        begin = self.first(x)
        begin = (begin + self.second(begin)) / 1.414
        half = F.max_pool2d(self.down1(begin), 2)
        quarter = F.max_pool2d(self.down2(half), 2)
        pooled = F.gelu(F.avg_pool2d(quarter, self.window, ceil_mode=True))
        h = self.up0(pooled)[..., : quarter.shape[-2], : quarter.shape[-1]]
        for up, skip, of_time, of_cond in (
            (self.up1, quarter, self.time1, self.cond1),
            (self.up2, half, self.time2, self.cond2),
        ):
            if of_cond is not None:
                h = h * plane(of_cond(x.new_zeros(x.shape[0], self.cond_dim) if cond is None else cond))
            h = up(torch.cat([h + plane(of_time(time)), skip], dim=1))
        return self.head(torch.cat([h, begin], dim=1))


def convolution(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.GELU())


def double(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(convolution(inside, outside), convolution(outside, outside))


def upward(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inside, outside, 2, 2), double(outside, outside), double(outside, outside))


def embedding(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, outside), nn.GELU(), nn.Linear(outside, outside))


def plane(vector: Tensor) -> Tensor:
    """[B, C] -> [B, C, 1, 1]."""
    return vector[:, :, None, None]
