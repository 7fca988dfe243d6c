"""Batches: the stream of indices, the conditions, what is kept of a volume."""

from collections import Counter

import pytest
import torch

from condiff.data.augment import mirror
from condiff.data.conditioning import ContrastCondition
from condiff.data.datamodule import Slices, StreamSampler
from condiff.data.fastmri import find, read_magnitude
from condiff.data.transforms import Magnitude
from condiff.errors import InputError


def stream(n=10, length=15, epochs=4, **settings):
    sampler = StreamSampler(n, length, seed=0, **settings)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        yield from sampler


def test_stream_visits_all_equally_often():
    assert set(Counter(stream()).values()) == {6}


def test_stream_is_shuffled_anew_each_pass():
    indices = list(stream())
    assert sorted(indices[:10]) == sorted(indices[10:20]) == list(range(10))
    assert indices[:10] != indices[10:20]


def test_processes_share_one_stream():
    whole = list(stream(length=30, epochs=2))
    halves = [list(stream(epochs=2, rank=rank, world_size=2)) for rank in (0, 1)]
    assert [index for pair in zip(*halves, strict=True) for index in pair] == whole[:60]


def test_slices_keep_scale_and_condition(phantom_root):
    volumes, transform = find(phantom_root).volumes, Magnitude(matrix=32, downsample=2)
    conditioning = ContrastCondition(("AXT1", "AXT1POST", "AXT2", "AXFLAIR"))
    slices = Slices(volumes, read_magnitude, transform, conditioning, "some")
    assert len(slices) == 2 * len(volumes) and len(slices.scales) == len(volumes)
    image, cond = slices[5]
    volume = slices.volumes[slices.volume[5]]
    assert torch.equal(cond, conditioning.encode(volume.contrast))
    again, scale = transform(*read_magnitude(volume.path))
    assert torch.equal(image, again[1]) and scale == slices.scales[slices.volume[5]]
    assert slices.examples("AXT2", 3).shape == (3, 1, 16, 16)
    assert len(slices.examples(None, 1000)) == len(slices)


def test_condition():
    conditioning = ContrastCondition(("AXT1", "AXT2"))
    assert conditioning.encode("AXT2").tolist() == [0, 1]
    assert conditioning.encode(None).tolist() == [0, 0]
    with pytest.raises(InputError, match="AXT9.*AXT1, AXT2"):
        conditioning.encode("AXT9")


def test_mirror_flips_about_half():
    images = torch.arange(4.0).expand(1000, 1, 2, 4)
    flipped = mirror(images, torch.Generator().manual_seed(0), 0.5)[:, 0, 0, 0] == 3
    assert 400 < flipped.sum() < 600
