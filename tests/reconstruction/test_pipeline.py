"""Measurements of files, and what is written of a volume."""

import json
from dataclasses import replace
from functools import partial

import h5py
import pytest
import torch

from condiff.mri.fourier import center_crop_or_pad, fft2c, ifft2c, rss
from condiff.mri.maps import espirit, low_resolution
from condiff.mri.masks import equispaced_fraction, poisson
from condiff.reconstruction.acquisition import AcquisitionModel
from condiff.reconstruction.measurement import ImageGrid, measure
from condiff.reconstruction.numbers import without_nan
from condiff.reconstruction.pipeline import reduced_chi2, results_of, solve_volume
from condiff.reconstruction.volume_file import write_volume
from condiff.sampling.cost import SamplingCost
from tests.reconstruction.test_formulations import full_measurement
from tests.reconstruction.test_measurement import acquired, fails_at


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


def test_chi2_of_known_residuals():
    """Residuals of 1, 2 and 4 times sigma_y in either component: 1, 4 and 16 of a slice, their mean of several."""
    full = full_measurement(torch.zeros(3, 2, 16, 16, dtype=torch.complex64))
    mask = equispaced_fraction((16, 16), 2.0, 0.25, torch.Generator().manual_seed(0))
    images = torch.randn(3, 16, 16, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    residual = full.sigma_y * torch.tensor([1, 2, 4])[:, None, None, None] * (1 - 1j)
    one = replace(full, mask=mask, kspace=mask * (fft2c(full.maps * images[:, None]) + residual))
    for slices, expected in (([0], 1), ([1], 4), ([2, 0], 17 / 2), ([0, 1, 2], 7)):
        assert reduced_chi2(one, slices, images[slices]) == pytest.approx(expected, rel=1e-4)


def test_chi2_of_the_truth_is_one():
    """Within five standard errors, for data simulated with the noise level that the measurement states."""
    full = full_measurement(torch.zeros(4, 2, 32, 32, dtype=torch.complex64))
    one = replace(full, mask=equispaced_fraction((32, 32), 3.0, 0.2, torch.Generator().manual_seed(0)))
    images = torch.randn(4, 32, 32, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    samples = 4 * 2 * int(one.mask.sum())
    simulated = one.simulate(images, torch.Generator().manual_seed(1))
    assert reduced_chi2(simulated, [0, 1, 2, 3], images) == pytest.approx(1, abs=5 / samples**0.5)


def written(tmp_path, factors, maps=low_resolution):
    """The scan of a file, the results of its reconstruction, and its datasets.

    The prior's samples are the full scan's magnitude times ``factors``, on a grid half as fine as the file's.
    """
    raw = acquired(tmp_path, slices=3, noise=1e-6)
    mask = partial(equispaced_fraction, center_fraction=0.2)
    scan = AcquisitionModel(ImageGrid(32, 220.0, 0.99), maps, 4, mask, 2.0, False, 0)
    acquisition = scan(raw, [0, 1, 2], torch.device("cpu"))

    def solver(measurement, places, streams, cond, on_step):
        truth = acquisition.reference[0][places].abs().to(torch.complex64)
        samples = torch.stack([factor * truth for factor in factors])
        return samples, samples[:, 0]

    solver.cost, out = SamplingCost(), tmp_path / "out" / "one.h5"
    solved = solve_volume(raw, acquisition, solver, None, [0, 1, 2], lambda share: None)
    numbers = results_of(solved, {})
    write_volume(out, solved, numbers, keep_samples=True)
    with h5py.File(out) as file:
        assert json.loads(file.attrs["metrics"]) == numbers
        return raw, acquisition, numbers, {name: torch.from_numpy(file[name][()]) for name in file}


def test_a_slice_without_maps_of_the_full_scan_either(tmp_path):
    """Left out alone: calls 1 and 4 of the maps are those of slice 1, of the measurement and of the full scan."""
    _, _, numbers, found = written(tmp_path, [1.0], fails_at(1, 4)[0])
    assert numbers["bad_slices"] == [1] and numbers["slices"] == [0, 2] and not found["reconstruction"][1].any()


def test_units_of_what_is_written(tmp_path):
    """Image and deviation: on the file's grid, in units of its root sum of squares; the rest in the model's, on its grid."""
    factors = torch.tensor([0.5, 1.0, 1.8])
    raw, acquisition, _, found = written(tmp_path, factors)
    whole = rss(ifft2c(center_crop_or_pad(center_crop_or_pad(raw.kspace, (32, 32)), (64, 64))))
    for name, factor in (("reconstruction", factors.mean()), ("standard_deviation", factors.std())):
        assert found[name].shape == whole.shape and (found[name] - factor * whole).norm() < 0.05 * factor * whole.norm(), name
    torch.testing.assert_close(found["standard_deviation"], factors.std() / factors.mean() * found["reconstruction"])
    truth = acquisition.reference[0].abs().to(torch.complex64)
    torch.testing.assert_close(found["samples"], factors[:, None, None, None] * truth)
    torch.testing.assert_close(found["combined"], factors.mean() * truth)


def test_one_sample_has_no_deviation(tmp_path):
    _, _, numbers, found = written(tmp_path, [1.0])
    assert found.keys() == {"reconstruction", "combined", "samples"} and numbers["chi2"].keys() == {"one"}
    assert numbers["combined"]["one"]["nmse"] == 0 < numbers["combined"]["zero_filled"]["nmse"]  # it is the truth


def test_a_slice_without_maps_is_left_out(tmp_path):
    """Zero in the file and named; the others are as written without it."""
    _, _, numbers, found = written(tmp_path, [1.0, 3.0], fails_at(1)[0])
    assert numbers["bad_slices"] == [1] and numbers["slices"] == [0, 2]
    for name, images in found.items():
        slices = images.transpose(0, 1) if name == "samples" else images
        assert [bool(one.any()) for one in slices] == [True, False, True], name
