"""The search for copies on two trained models: one memorised four images, one was trained on enough patients."""

import json
from pathlib import Path

import pytest

RUN = [
    "data.phantom.slices=1", "data.phantom.coils=1", "data.phantom.matrix=32", "data.downsample=1",
    "data.held_out_per_contrast=6", "data.batch_size=16", "data.steps_per_epoch=600", "net=unet_small", "net.patch=1",
    "trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks.grid.num_samples=1", "callbacks.grid.steps=2",
    "hydra.run.dir=runs/now",
]  # fmt: skip


def train_and_evaluate(run_entry, *arguments):
    run_entry("train.py", *RUN, *arguments)
    run_entry("evaluate.py", "num_samples=24", "steps=20", "accelerator=cpu", "out=judged")
    return json.loads(Path("judged/evaluation.json").read_text())


@pytest.mark.slow
def test_a_model_that_memorised_four_images_is_found(run_entry):
    result = train_and_evaluate(
        run_entry, "data.phantom.patients=13", "data.volumes_per_contrast=1", "data.augment.probability=0"
    )
    assert "YES" in result["summary"]
    for space in ("pixels", "random"):
        for contrast in ("AXT1", "AXT1POST", "AXT2", "AXFLAIR"):
            assert result["copies"][space][contrast]["share"] > 0.9 and result["copies"][space][contrast]["p"] < 1e-3
    assert result["scores"]["AXT2"]["ms_ssim"]["samples"]["value"] > 0.95


@pytest.mark.slow
def test_a_model_trained_on_enough_patients_passes(run_entry):
    result = train_and_evaluate(run_entry, "data.phantom.patients=60", "data.volumes_per_contrast=48")
    assert "no higher than by chance" in result["summary"] and not result["named"]
    assert result["copies"]["pixels"]["pooled"]["share"] < 0.1
