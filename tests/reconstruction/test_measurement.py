"""Measurements of scans whose image is known: an ellipse, seen by coils of one sensitivity everywhere."""

import h5py
import numpy as np
import pytest
import torch

from condiff.data.fastmri.raw_scan import read_raw_scan
from condiff.errors import InputError
from condiff.mri.fourier import fft2c, to_channels
from condiff.mri.maps import espirit, low_resolution
from condiff.mri.masks import equispaced_fraction
from condiff.reconstruction.measurement import ImageGrid, measure
from tests.conftest import write_raw
from tests.mri.test_maps import scene


def acquired(tmp_path, **settings):
    return read_raw_scan(write_raw(tmp_path / "one.h5", shape=(128, 64), recon_mm=220.0, **settings))


def measured(tmp_path, acceleration=3.0, **settings):
    scan = acquired(tmp_path, **settings)
    shape = (scan.sampled.shape[0], scan.sampled.shape[1])
    mask = equispaced_fraction(shape, acceleration, 0.2, torch.Generator().manual_seed(0)) if acceleration > 1 else scan.sampled
    return scan, measure(scan.kspace, mask, scan.fov_mm, ImageGrid(64, 220.0, 0.99), espirit)


def test_all_samples_are_their_own_truth(tmp_path):
    """R = 1: the combined image meets the data up to their noise, and its 99 % quantile is white."""
    scan, one = measured(tmp_path, 1.0, noise=1e-3)
    target, squares = one.reference(scan.kspace, espirit)
    assert torch.quantile(target.abs(), 0.99).item() == pytest.approx(2.0, rel=0.01)
    y = one.operator([0, 1])(to_channels(target))
    misfit = (one.kspace - y).abs().square().mean() / (2 * one.sigma_y**2)
    assert misfit.item() == pytest.approx(3 / 4, rel=0.15)  # of four coils' noise the image took one
    torch.testing.assert_close(target.abs() * one.coil_rss, squares, rtol=0.05, atol=0.02 * float(squares.max()))


def test_nothing_is_taken_from_what_was_not_sampled(tmp_path):
    """Other values where the mask is false: the same measurement."""
    scan, one = measured(tmp_path)
    mask = equispaced_fraction((64, 64), 3.0, 0.2, torch.Generator().manual_seed(0))
    spoilt = torch.where(mask, scan.kspace, 17.0 + 0j)
    other = measure(spoilt, mask, scan.fov_mm, one.grid, espirit)
    assert torch.equal(one.kspace, other.kspace) and torch.equal(one.maps, other.maps)
    assert (one.scale, one.sigma_y) == (other.scale, other.sigma_y)


def test_simulated_data_are_the_operators_own(tmp_path):
    """y = A x + noise of the deviation that was measured, nothing where nothing was sampled."""
    scan, one = measured(tmp_path)
    target, _ = one.reference(scan.kspace, espirit)
    made = one.simulate(target, torch.Generator().manual_seed(0))
    left = (made.kspace - one.operator([0, 1])(to_channels(target)))[..., one.mask]
    assert torch.view_as_real(left).std().item() == pytest.approx(one.sigma_y, rel=0.05)
    assert made.kspace[..., ~one.mask].abs().max() == 0


def test_more_coils_than_are_kept(tmp_path):
    """Twelve whose noise is correlated, compressed to four: the brightness is still that of all twelve."""
    path = write_raw(tmp_path / "one.h5", shape=(128, 64), coils=12, noise=1e-3)
    with h5py.File(path, "r+") as file:
        blend = np.eye(12) + 0.4 * np.random.default_rng(0).standard_normal((12, 12))
        file["kspace"][...] = np.einsum("ab,sbrc->sarc", blend, file["kspace"][()])
    scan = read_raw_scan(path)
    one = measure(scan.kspace, scan.sampled, scan.fov_mm, ImageGrid(64, 220.0, 0.99), espirit, coils=4)
    target, squares = one.reference(scan.kspace, espirit)
    seen = target.abs() > 0.5
    torch.testing.assert_close((target.abs() * one.coil_rss)[seen], squares[seen], rtol=0.05, atol=0)


def fails_at(*numbers):
    """`low_resolution` that raises the error of a singular matrix at some of its calls, and the number of calls so far."""
    calls = []

    def maps(kspace, **settings):
        calls.append(len(kspace))
        if len(calls) - 1 in numbers:
            raise torch.linalg.LinAlgError("singular")
        return low_resolution(kspace, **settings)

    return maps, calls


@pytest.mark.parametrize(("places", "failing", "failed"), [(None, (1, 2), [1, 2]), ([3, 1], (0,), [0]), ([0, 2], (), [])])
def test_slices_without_maps_are_named(tmp_path, places, failing, failed):
    """Indices into the slices of the measurement; their maps are zero, and the others are what they are alone."""
    scan = acquired(tmp_path, slices=4)
    maps, calls = fails_at(*failing)
    settings = scan.sampled, scan.fov_mm, ImageGrid(64, 220.0, 0.99)
    one = measure(scan.kspace, *settings, maps, places=places)
    assert one.failed == failed and calls == [1] * len(places or range(4))
    for index, place in enumerate(places or range(4)):
        alone = measure(scan.kspace, *settings, low_resolution, places=[place]).maps[0]
        assert torch.equal(one.maps[index], torch.zeros_like(alone) if index in failed else alone)


def test_no_slice_has_maps(tmp_path):
    scan = acquired(tmp_path)
    with pytest.raises(InputError, match="coil maps could not be estimated for any slice"):
        measure(scan.kspace, scan.sampled, scan.fov_mm, ImageGrid(64, 220.0, 0.99), fails_at(0, 1)[0])


def test_samples_of_the_prior_correct_the_scale():
    """A head with a thin bright rim, fourfold undersampled: a third of its brightness is hidden, but known of such heads.

    The scale of the samples does not count.
    """
    _, maps, _ = scene(size=64, coils=4)
    axis = torch.linspace(-1, 1, 64)
    radius = ((axis / 0.6).square() + (axis[:, None] / 0.8).square()).sqrt()
    head = 0.3 * (radius < 1) + ((radius > 0.93) & (radius < 1))
    noise = torch.randn(1, 4, 64, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    kspace = 200 * fft2c(maps * head)[None] + noise
    every = torch.ones(64, 64, dtype=torch.bool)
    mask = equispaced_fraction((64, 64), 4.0, 0.1, torch.Generator().manual_seed(0))

    def scale(mask, typical):
        return measure(kspace, mask, (220.0, 220.0), ImageGrid(64, 220.0, 0.95), low_resolution, typical=typical).scale

    full = measure(kspace, every, (220.0, 220.0), ImageGrid(64, 220.0, 0.95), low_resolution)
    typical, _ = full.reference(kspace, low_resolution)
    assert scale(mask, None) < 0.75 * full.scale
    assert scale(mask, typical) == pytest.approx(full.scale, rel=0.03)
    assert scale(mask, 7 * typical) == pytest.approx(scale(mask, typical), rel=1e-4)
    assert scale(every, typical) == pytest.approx(full.scale, rel=1e-3)  # nothing is hidden
