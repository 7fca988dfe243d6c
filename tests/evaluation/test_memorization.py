"""The search for copies: planted copies are found, new patients are not flagged."""

import math
from itertools import product

import pytest
import torch

from condiff.evaluation.anatomy import AnatomySearch, gaussian_blur, rotate
from condiff.evaluation.memorization import (
    copy_test,
    design_effect,
    find_copies,
    flag_limit,
    nearest_training,
    search_by_features,
    trained_on_too,
)
from condiff.evaluation.sets import FLIPS, ImageSet, ImageSets, mirror


def noise(n, seed, size=16):
    return torch.rand(n, size, size, generator=torch.Generator().manual_seed(seed))


def flatten(images):
    return images.flatten(1)


def copies_in(search, sets):
    """The copies in one space; no held-out patient is a training patient."""
    none = torch.zeros(len(sets.held_out), dtype=torch.bool)
    return find_copies(search(sets.samples.pixels), search(sets.held_out.pixels), sets, none)


def test_distance_is_relative_to_the_other_training_images():
    """Three training images on a line; a mirroring of the last query equals the first of them."""
    known = torch.tensor([[0.0], [3.0], [30.0]])
    queries = torch.tensor([[1.0], [3.0], [500.0]])
    mirrored = torch.tensor([[900.0], [800.0], [0.0]])
    result = nearest_training(torch.stack([queries, queries, mirrored, mirrored]), known)
    assert result.distance.tolist() == pytest.approx([1 / ((1 + 2 + 29) / 3), 0.0, 0.0])
    assert result.training_index.tolist() == [0, 1, 0] and result.flip.tolist()[2] == 2


def test_smooth_samples_are_no_copies():
    """Smooth new images are nearer to every training image than sharp ones, but not to one in particular."""
    sharp, training = noise(60, 1).flatten(1), noise(80, 0).flatten(1)
    smooth = 0.5 + 0.3 * (noise(60, 2).flatten(1) - 0.5)
    assert torch.cdist(smooth, training).min(1).values.max() < torch.cdist(sharp, training).min()
    sample_distances, held_out_distances = (
        nearest_training(queries.expand(4, -1, -1), training).distance for queries in (smooth, sharp)
    )
    assert copy_test(sample_distances, held_out_distances, torch.arange(60)).p > 0.05


def test_the_margin_is_half_of_the_gap_to_the_median():
    assert flag_limit(torch.tensor([0.6, 0.7, 0.8])) == pytest.approx(0.55)
    assert flag_limit(torch.tensor([0.1, 0.7, 0.8])) > 0  # an exact copy is always flagged
    assert flag_limit(torch.empty(0)) > 0


def test_a_single_copy_is_flagged_without_significance():
    """One of 200 samples is a training image: it alone is flagged, and p is not significant."""
    training, held_out = (ImageSet(noise(n, n), torch.zeros(n, dtype=torch.long), torch.arange(n)) for n in (40, 50))
    fresh = torch.cat([noise(199, 7), training.pixels[3:4]])
    samples = ImageSet(fresh, torch.zeros(200, dtype=torch.long), torch.arange(200))
    result = copies_in(search_by_features(flatten, training.pixels), ImageSets(samples, held_out, training, ["a"], True))
    assert result.tests["a"].p > 0.05 and result.flagged.nonzero().tolist() == [[199]] and result.samples.training_index[199] == 3


def test_p_equals_enumeration():
    """3 samples and 2 held-out images: count the orders with as many samples below the smallest held-out distance."""
    orders = [word for word in product("sh", repeat=5) if word.count("s") == 3]
    for below in range(4):
        samples = torch.tensor([0.0] * below + [5.0] * (3 - below)) + torch.arange(3) / 10
        result = copy_test(samples, torch.tensor([1.0, 2.0]), torch.tensor([0, 1]))
        as_many = sum("".join(order).index("h") >= below for order in orders) / len(orders)
        assert result.share == pytest.approx(below / 3) and result.p == pytest.approx(as_many)


def clustered(patients, slices, correlation, generator):
    """Return normal values of ``slices`` per patient, correlated within patients."""
    own = torch.randn(patients, 1, generator=generator) * correlation**0.5
    return (own + torch.randn(patients, slices, generator=generator) * (1 - correlation) ** 0.5).flatten()


@pytest.mark.parametrize(("num_patients", "slices"), [(6, 8), (100, 8)])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_new_patients_are_rarely_significant(num_patients, slices, correlation):
    """Under the null at most 5 % of tests have p < 0.05, for any correlation of a patient's slices."""
    generator = torch.Generator().manual_seed(0)
    patients = torch.arange(num_patients).repeat_interleave(slices)
    tests = [
        copy_test(torch.randn(64, generator=generator), clustered(num_patients, slices, correlation, generator), patients)
        for _ in range(200)
    ]
    assert sum(test.p < 0.05 for test in tests) / 200 <= 0.06


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_a_tenth_of_copies_is_significant_with_many_held_out(correlation):
    """800 held-out images: the 8th nearest is the threshold; 10 % of 256 samples are far below it."""
    generator, patients = torch.Generator().manual_seed(0), torch.arange(100).repeat_interleave(8)
    for _ in range(20):
        samples = torch.randn(256, generator=generator)
        samples[:26] = -10
        held_out = clustered(100, 8, correlation, generator)
        result = copy_test(samples, held_out, patients, num_tests=8)
        assert result.threshold == held_out.sort().values[7] and result.copies[:26].all()
        assert result.p < 0.05 and result.detectable <= 0.1


def test_the_smallest_detectable_share_is_just_significant():
    held_out = torch.linspace(1, 2, 50)
    result = copy_test(torch.full((40,), 5.0), held_out, torch.arange(50), num_tests=4)
    least = round(result.detectable * 40)
    for number, significant in ((least, True), (least - 1, False)):
        samples = torch.tensor([0.0] * number + [5.0] * (40 - number))
        assert (copy_test(samples, held_out, torch.arange(50), num_tests=4).p < 0.05) == significant


def test_a_patient_under_two_names_does_not_hide_copies():
    """A training image among the held-out ones has distance 0: the tests leave it out, and it is counted."""
    training = ImageSet(noise(40, 0), torch.zeros(40, dtype=torch.long), torch.arange(40))
    held_out = ImageSet(torch.cat([noise(30, 1), training.pixels[:1]]), torch.zeros(31, dtype=torch.long), torch.arange(100, 131))
    samples = ImageSet(training.pixels[:20], torch.zeros(20, dtype=torch.long), torch.arange(20))
    result = copies_in(search_by_features(flatten, training.pixels), ImageSets(samples, held_out, training, ["a"], True))
    assert result.duplicates == 1 and result.tests["a"].share == 1 and result.tests["a"].p < 1e-6


def test_design_effect():
    patients = torch.arange(6).repeat_interleave(8)
    correlated = patients.double() + 1e-3 * torch.randn(48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert design_effect(correlated, patients) == pytest.approx(8, abs=0.5)
    assert design_effect(torch.randn(480, generator=torch.Generator().manual_seed(1)), torch.arange(60).repeat(8)) < 1.5
    assert design_effect(torch.randn(10), torch.arange(10)) == 1
    assert design_effect(torch.randn(24), torch.arange(24) // 8) == 8  # three patients cannot show it


@pytest.mark.parametrize("space", [flatten, lambda images: torch.fft.fft2(images).abs().flatten(1)])
def test_all_planted_copies_are_found(space):
    """Training images among the samples, slightly noisy and mirrored in all ways: exactly these are flagged."""
    training = ImageSet(noise(40, 0), torch.zeros(40, dtype=torch.long), torch.arange(100, 140))
    held_out = ImageSet(noise(60, 1), torch.zeros(60, dtype=torch.long), torch.arange(60))
    fresh = noise(30, 2)
    for index in range(10):
        fresh[2 * index] = mirror(training.pixels[3 * index], index % 4) + 0.01 * noise(1, index)[0]
    samples = ImageSet(fresh, torch.zeros(30, dtype=torch.long), torch.arange(30))
    result = copies_in(search_by_features(space, training.pixels), ImageSets(samples, held_out, training, ["AXT1"], True))
    planted = torch.arange(30).lt(20) & (torch.arange(30) % 2 == 0)
    assert torch.equal(result.flagged, planted) and result.tests["AXT1"].p < 1e-3
    assert result.samples.training_index[planted].tolist() == list(range(0, 30, 3))
    assert result.held_out.distance.median() > 0.8


def cells(n, seed, size=32):
    """Return heads of random tissue: smooth fields cut at levels, so that no two heads share a boundary."""
    return in_levels(gaussian_blur(noise(n, seed, size), 2.5))


def in_levels(field):
    """Return smooth fields [N, H, W] cut at levels inside a head."""
    size = field.shape[-1]
    field = (field - field.mean((1, 2), keepdim=True)) / field.std((1, 2), keepdim=True)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    return torch.where(x**2 + y**2 < 0.8, torch.bucketize(field, torch.tensor([-0.5, 0.5])) + 1, 0)


def in_contrast(tissue, signals):
    """Return tissue numbers [N, H, W] as images of a contrast, given by the signal of each tissue."""
    return torch.tensor([0.0, *signals])[tissue] + 0.02 * noise(len(tissue), 9, tissue.shape[-1])


T1, T2, OTHER = (0.9, 0.6, 0.3), (0.4, 0.7, 1.0), (0.3, 0.9, 0.2)


@pytest.fixture(scope="module")
def anatomy():
    """Training: eight heads in T1, eight in T2; held out: twelve in each. Return search, images, tissues, limit."""
    tissue, fresh = cells(16, 0), cells(24, 1)
    training = torch.cat([in_contrast(tissue[:8], T1), in_contrast(tissue[8:], T2)])
    held_out = torch.cat([in_contrast(fresh[:12], T1), in_contrast(fresh[12:], T2)])
    space = AnatomySearch(ImageSet(training, torch.arange(16) // 8, torch.arange(16)))
    return space, training, tissue, flag_limit(space(held_out).distance)


KINDS = {
    "exact": lambda images, tissue: images,
    "shifted": lambda images, tissue: images.roll((2, -1), (-2, -1)),
    "turned": lambda images, tissue: rotate(images, 8),
    "blurred": lambda images, tissue: gaussian_blur(images, 0.7),
    "darker": lambda images, tissue: 0.5 * images**1.5,
    "other contrast": lambda images, tissue: in_contrast(tissue, OTHER),
    "left half": lambda images, tissue: torch.cat([images[:, :, :16], images.roll(1, 0)[:, :, 16:]], 2),
    "other contrast, mirrored": lambda images, tissue: mirror(in_contrast(tissue, OTHER), 3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_changed_anatomy_is_found(anatomy, kind):
    """All copies are flagged, with the right training image; halves with one of the two."""
    space, training, tissue, level = anatomy
    result = space(KINDS[kind](training, tissue))
    own = torch.arange(16)
    assert (result.distance < level).all()
    assert ((result.training_index == own) | ((kind == "left half") & (result.training_index == (own - 1) % 16))).all()


@pytest.mark.parametrize("flip", FLIPS)
def test_the_mirroring_is_found(anatomy, flip):
    space, training, *_ = anatomy
    result = space(mirror(training[:4], flip))
    assert result.flip.tolist() == [flip] * 4 and result.training_index.tolist() == [0, 1, 2, 3] and result.distance.max() < 1e-3


def test_new_anatomy_is_not_flagged(anatomy):
    space, *_, level = anatomy
    assert (space(in_contrast(cells(20, 5), T1)).distance > level).all()


def test_another_visit_of_a_person_is_found():
    """Moved, in other noise, at other places: the eight neighbouring slices of each person, all alike, do not hide it."""
    first, second = (gaussian_blur(noise(36, seed, 32), 2.5) for seed in (20, 21))

    def slices(people, places):
        return in_contrast(in_levels(torch.cat([(1 - t) * first[people] + t * second[people] for t in places])), T1)

    trained, new, visit = torch.arange(10), torch.arange(10, 36), [0.1, 0.22]
    training = ImageSet(slices(trained, [0.04 * n for n in range(8)]), torch.zeros(80, dtype=torch.long), trained.repeat(8))
    search, grain = AnatomySearch(training), 0.1 * noise(52, 33, 32)
    again = search((slices(trained, visit) + grain[:20]).roll((1, -1), (-2, -1)).clamp(min=0))
    others = search((slices(new, visit) + grain).clamp(min=0))
    assert (again.distance < flag_limit(others.distance)).all()
    assert torch.equal(training.patient[again.training_index], trained.repeat(2))


def test_training_patients_under_another_name():
    """Their median counts, not single slices; with few patients or slices the spread between people is unknown."""
    patient = torch.arange(50) // 10
    distance = torch.linspace(0.6, 0.8, 10, dtype=torch.float64).repeat(5)
    distance[:4], distance[10:20] = 0.1, distance[10:20] * 0.8
    assert torch.equal(trained_on_too(distance, patient), patient == 1)
    assert not trained_on_too(distance[:30], patient[:30]).any()  # three patients
    assert not trained_on_too(distance[::2], patient[::2]).any()  # five slices each


def test_an_empty_image_has_no_anatomy(anatomy):
    assert anatomy[0](torch.zeros(1, 32, 32)).distance == pytest.approx(1)


def test_contrasts_are_tested_separately():
    """Copies in one contrast only."""
    contrast = torch.arange(40) % 2
    training, held_out = (ImageSet(noise(40, seed), contrast, torch.arange(40) + 100 * seed) for seed in (0, 1))
    samples = ImageSet(torch.where(contrast[:, None, None] == 1, training.pixels, noise(40, 2)), contrast, torch.arange(40))
    tests = copies_in(
        search_by_features(flatten, training.pixels), ImageSets(samples, held_out, training, ["a", "b"], True)
    ).tests
    assert tests["b"].share == 1 and tests["b"].p < 1e-6 and tests["a"].p > 0.05 and tests["pooled"].p < 0.01


def test_without_held_out_images_there_is_no_test():
    result = copy_test(torch.rand(3), torch.empty(0), torch.empty(0))
    assert math.isnan(result.share) and math.isnan(result.p)
