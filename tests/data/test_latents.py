"""Codes made once: they are the encoder's, whole files, and named by all that shapes them."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from condiff.data.augment import random_flip
from condiff.data.cache import CachedVolume
from condiff.data.datasets import Sample, SliceDataset
from condiff.data.latents import LatentSample, codes_name, encode_dataset, moments
from condiff.data.phantom.datamodule import PhantomDataModule
from condiff.errors import InputError


@pytest.fixture
def part(tmp_path):
    """Two volumes of three slices, as the cache of images has them; the first slice of each is left out."""
    stacks, volumes = [], []
    for index in range(2):
        values = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(index)).half()
        path = tmp_path / f"{index}.images"
        path.write_bytes(b"\n" + values.numpy().tobytes())
        stacks.append(CachedVolume(path, 1, (3, 1, 8, 8), 1.0))
        volumes.append(SimpleNamespace(contrast="AXT1"))
    return SliceDataset(volumes, stacks, [range(1, 3)] * 2, torch.eye(4))


def encode(images):
    """Two channels: the mean of every 4 x 4, and its square."""
    mean = torch.nn.functional.avg_pool2d(images, 4)
    return torch.cat([mean, mean.square()], dim=1)


def test_codes_are_those_of_the_images(part, tmp_path):
    found = encode_dataset(part, encode, lambda images, generator: images, 1, tmp_path / "codes", seed=0)
    assert len(found) == len(part) == 4
    for index in range(4):
        z, cond = found[index]
        assert z.shape == (1, 2, 2, 2) and torch.equal(cond, part[index].cond)
        torch.testing.assert_close(z[0], encode(part[index].image[None])[0], rtol=1e-3, atol=1e-3)


def test_other_slices_are_encoded_anew(part, tmp_path):
    """In the same folder, each with the codes of its own images."""
    plain = lambda images, _: images  # noqa: E731
    encode_dataset(part, encode, plain, 1, tmp_path / "codes", seed=0)
    other = SliceDataset(part.volumes, part.stacks, [range(2)] * 2, part.cond)
    found = encode_dataset(other, encode, plain, 1, tmp_path / "codes", seed=0)
    for index in range(4):
        torch.testing.assert_close(found[index].z[0], encode(other[index].image[None])[0], rtol=1e-3, atol=1e-3)


def test_variants_are_augmented_and_made_once(part, tmp_path):
    turned = partial(random_flip, probability=0.5)
    found = encode_dataset(part, encode, turned, 6, tmp_path / "codes", seed=0)
    plain, other = (encode(image[None])[0] for image in (part[1].image, part[1].image.flip(-1)))
    same = [bool((z - plain).abs().max() < 5e-3) for z in found[1].z]
    assert 0 < sum(same) < 6
    assert all(s or bool((z - other).abs().max() < 5e-3) for s, z in zip(same, found[1].z, strict=True))

    def never(images):
        raise AssertionError("encoded again")

    again = encode_dataset(part, never, turned, 6, tmp_path / "codes", seed=0)
    assert torch.equal(again[1].z, found[1].z)


def test_an_interruption_leaves_whole_files_alone(part, tmp_path):
    calls = []

    def fails(images):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(images)

    with pytest.raises(KeyboardInterrupt):
        encode_dataset(part, fails, lambda images, _: images, 1, tmp_path / "codes", seed=0)
    assert [path.suffix for path in (tmp_path / "codes").iterdir()] == [".codes"]
    assert len(encode_dataset(part, encode, lambda images, _: images, 1, tmp_path / "codes", seed=0)) == 4


def test_a_folder_that_cannot_be_written(part, tmp_path):
    (tmp_path / "codes").write_text("a file")
    with pytest.raises(InputError, match="data.cache: cannot write to"):
        encode_dataset(part, encode, lambda images, _: images, 1, tmp_path / "codes", seed=0)


def test_names_follow_from_all_that_shapes_the_codes():
    weights = torch.randn(3)
    names = [
        codes_name("images", 4, weights),
        codes_name("images", 4, weights + 1),
        codes_name("images", 2, weights),
        codes_name("other", 4, weights),
    ]
    assert codes_name(1, 11) != codes_name(11, 1)
    assert len(set(names)) == 4 and codes_name("images", 4, weights.clone()) == names[0]


def test_moments_are_of_the_whole_set():
    """Against torch on all codes at once, more of them than a batch holds."""
    images = torch.randn(37, 1, 8, 8) * 3 + 1
    mean, variance = moments([Sample(image, torch.zeros(0)) for image in images], encode)
    codes = encode(images).double()
    torch.testing.assert_close(mean, codes.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(variance, codes.var(dim=(0, 2, 3), correction=0))


def test_a_batch_takes_every_variant_and_keeps_its_conditions():
    """By chance, the same at the same step, each code beside its own condition."""
    data = PhantomDataModule.__new__(PhantomDataModule)
    data.seed, seen = 3, set()
    batch = LatentSample(torch.arange(8 * 4.0).view(8, 4, 1, 1, 1), torch.arange(8.0)[:, None])
    for step in range(30):
        data.trainer = SimpleNamespace(training=True, global_rank=0, fit_loop=SimpleNamespace(total_batch_idx=step))
        one, again = (data.on_after_batch_transfer(batch, 0) for _ in range(2))
        assert torch.equal(one.z, again.z) and one.z.shape == (8, 1, 1, 1)
        assert torch.equal(one.z.flatten() // 4, one.cond[:, 0])
        seen |= set(one.z.flatten().tolist())
    assert seen == set(range(32))
