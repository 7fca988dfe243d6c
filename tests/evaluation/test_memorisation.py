"""The audit for copies: planted ones are found, chance is not blamed."""

import math
from itertools import product

import pytest
import torch

from condiff.evaluation.images import Images, Sets
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


def clustered(patients, slices, correlation, generator):
    """Normal values, of ``slices`` of each patient, correlated within patients."""
    own = torch.randn(patients, 1, generator=generator) * correlation**0.5
    return (own + torch.randn(patients, slices, generator=generator) * (1 - correlation) ** 0.5).flatten()


@pytest.mark.parametrize(("patients", "slices"), [(6, 8), (100, 8)])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_new_patients_are_rarely_blamed(patients, slices, correlation):
    """Of audits where nothing is wrong a share of at most 5 % has p < 0.05, however alike a patient's slices are."""
    generator = torch.Generator().manual_seed(0)
    whose = torch.arange(patients).repeat_interleave(slices)
    verdicts = [
        audit(torch.randn(64, generator=generator), clustered(patients, slices, correlation, generator), whose)
        for _ in range(200)
    ]
    assert sum(verdict.p < 0.05 for verdict in verdicts) / 200 <= 0.06


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_a_tenth_of_copies_is_noticed_where_many_are_held_out(correlation):
    """800 held-out images: the 8th nearest is the threshold; 10 % of 256 samples are far below it."""
    generator, whose = torch.Generator().manual_seed(0), torch.arange(100).repeat_interleave(8)
    for _ in range(20):
        samples = torch.randn(256, generator=generator)
        samples[:26] = -10
        held_out = clustered(100, 8, correlation, generator)
        found = audit(samples, held_out, whose, tests=8)
        assert found.threshold == held_out.sort().values[7] and found.copies[:26].all()
        assert found.p < 0.05 and found.detectable <= 0.1


def test_the_least_share_that_is_noticed_is_just_noticed():
    held_out = torch.linspace(1, 2, 50)
    found = audit(torch.full((40,), 5.0), held_out, torch.arange(50), tests=4)
    least = round(found.detectable * 40)
    for number, called in ((least, True), (least - 1, False)):
        samples = torch.tensor([0.0] * number + [5.0] * (40 - number))
        assert (audit(samples, held_out, torch.arange(50), tests=4).p < 0.05) == called


def test_a_patient_under_two_names_does_not_blind_the_audit():
    """A training image among the held-out ones has distance 0: it is left out of what chance brings, and told."""
    training = Images(noise(40, 0), torch.zeros(40, dtype=torch.long), torch.arange(40))
    held_out = Images(torch.cat([noise(30, 1), training.pixels[:1]]), torch.zeros(31, dtype=torch.long), torch.arange(100, 131))
    samples = Images(training.pixels[:20], torch.zeros(20, dtype=torch.long), torch.arange(20))
    found = search(lambda pixels: pixels.flatten(1), Sets(samples, held_out, training, ["a"], True))
    assert found.shared == 1 and found.verdicts["a"].share == 1 and found.verdicts["a"].p < 1e-6


def test_slices_of_a_patient_count_for_less():
    same = torch.arange(6).repeat_interleave(8)
    alike = same.double() + 1e-3 * torch.randn(48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert design_effect(alike, same) == pytest.approx(8, abs=0.5)
    assert design_effect(torch.randn(480, generator=torch.Generator().manual_seed(1)), torch.arange(60).repeat(8)) < 1.5
    assert design_effect(torch.randn(10), torch.arange(10)) == 1
    assert design_effect(torch.randn(24), torch.arange(24) // 8) == 8  # three patients cannot show it


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
    found = search(space, Sets(samples, held_out, training, ["AXT1"], True))
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
    verdicts = search(lambda pixels: pixels.flatten(1), Sets(samples, held_out, training, ["a", "b"], True)).verdicts
    assert verdicts["b"].share == 1 and verdicts["b"].p < 1e-6 and verdicts["a"].p > 0.05 and verdicts["pooled"].p < 0.01


def test_nobody_held_out_is_no_verdict():
    found = audit(torch.rand(3), torch.empty(0), torch.empty(0))
    assert math.isnan(found.share) and math.isnan(found.p)
