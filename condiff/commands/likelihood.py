"""Measure the likelihood of real images in bits per dimension: python likelihood.py [ckpt=…] [num_images=…] [steps=…]."""

import json
from pathlib import Path

import lightning as L
from omegaconf import DictConfig
from rich.console import Console

from condiff.checkpoint import results_folder
from condiff.commands.cli import entry, job_folder
from condiff.commands.command_line import allow_checkpoint_fields
from condiff.commands.evaluation_data import load_evaluation_data
from condiff.commands.from_checkpoint import open_checkpoint, ready
from condiff.errors import InputError
from condiff.evaluation.likelihood import Bits, bits_per_dimension, plot_bits, summarize_bits
from condiff.files import results
from condiff.progress import progress_bar


@entry("likelihood", allow_checkpoint_fields("data"))
def main(cfg: DictConfig) -> None:
    cfg, checkpoint = open_checkpoint(cfg)
    ckpt = checkpoint.path
    out = Path(job_folder(cfg.out or results_folder(ckpt, "likelihood", ckpt.stem)))
    results.check_folder(out)
    model = checkpoint.model()
    if model.codec.is_latent:
        raise InputError(f"ckpt={ckpt}: is a latent model, which has no likelihood of images; give a model of pixels")
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=1)
    data, _ = load_evaluation_data(cfg, checkpoint)
    model = ready(model, cfg, fabric.device)
    bits: Bits = {}
    settings = cfg.steps, cfg.width, cfg.seed, cfg.batch_size
    for name, part in (("held out", data.val), ("trained on", data.train)):
        for contrast in data.spec.contrasts:
            title, images = f"{name}, {contrast}", part.spread_examples(contrast, cfg.num_images)
            if len(images) < 2:
                print(f"skipped     {title}: a mean with its error needs at least 2 images, there are {len(images)}")
                continue
            with progress_bar(title, -(-len(images) // cfg.batch_size)) as tick:
                bits[title] = bits_per_dimension(model, data.spec, images, contrast, *settings, tick)
    if not bits:
        raise InputError(
            "data: no contrast has 2 images; give more volumes (data.volumes_per_contrast) or slices (data.select.slices)"
        )
    out.mkdir(parents=True, exist_ok=True)
    table, numbers = summarize_bits(bits)
    result = {"checkpoint": str(ckpt), "steps": cfg.steps, "width": cfg.width, "bits": numbers}
    (out / "likelihood.json").write_text(json.dumps(result, indent=2) + "\n")
    plot_bits(bits, model.schedule.steps(cfg.steps)).savefig(out / "likelihood.png", dpi=80)
    Console(width=110).print(table)
    print(f"numbers     {out}/likelihood.json\nterms       {out}/likelihood.png")
