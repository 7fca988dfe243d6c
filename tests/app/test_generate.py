"""The tab Generate without its page: ranges, previews, files."""

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("gradio")
from condiff.app import generate
from condiff.app.generate import OF_RUN, PREVIEW_STEPS, Generator, Settings
from condiff.app.models import Models
from condiff.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def loaded(acquisition_run):
    return Models(str(acquisition_run), CPU)[str(acquisition_run)]


def settings_of(model, contrast="AXT2", te=None, **changes):
    names = generate.parameters_of(model)
    values = [generate.middle(*generate.spans(model, contrast).get(name, (0, 1))) for name in names]
    if te is not None:
        values[names.index("te")] = te
    fields = {"guidance": 1.5, "sampler": "dpmpp", "steps": 8, "seed": 3, "n": 1} | changes
    return Settings(contrast, generate.known(model, contrast, dict(zip(names, values, strict=True))), **fields)


def test_ranges_are_those_of_the_training_images_of_a_contrast(loaded):
    t2, t1 = (generate.spans(loaded.model, contrast) for contrast in ("AXT2", "AXT1"))
    assert 80 < t2["te"][0] <= t2["te"][1] < 130 and t1["te"][1] < 12 and t2["slice"] == (0.0, 1.0)
    assert t2["flip"] == (150.0, 150.0) and "ti" not in t2
    names = generate.parameters_of(loaded.model)
    assert names[-1] == "slice" and "flip" not in names and "field" not in names  # one value teaches nothing


def test_every_range_has_a_slider_whose_middle_is_on_its_steps():
    for low, high in ((5.4, 14.4), (267.6, 713.6), (0.0, 1.0), (3600.0, 9600.0), (1.5, 2.8936)):
        step, value = generate.step_of(low, high), generate.middle(low, high)
        assert 50 <= (high - low) / step < 500 + 1e-6
        assert low <= value <= high and value / step == pytest.approx(round(value / step))


def test_parameters_with_one_value_are_given_with_it(loaded):
    assert dict(settings_of(loaded.model).parameters)["flip"] == 150.0


def test_a_model_without_parameters_has_no_sliders(trained_once):
    loaded = Models(str(trained_once), CPU)[str(trained_once)]
    assert generate.parameters_of(loaded.model) == [] and generate.spans(loaded.model, "AXT2") == {}
    settings = Settings("AXT2", (), 1.5, OF_RUN, 3, 0, 2)
    assert Generator(loaded).images(settings).seeds == (0, 1)


def test_images_are_those_of_the_model(loaded):
    settings = settings_of(loaded.model, guidance=2.0, n=2)
    images = Generator(loaded).images(settings)
    parameters = dict(settings.parameters)
    expected = loaded.model.sample("AXT2", n=2, seed=3, sampler="dpmpp", steps=8, guidance=2.0, **parameters)
    assert torch.equal(images.values, expected.values) and images.contrasts == ("AXT2", "AXT2")
    own = Generator(loaded).images(settings_of(loaded.model, sampler=OF_RUN, guidance=loaded.scale))
    assert torch.equal(own.values, loaded.model.sample("AXT2", n=1, seed=3, steps=8, **parameters).values)


def test_a_preview_takes_few_steps_until_the_image_is_known(loaded):
    generator, settings = Generator(loaded), settings_of(loaded.model)
    quick = generator.preview(settings)
    few = loaded.model.sample("AXT2", 1, 3, sampler="dpmpp", steps=PREVIEW_STEPS, **dict(settings.parameters))
    assert torch.equal(quick.values, few.values)
    image = generator.images(settings)
    assert not torch.equal(image.values, quick.values)
    assert generator.preview(settings) is image is generator.images(settings)  # a late preview changes nothing


def test_only_the_last_images_are_remembered(loaded, monkeypatch):
    monkeypatch.setattr(generate, "KEPT", 2)
    generator = Generator(loaded)
    for seed in range(4):
        generator.images(settings_of(loaded.model, seed=seed, steps=2))
    assert len(generator._images) == 2


def test_denoising_ends_at_the_image(loaded):
    generator, settings = Generator(loaded), settings_of(loaded.model, n=3)
    frames = generator.denoising(settings)
    last = generate.enlarged(generator.images(settings).magnitude[0])
    assert len(frames) == 9 and np.abs(np.asarray(frames[-1], dtype=float) - np.asarray(last)).mean() < 1


def test_files(loaded, tmp_path):
    images = Generator(loaded).images(settings_of(loaded.model, n=2))
    png, volume, h5 = generate.save(images, tmp_path)
    assert Image.open(png).height > 100 and nib.load(volume).shape == (16, 16, 2)
    with h5py.File(h5) as file:
        assert file.attrs["te"] == dict(images.parameters)["te"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"te": 5000.0}, "te=5000"),
        ({"te": None, "seed": None}, "seed=None"),
        ({"n": 9}, "images=9: give a number from 1 to 8"),
        ({"guidance": None}, "guidance scale: is empty"),
    ],
)
def test_bad_settings(loaded, changes, message):
    with pytest.raises(InputError, match=message):
        Generator(loaded).images(settings_of(loaded.model, **changes))
