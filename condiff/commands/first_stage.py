"""Training of the autoencoder of a latent model, by the same command."""

import logging
import shlex
from pathlib import Path

import torch
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint import Checkpoint
from condiff.commands.preflight import epochs_of
from condiff.commands.requeue import stored_before
from condiff.commands.resume import setting
from condiff.commands.run_folder import print_run_files
from condiff.configuration import plain
from condiff.errors import InputError
from condiff.training.build import Origin
from condiff.training.callbacks import Stopped
from condiff.training.resumed_state import epochs_done, read_state
from condiff.training.stage import train_stage

CODEC_FIELDS = ("latent_channels", "channels", "blocks", "patch")
SHARED_GROUPS = ("data", "codec", "trainer", "logger", "averaging", "name", "seed", "compile")  # of both stages
DATA_FIELDS = ("matrix", "downsample", "transform", "contrasts", "select", "volumes_per_contrast", "held_out_per_contrast")
MODEL_FIELDS = ("weights", "perceptual._target_", "discriminator._target_", "warmup", "crop")
EQUAL_KEYS = (
    "seed",
    *(f"data.{field}" for field in DATA_FIELDS),
    *(f"codec.{field}" for field in CODEC_FIELDS),
    *(f"model.{field}" for field in MODEL_FIELDS),
)
log = logging.getLogger(__name__)


def first_stage(cfg: DictConfig) -> Checkpoint:
    """Returns the autoencoder, trained with the options under ``first`` on the same data, into RUN/autoencoder.

    An unfinished training in that folder is resumed.

    Raises:
        InputError: the autoencoder in the folder was trained with other settings.
        NotANumber, Stopped: as `train_stage` does; the same command continues.
    """
    folder = Path(cfg.run) / "autoencoder"
    first = _composed(cfg, folder)
    last, origin = folder / "checkpoints/last.ckpt", Origin()
    stored = stored_before(folder) or last
    if stored.is_file():
        before = Checkpoint.read(stored)
        _demand_alike(before, first)
        if epochs_done(read_state(before)) >= epochs_of(first.trainer, before.config):
            log.info("first stage: already trained, %s", stored)
            return before
        first.resume, origin = str(stored), Origin(resume=before)
    log.info("first stage: %s autoencoder, in %s", "resuming the" if first.resume else "the", folder)
    try:
        trainer = train_stage(first, origin)
    except Stopped as stopped:
        stopped.resume_arguments = shlex.join([*cfg.overrides, f"hydra.run.dir={cfg.run}"])
        raise
    if trainer.is_global_zero:
        print_run_files(folder)
    log.info("second stage: the model of its codes")
    path = [str(last)]
    if torch.distributed.is_initialized():  # processes of a cluster may have different times in their folder names
        torch.distributed.broadcast_object_list(path)
    return Checkpoint.read(path[0], cfg.trust)


def _composed(cfg: DictConfig, folder: Path) -> DictConfig:
    """Returns the configuration of the first stage: groups shared by both stages, overridden by ``first``."""
    first_settings = plain(cfg.first)
    first = compose("train", [f"{group}={choice}" for group, choice in first_settings.items() if isinstance(choice, str)])
    for key in SHARED_GROUPS:
        first[key] = cfg[key]
    first.merge_with({key: fields for key, fields in first_settings.items() if not isinstance(fields, str)})
    first.run = str(folder)
    return first


def _demand_alike(before: Checkpoint, first: DictConfig) -> None:
    for key in EQUAL_KEYS:
        old, new = setting(before.config, key), plain(OmegaConf.select(first, key))
        if old != new:
            raise InputError(f"{before.path}: was trained with {key}={old}, not {new}; delete it, or give another hydra.run.dir")
