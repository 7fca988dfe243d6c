"""Runs one stage of training from its configuration: data, trainer, system, files of the run, fit."""

from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint.run import run_folder
from condiff.configuration import instantiate_group, without_paths
from condiff.sampling.batch import check_clamp
from condiff.training.build import Origin, reuse_conditioning
from condiff.training.checkpoint_io import CheckpointIO
from condiff.training.csv_logger import copy_earlier_rows
from condiff.training.fit import fit
from condiff.training.resumed_state import read_state


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
    trainer = make_trainer(cfg.trainer, instantiate_group(cfg.logger), instantiate_group(cfg.callbacks), origin)
    resolved, system = instantiate(cfg.build)(cfg, origin, data, trainer.strategy.root_device)
    check_clamp(clamp, data.spec.shape[0], system.is_latent)
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


def make_trainer(settings: DictConfig, loggers: list[Any], callbacks: list[Any], origin: Origin) -> L.Trainer:
    """Returns the trainer, which writes and reads checkpoints by `CheckpointIO`."""
    state = CheckpointIO(lambda path: read_state(origin.resume))  # type: ignore[arg-type]
    plugins = [*(instantiate(settings.get("plugins")) or ()), state]
    return instantiate(settings, logger=loggers, callbacks=callbacks, plugins=plugins)
