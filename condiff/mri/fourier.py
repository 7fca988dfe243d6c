"""Centred orthonormal Fourier transforms, and conversion between complex and two-channel images.

The centre of an axis of length n is index n // 2 in both domains, as in fastMRI and ISMRMRD.
"""

import torch
from torch import Tensor

AXES = (-2, -1)
MARGIN = 1.1, 0.9  # margins lie between 1.1 of the field of view and 0.9 of the readout, whose ends receivers damp
MIN_MARGIN, MAX_MARGIN = 8, 64  # rows


def fft2c(image: Tensor) -> Tensor:
    """Returns the k-space of a complex image, over the last two axes, of any size, even or odd."""
    return _centred(torch.fft.fft2, image)


def ifft2c(kspace: Tensor) -> Tensor:
    """Returns the image of k-space, over the last two axes: the inverse and the adjoint of `fft2c`."""
    return _centred(torch.fft.ifft2, kspace)


def center_crop(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """Returns the middle of the last two axes; an axis that is shorter than ``shape`` is kept.

    The crop starts at (n - m) // 2, as in fastMRI, which matters for odd sizes.
    """
    rows, cols = (min(n, m) for n, m in zip(x.shape[-2:], shape, strict=True))
    top, left = (x.shape[-2] - rows) // 2, (x.shape[-1] - cols) // 2
    return x[..., top : top + rows, left : left + cols]


def center_crop_or_pad(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """Returns x with its last two axes cropped or zero-padded such that the centre sample, n // 2, stays the centre sample.

    In k-space this changes the pixel size, in an image the field of view; the image does not move. Columns stay whole, so a
    mask over columns can be applied before or after.
    """
    for axis, size in zip(AXES, shape, strict=True):
        n = x.shape[axis]
        before, after = size // 2 - n // 2, (size - size // 2) - (n - n // 2)
        start = max(-before, 0)
        x = x.narrow(axis, start, n - start - max(-after, 0))
        padding = max(before, 0), max(after, 0)
        x = torch.nn.functional.pad(x, (*padding, 0, 0) if axis == -1 else (0, 0, *padding))
    return x


def remove_readout_oversampling(kspace: Tensor, rows: int) -> Tensor:
    """Returns k-space of the middle ``rows`` rows of the image."""
    middle = center_crop_or_pad(_along_rows(torch.fft.ifft, kspace), (rows, kspace.shape[-1]))
    return _along_rows(torch.fft.fft, middle)


def readout_margins(kspace: Tensor, inside: float) -> Tensor | None:
    """Returns the rows outside the field of view of a readout, [S, K, rows, cols] -> [S, K, M, cols]; columns stay k-space.

    They show air, so they replace the noise scan that fastMRI files lack. A Hann window along the readout suppresses ringing of
    the head's edge; it is scaled such that white noise keeps its variance. None without oversampling.

    Args:
        inside: share of the rows that the field of view takes.
    """
    n = kspace.shape[-2]
    position = (2 * (torch.arange(n) - n // 2) / n).abs()
    outside = ((position > MARGIN[0] * inside) & (position < MARGIN[1])).nonzero()[:, 0]
    if len(outside) < MIN_MARGIN:
        return None
    chosen = outside[torch.linspace(0, len(outside) - 1, min(len(outside), MAX_MARGIN)).round().long()].to(kspace.device)
    window = torch.hann_window(n, periodic=n % 2 == 0, device=kspace.device)[:, None]  # 1 at n // 2
    window = window / window.square().mean().sqrt()
    return torch.stack([_along_rows(torch.fft.ifft, window * slice_kspace)[..., chosen, :] for slice_kspace in kspace])


def rss(images: Tensor) -> Tensor:
    """Returns the root sum of squares over coils: [..., K, H, W] complex -> [..., H, W] real."""
    return images.abs().square().sum(dim=-3).sqrt()


def to_complex(x: Tensor) -> Tensor:
    """[B, 2, H, W] real and imaginary channels -> [B, H, W] complex."""
    return torch.complex(x[:, 0], x[:, 1])


def to_channels(image: Tensor) -> Tensor:
    """[B, H, W] complex -> [B, 2, H, W]."""
    return torch.stack([image.real, image.imag], dim=1)


def _centred(transform, x: Tensor) -> Tensor:
    return torch.fft.fftshift(transform(torch.fft.ifftshift(x, dim=AXES), norm="ortho"), dim=AXES)


def _along_rows(transform, x: Tensor) -> Tensor:
    return torch.fft.fftshift(transform(torch.fft.ifftshift(x, dim=-2), dim=-2, norm="ortho"), dim=-2)
