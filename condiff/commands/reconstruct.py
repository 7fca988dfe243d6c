"""Reconstruct accelerated scans: python reconstruct.py [ckpt=…] [data.root=DIR] [method=dds] [acceleration=4] [samples=16]."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint import Checkpoint
from condiff.checkpoint.model_folder import WEIGHTS
from condiff.commands.cli import entry
from condiff.commands.from_checkpoint import guidance_of, guide_of, open_checkpoint, ready, results_folder_of
from condiff.commands.provenance import settings_of
from condiff.configuration import plain
from condiff.data.fastmri.raw_scan import read_raw_scan
from condiff.data.map_files import of_valid_slices
from condiff.data.map_files import read as read_maps
from condiff.data.phantom.datamodule import PhantomDataModule
from condiff.files import results
from condiff.reconstruction.acquisition import AcquisitionModel
from condiff.reconstruction.pipeline import results_of, solve_volume
from condiff.reconstruction.prior import Prior
from condiff.reconstruction.report import write_report
from condiff.reconstruction.run import gather, reasons_file, reconstruct_all
from condiff.reconstruction.select_files import select_files, select_slices
from condiff.reconstruction.volume_file import EXPORTS, write_volume

NEUTRAL_OPTIONS = (
    "out",
    "ckpt",
    "accelerator",
    "devices",
    "batch_size",
    "compile",
    "volumes",
)  # options that do not change a volume


@entry("reconstruct")
def main(cfg: DictConfig) -> None:
    cfg, checkpoint = open_checkpoint(cfg, shipped="phantom_prior")
    model, spec = checkpoint.model(), checkpoint.spec()
    if cfg.sigma_data is None:
        cfg = cast(DictConfig, OmegaConf.merge(cfg, {"sigma_data": checkpoint.statistics["sigma_data"]}))
    fabric = L.Fabric(accelerator=cfg.accelerator, devices=cfg.devices)
    fabric.launch()
    prior = Prior(ready(model, cfg, fabric.device), spec, guidance_of(cfg, fabric.device), cfg.batch_size)
    method = instantiate(cfg.method)
    solver = method.solver(prior, cfg.steps, cfg.samples, cfg.seed)
    grid = prior.grid
    given_maps = partial(of_valid_slices, read_maps(Path(cfg.maps))) if cfg.maps else None
    scan_settings = cfg.coils, instantiate(cfg.mask), cfg.acceleration, cfg.simulate, cfg.seed
    scan = AcquisitionModel(grid, instantiate(cfg.estimate_maps), *scan_settings, given_maps)
    files, root = files_of(cfg, checkpoint, print if fabric.is_global_zero else lambda line: None)
    out = results_folder_of(cfg, checkpoint, "reconstruction")
    if fabric.is_global_zero:
        settings = settings_of(cfg, checkpoint, NEUTRAL_OPTIONS)
        results.check_folder(out, settings)
        results.keep(out, settings)
        print(f"checkpoint  {checkpoint.title}\nprior       {prior.kind} images of {grid.size} x {grid.size}, {grid.fov_mm:g} mm")
    reasons_file(out, fabric.global_rank).unlink(missing_ok=True)
    fabric.barrier()
    provenance = {"method": plain(cfg.method.fn), "steps": cfg.steps, "seed": cfg.seed}
    provenance |= {"checkpoint": str(checkpoint.path), "condition": cfg.contrast}

    def reconstruct_file(path: Path, target: Path, tick: Callable[[float], None]) -> None:
        raw = read_raw_scan(path)
        slices = select_slices(raw, cfg.slices)
        cond, typical = method.condition(prior, raw, cfg.contrast, slices)
        solved = solve_volume(raw, scan(raw, slices, fabric.device, typical), solver, cond, slices, tick)
        write_volume(target, solved, results_of(solved, provenance), cfg.keep_samples, EXPORTS[cfg.format])

    targets = {path: out / path.relative_to(root) for path in files}
    failed = reconstruct_all(fabric, targets, reconstruct_file)
    if fabric.world_size > 1:
        failed = gather(out, fabric.global_rank, fabric.world_size, failed)
    if fabric.is_global_zero:
        write_report(out, [*targets.values()], failed)


def files_of(cfg: DictConfig, checkpoint: Checkpoint, print_line: Callable[[str], None]) -> tuple[list[Path], Path]:
    """Returns the files to reconstruct and their folder: by default the data folder of the checkpoint; of a model of the phantom
    that was given away, new heads."""
    if cfg.data.root:
        root = Path(cfg.data.root).expanduser()
    else:
        data = checkpoint.data()
        is_given_away = checkpoint.path.name == WEIGHTS
        root = data.new_heads() if is_given_away and isinstance(data, PhantomDataModule) else data.folder()
    guide = guide_of(cfg)
    trained_on = checkpoint.training_patients + (guide.training_patients if guide else [])
    return select_files(root, [] if cfg.seen else trained_on, cfg.volumes, print_line), root
