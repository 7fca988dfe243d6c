"""Measure the quality of samples: python evaluate.py [ckpt=…] [num_samples=…] [sampler=…] [steps=…] [data=…] [logger=wandb]."""

import hashlib
import json
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint import Checkpoint
from condiff.checkpoint.checkpoint import SAMPLING
from condiff.commands.cli import entry, instantiate_group, plain
from condiff.commands.command_line import reaching
from condiff.commands.evaluation_data import HeldOut, load_evaluation_data
from condiff.commands.from_checkpoint import check_clamp, open_checkpoint, results_folder_of, sampling_of
from condiff.evaluation import inputs
from condiff.evaluation.evaluate import check_patients, evaluate
from condiff.evaluation.report import Report
from condiff.evaluation.sets import ImageSets
from condiff.files import results
from condiff.sampling import make_requests, resolve_contrasts
from condiff.sampling.resumable import sample_resumable


@entry("evaluate", reaching("data", *SAMPLING))
def main(cfg: DictConfig) -> None:
    cfg, checkpoint = open_checkpoint(cfg, *SAMPLING)
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=cfg.devices)
    fabric.launch()
    model = checkpoint.model()
    data, search_copies = load_evaluation_data(cfg, checkpoint)
    check_clamp(cfg, data.spec.shape[0], model.codec.is_latent)
    contrasts = data.spec.contrasts
    required_contrasts = contrasts if model.conditional else []
    held_out = HeldOut.of(data, checkpoint, required_contrasts, cfg.real_images)
    training = inputs.real_images(data.spec, data.train, max_images=cfg.real_images)
    check_patients(held_out.images, required_contrasts)
    requests = make_requests(resolve_contrasts(None, contrasts, model.conditional), cfg.num_samples, cfg.seed)
    settings, out = settings_of(cfg, checkpoint), results_folder_of(cfg, checkpoint, "evaluation")
    sampling = sampling_of(cfg, fabric.device)
    sampling.check(model.to(fabric.device))
    path = out / f"samples-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]}.h5"
    images, cost = sample_resumable(fabric, model, data.spec, requests, sampling, path)
    if not fabric.is_global_zero:
        return
    generated = inputs.generated_images(data.spec, images, requests)
    sets = ImageSets(generated, held_out.images, training, contrasts, model.conditional)
    print(f"comparing   {len(images)} samples with {len(held_out.images)} images of {held_out.patients} held-out patients")
    evaluation = evaluate(sets, Path(cfg.cache).expanduser() / "evaluation", search_copies)
    evaluation.notes.extend(held_out.notes)
    if len(training) < len(data.train):
        searched = f"{len(training)} of {len(data.train)}"
        evaluation.notes.append(f"real_images={cfg.real_images}: training images: searched {searched} for copies")
    result = {"settings": settings, "held_out": held_out.summary(), "cost": cost.per_image()}
    report = Report(result, evaluation, sets, requests, inputs.image_sources(data.train, cfg.real_images))
    report.save(out)
    cfg.run = str(out.resolve())  # read by the loggers
    report.log(instantiate_group(cfg.logger) if cfg.get("logger") else [])
    report.show(out)


def settings_of(cfg: DictConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the settings that determine the samples."""
    settings = {key: plain(cfg[key]) for key in ("num_samples", "seed", "steps", "sampler", "guidance", "clamp")}
    if OmegaConf.select(cfg, "guidance.weaker.ckpt"):
        settings["guided by"] = results.digest(cfg.guidance.weaker.ckpt)
    settings = {"checkpoint": str(checkpoint.path), "sha256": checkpoint.sha256, **settings}
    return json.loads(json.dumps(settings), parse_constant=str)  # JSON has no infinity
