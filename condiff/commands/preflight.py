"""Pre-flight checks of train.py: each raises InputError if the command is bound to fail."""

import logging
import math
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from condiff.checkpoint import Checkpoint, run_folder
from condiff.commands.cli import overrides
from condiff.commands.resume import setting
from condiff.configuration import plain
from condiff.errors import InputError, command, counted
from condiff.progress import is_first_process
from condiff.sampling.batch import check_clamp
from condiff.training.build import Origin, demand_trainable
from condiff.training.resumed_state import epochs_done, read_state

PRECISIONS = ("32-true", "32", "16-mixed", "16", "bf16-mixed", "bf16")
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
RATE_NOTE = "; the learning rate then follows the schedule of the new total, and rises again"
FIXED_KEYS = ("model.optimizer._target_", "data.contrasts", "data.steps_per_epoch")  # of a run that is resumed
log = logging.getLogger(__name__)


def check(cfg: DictConfig, origin: Origin) -> None:
    """Runs all pre-flight checks."""
    check_folder(Path(cfg.run), cfg.resume)
    check_trainer(cfg.trainer)
    check_resume(cfg, origin.resume)
    check_objective(cfg.objective, OmegaConf.select(cfg, "callbacks.evaluation.every_n_epochs", default=0))
    check_guidance(cfg.guidance)
    check_data(cfg.data)
    if cfg.first and not (origin.resume or origin.init):
        check_second_stage(cfg, origin.autoencoder)


def check_folder(folder: Path, resumed: str | None) -> None:
    """Refuses a folder that holds another run. A run may be resumed in its own folder."""
    last = folder / "checkpoints/last.ckpt"
    resumes_here = resumed and run_folder(resumed) == folder.resolve()
    if is_first_process() and last.is_file() and not resumes_here:
        key = "hydra.sweep.dir" if HydraConfig.get().mode == RunMode.MULTIRUN else "hydra.run.dir"
        raise InputError(f"{key}: {folder} holds a run; continue it, resume='{last}', or choose another folder")


def check_trainer(trainer: DictConfig) -> None:
    """Refuses precisions and strategies that EMA and checkpoints do not support."""
    precision, strategy = trainer.precision, trainer.get("strategy", "auto")
    if not OmegaConf.is_config(precision) and str(precision) not in PRECISIONS:
        raise InputError(
            f"trainer.precision={precision}: weights are kept in 32 bits; choose 32-true, 16-mixed or bf16-mixed, "
            "or leave it out for the fastest here"
        )
    if isinstance(strategy, str) and strategy not in STRATEGIES:
        raise InputError(f"trainer.strategy={strategy}: each process must hold the whole model; choose {' or '.join(STRATEGIES)}")


def check_resume(cfg: DictConfig, checkpoint: Checkpoint | None) -> None:
    """Refuses to resume a finished run, or one with other optimizer or contrasts."""
    if checkpoint is None:
        return
    content = read_state(checkpoint)
    if end := finished(cfg, checkpoint):
        number, unit = end
        raise InputError(
            f"resume={cfg.resume}: is finished after {counted(number, unit)}; "
            f"to train longer give trainer.max_{unit}s={2 * number}{RATE_NOTE}"
        )
    rates = (override.key_or_group for override in overrides())  # part of the state of the optimizer
    for key in (*FIXED_KEYS, *(rate for rate in rates if rate.startswith("model.optimizer."))):
        trained, requested = setting(content["hyper_parameters"], key), plain(OmegaConf.select(cfg, key))
        if trained != requested:
            raise InputError(
                f"resume={cfg.resume}: was trained with {key}={trained}, not {requested}; leave {key} out, or start a new run"
            )


def finished(cfg: DictConfig, checkpoint: Checkpoint) -> tuple[int, str] | None:
    """Returns the epochs or the steps after which the run of a checkpoint is finished, and their unit; None if it is not."""
    content = read_state(checkpoint)
    done, step = epochs_done(content), content["global_step"]
    if done >= epochs_of(cfg.trainer, content["hyper_parameters"]):
        return done, "epoch"
    return (step, "step") if 0 <= cfg.trainer.get("max_steps", -1) <= step else None


def epochs_of(trainer: DictConfig, trained: Any) -> float:
    """Returns the number of epochs of a run; where it is left open that of its checkpoint, infinity if there is none."""
    epochs = setting(trained, "trainer.max_epochs") if OmegaConf.is_dict(trainer.max_epochs) else trainer.max_epochs
    return epochs if isinstance(epochs, int) else math.inf


def check_objective(objective: str, interval: int) -> None:
    """Refuses an objective that is not measured."""
    if objective.startswith("quality/") and interval < 1:
        raise InputError(f"objective={objective}: needs callbacks.evaluation.every_n_epochs, at least 1, not {interval}")


def check_guidance(guidance: DictConfig) -> None:
    """Refuses guidance by earlier weights of the run, which do not exist yet."""
    if "weaker" in guidance:
        use = f"{command('sample')} and {command('evaluate')}"
        raise InputError(f"guidance=autoguidance: guides a trained model by its earlier weights; use it in {use}")


def check_data(data: DictConfig) -> None:
    """Warns if an experiment for fastMRI would run on the phantom."""
    experiment = HydraConfig.get().runtime.choices.get("experiment") or ""
    if "brain" in experiment and "phantom" in data._target_.lower():
        log.warning(
            "experiment=%s: trains on the phantom; for scans add data=fastmri or data=bids, and data.root=DIR", experiment
        )
    if data.get("site") and "Acquisition" not in data.conditioning._target_:
        log.warning("data.site=%s: is a condition of model=acquisition alone; without it it changes nothing", data.site)


def check_second_stage(cfg: DictConfig, autoencoder: Checkpoint | None) -> None:
    """Checks the second stage of a latent model before the first is trained."""
    demand_trainable(cfg.codec)
    data = instantiate(cfg.data)
    channels, conditioning = data.spec.shape[0], data.spec.conditioning
    check_clamp(instantiate(cfg.clamp), channels, is_latent=True)
    codec = autoencoder.codec() if autoencoder else instantiate(cfg.codec, image_channels=channels)
    shape = codec.shape(data.spec.shape)
    fields = {"fields": list(conditioning.fields)} if OmegaConf.is_missing(cfg.net, "fields") else {}
    net = instantiate(cfg.net, image_channels=shape[0], cond_dim=conditioning.dim, **fields)
    try:
        with torch.no_grad():
            net(torch.zeros(1, *shape), torch.zeros(1), torch.zeros(1, conditioning.dim))
    except InputError as reason:
        sides = " x ".join(map(str, data.spec.shape[1:]))
        raise InputError(
            f"data: images of {sides} have codes of {shape[1]} x {shape[2]}, which the network refuses: {reason}; give images of "
            "other sides (data.downsample, data.matrix, data.phantom.matrix), or a network of fewer levels (net.channels)"
        ) from None
    instantiate(cfg.schedule).steps(cfg.sampler.steps)
    instantiate(cfg.guided)(net)
