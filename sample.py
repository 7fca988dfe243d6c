"""Draw images from a checkpoint: python sample.py [ckpt=…] [contrast=…] [num_samples=…] [sampler=…] [steps=…] [out=DIR]."""

import logging
from pathlib import Path

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich import print
from rich.progress import Progress

from condiff import checkpoint, export, sampling
from condiff.diffusion.generate import variance_preserving
from condiff.entry import entry
from condiff.errors import InputError
from condiff.seeds import derive_seed

SHOWN = 8  # samples of each contrast in the picture
MOVING = 3  # and in the animation
FORMATS = ("h5", "nifti")
log = logging.getLogger(__name__)


@entry("sample")
def main(cfg: DictConfig) -> None:
    if cfg.format not in FORMATS:
        raise InputError(f"format={cfg.format}: no such format; there are {' or '.join(FORMATS)}")
    ckpt = Path(cfg.ckpt) if cfg.ckpt else checkpoint.newest("runs")
    system = checkpoint.load(ckpt)
    data = checkpoint.build(system.hparams["data"], ckpt)
    contrasts = sampling.requested(cfg.contrast, data.conditioning.contrasts, system.conditional)
    draws = sampling.plan(contrasts, cfg.num_samples, cfg.seed, cfg.shared_noise)
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=cfg.devices)
    fabric.launch()
    states = everything(cfg, fabric, system.to(fabric.device), data, draws)
    if fabric.is_global_zero:
        write(cfg, ckpt, system.cpu(), data, draws, states)
        print(f"checkpoint  {ckpt}\nsamples     {cfg.out}/samples.png, {cfg.out}/samples.h5\nanimation   {cfg.out}/denoising.gif")


def everything(cfg: DictConfig, fabric: L.Fabric, system, data, draws: list[sampling.Draw]) -> torch.Tensor:
    """The states of all draws [F, N, C, H, W], every process doing its share."""
    mine = draws[fabric.global_rank :: fabric.world_size]
    batches = -(-len(mine) // cfg.batch_size)
    with Progress(disable=not fabric.is_global_zero) as progress:
        task = progress.add_task("Sampling", total=batches * (cfg.steps + 1))
        states = list(
            sampling.draw(
                system,
                data.conditioning,
                mine,
                data.transform.shape,
                instantiate(cfg.sampler.walk),
                instantiate(cfg.guidance),
                cfg.steps,
                cfg.batch_size,
                lambda: progress.advance(task),
            )  # fmt: skip
        )
    own = torch.cat(states, dim=1) if states else None
    parts = [own]
    if fabric.world_size > 1:
        parts = [None] * fabric.world_size
        torch.distributed.all_gather_object(parts, own)
    result = torch.empty(parts[0].shape[0], len(draws), *parts[0].shape[2:])
    for rank, part in enumerate(parts):
        if part is not None:
            result[:, rank :: fabric.world_size] = part
    return result


def write(cfg: DictConfig, ckpt: Path, system, data, draws: list[sampling.Draw], states: torch.Tensor) -> None:
    """Everything a run leaves in ``out``."""
    out, n = Path(cfg.out), cfg.num_samples
    out.mkdir(parents=True, exist_ok=True)
    frames = data.transform.magnitude(states.flatten(0, 1)).unflatten(0, states.shape[:2])
    labels = [draw.label for draw in draws[::n]]

    def picture(images: torch.Tensor, shown: int):
        return export.grid({"generated": {label: part[:shown] for label, part in zip(labels, images.split(n), strict=True)}})

    picture(frames[-1], SHOWN).save(out / "samples.png")
    export.save_gif(out / "denoising.gif", [picture(frame, MOVING) for frame in frames])
    export.grid(statistics(frames[-1], labels, n)).save(out / "statistics.png")
    export.grid(process(cfg, system, data, draws[0], frames[:, 0])).save(out / "process.png")
    names, seeds = [draw.label for draw in draws], [draw.seed for draw in draws]
    about = {"checkpoint": str(ckpt), "steps": cfg.steps, "guidance_scale": cfg.guidance.get("scale", 1.0)}
    export.save_h5(out / "samples.h5", states[-1], names, seeds, **about)
    if cfg.format == "nifti":
        pixel = data.transform.fov_mm / data.transform.shape[-1]
        export.save_nifti(out / "nifti", frames[-1], names, seeds, pixel)


def statistics(images: torch.Tensor, labels: list[str], n: int) -> dict[str, dict[str, torch.Tensor]]:
    """Mean and pixel-wise standard deviation and variance of each contrast's samples, the latter scaled to be seen."""
    groups = dict(zip(labels, images.split(n), strict=True))
    variance = {label: group.var(dim=0, correction=0)[None] for label, group in groups.items()}
    brightest = max(float(image.max()) for image in variance.values()) or 1.0
    return {
        "mean": {label: group.mean(dim=0)[None] for label, group in groups.items()},
        f"variance (white {brightest:.2g})": {label: image / brightest for label, image in variance.items()},
    }


def process(cfg: DictConfig, system, data, first: sampling.Draw, reverse: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
    """Noise added to a real image, and under it, level by level, noise taken away to make the first sample."""
    kept = sampling.frame_indices(cfg.steps)
    chosen = torch.linspace(len(kept) - 1, 0, min(9, len(kept))).round().long()
    rows = {"sample <-": reverse[chosen]}
    try:
        data.setup()
        real = data.val.examples(first.contrast, 3)[1:2]
    except InputError as reason:
        log.warning("process.png has no forward process, for want of a real image: %s", reason)
        return {"less noise <- -> more noise": rows}
    sigmas = system.schedule.steps(cfg.steps)[torch.tensor(kept)[chosen]].view(-1, 1, 1, 1)
    generator = torch.Generator().manual_seed(derive_seed("process", cfg.seed))
    noised = real + sigmas * torch.randn(real.shape, generator=generator)
    forward = data.transform.magnitude(variance_preserving(noised, sigmas))
    return {"less noise <- -> more noise": {"real ->": forward} | rows}


if __name__ == "__main__":
    main()
