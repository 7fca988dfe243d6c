"""Train a diffusion model: python train.py [data=…] [model=…] [schedule=…] [trainer.devices=…] [experiment=…]."""

import logging
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint import checkpoint
from condiff.commands import resume
from condiff.commands.cli import check_clamp, entry, plain
from condiff.commands.explain import is_memory
from condiff.commands.preflight import (
    check_data,
    check_folder,
    check_guidance,
    check_objective,
    check_resume,
    check_second_stage,
    check_trainer,
    epochs_done,
    field,
)
from condiff.commands.run_folder import claimed
from condiff.errors import InputError, NotANumber
from condiff.training.build import OTHER, adopt, begin
from condiff.training.callbacks import Stopped
from condiff.training.callbacks.lost_process import LOST, is_lost
from condiff.training.checkpoint_io import CheckpointIO

RESTORING = (TypeError, LookupError, ValueError, RuntimeError, AttributeError, ArithmeticError, AssertionError)
CODEC = ("latent_channels", "channels", "blocks", "patch")
SHARED = ("data", "codec", "trainer", "logger", "averaging", "name", "seed", "compile")  # by both stages
DATA = ("matrix", "downsample", "transform", "contrasts", "select", "volumes_per_contrast", "held_out_per_contrast")
MODEL = ("weights", "perceptual._target_", "discriminator._target_", "warmup", "crop")
ALIKE = "seed", *(f"data.{n}" for n in DATA), *(f"codec.{n}" for n in CODEC), *(f"model.{n}" for n in MODEL)
log = logging.getLogger(__name__)


@entry("train", resume.command_line)
def main(cfg: DictConfig) -> float | None:
    with claimed(Path(cfg.run)):
        check(cfg)
        cfg.overrides = [word for word in HydraConfig.get().overrides.task if not word.startswith(("resume=", "trust="))]
        if "autoencoder" in cfg.model and not (cfg.resume or cfg.init):
            check_second_stage(cfg)
            cfg.model.autoencoder = cfg.model.autoencoder or first_stage(cfg)
            if cfg.model.autoencoder is None:
                return math.inf
        return train(cfg)


def check(cfg: DictConfig) -> None:
    """Raise InputError for what can be known before anything is spent."""
    check_folder(cfg)
    check_trainer(cfg)
    check_resume(cfg)
    check_objective(cfg)
    check_guidance(cfg)
    check_data(cfg)


def first_stage(cfg: DictConfig) -> str | None:
    """The autoencoder that a latent model needs: trained as ``first`` says, on the same data, into RUN/autoencoder.

    None where it diverged. What a folder that was chosen holds of it is gone on with. Raises InputError where that is another's.
    """
    folder, wanted = Path(cfg.run) / "autoencoder", plain(cfg.first)
    ckpt = folder / "checkpoints/last.ckpt"
    first = compose("train", [f"{group}={choice}" for group, choice in wanted.items() if isinstance(choice, str)])
    for key in SHARED:
        first[key] = cfg[key]
    first.merge_with({key: fields for key, fields in wanted.items() if not isinstance(fields, str)})
    first.run, first.overrides = str(folder), list(cfg.overrides)
    if ckpt.is_file():
        content = checkpoint.read(ckpt)
        for key in ALIKE:
            there, asked = field(content["hyper_parameters"], key), plain(OmegaConf.select(first, key))
            if there != asked:
                raise InputError(f"{ckpt}: was trained with {key}={there}, not {asked}; delete it, or give another hydra.run.dir")
        if epochs_done(resume.state(content, ckpt)) >= first.trainer.max_epochs:
            log.info("first stage: done before, %s", ckpt)
            return str(ckpt)
        first.resume = str(ckpt)
    log.info("first stage: %s autoencoder, in %s", "on with the" if first.resume else "the", folder)
    again = shlex.join([*cfg.overrides, f"hydra.run.dir={cfg.run}"])
    if train(first, again) == math.inf:
        return None
    log.info("second stage: the model of its codes")
    found = [str(ckpt)]
    if torch.distributed.is_initialized():  # processes that a cluster starts may each have another time in their folder's name
        torch.distributed.broadcast_object_list(found)
    return found[0]


def train(cfg: DictConfig, again: str | None = None) -> float | None:
    """One stage, as its configuration says; what is logged last of what a sweep minimises.

    Where a signal stops it, ``again`` are the arguments to go on with; by default those that resume its last checkpoint.
    """
    L.seed_everything(cfg.seed % 2**32, verbose=False)
    adopt(cfg)
    data = instantiate(cfg.data)
    check_clamp(cfg, data.transform.shape[0], latent="autoencoder" in cfg.model)
    data.prepare_data()
    data.setup()
    plugins = [*(instantiate(cfg.trainer.get("plugins")) or ()), CheckpointIO(resume.state_of)]
    trainer = instantiate(cfg.trainer, logger=parts(cfg.logger), callbacks=parts(cfg.callbacks), plugins=plugins)
    system = begin(cfg, data, trainer.strategy.root_device)
    system.save_hyperparameters(checkpoint.portable(plain(cfg)))
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
            remedy = f"go on with: python train.py {words}" if words else "there is no checkpoint yet"
            print(f"{stopped.reason}; {remedy}", file=sys.stderr)
        raise
    if trainer.is_global_zero:
        print(f"run         {cfg.run}\ncheckpoint  {cfg.run}/checkpoints/last.ckpt")
        for title, name in (("samples", "samples.png"), ("animation", "denoising.gif")):
            if (Path(cfg.run) / "samples" / name).is_file():
                print(f"{title:12}{cfg.run}/samples/{name}")
        asked = HydraConfig.get().overrides.task
        if HydraConfig.get().mode == RunMode.MULTIRUN or any(word.startswith("objective=") for word in asked):
            return measured(trainer, cfg.objective)
    return None


class Steps(L.Callback):
    """Whether the training has begun: until its first step has ended, what fails is the state that it was resumed from."""

    taken = False

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.begun = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.taken = trainer.global_step > self.begun  # gradients may be accumulated


def fit(trainer: L.Trainer, system: L.LightningModule, data: L.LightningDataModule, ckpt: str | None) -> None:
    """Train. Raises InputError where a process is lost, or what is to be resumed does not fit."""
    steps = Steps()
    trainer.callbacks.append(steps)  # type: ignore[attr-defined]
    try:
        trainer.fit(system, data, ckpt_path=ckpt, weights_only=True)
    except RESTORING as error:
        if is_lost(error):
            raise InputError(LOST) from None
        if is_memory(error):
            raise
        if isinstance(error, InputError) or steps.taken or not ckpt:
            raise
        reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise InputError(OTHER.format(ckpt=ckpt, reason=reason)) from error


def measured(trainer: L.Trainer, objective: str) -> float:
    """The last value of what a sweep minimises. Raises InputError where nothing of that name was logged."""
    if objective not in trainer.callback_metrics:
        there = ", ".join(sorted(trainer.callback_metrics))
        raise InputError(f"objective={objective}: was not measured; there are {there}. The run is whole, and in its folder")
    return float(trainer.callback_metrics[objective])


def parts(group: DictConfig) -> list:
    """What is there; an experiment may have words for a callback that is not."""
    return [instantiate(part) for part in group.values() if "_target_" in part]
