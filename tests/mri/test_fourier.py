"""Fourier transforms against NumPy, at odd sizes too."""

import numpy as np
import pytest
import torch

from condiff.mri.fourier import center_crop, fft2c, ifft2c, rss, to_channels, to_complex

SIZES = [(8, 8), (7, 8), (9, 5), (213, 64), (1, 3)]


def random_complex(*shape):
    return torch.randn(*shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", SIZES)
def test_equals_numpy(size):
    x = random_complex(2, 3, *size)
    axes = (-2, -1)
    expected = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x.numpy(), axes), axes=axes, norm="ortho"), axes)
    np.testing.assert_allclose(fft2c(x).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(ifft2c(fft2c(x)).numpy(), x.numpy(), atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_inverse_is_the_adjoint(size):
    x, y = random_complex(*size), random_complex(*size) * 1j + 2
    torch.testing.assert_close((fft2c(x).conj() * y).sum(), (x.conj() * ifft2c(y)).sum())


@pytest.mark.parametrize("size", SIZES)
def test_a_point_in_the_centre_is_flat(size):
    x = torch.zeros(size, dtype=torch.complex64)
    x[size[0] // 2, size[1] // 2] = 1
    torch.testing.assert_close(fft2c(x), torch.full(size, (size[0] * size[1]) ** -0.5, dtype=torch.complex64))


def test_crop_starts_where_fastmri_starts():
    x = torch.arange(7)[:, None] * torch.ones(5)
    assert center_crop(x, (4, 9)).shape == (4, 5)
    assert center_crop(x, (4, 5))[:, 0].tolist() == [1, 2, 3, 4]


def test_rss_and_channels():
    x = random_complex(2, 3, 4, 4)
    np.testing.assert_allclose(rss(x).numpy(), np.sqrt((np.abs(x.numpy()) ** 2).sum(1)))
    assert torch.equal(to_complex(to_channels(x[:, 0])), x[:, 0])
