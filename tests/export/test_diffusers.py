"""The pipeline that diffusers loads draws our images, with diffusers' own scheduler."""

import numpy as np
import pytest
import torch

import condiff
from condiff.checkpoint import Checkpoint
from condiff.diffusion.guidance import classifier_free
from condiff.diffusion.samplers import ancestral
from condiff.export import diffusers as export

diffusers = pytest.importorskip("diffusers")


def test_equal_to_ours(trained_once, tmp_path):
    """Euler steps in sigma are DDIM: the same images from the same noise, with and without guidance."""
    folder = str(export.save(Checkpoint.read(trained_once), tmp_path / "heads"))
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
    assert isinstance(pipeline.scheduler, diffusers.EulerDiscreteScheduler)
    model = condiff.load(trained_once)
    noise, sigmas = torch.randn(3, *model.spec.shape), model.network.schedule.steps(12)
    cond = model.spec.conditioning.encode("AXT2").expand(3, -1)
    for scale in (1.0, 2.0):
        denoise = classifier_free(model.network, scale=scale)
        *_, expected = ancestral(denoise, noise * sigmas[0], sigmas, cond, eta=0.0)
        drawn = pipeline("AXT2", noise=noise, num_inference_steps=12, guidance_scale=scale).images
        np.testing.assert_allclose(drawn.numpy(), expected.numpy(), atol=1e-3)
    assert pipeline.denoiser.magnitude(drawn).shape == (3, 16, 16)
    again = pipeline("AXT1", num_images=2, generator=torch.Generator().manual_seed(1), num_inference_steps=3)
    assert again.images.shape == (2, 1, 16, 16)
    pipeline.save_pretrained(tmp_path / "again")
    weights = "denoiser/model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (tmp_path / "heads" / weights).read_bytes()
