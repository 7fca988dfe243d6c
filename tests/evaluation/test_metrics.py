"""The evaluation of image sets of known quality."""

import math
import re

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from condiff.errors import InputError
from condiff.evaluation.copy_summary import copy_summary, may_hold_copies
from condiff.evaluation.evaluate import evaluate, score_contrast, search_copies, training_free_metrics
from condiff.evaluation.figure import full_page, shareable_page, to_image
from condiff.evaluation.metrics import classifier_two_sample_test
from condiff.evaluation.report import Report
from condiff.evaluation.resampling import Estimate, Scores
from condiff.evaluation.serialization import to_dict, to_flat_dict
from condiff.evaluation.sets import ImageSet, ImageSets
from condiff.evaluation.table import MetricRow, grade, result_table
from condiff.sampling import SampleRequest

NAMES = ["AXT1", "AXT2"]
COST = {"evaluations_per_image": 1.0, "seconds_per_image": 1.0}


def heads(patients, seed, offset=0, slices=6, size=32):
    """Return textured discs, dark in contrast 0 and bright in contrast 1; each patient has a size and a position."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    pixels, contrast, patient = [], [], []
    for person in range(patients):
        a, b, cx = 0.5 + 0.3 * torch.rand(3, generator=generator)
        for kind in (0, 1):
            for _ in range(slices):
                texture = 0.1 * torch.randn(size, size, generator=generator)
                inside = ((x - cx + 0.65) / a) ** 2 + (y / b) ** 2 < 0.6 + 0.4 * torch.rand(1, generator=generator)
                pixels.append(inside * (0.35 + 0.35 * kind + texture))
                contrast.append(kind)
                patient.append(offset + person)
    return ImageSet(torch.stack(pixels).clamp(min=0), torch.tensor(contrast), torch.tensor(patient))


def eyes(patients, seed, offset=0, size=32):
    """Return symmetric heads with two anterior eyes; each patient has a width and positions of the eyes."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    pixels = []
    for _ in range(2 * patients):
        a, b, apart, height = (torch.rand(4, generator=generator) - 0.5).tolist()
        head = (x / (0.7 + 0.2 * a)) ** 2 + (y / (0.8 + 0.1 * b)) ** 2 < 1
        eye = (x.abs() - 0.3 - 0.15 * apart) ** 2 + (y - 0.45 - 0.2 * height) ** 2 < 0.02
        pixels.append(0.6 * head + 0.4 * eye + 0.02 * torch.rand(size, size, generator=generator))
    return ImageSet(torch.stack(pixels), torch.arange(2 * patients) % 2, offset + torch.arange(2 * patients))


@pytest.fixture(scope="module")
def real():
    return heads(6, 0), heads(10, 1, offset=100)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """The cache of classifiers of real images, which are the same in most tests."""
    return tmp_path_factory.mktemp("classifiers")


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    monkeypatch.setattr("condiff.evaluation.features.STEPS", 50)
    monkeypatch.setattr("condiff.evaluation.evaluate.NUM_SPLITS", 5)


def as_samples(images):
    """Return images as samples, where each counts as a patient."""
    return ImageSet(images.pixels, images.contrast, torch.arange(len(images)))


def nothing(sets, cache):
    """No metrics: the search for copies alone."""
    return []


def training_free(sets, cache):
    return training_free_metrics(sets)


def evaluate_samples(samples, real, cache, names=NAMES, conditional=True):
    return evaluate(ImageSets(samples, *real, names, conditional), cache)


def test_new_patients_reach_the_floor_and_are_no_copies(real, classifiers):
    result = evaluate_samples(as_samples(heads(36, 2, slices=1)), real, classifiers)
    scores = result.scores["AXT1"]
    for name in ("learned_frechet", "random_frechet", "spectrum_decibels", "patches_wasserstein"):
        assert scores[name].samples.value < 2 * scores[name].floor.value < scores[name].ceiling.value, name
    assert scores["accuracy"].samples.value > 0.9 and scores["cas"].samples.value > 0.9
    assert result.scores["pooled"]["c2st_auroc"].samples.value < 0.75
    assert "no sample is flagged" in copy_summary(result) and not may_hold_copies(result)
    assert result_table(result, COST).row_count > 10


def test_a_wrong_contrast_reaches_the_ceiling(real, classifiers):
    fresh = heads(6, 2)
    result = evaluate_samples(as_samples(ImageSet(fresh.pixels, 1 - fresh.contrast, fresh.patient)), real, classifiers)
    scores = result.scores["AXT1"]
    for name in ("learned_frechet", "spectrum_decibels"):
        assert scores[name].samples.value == pytest.approx(scores[name].ceiling.value, rel=0.35), name
        assert scores[name].samples.value > 3 * scores[name].floor.value
    assert scores["accuracy"].samples.value < 0.1 and scores["cas"].samples.value < 0.1
    assert scores["accuracy"].ceiling.value < 0.1 < 0.9 < scores["accuracy"].floor.value


def test_copies_of_the_training_set_score_well_and_are_flagged(real, classifiers):
    """Distances are low, and the search finds every copy."""
    sets = ImageSets(as_samples(real[1]), *real, NAMES, True)
    result = evaluate(sets, classifiers, metrics=training_free)
    assert result.scores["AXT1"]["random_frechet"].samples.value < 2 * result.scores["AXT1"]["random_frechet"].floor.value
    assert all(test.share == 1 for copies in result.copies.values() for test in copies.tests.values())
    assert "YES, 120 of 120 samples" in copy_summary(result) and may_hold_copies(result)
    assert "in pixels AXT1 100 %, AXT2 100 %, pooled 100 %; in random" in copy_summary(result)


def test_one_copy_is_flagged_shown_and_counted(real, classifiers):
    """One copy is not significant; summary, dictionary and page report it all the same."""
    fresh = as_samples(heads(36, 2, slices=1))
    fresh.pixels[5] = real[1].pixels[17].flip(-2)
    sets = ImageSets(fresh, *real, NAMES, True)
    result = evaluate(sets, classifiers, metrics=nothing)
    assert min(test.p for copies in result.copies.values() for test in copies.tests.values()) > 0.05
    assert "YES, 1 of 72 samples" in copy_summary(result) and "undecided" in copy_summary(result)
    (flagged,) = to_dict(result)["named"]
    assert flagged["sample"] == 5 and set(flagged["distance_over_limit"]) == {"pixels", "random", "anatomy"}
    assert all(copies.samples.training_index[5] == 17 and copies.samples.flip[5] == 2 for copies in result.copies.values())
    assert may_hold_copies(result)
    shown = np.asarray(to_image(full_page(result, sets)))
    other = ImageSets(
        fresh, real[0], ImageSet(0 * real[1].pixels, *[getattr(real[1], n) for n in ("contrast", "patient")]), NAMES, True
    )
    below = int(0.9 * len(shown))  # the last panel shows the training image
    assert not np.array_equal(shown[below:], np.asarray(to_image(full_page(result, other)))[below:])


def test_orientation_and_symmetry_are_measured(real, tmp_path):
    """Upside-down heads exceed the floor in layout, stitched halves in symmetry, new patients in neither."""
    fresh = eyes(24, 2)
    training, held_out = eyes(6, 0), eyes(12, 1, offset=100)
    upside_down = ImageSet(fresh.pixels.flip(-2), fresh.contrast, fresh.patient)
    halves = torch.cat([fresh.pixels[..., :16], fresh.pixels.roll(8, 0)[..., 16:]], -1)
    for pixels, layout, symmetry in ((fresh.pixels, False, False), (upside_down.pixels, True, False), (halves, False, True)):
        sets = ImageSets(as_samples(ImageSet(pixels, fresh.contrast, fresh.patient)), held_out, training, NAMES, True)
        scores, _ = score_contrast(training_free_metrics(sets), sets, None, 10)
        result = [scores[f"{name}_wasserstein"] for name in ("layout", "symmetry")]
        assert [one.samples.value > 1.2 * one.floor.high for one in result] == [layout, symmetry]


def test_an_unconditional_model_has_one_row(real, classifiers):
    fresh = heads(6, 2)
    samples = ImageSet(fresh.pixels, torch.full((len(fresh),), -1), torch.arange(len(fresh)))
    sets = ImageSets(samples, *real, NAMES, False)
    result = evaluate(sets, classifiers)
    assert list(result.scores) == ["pooled"] and "accuracy" not in result.scores["pooled"]
    assert result.scores["pooled"]["random_frechet"].samples.value < result.scores["pooled"]["random_frechet"].ceiling.value
    assert set(result.copies["pixels"].tests) == {"pooled"}
    full_page(result, sets)
    result_table(result, COST)


def test_few_images_give_numbers_or_a_note(real, classifiers):
    """Four samples per contrast, two per set: metrics that need more neighbours are NaN, not 0."""
    fresh = as_samples(heads(1, 2, slices=4))
    result = evaluate(ImageSets(fresh, *real, NAMES, True), classifiers, metrics=training_free)
    values = result.scores["AXT1"]
    assert math.isnan(values["random_precision"].samples.value) and math.isfinite(values["random_frechet"].samples.value)
    assert any("AXT1" in note and "too few images" in note and "random_precision" in note for note in result.notes)
    assert any("fewer images per set than the 56 features for AXT1 (2)" in note for note in result.notes)
    assert to_dict(result)["scores"]["AXT1"]["random_precision"]["samples"] is None
    assert to_flat_dict(to_dict(result) | {"cost": COST}).keys().isdisjoint({"evaluation/AXT1/random_precision"})


def test_too_few_images_are_an_error(real, classifiers):
    held_out, training = real
    with pytest.raises(InputError, match="1 held-out patients of all contrasts; at least 2"):
        evaluate_samples(as_samples(training), (held_out[held_out.patient == 0], training), classifiers)
    with pytest.raises(InputError, match="num_samples: 1 of AXT1"):
        evaluate_samples(training[torch.tensor([0, 6])], real, classifiers)


def test_c2st_sees_noise(real, classifiers, monkeypatch):
    """New patients with noise in air: the C2ST separates them from real images, and its floor stays near 0.5."""
    monkeypatch.setattr("condiff.evaluation.features.STEPS", 120)
    fresh, generator = heads(24, 2, slices=1), torch.Generator().manual_seed(1)
    noise = 0.3 * torch.rand(fresh.pixels.shape, generator=generator)
    noisy = ImageSet(fresh.pixels + noise, fresh.contrast, fresh.patient)
    sets = ImageSets(as_samples(noisy), *real, NAMES, True)
    scores, _ = score_contrast([classifier_two_sample_test(sets, classifiers)], sets, None, 10)
    auroc = scores["c2st_auroc"]
    assert auroc.samples.value > 0.95 and 0.2 < auroc.floor.value < 0.8


def test_a_model_of_one_contrast(real, classifiers):
    """Without a second contrast there are no ceilings and no learned features; all else is computed."""
    alone = tuple(images[images.contrast == 0] for images in (heads(12, 2, slices=1), *real))
    for conditional, row in ((True, "AXT1"), (False, "pooled")):
        samples = as_samples(alone[0]) if conditional else ImageSet(alone[0].pixels, alone[0].contrast - 1, torch.arange(12))
        result = evaluate_samples(samples, alone[1:], classifiers, ["AXT1"], conditional)
        assert list(result.scores) == [row] and "learned_frechet" not in result.scores[row]
        for name in ("random_frechet", "c2st_auroc", "ms_ssim"):
            values = result.scores[row][name]
            assert math.isnan(values.ceiling.value) and math.isfinite(values.samples.value), name
        assert not any("learned" in note for note in result.notes)


@pytest.mark.parametrize(
    ("better", "value", "expected"),
    [
        (-1, 1.0, "green"), (-1, 2.4, "green"), (-1, 4.0, "yellow"), (-1, 9.0, "red"),
        (0, 1.9, "green"), (0, 4.0, "yellow"), (0, 0.5, "yellow"), (0, 11.0, "red"), (0, -9.0, "red"),
    ],
)  # fmt: skip
def test_colours(better, value, expected):
    """Floor 2, between 1.5 and 2.5; ceiling 10."""
    scores = Scores(Estimate(value, value, value), Estimate(2, 1.5, 2.5), Estimate(10, 9, 11))
    assert grade(scores, MetricRow("", better)) == expected


def test_colours_where_more_is_better():
    """Floor 0.9, ceiling 0.1; a ceiling no worse than the floor's interval means that the metric is blind."""
    good, fair, poor = (0.95, 0.1, "green"), (0.7, 0.1, "yellow"), (0.3, 0.1, "red")
    blind = (0.3, 0.99, "dim"), (0.3, 0.87, "dim")
    for value, ceiling, expected in (good, fair, poor, *blind, (0.95, math.nan, "green")):
        scores = Scores(Estimate(value, value, value), Estimate(0.9, 0.85, 0.93), Estimate(ceiling, ceiling, ceiling))
        assert grade(scores, MetricRow("", 1)) == expected


@pytest.fixture(scope="module")
def judged(real, classifiers):
    """Samples of new patients and their evaluation, short as in the tests."""
    samples = as_samples(heads(12, 2, slices=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("condiff.evaluation.features.STEPS", 50)
        patch.setattr("condiff.evaluation.evaluate.NUM_SPLITS", 5)
        return samples, evaluate(ImageSets(samples, *real, NAMES, True), classifiers)


def test_the_page_and_what_may_be_shared(real, judged):
    """The shareable page depends on samples, not on real images: other patients give the same page."""
    samples, result = judged
    sets = ImageSets(samples, *real, NAMES, True)
    blank_patients = ImageSets(
        samples, *(ImageSet(0 * images.pixels, images.contrast, images.patient) for images in real), NAMES, True
    )
    pages = [np.asarray(to_image(shareable_page(result, image_sets))) for image_sets in (sets, blank_patients)]
    assert np.array_equal(*pages) and min(pages[0].shape[:2]) > 300
    assert not np.array_equal(*[np.asarray(to_image(full_page(result, image_sets))) for image_sets in (sets, blank_patients)])


def test_pages_call_images_by_their_kind(real, judged):
    """Images of the phantom are not called real; the legend is above the charts, not in one of them."""
    samples, result = judged
    sets = ImageSets(samples, *real, NAMES, True, "simulated")
    for page in (full_page(result, sets), shareable_page(result, sets)):
        words = " ".join(text.get_text() for text in page.findobj(Text))
        assert "simulated vs simulated" in words and not re.search(r"\breal\b", words)
        assert not any(axes.get_legend() for axes in page.subfigs[1].axes) and page.subfigs[1].legends


@pytest.mark.parametrize(
    ("checkpoint", "heading"),
    [
        ("/home/me/runs/condiff/now/checkpoints/last.ckpt", "condiff/now/last.ckpt · ddim, 20 steps"),
        ("/home/me/last.ckpt", "last.ckpt · ddim, 20 steps"),
    ],
)
def test_the_heading_has_no_path_of_a_machine(checkpoint, heading):
    sampler = {"fn": {"_target_": "condiff.diffusion.samplers.ddim"}}
    metadata = {"settings": {"checkpoint": checkpoint, "sampler": sampler, "steps": 20}}
    assert Report(metadata, None, None, [], [], []).heading == heading


def test_a_held_out_person_who_is_trained_on_too(real, classifiers, tmp_path):
    """Under another name, in other noise: left out of the limit, which would be too low else, and listed with the files."""
    again = heads(6, 0)
    again.pixels[:12] = (real[1].pixels[:12] + 0.02 * torch.randn(12, 32, 32, generator=torch.Generator().manual_seed(0))).clamp(
        min=0
    )
    sets = ImageSets(as_samples(heads(36, 2, slices=1)), again, real[1], NAMES, True)
    result = evaluate(sets, classifiers, metrics=nothing)
    assert torch.equal(result.trained_on, again.patient == 0)
    assert all(copies.duplicates == 12 for copies in result.copies.values()) and any("two names" in note for note in result.notes)
    truth, _ = search_copies(ImageSets(sets.samples, again[12:], real[1], NAMES, True))
    assert all(result.copies[space].limit == truth[space].limit for space in truth)
    sources = {
        name: [(f"{name}{index // 12}.nii", index % 12) for index in range(len(images))]
        for name, images in (("training", real[1]), ("held_out", again))
    }
    request = SampleRequest(None, 0, {}, False)
    settings = {"checkpoint": "last.ckpt", "sampler": {"fn": {"_target_": "ddim"}}, "steps": 20}
    Report({"settings": settings}, result, sets, [request] * 72, sources["training"], sources["held_out"]).save(tmp_path)
    rows = [line.split(",") for line in (tmp_path / "same_person.csv").read_text().splitlines()]
    assert len(rows) == 13 and {(row[0], row[2]) for row in rows[1:]} == {("held_out0.nii", "training0.nii")}


@pytest.mark.parametrize("patients_elsewhere", [None, 3])
def test_without_a_search_of_all_training_images_no_samples_are_shared(patients_elsewhere, real, classifiers):
    """Samples may be copies of training images that are not here, so the shareable page has none."""
    sets = ImageSets(as_samples(real[1]), *real, NAMES, True)
    result = evaluate(sets, classifiers, patients_elsewhere, nothing)
    blank = ImageSet(0 * real[1].pixels, real[1].contrast, torch.arange(len(real[1])))
    assert np.array_equal(
        *[np.asarray(to_image(shareable_page(result, image_sets))) for image_sets in (sets, ImageSets(blank, *real, NAMES, True))]
    )
