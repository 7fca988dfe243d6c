"""Train a diffusion model: python train.py [data=…] [model=…] [schedule=…] [trainer.devices=…] [experiment=…]."""

import logging
import math
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from condiff.commands import preflight, requeue, resume
from condiff.commands.cli import entry, overrides
from condiff.commands.first_stage import first_stage
from condiff.commands.run_folder import claim_folder, print_run_files
from condiff.errors import NotANumber, command
from condiff.progress import is_first_process
from condiff.training.build import Origin
from condiff.training.callbacks import Stopped
from condiff.training.fit import last_value, stored_value
from condiff.training.stage import train_stage

log = logging.getLogger(__name__)


@entry("train", resume.command_line)
def main(cfg: DictConfig) -> float | None:
    """Returns the last value of ``objective`` in a sweep or if it is given; else None."""
    folder, is_sweep = Path(cfg.run), HydraConfig.get().mode == RunMode.MULTIRUN
    with claim_folder(folder):
        cfg, is_requeued = requeue.continued(cfg)
        origin = Origin.of(cfg.resume, cfg.init, OmegaConf.select(cfg, "model.autoencoder"), cfg.trust)
        stored = origin.resume if is_requeued else None
        if stored:
            requeue.demand_same_words(stored, cfg.overrides)
        cfg = resume.with_trained_settings(cfg, origin.resume, () if stored else overrides())
        if stored and preflight.finished(cfg, stored):
            log.info("requeued: the run is finished")
            if is_first_process():
                print_run_files(folder)
            return stored_value(folder, cfg.objective)
        preflight.check(cfg, origin)
        try:
            if cfg.first and not any(origin):
                origin = Origin(autoencoder=first_stage(cfg))
            trainer = train_stage(cfg, origin)
        except NotANumber as diverged:
            if not is_sweep:
                raise
            log.error("%s", diverged)  # a sweep continues
            return math.inf
        except Stopped as stopped:
            if is_first_process():
                arguments = stopped.resume_arguments
                remedy = f"continue with: {command('train')} {arguments}" if arguments else "there is no checkpoint yet"
                remedy = "its job is requeued, and continues" if stopped.is_requeued else remedy
                print(f"{stopped.reason}; {remedy}", file=sys.stderr)
            raise
        if not trainer.is_global_zero:
            return None
        print_run_files(folder)
        is_requested = any(word.startswith("objective=") for word in HydraConfig.get().overrides.task)
        return last_value(trainer, cfg.objective) if is_requested or is_sweep else None
