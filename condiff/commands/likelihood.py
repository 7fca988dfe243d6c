"""How probable real images are to a checkpoint, in bits per dimension: python likelihood.py [ckpt=…] [num_images=…] [steps=…]."""

import json
from pathlib import Path

import lightning as L
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor

from condiff.checkpoint import checkpoint
from condiff.commands.cli import entry, job_folder, own_or_other
from condiff.commands.command_line import reaching
from condiff.data.datamodule import MRIDataModule, Slices
from condiff.diffusion.likelihood import Bound, flow_bits, variational_bound
from condiff.diffusion.noise import SeededNoise
from condiff.errors import InputError
from condiff.evaluation import inputs
from condiff.files import results
from condiff.progress import tracked
from condiff.seeds import derive_seed

COLUMNS = ("bound", "prior", "terms", "reconstruction", "flow")
Found = dict[str, dict[str, Tensor]]  # set and contrast -> column -> bits of each image; and the terms level by level


@entry("likelihood", reaching("data"))
def main(cfg: DictConfig) -> None:
    ckpt = Path(cfg.ckpt) if cfg.ckpt else checkpoint.newest("runs")
    out = job_folder(cfg.out or checkpoint.results_of(ckpt, "likelihood", ckpt.stem))
    results.check_folder(out)
    system = checkpoint.load(ckpt, cfg.trust)
    if system.latent:
        raise InputError(f"ckpt={ckpt}: is a model of codes, and how probable an image is follows from none; give one of pixels")
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=1)
    data, _ = inputs.prepare(system, ckpt, own_or_other(cfg, system.hparams["data"]), cfg.trust)
    system = system.to(fabric.device)
    sigmas = system.schedule.steps(cfg.steps)
    found: Found = {}
    for name, part in (("held out", data.val), ("trained on", data.train)):
        for contrast in data.conditioning.contrasts:
            title = f"{name}, {contrast}"
            images = len(part.examples(contrast, 2))
            if images < 2:
                print(f"skipped     {title}: a mean and its error take at least 2 images, there are {images}")
            else:
                found[title] = bits(cfg, system, data, part, contrast, sigmas, title)
    if not found:
        raise InputError(
            "data: no contrast has 2 images; give more volumes (data.volumes_per_contrast) or slices (data.select.slices)"
        )
    out.mkdir(parents=True, exist_ok=True)
    table, numbers = summary(found)
    about = {"checkpoint": str(ckpt), "steps": cfg.steps, "width": cfg.width, "bits": numbers}
    (out / "likelihood.json").write_text(json.dumps(about, indent=2) + "\n")
    picture(found, sigmas).savefig(out / "likelihood.png", dpi=80)
    Console(width=110).print(table)
    print(f"numbers     {out}/likelihood.json\nterms       {out}/likelihood.png")


def bits(
    cfg: DictConfig, system, data: MRIDataModule, part: Slices, contrast: str, sigmas: Tensor, title: str
) -> dict[str, Tensor]:
    """Of at most ``num_images`` of a contrast; the noise of each follows from its place."""
    images = part.examples(contrast, cfg.num_images)
    known = data.conditioning.encode(contrast if system.conditional else None)
    bounds, flows = [], []
    begins = range(0, len(images), cfg.batch_size)
    for begin in tracked(begins, title, len(begins)):
        x0 = system.codec.encode(images[begin : begin + cfg.batch_size].to(system.device))
        cond = known.to(system.device).expand(len(x0), -1)
        noise = SeededNoise([derive_seed("likelihood", cfg.seed, begin + i) for i in range(len(x0))])
        bounds.append(variational_bound(system, x0, sigmas, cond, cfg.width, noise))
        flows.append(flow_bits(system, x0, sigmas, cond, cfg.width, noise))
    bound = Bound(*(torch.cat(column).cpu() for column in zip(*bounds, strict=True)))
    whole = {"bound": bound.total, "prior": bound.prior, "terms": bound.terms.sum(1), "reconstruction": bound.reconstruction}
    return whole | {"flow": torch.cat(flows).cpu(), "by level": bound.terms}


def summary(found: Found) -> tuple[Table, dict[str, dict[str, list[float]]]]:
    """Mean and standard error of each column, as a table and as numbers."""
    table, numbers = Table("bits per dimension", *COLUMNS), {}
    for title, columns in found.items():
        spread = {name: (values.mean().item(), values.std().item() / len(values) ** 0.5) for name, values in columns.items()}
        numbers[title] = {name: list(spread[name]) for name in COLUMNS}
        table.add_row(title, *(f"{mean:.3f} ± {error:.3f}" for mean, error in (spread[name] for name in COLUMNS)))
    return table, numbers


def picture(found: Found, sigmas: Tensor) -> Figure:
    """What each step from one level to the next costs, over log sigma, so that areas are bits."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis, upper, lower = figure.subplots(), sigmas[:-2], sigmas[1:-1]
    for title, columns in found.items():
        density = columns["by level"].mean(0) / (upper / lower).log()
        axis.plot((upper * lower).sqrt(), density, "-" if title.startswith("held") else "--", linewidth=1, label=title)
    axis.set(xscale="log", xlabel="sigma", ylabel="bits per dimension and unit of log sigma")
    axis.legend(fontsize=7)
    return figure
