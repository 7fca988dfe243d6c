"""Batches: the conditions, and what is kept of a volume."""

import os
from multiprocessing import active_children

import pytest
import torch

from condiff.data.augment import random_flip, random_global_phase
from condiff.data.conditioning import ContrastCondition
from condiff.data.datamodule import MRIDataModule
from condiff.data.fastmri.reader import read_magnitude
from condiff.data.index_sampler import shuffled
from condiff.data.selection import Selection
from condiff.data.transforms import Magnitude
from condiff.errors import InputError
from tests.conftest import write_volume


def module(root, cache, **settings):
    contrasts = settings.pop("contrasts", ("AXT1", "AXT1POST", "AXT2", "AXFLAIR"))
    standard = {
        "read": read_magnitude, "transform": Magnitude, "matrix": 32, "downsample": 2, "conditioning": ContrastCondition,
        "contrasts": contrasts, "select": Selection(), "volumes_per_contrast": 1, "held_out_per_contrast": 1, "batch_size": 2,
        "steps_per_epoch": 2, "sampling_order": shuffled, "augment": lambda images, generator: images, "workers": 0,
    }  # fmt: skip
    return MRIDataModule(root, cache, **standard | settings)


def test_slices_keep_scale_and_condition(phantom_root, tmp_path):
    data = module(phantom_root, tmp_path)
    data.setup()
    slices = data.volumes.dataset(data.volumes.index.volumes, data.spec.conditioning, "some")
    assert len(slices) == 2 * len(slices.volumes) == 2 * len(data.volumes.index.volumes)
    image, cond = slices[5]
    volume = slices.volumes[slices.volume_index[5]]
    assert torch.equal(cond, data.spec.conditioning.encode(volume.contrast))
    again, scale = data.spec.transform(*read_magnitude(volume.path))
    torch.testing.assert_close(image, again[1], rtol=1e-3, atol=1e-3)  # kept in half precision
    assert scale == slices.stacks[slices.volume_index[5]].scale
    assert slices.spread_examples("AXT2", 3).shape == (3, 1, 16, 16)
    assert len(slices.spread_examples(None, 1000)) == len(slices)


def test_processes_that_load_are_out_of_reach_of_signals_to_all(phantom_root, tmp_path):
    data = module(phantom_root, tmp_path, num_workers=1)
    data.setup()
    others, loader = {*active_children()}, data.val_dataloader()
    assert next(iter(loader)).image.shape[1:] == (1, 16, 16)
    (process,) = {*active_children()} - others
    assert os.getpgid(process.pid) == process.pid != os.getpgrp()


def test_slices_of_the_middle(phantom_root, tmp_path):
    data = module(phantom_root, tmp_path, select=Selection(slices=(0.5, 1.0)))
    data.setup()
    assert data.train.slice_index.tolist() == [1] * len(data.train.volumes)


def test_acquisitions_merged_or_apart(tmp_path):
    for i, contrast in enumerate(["AXT1", "AXT1PRE", "AXT1", "AXT1PRE"]):
        write_volume(tmp_path / f"{i}.h5", contrast=contrast, patient=f"p{i}")
    merged = module(
        tmp_path, tmp_path / "cache", contrasts=("AXT1",), select=Selection({"AXT1PRE": "AXT1"}), volumes_per_contrast=3
    )
    merged.setup()
    assert len(merged.train.volumes) == 3 and {v.acquisition for v in merged.volumes.split().all} == {"AXT1", "AXT1PRE"}
    apart = module(tmp_path, tmp_path / "cache", contrasts=("AXT1",))
    apart.setup()
    assert {v.acquisition for v in apart.volumes.split().all} == {"AXT1"}


def test_shards_make_up_the_whole(phantom_root, tmp_path):
    whole = module(phantom_root, tmp_path).volumes.split().all
    for k in (1, 2, 3):
        data = module(phantom_root, tmp_path, shard=f"{k}/3")
        data.prepare_data()
    assert len(list(data.volumes.cache.folder.glob("*.images"))) == len(whole)
    with pytest.raises(InputError, match="data.shard=4/3: give k/n"):
        module(phantom_root, tmp_path, shard="4/3").prepare_data()


def test_condition():
    conditioning = ContrastCondition(("AXT1", "AXT2"))
    assert conditioning.encode("AXT2").tolist() == [0, 1]
    assert conditioning.encode(None).tolist() == [0, 0]
    with pytest.raises(InputError, match="AXT9.*AXT1, AXT2"):
        conditioning.encode("AXT9")


def test_mirror_flips_about_half():
    images = torch.arange(4.0).expand(1000, 1, 2, 4)
    flipped = random_flip(images, torch.Generator().manual_seed(0), 0.5)[:, 0, 0, 0] == 3
    assert 400 < flipped.sum() < 600


def test_phase_turns_and_magnitude_stays():
    images = torch.randn(50, 2, 4, 4)
    turned = random_global_phase(images, torch.Generator().manual_seed(0))
    torch.testing.assert_close(turned.square().sum(1), images.square().sum(1))
    ratio = torch.complex(*turned.unbind(1)) / torch.complex(*images.unbind(1))
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio), rtol=1e-3, atol=1e-3)
    assert ratio[:, 0, 0].angle().std() > 1
