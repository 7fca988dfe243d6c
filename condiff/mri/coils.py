"""Coils: prewhitening, compression and combination."""

import torch
from torch import Tensor

from condiff.mri.fourier import center_crop_or_pad

NOISE_SHARE = 0.02  # of the sampled positions, those furthest from the centre of k-space
OUTER = 1 / 3  # of the sampled columns of readout margins
QUIET = 1.5  # times the median power of the rows of a margin: rows above it hold signal
LOUDER = 1.1  # times the power of the outermost samples: margins above it hold signal


def noise_samples(kspace: Tensor, margins: Tensor | None = None) -> Tensor:
    """Returns samples [K, N] of k-space [S, K, rows, cols] that are almost pure noise; fastMRI has no noise scans.

    The outer columns of the readout's ``margins`` (`condiff.mri.fourier.readout_margins`): air, far from the centre of k-space,
    whose signal rings into the air. Without margins, or if they hold signal, the outermost samples of k-space, which
    hold some signal too. Positions that no coil has sampled (zero-padded, undersampled) are left out.
    """
    outermost = _outermost(kspace)
    if margins is None:
        return outermost
    air = _air(margins)
    return air if _power(air) <= LOUDER * _power(outermost) else outermost


def _outermost(kspace: Tensor) -> Tensor:
    sampled = (kspace != 0).any(dim=0).any(dim=0)
    rows, cols = (torch.linspace(-1, 1, n, device=kspace.device) for n in kspace.shape[-2:])
    radius = torch.where(sampled, rows[:, None].square() + cols.square(), -1.0).flatten()
    number = max(int(NOISE_SHARE * int(sampled.sum())), 1)
    chosen = radius.topk(number).indices
    return kspace.flatten(2)[..., chosen].transpose(0, 1).flatten(1)


def _air(margins: Tensor) -> Tensor:
    cols = margins.shape[-1]
    sampled = (margins != 0).flatten(0, 2).any(dim=0)
    distance = torch.where(sampled, (torch.arange(cols, device=margins.device) - cols // 2).abs(), -1)
    outer = margins[..., distance.topk(max(int(OUTER * int(sampled.sum())), 1)).indices].transpose(0, 1)  # [K, S, M, n]
    power = outer.abs().square().mean(dim=(1, 3), keepdim=True)
    power = (power / power.median(dim=2, keepdim=True).values.clamp(min=1e-38)).mean(dim=0).flatten()
    return outer[:, :, power < QUIET].flatten(1)


def _power(noise: Tensor) -> Tensor:
    """Returns the geometric mean over coils of the noise power, [K, N] -> []."""
    return noise.abs().double().square().mean(dim=1).clamp(min=1e-300).log().mean().exp()


def prewhitening_matrix(noise: Tensor) -> Tensor:
    """Returns W [K, K] such that W n has unit covariance, E|n_k|^2 = 1, for noise n like ``noise`` [K, N].

    The inverse of the Cholesky factor of its covariance (Roemer et al. 1990; Pruessmann et al. 1999, appendix A).

    Raises:
        ValueError: fewer samples than coils, or a coil without signal.
    """
    noise = noise.to(torch.complex128)
    covariance = noise @ noise.mH / noise.shape[1]
    power = covariance.diagonal().real
    if noise.shape[1] < len(noise) or power.min() <= 0:
        raise ValueError("its coils' noise cannot be measured: a coil has no signal, or almost nothing was sampled")
    covariance = covariance + 1e-9 * power.mean() * torch.eye(len(noise), device=noise.device)
    inverse = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), torch.eye(len(noise)).to(covariance), upper=False)
    return inverse.to(torch.complex64)


def coil_covariance(kspace: Tensor) -> Tensor:
    """Returns the inner products [K, K] of the coils of k-space [S, K, H, W]; slice by slice, to save memory."""
    slices = (slice_kspace.flatten(1) for slice_kspace in kspace)
    return sum((samples @ samples.mH for samples in slices), start=kspace.new_zeros(kspace.shape[1], kspace.shape[1]))


def compression_matrix(products: Tensor, coils: int) -> Tensor:
    """Returns U [V, K] that makes at most ``coils`` virtual coils of K, strongest first: the leading left singular vectors
    of the k-space whose `coil_covariance` [K, K] is given (Buehrer et al. 2007; Huang et al. 2008).

    Its rows are orthonormal, so white noise stays white.
    """
    vectors = torch.linalg.eigh(products.to(torch.complex128)).eigenvectors.flip(-1)[:, :coils]  # eigh sorts upwards
    return vectors.mH.to(products.dtype)


def apply_coil_matrix(matrix: Tensor, kspace: Tensor) -> Tensor:
    """Returns new coils [..., V, H, W]: a matrix [V, K] times the coils [..., K, H, W]."""
    return torch.einsum("vk,...khw->...vhw", matrix, kspace)


def virtual_coils(
    kspace: Tensor, shape: tuple[int, int], coils: int, margins: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns prewhitened, compressed k-space [S, V, h, w] of V virtual coils, and the matrices to them [V, K] and back [K, V].

    Args:
        kspace: [S, K, rows, cols], cropped or padded to ``shape`` after the noise is measured.
        coils: number of virtual coils, at most.
        margins: of the readout, as `noise_samples` takes them.

    Raises:
        ValueError: the noise cannot be measured.
    """
    prewhiten = prewhitening_matrix(noise_samples(kspace, margins))
    kspace = center_crop_or_pad(kspace, shape)
    compress = compression_matrix(prewhiten @ coil_covariance(kspace) @ prewhiten.mH, coils)
    unmixing = torch.linalg.solve(prewhiten, compress.mH)  # exact for the kept coils, unlike the pseudoinverse of the product
    return apply_coil_matrix(compress @ prewhiten, kspace), compress @ prewhiten, unmixing


def sense_combine(images: Tensor, maps: Tensor) -> Tensor:
    """Returns sum_k conj(S_k) m_k / sqrt(sum_k |S_k|^2), [..., K, H, W] -> [..., H, W]: least variance for white noise.

    The image is zero where all maps are.
    """
    weight = maps.abs().square().sum(dim=-3).sqrt()
    return (maps.conj() * images).sum(dim=-3) / weight.clamp(min=1e-12)
