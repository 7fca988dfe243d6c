"""Measure the quality of samples: python evaluate.py [ckpt=…] [num_samples=…] [sampler=…] [steps=…] [data=…] [logger=wandb]."""

import hashlib
import json
from pathlib import Path

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig

from condiff.checkpoint.checkpoint import SAMPLING
from condiff.commands.cli import entry
from condiff.commands.command_line import allow_checkpoint_fields
from condiff.commands.evaluation_data import HeldOut, load_evaluation_data
from condiff.commands.from_checkpoint import open_checkpoint, ready, results_folder_of, sampling_of
from condiff.commands.provenance import settings_of_samples
from condiff.configuration import instantiate_group
from condiff.evaluation import inputs
from condiff.evaluation.evaluate import check_patients, evaluate
from condiff.evaluation.report import Report
from condiff.evaluation.sets import ImageSets
from condiff.sampling import check_clamp, make_requests, resolve_contrasts
from condiff.sampling.resumable import sample_resumable


@entry("evaluate", allow_checkpoint_fields("data", *SAMPLING))
def main(cfg: DictConfig) -> None:
    cfg, checkpoint = open_checkpoint(cfg, *SAMPLING)
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=cfg.devices)
    fabric.launch()
    model = checkpoint.model()
    data, patients_elsewhere = load_evaluation_data(cfg, checkpoint)
    check_clamp(instantiate(cfg.clamp), data.spec.shape[0], model.codec.is_latent)
    contrasts = data.spec.contrasts
    required_contrasts = contrasts if model.conditional else []
    held_out = HeldOut.of(data, checkpoint, required_contrasts, cfg.real_images)
    training = inputs.real_images(data.spec, data.train, max_images=cfg.real_images)
    check_patients(held_out.images, required_contrasts)
    requests = make_requests(resolve_contrasts(None, contrasts, model.conditional), cfg.num_samples, cfg.seed)
    settings, out = settings_of_samples(cfg, checkpoint), results_folder_of(cfg, checkpoint, "evaluation")
    sampling = sampling_of(cfg, fabric.device)
    model = ready(model, cfg, fabric.device)
    sampling.check(model)
    path = out / f"samples-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]}.h5"
    images, cost = sample_resumable(fabric, model, data.spec, requests, sampling, path)
    if not fabric.is_global_zero:
        return
    generated = inputs.generated_images(data.spec, images, requests)
    sets = ImageSets(generated, held_out.images, training, contrasts, model.conditional, data.kind)
    print(f"comparing   {len(images)} samples with {len(held_out.images)} images of {held_out.patients} held-out patients")
    evaluation = evaluate(sets, Path(cfg.cache).expanduser() / "evaluation", patients_elsewhere, instantiate(cfg.metrics))
    evaluation.notes.extend(held_out.notes)
    if len(training) < len(data.train):
        searched = f"{len(training)} of {len(data.train)}"
        evaluation.notes.append(f"real_images={cfg.real_images}: training images: searched {searched} for copies")
    result = {"settings": settings, "held_out": held_out.summary(), "cost": cost.per_image()}
    training_sources = inputs.image_sources(data.train, max_images=cfg.real_images)
    report = Report(result, evaluation, sets, requests, training_sources, held_out.sources)
    report.save(out)
    cfg.run = str(out.resolve())  # read by the loggers
    report.log(instantiate_group(cfg.logger) if cfg.get("logger") else [])
    report.show(out)
