"""Runs one stage of training from its configuration: data, trainer, system, files of the run, fit."""

import copy
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint import Checkpoint
from condiff.checkpoint.run import run_folder
from condiff.configuration import instantiate_group, without_paths
from condiff.errors import InputError
from condiff.sampling.batch import check_clamp
from condiff.training.build import Origin, reuse_conditioning
from condiff.training.checkpoint_io import CheckpointIO
from condiff.training.csv_logger import copy_earlier_rows
from condiff.training.fit import fit
from condiff.training.precision import candidates
from condiff.training.resumed_state import read_state
from condiff.training.step_time import StepTimer

MAX_LENGTH = 10**6  # epochs, and steps of each, that are believed of a checkpoint


def train_stage(cfg: DictConfig, origin: Origin) -> L.Trainer:
    """Trains the model of a configuration. Returns the trainer.

    Raises:
        InputError: as data, system and `condiff.training.fit.fit` do.
        NotANumber: the training has diverged.
        Stopped: a signal has ended the training.
    """
    L.seed_everything(cfg.seed % 2**32, verbose=False)
    data, clamp = instantiate(reuse_conditioning(cfg.data, origin)), instantiate(cfg.clamp)
    check_clamp(clamp, data.spec.shape[0], is_latent=bool(cfg.first))
    data.prepare_data()
    data.setup()
    fabric = fabric_of(cfg.trainer)
    resolved, system = instantiate(cfg.build)(cfg, origin, data, fabric.device)
    check_clamp(clamp, data.spec.shape[0], system.is_latent)
    timer = StepTimer(system, data.trial_batch(), fabric.device, fabric.world_size)
    resolved = decide(resolved, origin.resume, timer)
    data.steps_per_epoch = resolved.data.steps_per_epoch
    trainer = make_trainer(resolved.trainer, instantiate_group(cfg.logger), instantiate_group(cfg.callbacks), origin)
    system.save_hyperparameters(without_paths(OmegaConf.to_container(resolved, resolve=True)))
    if cfg.compile:
        for network in system.networks:
            network.compile()
    if trainer.is_global_zero:
        folder = Path(cfg.run)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(resolved, folder / "config.yaml", resolve=True)
        data.volumes.split().save(folder / "splits.csv")
        if origin.resume and isinstance(step := origin.resume.content.get("global_step"), int):
            copy_earlier_rows(run_folder(origin.resume.path), folder, step)
    fit(trainer, system, data, cfg.resume)
    return trainer


def fabric_of(settings: DictConfig) -> L.Fabric:
    """Returns the devices that a trainer of these settings will use. Raises InputError if there are none such."""
    try:
        return L.Fabric(accelerator=settings.accelerator, devices=settings.devices, num_nodes=settings.get("num_nodes", 1))
    except ValueError as error:
        raise InputError(f"trainer: {error}") from None


def decide(cfg: DictConfig, resumed: Checkpoint | None, timer: StepTimer) -> DictConfig:
    """Returns the configuration with the precision and the length decided that the settings of the trainer leave open.

    A resumed run keeps those of its checkpoint, so that it ends as the uninterrupted one; the precision only on a CPU.
    """
    cfg, stored = copy.deepcopy(cfg), resumed.config.get("trainer") if resumed else None
    settings, stored = cfg.trainer, stored if isinstance(stored, dict) else {}
    if OmegaConf.is_dict(settings.precision):
        kept = stored.get("precision") if timer.device.type == "cpu" else None
        settings.precision = kept if kept in candidates(timer.device) else instantiate(settings.precision)(timer)
    if OmegaConf.is_dict(settings.max_epochs):
        choose, interval, steps = instantiate(settings.max_epochs), settings.get("val_check_interval"), cfg.data.steps_per_epoch
        kept = stored.get("max_epochs"), resumed.config["data"].get("steps_per_epoch") if resumed else None
        if all(isinstance(number, int) and 1 <= number <= MAX_LENGTH for number in kept):
            settings.max_epochs, cfg.data.steps_per_epoch = kept
        else:
            settings.max_epochs, fewer = choose(timer, settings.precision, steps)
            least = min(interval, steps) if isinstance(interval, int) else 1  # Lightning demands a validation in each epoch
            cfg.data.steps_per_epoch = max(fewer, least)
    return cfg


def make_trainer(settings: DictConfig, loggers: list[Any], callbacks: list[Any], origin: Origin) -> L.Trainer:
    """Returns the trainer, which writes and reads checkpoints by `CheckpointIO`."""
    state = CheckpointIO(lambda path: read_state(origin.resume))  # type: ignore[arg-type]
    plugins = [*(instantiate(settings.get("plugins")) or ()), state]
    return instantiate(settings, logger=loggers, callbacks=callbacks, plugins=plugins)
