"""Classifiers and random features: deterministic, trained once, accurate."""

import pytest
import torch

from condiff.evaluation.features import Classifier, RandomFeatures, in_batches, train_classifier, train_classifier_cached


def stripes(n, seed=0):
    """Return images of horizontal or vertical stripes, labelled 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    wave = (torch.arange(16) // 2 % 2).float().expand(n, 16, 16)
    pixels = torch.where(labels[:, None, None] == 0, wave.transpose(1, 2), wave)
    return pixels + 0.2 * torch.randn(n, 16, 16, generator=generator), labels


def test_a_classifier_learns_and_keeps_the_random_state():
    pixels, labels = stripes(40)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    net = train_classifier(pixels, labels, 2, "")
    assert torch.rand(1) == expected
    test_pixels, test_labels = stripes(40, seed=1)
    assert (in_batches(net, test_pixels).argmax(1) == test_labels).float().mean() > 0.95


def test_trained_once_and_equal_from_any_state(tmp_path, monkeypatch):
    pixels, labels = stripes(20)
    monkeypatch.setattr("condiff.evaluation.features.STEPS", 3)
    torch.manual_seed(1)
    first = train_classifier_cached(pixels, labels, 2, tmp_path, "")
    torch.manual_seed(2)
    again = train_classifier(pixels, labels, 2, "")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    monkeypatch.setattr("condiff.evaluation.features.train_classifier", None)  # would fail if it were called
    cached = train_classifier_cached(pixels, labels, 2, tmp_path, "")
    assert torch.equal(cached(pixels), first(pixels)) and len(list(tmp_path.iterdir())) == 1


def test_other_images_train_another_classifier(tmp_path, monkeypatch):
    pixels, labels = stripes(20)
    monkeypatch.setattr("condiff.evaluation.features.STEPS", 1)
    train_classifier_cached(pixels, labels, 2, tmp_path, "")
    pixels[0, 0, 0] += 1e-3
    train_classifier_cached(pixels, labels, 2, tmp_path, "")
    assert len(list(tmp_path.iterdir())) == 2


SHAPES = {  # of a classifier's weights in the cache
    "layers.0.0.weight": (24, 1, 3, 3), "layers.0.0.bias": (24,), "layers.0.1.weight": (24,), "layers.0.1.bias": (24,),
    "layers.1.0.weight": (48, 24, 3, 3), "layers.1.0.bias": (48,), "layers.1.1.weight": (48,), "layers.1.1.bias": (48,),
    "layers.2.0.weight": (96, 48, 3, 3), "layers.2.0.bias": (96,), "layers.2.1.weight": (96,), "layers.2.1.bias": (96,),
    "layers.3.0.weight": (32, 96, 3, 3), "layers.3.0.bias": (32,), "layers.3.1.weight": (32,), "layers.3.1.bias": (32,),
    "head.1.weight": (2, 32), "head.1.bias": (2,),
}  # fmt: skip


@pytest.mark.parametrize(("side", "name"), [((), "classifier-04ea5a72c6b87874.pt"), ((128,), "classifier-c6c8736196851f1a.pt")])
def test_cached_classifiers_keep_their_file_names_and_weight_names(tmp_path, side, name):
    """A classifier cached by an earlier version is loaded. Another file name or weight name would train it again, silently."""
    pixels, labels = torch.arange(4.0 * 8 * 8).view(4, 8, 8) / 256, torch.tensor([0, 1, 0, 1])
    cached = {key: torch.rand(shape) for key, shape in SHAPES.items()}
    torch.save(cached, tmp_path / name)
    classifier = train_classifier_cached(pixels, labels, 2, tmp_path, "", *side)
    loaded = classifier.state_dict()
    assert [*loaded] == [*cached] and all(torch.equal(loaded[key], cached[key]) for key in cached)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_random_features_are_the_same_numbers_everywhere():
    """The first weights are pinned: another version of torch must not change the scale of the scores."""
    net = RandomFeatures()
    image = torch.linspace(0, 1, 32 * 32).view(1, 32, 32)
    assert torch.equal(net(image), RandomFeatures()(image)) and net(image).shape == (1, RandomFeatures.dim)
    torch.testing.assert_close(net.layers[0].weight[0, 0, 0, :2], torch.tensor([-0.318436, -0.325937]))
    assert not torch.equal(net(image), RandomFeatures(seed=1)(image))


def test_any_size_of_image():
    for size in (16, 64, 100, 320):
        pixels = torch.rand(2, size, size)
        assert Classifier(3)(pixels).shape == (2, 3) and RandomFeatures()(pixels).shape == (2, RandomFeatures.dim)
