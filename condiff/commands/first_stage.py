"""The autoencoder that a latent model needs, trained by the same command before it."""

import logging
import shlex
from pathlib import Path

import torch
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint import Checkpoint
from condiff.commands.preflight import field
from condiff.commands.run_folder import show
from condiff.configuration import plain
from condiff.errors import InputError
from condiff.training.build import Origin
from condiff.training.callbacks import Stopped
from condiff.training.resumed_state import epochs_done, read_state
from condiff.training.stage import train_stage

CODEC = ("latent_channels", "channels", "blocks", "patch")
SHARED = ("data", "codec", "trainer", "logger", "averaging", "name", "seed", "compile")  # by both stages
DATA = ("matrix", "downsample", "transform", "contrasts", "select", "volumes_per_contrast", "held_out_per_contrast")
MODEL = ("weights", "perceptual._target_", "discriminator._target_", "warmup", "crop")
ALIKE = "seed", *(f"data.{n}" for n in DATA), *(f"codec.{n}" for n in CODEC), *(f"model.{n}" for n in MODEL)
log = logging.getLogger(__name__)


def first_stage(cfg: DictConfig) -> Checkpoint:
    """The autoencoder: trained as ``first`` says, on the same data, into RUN/autoencoder.

    A folder that was given may hold a part of it, which is resumed.

    Raises:
        InputError: that part was trained otherwise.
        NotANumber, Stopped: as `train_stage` does; the same command goes on.
    """
    folder = Path(cfg.run) / "autoencoder"
    first = _composed(cfg, folder)
    last, origin = folder / "checkpoints/last.ckpt", Origin()
    if last.is_file():
        before = Checkpoint.read(last)
        _demand_alike(before, first)
        if epochs_done(read_state(before.content, last)) >= first.trainer.max_epochs:
            log.info("first stage: done before, %s", last)
            return before
        first.resume, origin = str(last), Origin(resume=before)
    log.info("first stage: %s autoencoder, in %s", "resuming the" if first.resume else "the", folder)
    try:
        trainer = train_stage(first, origin)
    except Stopped as stopped:
        stopped.again = shlex.join([*cfg.overrides, f"hydra.run.dir={cfg.run}"])
        raise
    if trainer.is_global_zero:
        show(folder)
    log.info("second stage: the model of its codes")
    path = [str(last)]
    if torch.distributed.is_initialized():  # processes that a cluster starts may each have another time in their folder's name
        torch.distributed.broadcast_object_list(path)
    return Checkpoint.read(path[0], cfg.trust)


def _composed(cfg: DictConfig, folder: Path) -> DictConfig:
    """The configuration of the first stage: what both share, and over it what ``first`` says."""
    own = plain(cfg.first)
    first = compose("train", [f"{group}={choice}" for group, choice in own.items() if isinstance(choice, str)])
    for key in SHARED:
        first[key] = cfg[key]
    first.merge_with({key: fields for key, fields in own.items() if not isinstance(fields, str)})
    first.run = str(folder)
    return first


def _demand_alike(before: Checkpoint, first: DictConfig) -> None:
    for key in ALIKE:
        old, new = field(before.config, key), plain(OmegaConf.select(first, key))
        if old != new:
            raise InputError(f"{before.path}: was trained with {key}={old}, not {new}; delete it, or give another hydra.run.dir")
