"""Settings that a command takes from a checkpoint: model, sampling and data."""

import copy
from pathlib import Path
from typing import Any, cast

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint import Checkpoint, newest, results_folder
from condiff.commands.cli import check_kinds, job_folder, overrides
from condiff.commands.options import OPTIONS, check, check_kind
from condiff.configuration import choices_with, folder_name, plain
from condiff.data.datamodule import MRIDataModule
from condiff.diffusion.guidance import Guidance, decorate_bound_models
from condiff.diffusion.model import DiffusionModel
from condiff.errors import InputError
from condiff.files import results
from condiff.sampling import Sampling


def open_checkpoint(cfg: DictConfig, *keys: str, shipped: str = "") -> tuple[DictConfig, Checkpoint]:
    """Returns the checkpoint of a command, by default the newest, and the configuration with ``keys`` taken from its run.

    Where there is no run it is ``shipped``, a model that comes with condiff, if one is given. Fields on the command line are set
    in the ``keys``; a group that the command line chooses, guidance=none, is not taken from the run.

    Raises:
        InputError: a field that the object of the run lacks, or a value of another type or out of range.
    """
    checkpoint = Checkpoint.read(cfg.ckpt or newest("runs", shipped), cfg.trust)
    cfg = copy.deepcopy(cfg)
    cfg.ckpt = str(checkpoint.path)
    options = overrides()
    chosen = {override.key_or_group for override in options}
    for key in keys:
        if key in checkpoint.config and key not in chosen:
            cfg[key] = checkpoint.config[key]
            for override in options:
                if override.key_or_group.startswith(f"{key}."):
                    set_field(cfg, key, override.key_or_group, override.value())
    check(cfg, OPTIONS[cast(str, HydraConfig.get().job.config_name)])
    return cfg, checkpoint


def ready(model: DiffusionModel, cfg: DictConfig, device: torch.device) -> DiffusionModel:
    """Returns the model on the device, in the precision of a command, compiled if it says so."""
    model = model.to(device).in_precision(cfg.precision)
    if cfg.compile:
        model.denoiser.net.compile()
    return model


def guidance_of(cfg: DictConfig, device: torch.device) -> Guidance:
    """Returns the guidance of a command; a guiding model is loaded to the device."""
    with device:
        guidance = instantiate(cfg.guided)
    return decorate_bound_models(guidance, lambda model: ready(model, cfg, device))


def sampling_of(cfg: DictConfig, device: torch.device) -> Sampling:
    """Returns the settings of sampling of a command."""
    return Sampling(instantiate(cfg.sampler.fn), guidance_of(cfg, device), cfg.steps, cfg.batch_size)


def guide_of(cfg: DictConfig) -> Checkpoint | None:
    """Returns the checkpoint of a guiding model, ``guidance.weaker.ckpt``; None without one."""
    path = OmegaConf.select(cfg, "guidance.weaker.ckpt")
    return Checkpoint.read(path, cfg.trust) if path and str(path) != str(cfg.ckpt) else None


def data_of(cfg: DictConfig, checkpoint: Checkpoint) -> MRIDataModule:
    """Returns the data module that a checkpoint is evaluated on, not set up.

    It is that of the run with fields of the command line, or the one that the command line chooses. The split is that of the
    training unless data.seed is given.

    Raises:
        InputError: a field has another type than that of the checkpoint.
    """
    run_data, requested = checkpoint.config["data"], plain(cfg.get("data")) or {}
    is_complete = "_target_" in requested
    if not is_complete:
        check_kinds(OmegaConf.create({"data": dict(run_data)}))
    if "data.seed" not in {override.key_or_group for override in overrides()}:
        requested.pop("seed", None)
    if not is_complete:
        return checkpoint.data(requested)
    return instantiate(OmegaConf.create({"seed": run_data.get("seed", 0)} | requested))


def set_field(cfg: DictConfig, group: str, key: str, value: Any) -> None:
    """Sets a field of what was taken from a checkpoint. Raises InputError if that has no such field, or another type."""
    parent, _, name = key.rpartition(".")
    fields = plain(OmegaConf.select(cfg, parent))
    if not isinstance(fields, dict) or name not in fields:
        available = ", ".join(f"{parent}.{field}" for field in fields or () if not str(field).startswith("_")) or "no fields"
        owners = choices_with(group, key.removeprefix(f"{group}."))
        remedy = f"; {key} belongs to {group}={' or '.join(owners)}, choose one" if owners else ""
        raise InputError(f"{key}: the {group} that this checkpoint was trained with has {available}{remedy}")
    check_kind(key, fields[name], value)
    OmegaConf.update(cfg, key, value)


def results_folder_of(cfg: DictConfig, checkpoint: Checkpoint, kind: str) -> Path:
    """Returns ``out``, or a folder in the run named by checkpoint and options, so that the same command continues there.

    Raises:
        InputError: a file of that name, or a folder that cannot be written to.
    """
    options, stem = HydraConfig.get().job.override_dirname.replace("+", ""), checkpoint.path.stem
    name = folder_name(f"{stem}_{options}" if options else stem)
    out = job_folder(cfg.out) if cfg.out else results_folder(checkpoint.path, kind, name)
    results.check_folder(out)
    return out
