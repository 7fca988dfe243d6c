"""What a command takes from a checkpoint: the model, how its run sampled, and its data."""

import copy
from pathlib import Path
from typing import Any, cast

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint import Checkpoint, newest, results_folder
from condiff.commands.cli import check_kinds, job_folder, overrides
from condiff.commands.command_line import choices
from condiff.commands.options import OPTIONS, check, check_kind
from condiff.configuration import folder_name, plain
from condiff.data.datamodule import MRIDataModule
from condiff.errors import InputError
from condiff.files import results
from condiff.sampling import Sampling


def open_checkpoint(cfg: DictConfig, *keys: str) -> tuple[DictConfig, Checkpoint]:
    """The checkpoint of a command, the newest by default, and the configuration with what it takes over from its run.

    That is ``keys``, how the run sampled, with the fields that the command line gives set in them. A group that the command line
    chooses, guidance=none, stays as it is.

    Raises:
        InputError: a field that the run's own object lacks, or a value of another kind or out of its range.
    """
    checkpoint = Checkpoint.read(cfg.ckpt or newest("runs"), cfg.trust)
    cfg = copy.deepcopy(cfg)
    cfg.ckpt = str(checkpoint.path)
    options = overrides()
    chosen = {override.key_or_group for override in options}
    for key in keys:
        if key in checkpoint.config and key not in chosen:
            cfg[key] = checkpoint.config[key]
            for override in options:
                if override.key_or_group.startswith(f"{key}."):
                    _set(cfg, key, override.key_or_group, override.value())
    check(cfg, OPTIONS[cast(str, HydraConfig.get().job.config_name)])
    return cfg, checkpoint


def sampling_of(cfg: DictConfig, device: torch.device) -> Sampling:
    """How a command draws samples, as it is configured."""
    with device:  # a guiding model is loaded there
        return Sampling(instantiate(cfg.sampler.fn), instantiate(cfg.guided), cfg.steps, cfg.batch_size)


def guide_of(cfg: DictConfig) -> Checkpoint | None:
    """The checkpoint of another model that guides a command's own, ``guidance.weaker.ckpt``; None where there is none."""
    path = OmegaConf.select(cfg, "guidance.weaker.ckpt")
    return Checkpoint.read(path, cfg.trust) if path and str(path) != str(cfg.ckpt) else None


def data_of(cfg: DictConfig, checkpoint: Checkpoint) -> MRIDataModule:
    """The data that a checkpoint is evaluated on; nothing is read yet.

    The data of its run with the fields of the command line, or those that the command line chooses. The split is that of the
    training unless data.seed is given.

    Raises:
        InputError: a field is of another kind than the checkpoint's own.
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


def _set(cfg: DictConfig, group: str, key: str, value: Any) -> None:
    parent, _, name = key.rpartition(".")
    fields = plain(OmegaConf.select(cfg, parent))
    if not isinstance(fields, dict) or name not in fields:
        available = ", ".join(f"{parent}.{field}" for field in fields or () if not str(field).startswith("_")) or "no fields"
        owners = choices(group, key.removeprefix(f"{group}."))
        remedy = f"; {key} belongs to {group}={' or '.join(owners)}, choose one" if owners else ""
        raise InputError(f"{key}: the {group} that this checkpoint was trained with has {available}{remedy}")
    check_kind(key, fields[name], value)
    OmegaConf.update(cfg, key, value)


def results_folder_of(cfg: DictConfig, checkpoint: Checkpoint, kind: str) -> Path:
    """``out``, or a folder in the run named by the checkpoint and what was asked for: the same command finds what it left.

    Raises:
        InputError: a file of that name, or a folder that cannot be written to.
    """
    options, stem = HydraConfig.get().job.override_dirname.replace("+", ""), checkpoint.path.stem
    name = folder_name(f"{stem}_{options}" if options else stem)
    out = job_folder(cfg.out) if cfg.out else results_folder(checkpoint.path, kind, name)
    results.check_folder(out)
    return out
