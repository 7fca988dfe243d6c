"""Coil maps against known ones, and against sigpy's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from condiff.mri.coils import (
    apply_coil_matrix,
    coil_covariance,
    compression_matrix,
    noise_samples,
    prewhitening_matrix,
    sense_combine,
)
from condiff.mri.fourier import fft2c, ifft2c
from condiff.mri.maps import eigenmaps, espirit, leading_eigenvectors, low_resolution, walsh

BRAIN = Path(__file__).parents[3] / "shared" / "data" / "sigpy_brain" / "cartesian_ksp.npy"
METHODS = {"espirit": espirit, "walsh": walsh, "low_resolution": low_resolution}


def scene(size=64, coils=5, level=0.0):
    """An ellipse under smooth maps: k-space [1, K, H, W], the maps, the support."""
    axis = torch.linspace(-1, 1, size)
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    angle = 2 * torch.pi * torch.arange(coils)[:, None, None] / coils
    apart = (u - 1.3 * angle.cos()).square() + (v - 1.3 * angle.sin()).square()
    maps = torch.polar(1 / (0.6 + apart), angle + 0.6 * (angle.cos() * u + angle.sin() * v))
    support = (u / 0.6).square() + (v / 0.8).square() < 1
    image = support * (1 + 0.3 * torch.sin(9 * u) * torch.cos(7 * v))
    generator = torch.Generator().manual_seed(0)
    noise = level * torch.randn(1, coils, size, size, dtype=torch.complex64, generator=generator)
    return fft2c(maps * image)[None] + noise, maps, support


def agreement(a, b):
    """|<a, b>| of unit vectors over coils, [..., K, H, W] -> [..., H, W]."""
    norms = a.abs().square().sum(-3).sqrt() * b.abs().square().sum(-3).sqrt()
    return (a.conj() * b).sum(-3).abs() / norms.clamp(min=1e-20)


@pytest.mark.parametrize(("method", "least"), [("espirit", 0.999), ("walsh", 0.98), ("low_resolution", 0.98)])
def test_known_maps_are_found(method, least):
    kspace, maps, support = scene(level=0.02)
    found = METHODS[method](kspace)[0]
    assert agreement(found, maps)[support].quantile(0.02) > least


@pytest.mark.parametrize("method", METHODS)
def test_gauge_and_norm(method):
    found = METHODS[method](scene(level=0.02)[0])
    torch.testing.assert_close(found.abs().square().sum(1), torch.ones(1, 64, 64), rtol=1e-4, atol=1e-4)
    assert found[:, 0].imag.abs().max() < 1e-5 and found[:, 0].real.min() > -1e-6


@pytest.mark.parametrize("method", METHODS)
def test_one_coil_is_its_own_image(method):
    kspace = scene(coils=1)[0]
    image = ifft2c(kspace)
    torch.testing.assert_close(sense_combine(image, METHODS[method](kspace)), image[:, 0], rtol=1e-3, atol=1e-5)


def test_eigenvalue_is_one_where_there_is_signal():
    kspace, _, support = scene()
    values, _ = eigenmaps(kspace[0, :, 20:44, 20:44], (64, 64))
    assert values[support].min() > 0.98 and values.max() < 1.01
    cropped = espirit(kspace, crop=0.95)
    assert cropped[0][:, support].abs().sum(0).min() > 0 and (cropped[0].abs().sum(0) == 0).any()


def test_leading_eigenvectors_are_those_of_lapack():
    """Of matrices whose second eigenvalue is at most 0.7 of the first, whatever their scale and the share of each coil."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(200, 15, 15, dtype=torch.complex64, generator=generator))[0]
    basis[0] = torch.eye(15).flip(-1)  # one coil alone has signal
    values = torch.tensor([1.0, 0.7, *[0.1] * 13]) * torch.logspace(-8, 0, 200)[:, None]
    largest, vectors = leading_eigenvectors((basis * values[:, None]) @ basis.mH)
    torch.testing.assert_close(largest, values[:, 0], rtol=1e-3, atol=0)
    assert (1 - (vectors.conj() * basis[..., 0]).sum(dim=1).abs()).max() < 1e-3
    assert torch.equal(
        leading_eigenvectors(torch.zeros(1, 3, 3, dtype=torch.complex64))[1], torch.zeros(1, 3).to(torch.complex64)
    )


def test_few_calibration_lines_take_a_smaller_kernel():
    kspace, maps, support = scene(level=0.02)
    for lines in (20, 10):
        found = espirit(kspace, calibration=(64, lines))[0]
        assert agreement(found, maps)[support].median() > 0.99


def real_brain():
    if not BRAIN.is_file():
        pytest.skip("no shared data")
    kspace = torch.from_numpy(np.load(BRAIN))[None]
    return kspace / kspace.abs().max()


def test_like_sigpy_on_a_real_brain():
    app = pytest.importorskip("sigpy.mri.app")
    kspace = real_brain()
    theirs = torch.from_numpy(
        app.EspiritCalib(kspace[0].numpy(), calib_width=24, kernel_width=6, crop=0.0, show_pbar=False).run()
    )
    values, ours = eigenmaps(kspace[0, :, 103:127, 78:102], kspace.shape[-2:])
    assert agreement(ours, theirs)[values > 0.95].min() > 0.999


def test_real_brain_is_explained_by_its_maps():
    """The coil images of the calibration region lie in the span of the maps."""
    kspace = real_brain()
    matrix = prewhitening_matrix(noise_samples(kspace))
    matrix = compression_matrix(matrix @ coil_covariance(kspace) @ matrix.mH, 5) @ matrix
    centre = torch.zeros_like(kspace)
    centre[..., 103:127, 78:102] = kspace[..., 103:127, 78:102]
    images, maps = ifft2c(apply_coil_matrix(matrix, centre)), espirit(apply_coil_matrix(matrix, kspace))
    explained = maps * sense_combine(images, maps)[:, None]
    assert (images - explained).norm() / images.norm() < 0.1
