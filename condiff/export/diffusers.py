"""Export as a pipeline of the library diffusers.

That library has no network like ours, so the folder has a pipeline of its own, `condiff.export.diffusers_pipeline`, and
needs condiff where it is loaded:

    DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)("AXT2", num_images=4)
"""

import json
from pathlib import Path
from typing import Any

from condiff.checkpoint import Checkpoint, model_folder
from condiff.errors import InputError
from condiff.export import folder
from condiff.files.atomic import atomic_write

PIPELINE = '''"""Loaded by diffusers; needs condiff."""

from condiff.export.diffusers_pipeline import CondiffPipeline  # noqa: F401
'''
INDEX = {
    "_class_name": "CondiffPipeline",
    "denoiser": ["condiff.export.diffusers_pipeline", "CondiffDenoiser"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
}
SCHEDULER = {"_class_name": "EulerDiscreteScheduler", "prediction_type": "epsilon", "timestep_spacing": "trailing"}


def save(checkpoint: Checkpoint, target: str | Path, **settings: Any) -> Path:
    """Writes a pipeline for diffusers, whose subfolder ``denoiser`` is a model folder.

    Args:
        settings: of `condiff.export.folder.save`.

    Raises:
        InputError: as there, or a latent model, or one of few steps.
    """
    out = Path(target)
    folder.check_empty(out)
    if checkpoint.model().codec.is_latent:
        raise InputError(f"format=diffusers: {checkpoint.path} is a model of codes; pipelines are written of models of pixels")
    folder.check_sampler(checkpoint, "diffusers")
    denoiser = folder.save(checkpoint, out / "denoiser", title=out.name, **settings)
    (out / "scheduler").mkdir()
    texts = {
        "model_index.json": json.dumps(INDEX, indent=1),
        "scheduler/scheduler_config.json": json.dumps(SCHEDULER, indent=1),
        "pipeline.py": PIPELINE,
        model_folder.CARD: (denoiser / model_folder.CARD).read_text(encoding="utf-8"),
    }
    for name, text in texts.items():
        with atomic_write(out / name) as file:
            file.write(text.encode())
    return out
