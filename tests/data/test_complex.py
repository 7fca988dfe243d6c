"""Complex images from raw k-space, against the exact transform of an ellipse."""

import pytest
import torch

from condiff.data.fastmri.reader import read_kspace, read_magnitude
from condiff.data.transforms import Complex, Magnitude
from condiff.errors import InputError
from condiff.mri.coils import sense_combine
from condiff.mri.fourier import ifft2c
from condiff.mri.maps import low_resolution
from tests.conftest import write_raw, write_volume
from tests.mri.test_maps import scene


def ellipse(size, centre_mm=(10.0, -15.0)):
    axis = (torch.arange(size) - size // 2) * 220 / size
    return ((axis[:, None] - centre_mm[0]) / 60).square() + ((axis - centre_mm[1]) / 80).square()


@pytest.mark.parametrize(
    ("shape", "fov"),
    [
        ((128, 64), (440.0, 220.0)),
        ((154, 80), (440.0, 226.8)),  # as fastMRI's 768 x 396
        ((128, 43), (440.0, 220.0)),  # fewer columns than the image, as fastMRI's 213
        ((64, 51), (220.0, 175.0)),  # no oversampling, a field of view of less than the image
        ((192, 96), (440.0, 220.0)),  # finer pixels
    ],
)
@pytest.mark.parametrize("downsample", [1, 2])
def test_field_of_view_of_an_ellipse(tmp_path, shape, fov, downsample):
    """Whatever it was sampled on, the ellipse lies where it is, in the size that it has."""
    path = write_raw(tmp_path / "a.h5", shape=shape, fov_mm=fov, centre_mm=(5.0, -3.0))
    transform = Complex(matrix=64, downsample=downsample)
    images, scale = transform(*read_kspace(path))
    size = 64 // downsample
    assert images.shape == (2, 2, size, size)
    magnitude, inside = transform.magnitude(images)[0], ellipse(size, (5.0, -3.0))
    assert magnitude[inside < 0.6].median() == pytest.approx(1, abs=0.1)
    assert magnitude[inside > 1.6].abs().mean() < 0.06
    area = (magnitude * (inside < 2)).sum() * (220 / size) ** 2
    assert area.item() / magnitude[inside < 0.5].mean().item() == pytest.approx(3.1416 * 60 * 80, rel=0.06)
    axis = (torch.arange(size) - size // 2) * 220 / size
    for own, expected in ((magnitude.sum(1), 5.0), (magnitude.sum(0), -3.0)):
        assert ((own * axis).sum() / own.sum()).item() == pytest.approx(expected, abs=2.5 * downsample)
    assert scale > 0


def test_magnitude_of_both_transforms_agrees(tmp_path):
    path = write_raw(tmp_path / "a.h5", shape=(128, 64))
    plain, full = Magnitude(matrix=64, downsample=1), Complex(matrix=64, maps=low_resolution)
    a, b = plain.magnitude(plain(*read_magnitude(path))[0]), full.magnitude(full(*read_kspace(path))[0])
    assert (a - b).abs().mean() < 0.03


def test_phase_is_that_of_the_first_virtual_coil_and_comes_back(tmp_path):
    transform = Complex(matrix=32)
    raw = read_kspace(write_raw(tmp_path / "a.h5", shape=(64, 32), noise=1e-3))
    images, scale = transform(*raw)
    first, image = ifft2c(transform.virtual_coils(*raw))[:, 0], transform.image(images, scale)
    inside = (ellipse(32) < 0.8).expand_as(first)
    assert (image * first.conj()).angle()[inside].abs().max() < 0.05
    assert transform.magnitude(images).flatten().quantile(0.99).item() == pytest.approx(1, rel=1e-3)
    phase = transform.views(images)["phase"]
    assert phase.min() >= 0 and phase.max() <= 1


def test_combination_is_optimal_for_correlated_noise():
    """Known maps S, noise covariance Psi: the amplitude is |x| sqrt(S^H Psi^-1 S), the noise of unit variance, pixel by pixel,
    and the phase that of the first virtual coil."""
    clean, maps, support = scene(size=64, coils=5)
    window = torch.hann_window(64)
    clean = (clean * window[:, None] * window).expand(8, -1, -1, -1)  # no signal where the noise is measured
    mixing = torch.eye(5) + 0.5 * torch.randn(5, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    mixing = 0.01 * mixing * torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])[:, None]

    def images(seed):
        noise = torch.randn(8, 5, 64 * 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))
        kspace = clean + (mixing @ noise).view(8, 5, 64, 64)
        transform = Complex(matrix=64)
        found, scale = transform(kspace, (220.0, 220.0))
        return transform.image(found, scale)[0], ifft2c(transform.virtual_coils(kspace, (220.0, 220.0)))[0, 0]

    one, first = images(0)
    inverse = torch.linalg.inv(mixing @ mixing.mH)
    gain = torch.einsum("khw,kj,jhw->hw", maps.conj(), inverse, maps).real.sqrt()
    truth = sense_combine(ifft2c(clean[0]), maps).abs() / maps.abs().square().sum(0).sqrt() * gain
    ratio = (one.abs() / truth)[support]
    assert ratio.median().item() == pytest.approx(1, abs=0.05) and ratio.std() < 0.1
    axis = torch.linspace(-1, 1, 64)
    air = axis[:, None].square() + axis.square() > 1.3
    assert one[air].abs().square().mean().item() == pytest.approx(1, rel=0.3)  # maps of noise follow it a little
    strong = support & (first.abs() > first.abs().max() / 4)
    assert (one * first.conj()).angle()[strong].abs().quantile(0.95) < 0.1


@pytest.mark.parametrize("coils", [1, 2, 5, 28])
def test_any_number_of_coils(tmp_path, coils):
    images, _ = Complex(matrix=32)(*read_kspace(write_raw(tmp_path / "a.h5", coils=coils)))
    assert images.isfinite().all() and images.shape == (2, 2, 32, 32)


def test_no_kspace(tmp_path):
    with pytest.raises(InputError, match=r"a.h5: holds no kspace.*data.transform=magnitude"):
        read_kspace(write_volume(tmp_path / "a.h5"))
