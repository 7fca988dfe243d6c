"""The audit for copies: planted ones are found, chance is not blamed."""

import math
from itertools import product

import pytest
import torch

from condiff.evaluation.images import Images
from condiff.evaluation.memorisation import audit, design_effect, nearest, search


def noise(n, seed, size=16):
    return torch.rand(n, size, size, generator=torch.Generator().manual_seed(seed))


def test_distance_is_relative_to_the_other_training_images():
    """Three images on a line and, far off, the mirror images of two; the third's lies at 11."""
    known, mirrored = torch.tensor([[0.0], [3.0], [30.0]]), torch.tensor([[500.0], [600.0], [11.0]])
    found = nearest(torch.tensor([[1.0], [3.0], [11.0]]), known, mirrored)
    assert found.distance.tolist() == pytest.approx([1 / ((1 + 2 + 10) / 3), 0.0, 0.0]) and found.which.tolist() == [0, 1, 5]


def test_smooth_samples_are_no_copies():
    """Blurred new images are nearer to every training image than sharp new images, and to none in particular."""
    sharp, training = noise(60, 1).flatten(1), noise(80, 0).flatten(1)
    smooth = 0.5 + 0.3 * (noise(60, 2).flatten(1) - 0.5)
    assert torch.cdist(smooth, training).min(1).values.max() < torch.cdist(sharp, training).min()
    mine, theirs = (nearest(queries, training, training).distance for queries in (smooth, sharp))
    assert audit(mine, theirs, torch.arange(60)).p > 0.05


def test_p_is_that_of_all_orders():
    """3 samples and 2 held-out images: of their 10 orders count those with as many samples below the least held-out."""
    orders = [word for word in product("sh", repeat=5) if word.count("s") == 3]
    for below in range(4):
        samples = torch.tensor([0.0] * below + [5.0] * (3 - below)) + torch.arange(3) / 10
        found = audit(samples, torch.tensor([1.0, 2.0]), torch.tensor([0, 1]))
        as_many = sum("".join(order).index("h") >= below for order in orders) / len(orders)
        assert found.share == pytest.approx(below / 3) and found.p == pytest.approx(as_many)


def test_new_patients_are_rarely_blamed():
    """Of audits where nothing is wrong a share of at most 5 % has p < 0.05."""
    generator = torch.Generator().manual_seed(0)
    blamed = [
        audit(*torch.randn(164, generator=generator).split([64, 100]), patient=torch.arange(100)).p < 0.05 for _ in range(400)
    ]
    assert 0 < sum(blamed) / 400 < 0.08


def test_slices_of_a_patient_count_for_less():
    same = torch.arange(6).repeat_interleave(8)
    alike = same.double() + 1e-3 * torch.randn(48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert design_effect(alike, same) == pytest.approx(8, abs=0.5)
    assert design_effect(torch.randn(480, generator=torch.Generator().manual_seed(1)), torch.arange(60).repeat(8)) < 1.5
    assert design_effect(torch.randn(10), torch.arange(10)) == 1


@pytest.mark.parametrize("space", [lambda pixels: pixels.flatten(1), lambda pixels: torch.fft.fft2(pixels).abs().flatten(1)])
def test_all_planted_copies_are_found(space):
    """Training images among the samples, slightly noisy and half of them mirrored: those, all of them, and no other."""
    training = Images(noise(40, 0), torch.zeros(40, dtype=torch.long), torch.arange(100, 140))
    held_out = Images(noise(60, 1), torch.zeros(60, dtype=torch.long), torch.arange(60))
    pixels = noise(30, 2)
    for index in range(10):
        original = training.pixels[3 * index]
        pixels[2 * index] = (original.flip(-1) if index % 2 else original) + 0.01 * noise(1, index)[0]
    samples = Images(pixels, torch.zeros(30, dtype=torch.long), torch.arange(30))
    found = search(space, samples, held_out, training, {"AXT1": 0, "pooled": None})
    verdict = found.verdicts["AXT1"]
    planted = torch.arange(30).lt(20) & (torch.arange(30) % 2 == 0)
    assert (verdict.copies[planted]).all() and verdict.copies[~planted].float().mean() < 0.1 and verdict.p < 1e-3
    assert (found.samples.which[planted] % 40).tolist() == list(range(0, 30, 3))
    assert found.held_out.distance.median() > 0.8


def test_contrasts_are_audited_apart():
    """Copies in one contrast alone."""
    contrast = torch.arange(40) % 2
    training, held_out = (Images(noise(40, seed), contrast, torch.arange(40) + 100 * seed) for seed in (0, 1))
    samples = Images(torch.where(contrast[:, None, None] == 1, training.pixels, noise(40, 2)), contrast, torch.arange(40))
    verdicts = search(lambda pixels: pixels.flatten(1), samples, held_out, training, {"a": 0, "b": 1, "pooled": None}).verdicts
    assert verdicts["b"].share == 1 and verdicts["b"].p < 1e-6 and verdicts["a"].p > 0.05 and verdicts["pooled"].p < 0.01


def test_nobody_held_out_is_no_verdict():
    found = audit(torch.rand(3), torch.empty(0), torch.empty(0))
    assert math.isnan(found.share) and math.isnan(found.p)
