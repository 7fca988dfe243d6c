"""Linear operators of an accelerated scan: from images [B, C, H, W] in real channels to sampled k-space, and back.

Each is a callable with an ``adjoint``, Re <A x, y> = <x, A* y>, and |A x| <= |x|.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from condiff.linear import LinearOperator
from condiff.mri.fourier import AXES, center_crop_or_pad, fft2c, ifft2c, to_channels, to_complex


@dataclass(frozen=True)
class Sense(LinearOperator):
    """A x = M F S P x: padding P to the measured field of view, coil maps S, mask M (Pruessmann et al. 1999).

    Args:
        maps: coil maps [B or 1, K, h, w], sum_k |S_k|^2 <= 1, over the measured field of view.
        mask: [h, w], True where k-space is sampled.
        shape: (H, W) of the images, whose pixels are those of the maps.
    """

    maps: Tensor
    mask: Tensor
    shape: tuple[int, int]

    def __call__(self, x: Tensor) -> Tensor:
        """[B, 2, H, W] -> k-space [B, K, h, w], zero where it was not sampled."""
        image = center_crop_or_pad(to_complex(x), (self.mask.shape[0], self.mask.shape[1]))
        return self.mask * fft2c(self.maps * image[:, None])

    def adjoint(self, y: Tensor) -> Tensor:
        """[B, K, h, w] -> [B, 2, H, W]."""
        images = ifft2c(self.mask * y)
        return to_channels(center_crop_or_pad((self.maps.conj() * images).sum(dim=1), self.shape))

    def normal(self, x: Tensor) -> Tensor:
        """A* A x in half the time of both: the shifts of the transforms of all coils cancel."""
        image = center_crop_or_pad(to_complex(x), (self.mask.shape[0], self.mask.shape[1]))
        maps, mask = self._shifted
        kspace = mask * torch.fft.fft2(maps * torch.fft.ifftshift(image, dim=AXES)[:, None], norm="ortho")
        combined = (maps.conj() * torch.fft.ifft2(kspace, norm="ortho")).sum(dim=1)
        return to_channels(center_crop_or_pad(torch.fft.fftshift(combined, dim=AXES), self.shape))

    @cached_property
    def _shifted(self) -> tuple[Tensor, Tensor]:
        """Maps and mask with the centre at index 0."""
        return torch.fft.ifftshift(self.maps, dim=AXES), torch.fft.ifftshift(self.mask, dim=AXES)


@dataclass(frozen=True)
class PhaseConstrainedSense(LinearOperator):
    """`Sense` of a real image with known phase: A x = sense(x e^(i phase)); its images are [B, 1, H, W].

    Args:
        phase: e^(i phase), [B or 1, H, W].
    """

    sense: Sense
    phase: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[B, 1, H, W] -> k-space [B, K, h, w]."""
        return self.sense(to_channels(x[:, 0] * self.phase))

    def adjoint(self, y: Tensor) -> Tensor:
        """[B, K, h, w] -> [B, 1, H, W]."""
        return (to_complex(self.sense.adjoint(y)) * self.phase.conj()).real[:, None]

    def normal(self, x: Tensor) -> Tensor:
        """A* A x, faster than both: see `Sense.normal`."""
        return (to_complex(self.sense.normal(to_channels(x[:, 0] * self.phase))) * self.phase.conj()).real[:, None]


def per_coil_fourier(mask: Tensor, shape: tuple[int, int]) -> Sense:
    """Returns the operator of single coils, each an image of its own: [B K, 2, H, W] -> k-space [B K, 1, h, w]."""
    return Sense(torch.ones(1, 1, *mask.shape, device=mask.device), mask, shape)
