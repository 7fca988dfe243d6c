"""A SLURM job that was requeued: the same command again in the same folder, which continues the run in it."""

import copy
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

log = logging.getLogger(__name__)


def stored_before(folder: Path) -> Path | None:
    """Returns the newest checkpoint in the folder of a run that a requeued job continues; None if the job is not requeued.

    Lightning stores ``hpc_ckpt_1.ckpt``, ``hpc_ckpt_2.ckpt`` and so on before it requeues a job.
    """
    stored = [*folder.glob("hpc_ckpt_*.ckpt")]
    if stored or is_restarted():
        stored += folder.glob("checkpoints/last.ckpt")
    return max(stored, key=lambda path: path.stat().st_mtime, default=None)


def is_restarted() -> bool:
    """Whether SLURM has started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0


def continued(cfg: DictConfig, words: Sequence[Override]) -> tuple[DictConfig, Sequence[Override]]:
    """Returns the configuration of a run, and the words of the command line that change what its checkpoint says.

    In a requeued job these are those of the run that it continues; no word changes it, because it was begun with the same words.
    """
    path = stored_before(Path(cfg.run)) if is_restarted() or not cfg.resume else None
    if path is None:
        if is_restarted():
            log.info("requeued: no checkpoint in %s, so it starts again; hydra.run.dir= keeps the folder of a job", cfg.run)
        return cfg, words
    log.info("requeued: continues %s", path)
    cfg = copy.deepcopy(cfg)
    cfg.resume, cfg.init = str(path), cfg.init and str(path)  # the network is that of the checkpoint, whatever init= was
    return cfg, ()
