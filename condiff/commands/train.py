"""Train a diffusion model: python train.py [data=…] [model=…] [schedule=…] [trainer.devices=…] [experiment=…]."""

import logging
import math
import shlex
import sys
from pathlib import Path

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from condiff.commands import preflight, resume
from condiff.commands.cli import entry, instantiate_group
from condiff.commands.first_stage import first_stage
from condiff.commands.run_folder import claimed
from condiff.configuration import plain
from condiff.errors import NotANumber, command
from condiff.sampling import check_clamp
from condiff.training.build import Origin, portable, with_conditioning
from condiff.training.callbacks import Stopped
from condiff.training.checkpoint_io import CheckpointIO
from condiff.training.fit import fit, last_value
from condiff.training.resumed_state import read_state

log = logging.getLogger(__name__)


@entry("train", resume.command_line)
def main(cfg: DictConfig) -> float | None:
    with claimed(Path(cfg.run)):
        origin = Origin.of(cfg)
        preflight.check(cfg, origin)
        if cfg.first and not any(origin):
            autoencoder = first_stage(cfg, train)
            if autoencoder is None:
                return math.inf
            origin = Origin(autoencoder=autoencoder)
        return train(cfg, origin)


def train(cfg: DictConfig, origin: Origin, again: str = "") -> float | None:
    """One stage, as its configuration says; the last value of what a sweep minimises.

    Where a signal stops it, ``again`` are the arguments to go on with; by default those that resume its last checkpoint.
    """
    L.seed_everything(cfg.seed % 2**32, verbose=False)
    cfg = with_conditioning(cfg, origin)
    data = instantiate(cfg.data)
    check_clamp(instantiate(cfg.clamp), data.spec.shape[0], is_latent=bool(cfg.first))
    data.prepare_data()
    data.setup()
    state = CheckpointIO(lambda path: read_state(origin.resume.content, path))  # type: ignore[union-attr]
    plugins = [*(instantiate(cfg.trainer.get("plugins")) or ()), state]
    callbacks, loggers = instantiate_group(cfg.callbacks), instantiate_group(cfg.logger)
    trainer = instantiate(cfg.trainer, logger=loggers, callbacks=callbacks, plugins=plugins)
    cfg, system = instantiate(cfg.build)(cfg, origin, data, trainer.strategy.root_device)
    check_clamp(instantiate(cfg.clamp), data.spec.shape[0], system.is_latent)
    system.save_hyperparameters(portable(plain(cfg)))
    if cfg.compile:
        for network in system.networks:
            network.compile()
    if trainer.is_global_zero:
        Path(cfg.run).mkdir(parents=True, exist_ok=True)
        OmegaConf.save(cfg, Path(cfg.run) / "config.yaml", resolve=True)
        data.split().save(Path(cfg.run) / "splits.csv")
    try:
        fit(trainer, system, data, cfg.resume)
    except NotANumber as diverged:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            raise
        log.error("%s", diverged)  # a sweep goes on
        return math.inf
    except Stopped as stopped:
        if trainer.is_global_zero:
            words = again or (stopped.stored and shlex.quote(f"resume={stopped.stored}"))
            remedy = f"go on with: {command('train')} {words}" if words else "there is no checkpoint yet"
            print(f"{stopped.reason}; {remedy}", file=sys.stderr)
        raise
    return report(cfg, trainer) if trainer.is_global_zero else None


def report(cfg: DictConfig, trainer: L.Trainer) -> float | None:
    """Say where the run's files are; the objective where one is asked for."""
    print(f"run         {cfg.run}\ncheckpoint  {cfg.run}/checkpoints/last.ckpt")
    for title, name in (("samples", "samples.png"), ("animation", "denoising.gif")):
        if (Path(cfg.run) / "samples" / name).is_file():
            print(f"{title:12}{cfg.run}/samples/{name}")
    asked = any(word.startswith("objective=") for word in HydraConfig.get().overrides.task)
    return last_value(trainer, cfg.objective) if asked or HydraConfig.get().mode == RunMode.MULTIRUN else None
