"""Masks: the acceleration that was asked for, the centre that was promised, and the densities of their papers."""

import pytest
import torch

from condiff.errors import InputError
from condiff.mri import masks

SHAPE = (48, 320)
COLUMNS = {name: getattr(masks, name) for name in ("random", "equispaced", "equispaced_fraction", "gaussian1d")}


def draw(mask, acceleration=4.0, centre=0.08, seed=0, shape=SHAPE):
    return mask(shape, acceleration, centre, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", COLUMNS)
def test_whole_columns_and_a_full_centre(name):
    mask = draw(COLUMNS[name])
    assert mask.shape == SHAPE and mask.dtype == torch.bool
    assert (mask == mask[0]).all()
    assert mask[0, 147:173].all()  # fastMRI: 26 of 320, from (320 - 26 + 1) // 2


@pytest.mark.parametrize("name", ["equispaced_fraction", "gaussian1d", "poisson"])
@pytest.mark.parametrize("acceleration", [3.0, 4.0, 8.0])
def test_true_acceleration_is_what_was_asked_for(name, acceleration):
    shape = (64, 64) if name == "poisson" else SHAPE
    mask = draw(getattr(masks, name), acceleration, centre=0.04, shape=shape)
    assert masks.acceleration(mask) == pytest.approx(acceleration, rel=0.05)


def test_random_has_it_on_average():
    found = [float(draw(masks.random, seed=seed)[0].sum()) for seed in range(400)]
    assert sum(found) / 400 == pytest.approx(320 / 4, rel=0.02)


def test_equispaced_samples_more_than_asked_for():
    """Every fourth column and the centre, so R is 320 / (80 + 26 * 3 / 4)."""
    assert masks.acceleration(draw(masks.equispaced)) == pytest.approx(320 / (80 + 26 * 3 / 4), rel=0.02)


def test_gaussian_density_falls_off():
    counts = sum(draw(masks.gaussian1d, 4.0, 0.02, seed)[0].float() for seed in range(300)) / 300
    near, far = counts[100:130].mean(), counts[:30].mean()
    assert near > 4 * far


def test_poisson_disc_keeps_its_distance():
    """No two samples outside the centre are neighbours, and there are fewer the further out."""
    mask = draw(masks.poisson, 8.0, 0.1, shape=(96, 96))
    outside = mask.clone()
    outside[38:58, 38:58] = False
    assert not (outside[1:] & outside[:-1]).any() and not (outside[:, 1:] & outside[:, :-1]).any()
    assert mask[30:66, 30:66].float().mean() > 2 * mask[:12].float().mean()


def test_seed_makes_the_mask():
    for mask in (*COLUMNS.values(), masks.poisson):
        a, b, c = (draw(mask, 4.0, 0.08, seed, (32, 64)) for seed in (0, 0, 1))
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_calibration_is_the_gapless_block():
    mask = draw(masks.equispaced_fraction)
    assert masks.acs_size(mask)[0] == SHAPE[0] and masks.acs_size(mask)[1] in (26, 27, 28)
    square = torch.zeros(64, 64, dtype=torch.bool)
    square[26:38, 24:40] = True
    assert masks.acs_size(square) == (12, 16)
    assert masks.acs_size(torch.zeros(8, 8, dtype=torch.bool)) == (0, 0)


@pytest.mark.parametrize(
    ("acceleration", "centre", "named"),
    [(0.5, 0.08, "acceleration"), (500, 0.08, "acceleration"), (16, 0.1, "^center_fraction=0.1")],
)
def test_what_cannot_be_is_named(acceleration, centre, named):
    with pytest.raises(InputError, match=named):
        draw(masks.equispaced_fraction, acceleration, centre)
