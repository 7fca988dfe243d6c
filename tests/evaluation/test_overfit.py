"""The audit of two trained models: one that knows four images by heart, one that saw enough people."""

import json
from pathlib import Path

import pytest

RUN = [
    "data.phantom.slices=1", "data.phantom.coils=1", "data.phantom.matrix=32", "data.downsample=1",
    "data.held_out_per_contrast=6", "data.batch_size=16", "data.steps_per_epoch=600", "net=unet_small", "net.patch=1",
    "trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks.grid.num_samples=1", "callbacks.grid.steps=2",
    "hydra.run.dir=runs/now",
]  # fmt: skip


def verdict(run_entry, *arguments):
    run_entry("train.py", *RUN, *arguments)
    run_entry("evaluate.py", "num_samples=24", "steps=20", "accelerator=cpu", "out=judged")
    return json.loads(Path("judged/evaluation.json").read_text())


@pytest.mark.slow
def test_a_model_that_overfits_four_images_is_caught(run_entry):
    found = verdict(run_entry, "data.phantom.patients=13", "data.volumes_per_contrast=1", "data.augment.probability=0")
    assert "YES" in found["summary"]
    for space in ("pixels", "random"):
        for contrast in ("AXT1", "AXT1POST", "AXT2", "AXFLAIR"):
            assert found["copies"][space][contrast]["share"] > 0.9 and found["copies"][space][contrast]["p"] < 1e-3
    assert found["scores"]["AXT2"]["ms_ssim"]["samples"]["value"] > 0.95


@pytest.mark.slow
def test_a_model_that_saw_enough_people_passes(run_entry):
    found = verdict(run_entry, "data.phantom.patients=60", "data.volumes_per_contrast=48")
    assert "no higher than by chance" in found["summary"] and not found["named"]
    assert found["copies"]["pixels"]["pooled"]["share"] < 0.1
