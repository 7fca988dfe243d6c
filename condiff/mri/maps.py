"""Coil maps from the fully sampled centre of k-space, by three methods with one signature.

Each takes k-space [S, K, H, W] of which the middle ``calibration`` rows and columns are sampled, and returns
maps [S, K, H, W] with sum_k |S_k|^2 = 1 and S_0 real and not negative: the phase of the combined image is
then that of the first coil, which is safe for the first *virtual* coil, whose sensitivity has no zeros.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from condiff.mri.fourier import center_crop_or_pad, ifft2c

CALIBRATION = 24, 24  # rows and columns about the centre of k-space
KERNEL = 6
SQUARINGS = 3  # of the matrices whose leading eigenvectors are sought


def espirit(
    kspace: Tensor,
    calibration: tuple[int, int] = CALIBRATION,
    kernel: int = KERNEL,
    threshold: float = 0.02,
    crop: float = 0.0,
) -> Tensor:
    """ESPIRiT (Uecker et al. 2014): pixelwise eigenvectors of the projection onto the row space of the calibration matrix.

    Args:
        kernel: side of the neighbourhood in k-space; reduced if the calibration region has less than 2.5 times as many lines.
        threshold: singular values of the calibration matrix below this share of the largest count as noise.
        crop: maps are zero where the eigenvalue is below it.
    """
    maps = []
    for slice_kspace in kspace:
        acs = center_crop_or_pad(slice_kspace, _inside(calibration, slice_kspace))
        values, vectors = eigenmaps(acs, slice_kspace.shape[-2:], kernel, threshold)
        maps.append(vectors * (values > crop))
    return normalize_phase(torch.stack(maps))


def eigenmaps(centre: Tensor, shape: tuple[int, int], kernel: int = KERNEL, threshold: float = 0.02) -> tuple[Tensor, Tensor]:
    """Returns the largest eigenvalue [H, W], about 1 if there is signal, and its eigenvector [K, H, W], from k-space [K, h, w].

    With P the projection onto the row space of the calibration matrix, whose rows are all k x k neighbourhoods
    of the K coils, L[d] = sum over pairs of positions with i' - i = d of P[i, i']; its Fourier sum over d is a
    K x K matrix at every pixel (Uecker et al. 2014, eq. 15-19). The neighbourhoods' own k^2 K x k^2 K
    correlations give P, so that no calibration matrix is decomposed.
    """
    coils, k = len(centre), max(2, min(kernel, int(min(centre.shape[-2:]) / 2.5)))
    patches = centre.unfold(1, k, 1).unfold(2, k, 1).permute(0, 3, 4, 1, 2).reshape(coils * k * k, -1)
    size, vectors = torch.linalg.eigh(patches @ patches.mH)
    row_space = vectors[:, size > threshold**2 * size[-1]]
    projection = (row_space @ row_space.mH).reshape(coils, k, k, coils, k, k)
    lags = centre.new_zeros(coils, coils, 2 * k - 1, 2 * k - 1)
    for i in range(k):
        for j in range(k):
            lags[:, :, k - 1 - i : 2 * k - 1 - i, k - 1 - j : 2 * k - 1 - j] += projection[:, i, j]
    lag = torch.arange(1 - k, k, device=centre.device)
    along = [torch.exp(-2j * math.pi * lag * (torch.arange(n, device=centre.device)[:, None] - n // 2) / n) for n in shape]
    gram = torch.einsum("yd,cbde,xe->yxcb", along[0].to(lags), lags, along[1].to(lags)) / k**2
    values, vectors = leading_eigenvectors(gram.flatten(0, 1))
    return values.view(shape), vectors.T.reshape(coils, *shape)


def leading_eigenvectors(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the largest eigenvalue [N] and its unit eigenvector [N, K] of positive semidefinite matrices [N, K, K].

    By 24 power iterations, 8 at a time with the matrices' 8th power: faster than all eigenvectors of each matrix. Where other
    eigenvalues are as large, which is outside of the head, the vector is a mixture of theirs.
    """
    power = matrices
    for _ in range(SQUARINGS):  # of trace 1, so that the powers are neither huge nor 0
        power = power * (1 / _diagonal(power).sum(dim=-1).clamp(min=1e-30))[:, None, None]
        power = power @ power
    largest = _diagonal(power).argmax(dim=-1)
    vectors = power[torch.arange(len(power), device=power.device), :, largest, None]  # the power applied to a unit vector
    for _ in range(2):
        vectors = power @ _unit(vectors)
    vectors = _unit(vectors)
    return (matrices @ vectors).norm(dim=1)[:, 0], vectors[..., 0]


def _diagonal(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).real


def _unit(vectors: Tensor) -> Tensor:
    """Returns vectors [N, K, 1] of length 1; zeros stay zeros."""
    return vectors * (1 / vectors.norm(dim=1, keepdim=True).clamp(min=1e-30))


def walsh(kspace: Tensor, calibration: tuple[int, int] = CALIBRATION, window: int = 5, iterations: int = 10) -> Tensor:
    """Walsh et al. 2000: the leading eigenvector of the coils' covariance in a window about every pixel, by power iteration.

    It is computed from the low-resolution images and needs the calibration region alone.
    """
    images = _low_resolution(kspace, calibration)
    products = images[:, :, None] * images[:, None].conj()  # [S, K, K, H, W]
    flat = torch.view_as_real(products.flatten(0, 2)).permute(0, 3, 1, 2)  # pooling is not defined for complex numbers
    pooled = F.avg_pool2d(flat, window, stride=1, padding=window // 2, count_include_pad=False)
    covariance = torch.view_as_complex(pooled.permute(0, 2, 3, 1).contiguous()).reshape(products.shape)
    maps = images.sum(dim=(-2, -1), keepdim=True).expand_as(images)
    for _ in range(iterations):
        maps = torch.einsum("scbhw,sbhw->schw", covariance, maps)
        maps = maps / maps.abs().square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-20)
    return normalize_phase(maps)


def low_resolution(kspace: Tensor, calibration: tuple[int, int] = CALIBRATION) -> Tensor:
    """Returns the coils' low-resolution images, divided by their root sum of squares."""
    return normalize_phase(_low_resolution(kspace, calibration))


def _low_resolution(kspace: Tensor, calibration: tuple[int, int]) -> Tensor:
    """Returns images [S, K, H, W] of the calibration region, under a Hann window."""
    shape = _inside(calibration, kspace)
    rows, cols = (torch.hann_window(n + 2, periodic=n % 2 == 0, device=kspace.device)[1:-1] for n in shape)
    return ifft2c(
        center_crop_or_pad(center_crop_or_pad(kspace, shape) * rows[:, None] * cols, (kspace.shape[-2], kspace.shape[-1]))
    )


def _inside(calibration: tuple[int, int], kspace: Tensor) -> tuple[int, int]:
    return min(calibration[0], kspace.shape[-2]), min(calibration[1], kspace.shape[-1])


def normalize_phase(maps: Tensor) -> Tensor:
    """Returns maps of unit norm over coils, the first coil real and not negative; zeros stay zeros."""
    first = maps[:, :1]
    phase = torch.where(first.abs() > 0, first / first.abs().clamp(min=1e-30), 1.0)
    norm = maps.abs().square().sum(dim=1, keepdim=True).sqrt()
    return maps * phase.conj() / norm.clamp(min=1e-20)
