"""Reconstruct accelerated scans: python reconstruct.py [ckpt=…] [data.root=DIR] [method=dds] [acceleration=4] [samples=16]."""

import functools
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor

from condiff import sampling
from condiff.checkpoint import checkpoint
from condiff.commands.cli import entry, folder_name, guide_of, job_folder, plain
from condiff.data.datamodule import MRIDataModule
from condiff.data.fastmri.reader import Acquired, label, read_acquired
from condiff.data.identity import Fingerprints
from condiff.diffusion.guidance import finite, unguided
from condiff.diffusion.samplers import dpmpp_2m
from condiff.errors import InputError, NotANumber, printable
from condiff.files import results
from condiff.files.atomic import whole
from condiff.progress import shown
from condiff.reconstruction.formulations import Pose
from condiff.reconstruction.measurement import Grid
from condiff.reconstruction.pipeline import Scan, numbers_of, reconstruct
from condiff.reconstruction.solver import Solver
from condiff.sampling import ANY
from condiff.training import DiffusionSystem

PRIORS = {1: "magnitude", 2: "complex"}  # by channels
SHOWN = ("acceleration", "acceleration_on_grid", "evaluations_per_slice", "seconds_per_slice", "sigma_y")  # besides the measures
WIDTH = 130  # of the table, whatever the terminal
TYPICAL, TYPICAL_STEPS = 12, 10  # images of the prior that the scale is corrected by, and their levels
POLL_SECONDS = 1.0
log = logging.getLogger(__name__)


@entry("reconstruct")
def main(cfg: DictConfig) -> None:
    ckpt = Path(cfg.ckpt) if cfg.ckpt else checkpoint.newest("runs")
    cfg.ckpt = str(ckpt)
    system = checkpoint.load(ckpt, cfg.trust)
    data = checkpoint.data(system, ckpt, cfg.trust)
    if cfg.sigma_data is None:
        cfg.sigma_data = checkpoint.statistics(ckpt)["sigma_data"]
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=cfg.devices)
    fabric.launch()
    system = system.to(fabric.device)
    prior = PRIORS[data.transform.shape[0]]
    with fabric.device:
        denoise = instantiate(cfg.guided)(finite(system))
    sigmas = instantiate(cfg.method.levels).steps(cfg.steps)
    method, pose = instantiate(cfg.method.walk), posed(cfg, system, prior)
    solve = Solver(denoise, method, pose, sigmas, cfg.samples, cfg.batch_size, cfg.seed)
    maps, mask = instantiate(cfg.maps), instantiate(cfg.mask)
    scan = Scan(Grid.of(data.transform), maps, cfg.coils, mask, cfg.acceleration, cfg.simulate, cfg.seed)
    if cfg.method.steps == 1 and (cfg.samples, cfg.steps) != (1, 1):
        raise InputError(
            f"samples={cfg.samples} steps={cfg.steps}: this method asks no network and has one answer; leave them out"
        )
    if cfg.method.steps != 1 and cfg.steps == 1:
        raise InputError("steps=1: this method goes from noise to an image in several; give at least 2")
    root = Path(cfg.data.root).expanduser() if cfg.data.root else data.folder()
    files = wanted(cfg, root, ckpt, fabric.is_global_zero)
    out = folder(cfg, ckpt)
    if fabric.is_global_zero:
        keep(cfg, ckpt, out)
        print(f"checkpoint  {ckpt}\nprior       {prior} images of {scan.grid.size} x {scan.grid.size}, {scan.grid.fov_mm:g} mm")
    reasons_of(out, fabric.global_rank).unlink(missing_ok=True)
    fabric.barrier()
    about = {"method": plain(cfg.method.walk), "steps": cfg.steps, "seed": cfg.seed} | {
        "checkpoint": str(ckpt),
        "told": cfg.contrast,
    }

    @functools.cache
    def typical(contrast: str | None) -> Tensor:
        return samples(system, data, contrast, cfg.batch_size)

    def one(path: Path, target: Path, tick: Callable[[float], None]) -> None:
        acquired = read_acquired(path)
        contrast, cond, slices = told(cfg, system, data, acquired)
        images = typical(contrast) if cfg.method.steps != 1 else None
        reconstruct(acquired, scan, solve, cond, images, slices, fabric.device, target, cfg.keep_samples, about, tick)

    targets = {path: out / path.relative_to(root) for path in files}
    left = each(fabric, targets, one)
    if fabric.world_size > 1:
        left = gather(out, fabric.global_rank, fabric.world_size, left)
    if fabric.is_global_zero:
        tell(out, [*targets.values()], left)


def samples(system: DiffusionSystem, data: MRIDataModule, contrast: str | None, batch_size: int) -> Tensor:
    """A few images [N, H, W] of the prior alone, the same whenever they are asked for."""
    draws = sampling.plan([contrast], TYPICAL, seed=0, shared_noise=False)
    batches = [draws[begin : begin + batch_size] for begin in range(0, len(draws), batch_size)]
    shape, steps = data.transform.shape, TYPICAL_STEPS
    drawn = (sampling.draw(system, data.conditioning, some, shape, dpmpp_2m, unguided, steps) for some in batches)
    return data.transform.image(torch.cat([image for some in drawn for image in some]))


def posed(cfg: DictConfig, system: DiffusionSystem, prior: str) -> Pose:
    """How the method is given its problem. Raises InputError for one that is not sound with a model of codes."""
    pose = instantiate(cfg.method[prior])
    if not system.latent or cfg.method.steps == 1:  # such a method asks no model
        return pose
    if cfg.method.latent is None:
        raise InputError(
            f"ckpt={cfg.ckpt}: is a model of codes, and their k-space is no linear function of them, as this method takes it "
            "to be; set method=dps, or give a model of pixels"
        )
    return instantiate(cfg.method.latent)(pose, system.codec)


def each(fabric: L.Fabric, targets: dict[Path, Path], one: Callable[..., None]) -> dict[Path, str]:
    """Reconstruct this process's share of the volumes, where they are not done yet; return the reasons of those that failed."""
    mine, left = [*targets][fabric.global_rank :: fabric.world_size], {}
    with shown("Reconstructing", len(mine)) as advance:
        for index, path in enumerate(mine):
            try:
                if numbers_of(targets[path]) is None:
                    one(path, targets[path], advance)
            except (InputError, NotANumber, torch.linalg.LinAlgError) as reason:
                left[path] = str(reason).removeprefix(f"{printable(path)}: ")
            except (torch.OutOfMemoryError, MemoryError):
                left[path] = "one image does not fit into memory; set fewer coils"
            advance(to=index + 1)
    return left


def reasons_of(out: Path, rank: int) -> Path:
    """Where a process leaves the reasons of its volumes that failed; the file says that it has finished, too."""
    return out / f"failed-{rank}.json"


def gather(out: Path, rank: int, processes: int, left: dict[Path, str]) -> dict[Path, str]:
    """Reasons of all processes, for the first; the others return their own at once.

    By files: processes have unequal work of hours, and a collective operation that waits for the last would time out.
    """
    with whole(reasons_of(out, rank)) as stream:
        stream.write(json.dumps({str(path): reason for path, reason in left.items()}).encode())
    if rank > 0:
        return left
    files = [reasons_of(out, one) for one in range(processes)]
    while not all(file.is_file() for file in files):
        time.sleep(POLL_SECONDS)  # a process that dies takes this one along: its launcher watches over both
    found = [json.loads(file.read_text()) for file in files]
    for file in files:
        file.unlink()
    return {Path(path): reason for one in found for path, reason in one.items()}


def wanted(cfg: DictConfig, root: Path, ckpt: Path, say: bool) -> list[Path]:
    """The files to reconstruct, without patients that the prior was trained on. Raises InputError where none is left."""
    if not root.is_dir():
        raise InputError(f"data.root: no folder {root}; give the one that holds fastMRI's .h5 files")
    files = sorted(root.rglob("*.h5"))
    if not files:
        raise InputError(f"data.root: {root} holds no .h5 file; give the folder with fastMRI's multicoil files")
    if not cfg.seen:
        guide = guide_of(cfg)
        files = held_out(files, checkpoint.patients(ckpt) + (checkpoint.patients(guide) if guide else []), say)
    if not files:
        raise InputError(
            f"data.root: the prior was trained on all patients of {root}, or their files have no patient_id; give others, or set "
            "seen=true"
        )
    chosen = torch.linspace(0, len(files) - 1, min(cfg.volumes or len(files), len(files))).round().long()
    return [files[index] for index in chosen.tolist()]


def held_out(files: list[Path], trained_on: list[Fingerprints], say: bool) -> list[Path]:
    """The files of patients that a prior was not trained on; those without a ``patient_id`` may be of any, and are left out."""
    patients = {path: label(path).patient.strip() for path in files}
    known = set().union(*(some.known(patients.values()) for some in trained_on))
    reasons = {
        "the model was trained on these patients": sum(patient in known for patient in patients.values()),
        "no patient_id, so they may be training patients": sum(not patient for patient in patients.values()),
    }
    for reason, count in reasons.items():
        if count and say:
            print(f"skipped     {count} of {len(files)} volumes: {reason} (seen=true includes them)")
    return [path for path, patient in patients.items() if patient and patient not in known]


def told(cfg: DictConfig, system, data, acquired: Acquired) -> tuple[str | None, Tensor | None, list[int]]:
    """What the prior is told of the slices to reconstruct, contrast and all [S, D], and which slices those are.

    Raises InputError for what cannot be.
    """
    slices = acquired.good if cfg.slices is None else [index for index in cfg.slices if index in acquired.good]
    if not slices:
        raise InputError(f"slices={cfg.slices}: of these none is good, or there; it has {acquired.volume.slices}, counted from 0")
    if not system.conditional:
        if cfg.contrast is not None:
            raise InputError(f"contrast={cfg.contrast}: this checkpoint is unconditional; leave contrast= out")
        return None, None, slices
    if cfg.contrast == ANY:
        return None, data.conditioning.encode(None).expand(len(slices), -1), slices
    merge = data.select.merge or {}
    contrast = cfg.contrast or merge.get(acquired.volume.acquisition, acquired.volume.acquisition)
    if contrast not in data.conditioning.contrasts:
        raise InputError(
            f"is {contrast}, and the prior knows {', '.join(data.conditioning.contrasts)}; set contrast= to one or any"
        )
    return contrast, data.conditioning.of(replace(acquired.volume, contrast=contrast), slices), slices


def folder(cfg: DictConfig, ckpt: Path) -> Path:
    """Named by checkpoint and what was asked for: the same command finds what it left. Raises InputError for another's."""
    asked = HydraConfig.get().job.override_dirname.replace("+", "")
    name = folder_name(f"{ckpt.stem}_{asked}" if asked else ckpt.stem)
    out = job_folder(cfg.out) if cfg.out else checkpoint.results_of(ckpt, "reconstruction", name)
    results.check_folder(out)
    return out


def keep(cfg: DictConfig, ckpt: Path, out: Path) -> None:
    """Write what was asked for beside the results. Raises InputError where there are others."""
    about = plain(cfg) | {"checkpoint": results.digest(ckpt)}
    for key in ("out", "ckpt", "accelerator", "devices", "batch_size", "volumes"):
        about.pop(key)
    settings, text = out / "settings.json", json.dumps(about, indent=1, sort_keys=True)
    if settings.is_file() and settings.read_text(errors="replace") != text and any(out.rglob("*.h5")):
        raise InputError(f"out={out}: holds reconstructions made otherwise (settings.json); give another folder, or delete it")
    out.mkdir(parents=True, exist_ok=True)
    settings.write_text(text)


def tell(out: Path, files: list[Path], left: dict[Path, str]) -> None:
    """To the folder all numbers, volume by volume and averaged; to the terminal the averages. Raises InputError without any."""
    found = [numbers for path in files if (numbers := numbers_of(path))]
    if not found and [path.name for path in out.iterdir()] == ["settings.json"]:
        shutil.rmtree(out)
    if not found and len(set(left.values())) == 1:
        path, reason = next(iter(left.items()))
        raise InputError(f"{reason} ({path.name}{', and so all volumes' if len(left) > 1 else ''})")
    for path, reason in left.items():
        log.warning("left out %s: %s", printable(path), printable(reason))
    if not found:
        raise InputError("data.root: no volume could be reconstructed; the reasons are above")
    for numbers in found:
        if numbers["bad_slices"]:
            log.warning("%s: slices %s are zero, not finite, or without maps", numbers["file"], numbers["bad_slices"])
    groups = {"all": found} | {
        name: [one for one in found if one["contrast"] == name] for name in sorted({one["contrast"] for one in found})
    }
    summary = {name: averages(group) for name, group in groups.items()}
    (out / "metrics.json").write_text(json.dumps({"mean": summary, "volumes": found}, indent=1, allow_nan=False))
    table = Table("", *(f"{name} ({len(group)})" for name, group in groups.items()))
    for key in summary["all"]:
        table.add_row(key, *(f"{summary[name][key]:.4g}" if key in summary[name] else "" for name in groups))
    Console(width=WIDTH).print(table)
    if found[0]["data"] == "simulated":
        print("simulated   y = A x: no model error, so these figures are better than those of a scan")
    print(f"volumes     {len(found)} of {len(files)} in {out}/")


def averages(numbers: list[dict[str, Any]]) -> dict[str, float]:
    """Mean over the volumes that have it of every measure, nested ones under names with dots."""
    flat = [dict(flattened({key: value for key, value in one.items() if key != "method"})) for one in numbers]
    keys = dict.fromkeys(key for one in flat for key in one if key in SHOWN or "." in key)
    return {key: sum(one[key] for one in flat if key in one) / sum(key in one for one in flat) for key in keys}


def flattened(numbers: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in numbers.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)
