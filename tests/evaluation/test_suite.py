"""The whole examination of sets whose quality is known."""

import math

import pytest
import torch

from condiff.errors import InputError
from condiff.evaluation import report
from condiff.evaluation.images import Images, rows
from condiff.evaluation.page import as_image, page, shareable
from condiff.evaluation.suite import examine

TABLE = rows(["AXT1", "AXT2"], True)


def heads(patients, seed, offset=0, slices=6, size=32):
    """Discs of a patient's own size and place with texture; dark in contrast 0, bright in contrast 1."""
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
    return Images(torch.stack(pixels).clamp(min=0), torch.tensor(contrast), torch.tensor(patient))


@pytest.fixture(scope="module")
def real():
    return heads(6, 0), heads(10, 1, offset=100)


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch):
    monkeypatch.setattr("condiff.evaluation.features.STEPS", 60)
    monkeypatch.setattr("condiff.evaluation.suite.CUTS", 10)


def of_its_own(images):
    """As samples: each image a patient of its own."""
    return Images(images.pixels, images.contrast, torch.arange(len(images)))


def test_new_patients_reach_the_floor_and_are_no_copies(real, tmp_path):
    found = examine(of_its_own(heads(36, 2, slices=1)), *real, TABLE, tmp_path)
    scores = found.scores["AXT1"]
    for name in ("learned_frechet", "random_frechet", "spectrum_decibels", "patches_wasserstein"):
        assert scores[name].samples.value < 2 * scores[name].floor.value < scores[name].ceiling.value, name
    assert scores["accuracy"].samples.value > 0.9 and scores["usefulness"].samples.value > 0.9
    assert found.scores["pooled"]["auroc"].samples.value < 0.75
    assert "no more than" in report.summary(found)


def test_a_wrong_contrast_reaches_the_ceiling(real, tmp_path):
    fresh = heads(6, 2)
    found = examine(of_its_own(Images(fresh.pixels, 1 - fresh.contrast, fresh.patient)), *real, TABLE, tmp_path)
    scores = found.scores["AXT1"]
    for name in ("learned_frechet", "spectrum_decibels"):
        assert scores[name].samples.value == pytest.approx(scores[name].ceiling.value, rel=0.35), name
        assert scores[name].samples.value > 3 * scores[name].floor.value
    assert scores["accuracy"].samples.value < 0.1 and scores["usefulness"].samples.value < 0.1
    assert scores["accuracy"].ceiling.value < 0.1 < 0.9 < scores["accuracy"].floor.value


def test_copies_of_the_training_set_look_perfect_and_are_told(real, tmp_path):
    """What a distance praises, the audit finds."""
    held_out, training = real
    found = examine(of_its_own(training), held_out, training, TABLE, tmp_path)
    assert found.scores["AXT1"]["random_frechet"].samples.value < 2 * found.scores["AXT1"]["random_frechet"].floor.value
    assert all(verdict.share == 1 for copies in found.copies.values() for verdict in copies.verdicts.values())
    assert "YES" in report.summary(found) and "in pixels AXT1 100 %, AXT2 100 %; in random" in report.summary(found)


def test_an_unconditional_model_has_one_row(real, tmp_path):
    fresh = heads(6, 2)
    samples = Images(fresh.pixels, torch.full((len(fresh),), -1), torch.arange(len(fresh)))
    table = rows(["AXT1", "AXT2"], False)
    found = examine(samples, *real, table, tmp_path)
    assert list(found.scores) == ["pooled"] and "accuracy" not in found.scores["pooled"]
    assert found.scores["pooled"]["random_frechet"].samples.value < found.scores["pooled"]["random_frechet"].ceiling.value
    assert set(found.copies["pixels"].verdicts) == {"pooled"}
    page(found, table, samples, *real)
    report.table(found)


def test_few_images_give_numbers_or_say_why(real, tmp_path):
    """Two samples a contrast: nearest neighbours are not to be had, and nothing is called 0 for it."""
    fresh = of_its_own(heads(1, 2, slices=2))
    found = examine(fresh, *real, TABLE, tmp_path)
    values = found.scores["AXT1"]
    assert math.isnan(values["random_precision"].samples.value) and math.isfinite(values["random_frechet"].samples.value)
    assert any("AXT1: could not be computed" in note and "random_precision" in note for note in found.notes)
    assert any("fewer images a set than the 56 features for AXT1 (2)" in note for note in found.notes)
    assert report.as_dict(found)["scores"]["AXT1"]["random_precision"]["samples"] is None
    assert report.flat(report.as_dict(found)["scores"]).keys().isdisjoint({"evaluation/AXT1/random_precision"})


def test_too_little_to_compare_is_said(real, tmp_path):
    held_out, training = real
    with pytest.raises(InputError, match="1 patients of AXT1 to judge by; at least 2"):
        examine(of_its_own(training), held_out[held_out.patient == 0], training, TABLE, tmp_path)
    with pytest.raises(InputError, match="num_samples: 1 of AXT1"):
        examine(training[torch.tensor([0, 6])], held_out, training, TABLE, tmp_path)


def test_the_page_and_what_may_be_shared(real, tmp_path):
    """Both are drawn; the shareable one holds no real image: it is the same for other patients."""
    samples = of_its_own(heads(2, 2))
    found = examine(samples, *real, TABLE, tmp_path)
    whole = as_image(page(found, TABLE, samples, *real))
    assert min(whole.size) > 500
    assert min(as_image(shareable(found, TABLE, samples)).size) > 300
