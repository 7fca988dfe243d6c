"""Coils: white noise, few of them, one image; and crops that leave the object where it is."""

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
from condiff.mri.fourier import center_crop_or_pad, fft2c, ifft2c, readout_margins, remove_readout_oversampling


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def test_prewhitening_gives_identity_covariance():
    mixing = noise(6, 6, seed=1) * 1e-6
    samples = mixing @ noise(6, 100_000)
    white = prewhitening_matrix(samples) @ samples
    torch.testing.assert_close(white @ white.mH / 100_000, torch.eye(6, dtype=torch.complex64), rtol=0, atol=1e-4)


def test_noise_is_measured_outside_and_where_sampled():
    kspace = noise(3, 4, 64, 40) * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None]
    kspace[:, :, 16:48, 10:30] += 1e4  # the signal
    kspace[..., :4] = 0  # zero-padded
    measured = noise_samples(kspace).abs().square().mean(1).sqrt()
    torch.testing.assert_close(measured, torch.tensor([1.0, 2.0, 3.0, 4.0]), rtol=0.2, atol=0)


@pytest.mark.parametrize("size", [64, 128, 320])
@pytest.mark.parametrize("coils", [1, 4, 8])
def test_noise_of_readout_margins(size, coils):
    """A sharp ellipse behind an oversampled readout, correlated noise of known covariance: within 3 %, fully sampled or not,
    although the outermost samples hold signal."""
    axis = torch.linspace(-1, 1, size)
    inside = ((axis[:, None] / 0.9).square() + (axis / 0.7).square() < 1) * (300 * torch.exp(1j * axis)[:, None] + 50)
    image = torch.nn.functional.pad(inside, (0, 0, size // 2, size - size // 2)) * noise(coils, 1, 1, seed=3)
    mixing = torch.eye(coils) + 0.4 * noise(coils, coils, seed=2)
    kspace = fft2c(image) + apply_coil_matrix(mixing, noise(4, coils, 2 * size, size))
    cropped, margins = remove_readout_oversampling(kspace, size), readout_margins(kspace, 0.5)
    every_third = torch.arange(size) % 3 == size // 2 % 3
    for mask in (torch.ones(size, dtype=torch.bool), every_third):
        matrix = prewhitening_matrix(noise_samples(cropped * mask, margins * mask))
        white = (matrix @ mixing) @ (matrix @ mixing).mH
        assert white.diagonal().real.mean().sqrt().item() == pytest.approx(1, abs=0.03 if size > 64 else 0.05)
    assert readout_margins(cropped, 1.0) is None


def test_margins_with_signal_are_not_noise():
    """Tissue all over the readout: the outermost samples are quieter."""
    kspace = noise(2, 2, 64, 32)
    margins = readout_margins(kspace, 0.5)
    assert torch.equal(noise_samples(kspace, 10 * margins), noise_samples(kspace))


@pytest.mark.parametrize("samples", [torch.zeros(3, 100), torch.ones(5, 3)])
def test_noise_that_cannot_be_measured(samples):
    with pytest.raises(ValueError, match="noise cannot be measured"):
        prewhitening_matrix(samples.to(torch.complex64))


def test_compression_keeps_what_there_is_and_white_noise_white():
    sources = noise(2, 3, 20, 20)  # three sources seen by eight coils
    kspace = apply_coil_matrix(noise(8, 3, seed=2), sources)
    matrix = compression_matrix(coil_covariance(kspace), 4)
    torch.testing.assert_close(matrix @ matrix.mH, torch.eye(4, dtype=torch.complex64), rtol=0, atol=1e-5)
    virtual = apply_coil_matrix(matrix, kspace)
    torch.testing.assert_close(apply_coil_matrix(matrix.mH, virtual), kspace, rtol=1e-3, atol=1e-3)
    power = virtual.abs().square().sum(dim=(0, 2, 3))
    assert (power.diff() <= 0).all() and power[3] < 1e-6 * power[0]
    assert compression_matrix(coil_covariance(kspace[:, :2]), 8).shape == (2, 2)


def test_combination_is_the_image_for_any_maps():
    maps, image = noise(2, 5, 8, 8), noise(2, 8, 8, seed=3)
    norm = maps.abs().square().sum(1).sqrt()
    torch.testing.assert_close(sense_combine(maps * image[:, None], maps), image * norm)
    assert sense_combine(maps * image[:, None], torch.zeros_like(maps)).abs().max() == 0


@pytest.mark.parametrize(("n", "m"), [(8, 6), (8, 5), (7, 4), (7, 5), (6, 8), (5, 8), (4, 7), (5, 7), (6, 6)])
def test_fit_keeps_the_centre_and_is_undone(n, m):
    x = torch.arange(1.0, n + 1).expand(3, n)
    fitted = center_crop_or_pad(x, (3, m))
    assert fitted.shape == (3, m) and fitted[0, m // 2] == x[0, n // 2]
    if m >= n:
        assert torch.equal(center_crop_or_pad(fitted, (3, n)), x)


@pytest.mark.parametrize("cols", [30, 33, 50])
def test_crop_commutes_with_the_mask(cols):
    kspace, mask = noise(2, 12, 40), torch.rand(40) < 0.4
    torch.testing.assert_close(
        center_crop_or_pad(kspace * mask, (12, cols)),
        center_crop_or_pad(kspace, (12, cols)) * center_crop_or_pad(mask[None], (1, cols))[0],
    )


def test_readout_crop_is_the_crop_of_the_image():
    kspace = noise(2, 16, 6)
    whole, cut = ifft2c(kspace), ifft2c(remove_readout_oversampling(kspace, 8))
    torch.testing.assert_close(cut, center_crop_or_pad(whole, (8, 6)))


def test_crop_of_kspace_does_not_move_the_object():
    image = torch.zeros(1, 32, 32, dtype=torch.complex64)
    image[0, 16, 16] = 1  # the centre pixel
    for size in (20, 21, 40):
        moved = ifft2c(center_crop_or_pad(fft2c(image), (size, size))).abs()[0]
        assert divmod(int(moved.argmax()), size) == (size // 2, size // 2)
