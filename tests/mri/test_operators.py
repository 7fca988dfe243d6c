"""Operators: adjoint to themselves, not longer than one, and blind to what lies outside the image."""

import pytest
import torch

from condiff.mri.fourier import fft2c, ifft2c, to_channels, to_complex
from condiff.mri.operators import PhaseConstrainedSense, Sense, per_coil_fourier


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def sense(field=(40, 30), shape=(24, 24), coils=3, batch=2):
    maps = random(batch, coils, *field)
    maps = maps / maps.abs().square().sum(dim=1, keepdim=True).sqrt()
    mask = torch.rand(field, generator=torch.Generator().manual_seed(1)) < 0.4
    return Sense(maps, mask, shape)


def phased():
    A = sense()
    return PhaseConstrainedSense(A, torch.polar(torch.ones(2, 24, 24), torch.randn(2, 24, 24)))


@pytest.mark.parametrize("field", [(40, 30), (16, 20), (25, 24)])
def test_adjoint(field):
    A = sense(field)
    x, y = to_channels(random(2, 24, 24)), random(2, 3, *field, seed=3)
    left = (A(x).conj() * y).real.sum()
    assert left == pytest.approx((x * A.adjoint(y)).sum().item(), rel=1e-4)


def test_adjoint_of_a_known_phase():
    A, x, y = phased(), torch.randn(2, 1, 24, 24), random(2, 3, 40, 30)
    assert (A(x).conj() * y).real.sum().item() == pytest.approx((x * A.adjoint(y)).sum().item(), rel=1e-4)


@pytest.mark.parametrize("field", [(40, 30), (16, 21), (25, 24)])
def test_normal_is_the_operator_and_its_adjoint(field):
    x = to_channels(random(2, 24, 24))
    real, known = x[:, :1], PhaseConstrainedSense(sense(field), torch.polar(torch.ones(2, 24, 24), torch.randn(2, 24, 24)))
    for A, image in ((sense(field), x), (sense(field, batch=1), x), (known, real)):
        torch.testing.assert_close(A.normal(image), A.adjoint(A(image)), rtol=1e-5, atol=1e-6)


def test_no_longer_than_one():
    A = sense()
    x = to_channels(random(2, 24, 24))
    for _ in range(30):
        x = A.adjoint(A(x))
        x = x / x.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert A.adjoint(A(x)).flatten(1).norm(dim=1).max() <= 1 + 1e-5


def test_all_samples_of_all_coils_give_the_image_back():
    A = sense()
    full = Sense(A.maps, torch.ones_like(A.mask), A.shape)
    x = to_channels(random(2, 24, 24))
    torch.testing.assert_close(full.adjoint(full(x)), x, rtol=1e-4, atol=1e-5)


def test_one_map_for_the_batch():
    A = sense(batch=1)
    x = to_channels(random(3, 24, 24))
    torch.testing.assert_close(A(x)[2:], A(x[2:]))


def test_coil_by_coil_is_the_masked_fourier_transform():
    mask = torch.rand(24, 24) < 0.5
    image = random(5, 24, 24)
    A = per_coil_fourier(mask, (24, 24))
    torch.testing.assert_close(A(to_channels(image))[:, 0], mask * fft2c(image))
    torch.testing.assert_close(to_complex(A.adjoint(fft2c(image)[:, None])), ifft2c(mask * fft2c(image)))
