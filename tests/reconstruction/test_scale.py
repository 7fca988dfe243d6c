"""The scale of an accelerated scan is the full scan's, however few its coils and samples."""

import pytest
import torch

from condiff.mri import masks
from condiff.mri.fourier import ifft2c, rss
from condiff.reconstruction.scale import bias, estimate_quantile, extent
from tests.mri.test_maps import scene

MASKS = ["random", "equispaced", "equispaced_fraction", "gaussian1d", "poisson"]


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("coils", [1, 2, 4, 8])
def test_of_the_full_scan(name, coils):
    """R = 2 to 8, noise of a twentieth of the head: given the same head in other units as typical, within 10 %."""
    kspace, *_ = scene(size=96, coils=coils)
    typical = 0.1 * rss(ifft2c(kspace))
    kspace = 20 * kspace + torch.randn(kspace.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    full = torch.quantile(rss(ifft2c(kspace)), 0.99).item()
    for acceleration in (2, 3, 4, 6, 8):
        mask = getattr(masks, name)((96, 96), acceleration, 0.08, torch.Generator().manual_seed(0))
        block = masks.acs_size(mask)
        found = estimate_quantile(kspace * mask, mask, block, (96, 96), 0.99) / bias(typical, mask, block, 0.99)
        assert found == pytest.approx(full, rel=0.1), acceleration


def test_nothing_is_hidden_by_a_full_mask():
    images = torch.randn(3, 32, 32, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    assert bias(5 * images, torch.ones(32, 32, dtype=torch.bool), (32, 32), 0.9) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(48, 48), (48, 33)])
def test_of_all_samples(shape):
    """R = 1, edges padded or not: the root sum of squares' own quantile, less the noise of all coils but one."""
    kspace = scene(size=48, coils=4)[0][..., : shape[1]] * 1e3
    mask = torch.ones(shape, dtype=torch.bool)
    mask[:, :3] = False
    full = torch.quantile(rss(ifft2c(kspace * mask)), 0.99).item()
    assert estimate_quantile(kspace * mask, mask, masks.acs_size(mask), shape, 0.99) == pytest.approx(full, rel=0.01)


def test_extent():
    mask = torch.zeros(8, 6, dtype=torch.bool)
    mask[:, [1, 3]] = True
    assert extent(mask)[0].tolist() == [False, True, True, True, False, False]
