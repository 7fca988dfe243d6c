"""Draw images from a checkpoint: python sample.py [ckpt=…] [contrast=…] [num_samples=…] [sampler=…] [steps=…] [out=DIR]."""

import json
import logging
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from condiff import sampling
from condiff.checkpoint import checkpoint
from condiff.commands.cli import as_trained, check_clamp, entry, job_folder, plain
from condiff.commands.command_line import reaching
from condiff.data.conditioning import NAMES, Known
from condiff.data.index import table as index_table
from condiff.diffusion.generate import variance_preserving
from condiff.diffusion.guidance import finite
from condiff.errors import InputError
from condiff.files import export, results
from condiff.progress import shown as progress_shown
from condiff.sampling import translation
from condiff.sampling.distributed import Cost, counted, rounds
from condiff.seeds import derive_seed

SHOWN = 8  # samples of each contrast in the picture
RESULTS = ("samples.h5", "translated.h5", "nifti")
ELSEWHERE = ("ckpt", "out", "accelerator", "devices", "batch_size")  # options that the images do not follow from
log = logging.getLogger(__name__)


@entry("sample", reaching(*checkpoint.SAMPLING))
def main(cfg: DictConfig) -> None:
    ckpt = Path(cfg.ckpt) if cfg.ckpt else checkpoint.newest("runs")
    cfg.ckpt, out = str(ckpt), job_folder(cfg.out)
    system = checkpoint.load(ckpt, cfg.trust)
    as_trained(cfg, system.hparams, checkpoint.SAMPLING)
    data = checkpoint.data(system, ckpt, cfg.trust)
    check_clamp(cfg, data.transform.shape[0], system.latent)
    contrasts = sampling.requested(cfg.contrast, data.conditioning.contrasts, system.conditional)
    known = {name: cfg[name] for name in NAMES if cfg[name] is not None}
    if cfg.format == "nifti":
        list(map(export.file_stem, (contrast or sampling.ANY for contrast in contrasts)))
    draws = sampling.plan(contrasts, cfg.num_samples, cfg.seed, cfg.shared_noise, known, cfg.extrapolate, sampling.MOVING)
    for draw in draws[:: cfg.num_samples]:
        data.conditioning.encode(draw.contrast, known, cfg.extrapolate)  # complains before anything is spent
    if cfg.init is None and (cfg.source or cfg.strength is not None or cfg.init_slices is not None):
        raise InputError("source, strength, init_slices: are options of a translation; give its image, init=FILE")
    about = settings(cfg, ckpt)
    results.check_folder(out, about, RESULTS)
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=cfg.devices)
    fabric.launch()
    if fabric.is_global_zero:
        print(f"checkpoint  {ckpt}")
    if cfg.init is not None:
        if fabric.is_global_zero:
            translated(cfg, system.to(fabric.device), data, contrasts, known, out, about)
        return
    cost = Cost()
    with counted(cost):
        images, frames = everything(cfg, fabric, system.to(fabric.device), data, draws)
    if fabric.is_global_zero:
        results.keep(out, about)
        write(cfg, ckpt, system.cpu(), data, draws, images, frames, out)
        each = cost.evaluations / len(draws[:: fabric.world_size])
        print(f"samples     {out}/samples.h5 ({len(draws)} images)")
        print(f"picture     {out}/samples.png (at most {SHOWN} of each contrast)\nall files   {out}/")
        print(f"cost        {each:g} network evaluations per image (guidance included)")


def settings(cfg: DictConfig, ckpt: Path) -> dict[str, Any]:
    """What the images follow from."""
    return {key: value for key, value in plain(cfg).items() if key not in ELSEWHERE} | {"checkpoint": results.digest(ckpt)}


@torch.no_grad()
def translated(cfg: DictConfig, system, data, contrasts: list[str | None], known: Known, out: Path, about: dict) -> None:
    """The images of a file in other contrasts, into ``out``: translated.h5 and translated.png."""
    images, told = translation.read(Path(cfg.init), data)
    chosen = list(range(len(images))) if cfg.init_slices is None else list(cfg.init_slices)
    if not all(0 <= index < len(images) for index in chosen):
        raise InputError(f"init_slices={chosen}: {cfg.init} has {len(images)}, counted from 0")
    images, source = images[chosen], cfg.source or told
    if cfg.strength is None and source is None:
        raise InputError(f"source: {cfg.init} does not say its contrast; give it, source=AXT1, or set strength")
    if source is not None and source not in data.conditioning.contrasts:
        raise InputError(f"source={source}: unknown to this checkpoint, which has {', '.join(data.conditioning.contrasts)}")
    if not system.conditional:
        raise InputError(f"ckpt={cfg.ckpt}: is unconditional, and knows no contrasts to translate between; give another")
    sigmas = system.schedule.steps(cfg.steps)
    with system.device:  # a guiding model is loaded there
        denoise, walk = instantiate(cfg.guided)(finite(system)), instantiate(cfg.sampler.walk)
    targets = [contrast for contrast in contrasts if contrast != source] if cfg.contrast is None else contrasts
    made: dict[str, Tensor] = {}
    batches = range(0, len(images), cfg.batch_size)
    each = 2 * cfg.steps - 1 if cfg.strength is None else round(cfg.strength * cfg.steps)
    with progress_shown("Translating", len(targets) * len(batches) * each) as tick:
        for target in targets:
            parts = []
            for begin in batches:
                some = images[begin : begin + cfg.batch_size].to(system.device)
                here = data.conditioning.encode(source).expand(len(some), -1).to(some)
                there = data.conditioning.encode(target, known, cfg.extrapolate).expand(len(some), -1).to(some)
                seeds = [cfg.seed + begin + index for index in range(len(some))]
                code = system.codec.encode(some)
                code = translation.translate(denoise, code, sigmas, here, there, walk, cfg.strength, seeds, tick)
                parts.append(sampling.decoded(system, code, (some.shape[-2], some.shape[-1])))
            made[target or "any"] = torch.cat(parts)
    names = [name for name, some in made.items() for _ in some]
    seeds = [cfg.seed + index for some in made.values() for index in range(len(some))]
    how = {"strength": cfg.strength} if cfg.strength is not None else {}
    provenance = {"checkpoint": str(cfg.ckpt), "init": str(cfg.init), "source": source or "", "steps": cfg.steps}
    results.keep(out, about)
    export.save_h5(out / "translated.h5", torch.cat([*made.values()]), names, seeds, **provenance, **how)
    bright = data.transform.magnitude(images).mean(dim=(1, 2))
    some = (bright > bright.max() / 4).nonzero()[:, 0]  # a volume may begin and end in air
    shown = some[torch.linspace(0, len(some) - 1, min(SHOWN, len(some))).round().long()]
    rows = {f"from {source or 'any'}": images[shown]} | {name: part[shown] for name, part in made.items()}
    export.grid({"given, and made of it": {name: data.transform.magnitude(part) for name, part in rows.items()}}).save(
        out / "translated.png"
    )
    print(f"translated  {len(images)} images to {', '.join(made)}: {out}/translated.png, {out}/translated.h5")


def everything(cfg: DictConfig, fabric: L.Fabric, system, data, draws: list[sampling.Draw]) -> tuple[Tensor, Tensor]:
    """All samples [N, C, H, W], and the way there of the first few of each contrast [F, n, C, H, W]."""
    with fabric.device:  # a guiding model is loaded there
        how = {"sampler": instantiate(cfg.sampler.walk), "guidance": instantiate(cfg.guided), "steps": cfg.steps}
    drawn = partial(sampling.draw, system, data.conditioning, shape=data.transform.shape, **how)
    system.schedule.steps(cfg.steps), how["guidance"](system)  # complain before anything is spent

    parts = rounds(fabric, draws, cfg.batch_size, cfg.steps, drawn, lambda _, way: way.clone())
    ways = [way for part in parts for way in part]
    watched = [way for draw, way in zip(draws, ways, strict=True) if draw.watched]
    return torch.stack([way[-1] for way in ways]), torch.stack(watched, dim=1)


def write(
    cfg: DictConfig, ckpt: Path, system, data, draws: list[sampling.Draw], images: Tensor, frames: Tensor, out: Path
) -> None:
    """Everything a run leaves in ``out``."""
    n, moving = cfg.num_samples, min(cfg.num_samples, sampling.MOVING)
    magnitudes, labels = data.transform.magnitude(images), [draw.label for draw in draws[::n]]

    def picture(images: Tensor, each: int):
        return export.grid(
            {
                f"generated {title}".strip(): {label: row[:SHOWN] for label, row in zip(labels, view.split(each), strict=True)}
                for title, view in data.transform.views(images).items()
            }
        )

    names, seeds = [draw.label for draw in draws], [draw.seed for draw in draws]
    how = {key: json.dumps(plain(cfg[key])) for key in ("sampler", "guidance", "clamp")} | {"steps": cfg.steps}
    export.save_h5(out / "samples.h5", images, names, seeds, checkpoint=str(ckpt), **how, **draws[0].known)
    picture(images, n).save(out / "samples.png")
    export.save_gif(out / "denoising.gif", [picture(frame, moving) for frame in frames])
    if n > 1:
        export.grid(statistics(magnitudes, labels, n)).save(out / "statistics.png")
    export.grid(process(cfg, system, data, draws[0], data.transform.magnitude(frames[:, 0]))).save(out / "process.png")
    if cfg.format == "nifti":
        pixel = data.transform.fov_mm / data.transform.shape[-1]
        export.save_nifti(out / "nifti", data.transform.image(images), names, seeds, pixel)


def statistics(images: Tensor, labels: list[str], n: int) -> dict[str, dict[str, Tensor]]:
    """Mean and pixel-wise variance of each contrast's samples, the latter scaled to be seen."""
    groups = dict(zip(labels, images.split(n), strict=True))
    variance = {label: group.var(dim=0, correction=0)[None] for label, group in groups.items()}
    brightest = max(float(image.max()) for image in variance.values()) or 1.0
    return {
        "mean": {label: group.mean(dim=0)[None] for label, group in groups.items()},
        f"variance (white {brightest:.2g})": {label: image / brightest for label, image in variance.items()},
    }


@torch.no_grad()
def process(cfg: DictConfig, system, data, first: sampling.Draw, reverse: Tensor) -> dict[str, dict[str, Tensor]]:
    """Noise added to a real image, and under it, level by level, noise taken away to make the first sample."""
    kept = sampling.frame_indices(cfg.steps)
    chosen = torch.linspace(len(kept) - 1, 0, min(9, len(kept))).round().long()
    rows = {"sampling <-": reverse[chosen]}
    real = ready_image(data, first.contrast)
    if real is None:
        log.info("process.png shows no forward process: no validation image of the checkpoint's data is ready in %s", data.cache)
        return {"noise level, low to high": rows}
    sigmas = system.schedule.steps(cfg.steps)[torch.tensor(kept)[chosen]].view(-1, 1, 1, 1)
    generator = torch.Generator().manual_seed(derive_seed("process", cfg.seed))
    code = system.codec.encode(real)
    noised = variance_preserving(code + sigmas * torch.randn(code.shape, generator=generator), sigmas)
    forward = data.transform.magnitude(system.codec.decode(noised, tuple(real.shape[-2:])))
    return {"noise level, low to high": {"real ->": forward} | rows}


def ready_image(data, contrast: str | None) -> Tensor | None:
    """A validation image [1, C, H, W] that is ready in the cache, or None; nothing is indexed or made for it."""
    if not index_table(data.root, data.cache).is_file():
        return None
    with suppress(InputError):
        for volume in data.split().val:
            if contrast in (None, volume.contrast) and data.ready.file(volume).is_file():
                with suppress(ValueError):  # its images could not be made
                    stack = data.ready.open(volume)
                    chosen = data.select.of(len(stack))
                    return stack[chosen[len(chosen) // 2]][None]
    return None
