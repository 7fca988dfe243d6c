"""Half-splits by patient, and scores between floor and ceiling."""

import math

import pytest
import torch

from condiff.evaluation.metrics import _auroc, distance_metric, half_of_patients, ms_ssim_diversity
from condiff.evaluation.resampling import HalfSplit, Triple, estimate_scores, half_splits
from condiff.evaluation.sets import ImageSet, ImageSets


def images(contrasts, patients, slices=3, seed=0, offset=0):
    """Return ``slices`` images of each patient and contrast; their mean is the contrast's index."""
    generator = torch.Generator().manual_seed(seed)
    contrast = torch.arange(contrasts).repeat_interleave(patients * slices)
    patient = torch.arange(offset, offset + patients).repeat_interleave(slices).repeat(contrasts)
    pixels = contrast[:, None, None] + 0.01 * torch.randn(len(contrast), 16, 16, generator=generator)
    return ImageSet(pixels, contrast, patient)


def sets(samples, held_out, training):
    return ImageSets(samples, held_out, training, [f"kind {i}" for i in range(int(held_out.contrast.max()) + 1)], True)


@pytest.mark.parametrize("contrast", [0, 1, None])
@pytest.mark.parametrize("patients", [2, 5, 6])
def test_half_splits_are_by_patient_and_of_equal_size(contrast, patients):
    samples, held_out, training = images(2, 7), images(2, patients), images(2, 4, offset=100)
    real = held_out + training
    for split in half_splits(sets(samples, held_out, training), contrast, 10):
        assert len(split.samples) == len(split.floor) == len(split.reference) > 0 and len(split.ceiling) > 0
        assert not set(real.patient[split.floor].tolist()) & set(real.patient[split.reference].tolist())
        assert not set(real.patient[split.ceiling].tolist()) & set(real.patient[split.reference].tolist())
        assert max(split.floor.max(), split.reference.max()) < len(held_out)
        if contrast is not None:
            assert (samples.contrast[split.samples] == contrast).all() and (real.contrast[split.reference] == contrast).all()
            assert (real.contrast[split.ceiling] != contrast).all()
        else:
            assert len(real.contrast[split.ceiling].unique()) == 1


def test_halves_have_the_same_mix_of_contrasts():
    """Eight patients of one contrast each: without stratification a half could be of one contrast only."""
    contrast = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    held_out = ImageSet(torch.zeros(8, 4, 4), contrast, torch.arange(8))
    for split in half_splits(sets(held_out, held_out, held_out[:0]), None, 20):
        for part in (split.floor, split.reference):
            assert contrast[part].tolist().count(0) == 2 == len(part) // 2


def test_odd_patients_alternate_between_halves():
    """One patient per contrast: one of them is in each half, and no half is empty."""
    held_out = ImageSet(torch.zeros(2, 4, 4), torch.tensor([0, 1]), torch.arange(2))
    assert all(
        len(split.reference) == len(split.floor) == 1 for split in half_splits(sets(held_out, held_out, held_out[:0]), None, 4)
    )


def test_scores_are_mean_and_middle_95_percent():
    values = iter(range(101))
    scores = estimate_scores([lambda split: {"x": Triple(float(next(values)), math.nan, 1.0)}], range(101))["x"]
    assert scores.samples == pytest.approx((50, 2.5, 97.5))
    assert math.isnan(scores.floor.value) and scores.ceiling == (1, 1, 1)


def test_real_samples_score_like_the_floor_and_wrong_ones_like_the_ceiling():
    held_out, training = images(3, 6), images(3, 4, offset=100, seed=1)

    def mean(pixels):
        return pixels.mean((1, 2))[:, None].double()

    def between(a, b):
        return {"difference": (a.mean() - b.mean()).abs().item()}

    fresh = images(3, 6, seed=2)
    wrong = ImageSet(fresh.pixels, (fresh.contrast + 1) % 3, fresh.patient)  # contrast 2 labelled 0
    for samples, expected in ((fresh, 0.0), (wrong, 2.0)):
        image_sets = sets(samples, held_out, training)
        metric = distance_metric("mean", mean, between, image_sets)
        scores = estimate_scores([metric], half_splits(image_sets, 0, 10))["mean_difference"]
        assert scores.samples.value == pytest.approx(expected, abs=0.01)
        assert scores.floor.value == pytest.approx(0, abs=0.01) and scores.ceiling.value == pytest.approx(1.5, abs=0.4)


def test_of_few_samples_half_are_in_a_set():
    """The samples then vary from split to split."""
    held_out, few = images(2, 6), images(2, 1, slices=4)
    chosen = {tuple(sorted(split.samples.tolist())) for split in half_splits(sets(few, held_out, held_out[:0]), 0, 20)}
    assert len(chosen) > 1 and all(len(samples) == 2 for samples in chosen)


def test_one_contrast_has_no_other():
    held_out = images(1, 4)
    for contrast in (0, None):
        assert all(
            len(split.ceiling) == 0 < len(split.floor)
            for split in half_splits(sets(held_out, held_out, held_out[:0]), contrast, 4)
        )
    assert list(sets(held_out, held_out, held_out[:0]).rows) == ["kind 0"]  # all together are the same


def test_half_of_the_patients_of_every_contrast():
    patients = images(3, 4)
    assert len(half_of_patients(patients)) == 2  # every patient has an image in contrast 0 first
    alone = ImageSet(torch.zeros(9, 4, 4), torch.arange(9) // 3, torch.arange(9))
    assert half_of_patients(alone).tolist() == [1, 3, 5, 7]  # in the order of contrasts


def test_auroc_counts_pairs():
    fake, real = torch.tensor([0.9, 40.0, -50.0]), torch.tensor([0.1, 30.0])
    assert _auroc(fake, real) == pytest.approx(3 / 6)  # of six pairs 0.9 > 0.1, 40 > 0.1, 40 > 30
    assert math.isnan(_auroc(fake[:0], real))


def test_diversity_sees_a_collapsed_model():
    """Identical images have MS-SSIM 1, noise has almost 0."""
    held_out, training = images(2, 6), images(2, 4, offset=100)
    noise = torch.rand(len(held_out), 16, 16, generator=torch.Generator().manual_seed(0))
    held_out = ImageSet(noise, held_out.contrast, held_out.patient)
    samples = ImageSet(held_out.pixels[:1].expand(12, -1, -1), torch.arange(12) % 2, torch.arange(12))
    image_sets = sets(samples, held_out, training)
    scores = estimate_scores([ms_ssim_diversity(image_sets)], list(half_splits(image_sets, 0, 10)))["ms_ssim"]
    assert scores.samples.value == pytest.approx(1, abs=1e-4) and scores.floor.value < 0.2


def test_half_splits_without_a_number_are_reported(caplog):
    """Warn if some splits give no number; a metric that never gives one is NaN without a warning."""
    values = iter([1.0, math.nan, 3.0])
    split = HalfSplit(*[torch.arange(1)] * 4)
    scores = estimate_scores(
        [lambda split: {"some": Triple(next(values), 1.0, 1.0), "none": Triple(math.nan, 1.0, 1.0)}], [split] * 3
    )
    assert scores["some"].samples.value == 2 and math.isnan(scores["none"].samples.value)
    assert [record.getMessage() for record in caplog.records] == [
        "some: not a finite number in 1 of 3 half-splits, which are left out"
    ]
