"""Measurements of scans whose image is known: an ellipse, seen by coils of one sensitivity everywhere."""

import h5py
import numpy as np
import pytest
import torch

from condiff.data.fastmri.raw_scan import read_raw_scan
from condiff.mri.fourier import to_channels
from condiff.mri.maps import espirit
from condiff.mri.masks import equispaced_fraction
from condiff.reconstruction.measurement import ImageGrid, measure
from tests.conftest import write_raw


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
