"""Measurements of files, and what is written of a volume."""

from dataclasses import replace

import pytest
import torch

from condiff.mri.maps import espirit, low_resolution
from condiff.mri.masks import equispaced_fraction, poisson
from condiff.reconstruction.measurement import ImageGrid, measure
from condiff.reconstruction.numbers import without_nan
from condiff.reconstruction.pipeline import AcquisitionModel
from tests.reconstruction.test_measurement import acquired


def test_json_has_no_nan():
    assert without_nan({"a": [float("nan"), 1.0], "b": {"c": float("inf")}, "d": "x"}) == {
        "a": [None, 1.0],
        "b": {"c": None},
        "d": "x",
    }


def test_two_dimensional_mask_and_padded_edges(tmp_path):
    """Poisson disc of the middle 48 of 64 columns, the rest zero-padded: acceleration counts what could be sampled."""
    full = acquired(tmp_path)
    mask = torch.zeros_like(full.sampled)
    mask[:, 8:56] = poisson((64, 48), 3.0, 0.2, torch.Generator().manual_seed(0))
    header = replace(full.volume.header, columns=(8, 56))
    scan = replace(
        full, kspace=full.kspace * mask, sampled=mask, full=False, volume=replace(full.volume, header=header), margins=None
    )
    scanned = AcquisitionModel(ImageGrid(64, 220.0, 0.99), espirit, 8, None, 8.0, False, 0)(scan, [1], torch.device("cpu"))
    assert scanned.acceleration == pytest.approx((3.0, 3.0), rel=0.05) and scanned.reference is None
    assert torch.equal(scanned.measurement.mask, mask) and scanned.measurement.kspace.shape[0] == 1
    assert not scanned.measurement.kspace[..., ~mask].any()


def test_maps_are_made_of_the_slices_that_are_asked_for(tmp_path):
    """Once each, for the measurement and for its target; scale and noise level are the volume's."""
    scan, sizes = acquired(tmp_path, slices=4), []

    def counted(kspace, **settings):
        sizes.append(len(kspace))
        return low_resolution(kspace, **settings)

    every = measure(scan.kspace, scan.sampled, scan.fov_mm, ImageGrid(64, 220.0, 0.99), low_resolution, margins=scan.margins)
    scanned = AcquisitionModel(ImageGrid(64, 220.0, 0.99), counted, 8, equispaced_fraction, 1.0, False, 0)
    one = replace(scanned, mask=lambda shape, acceleration, generator: torch.ones(shape, dtype=torch.bool))(scan, [3], "cpu")
    assert sizes == [1, 1] and (one.measurement.scale, one.measurement.sigma_y) == (every.scale, every.sigma_y)
    assert torch.equal(one.measurement.kspace[0], every.kspace[3]) and torch.equal(one.measurement.maps[0], every.maps[3])
