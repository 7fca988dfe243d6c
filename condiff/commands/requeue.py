"""A SLURM job that was requeued: the same command again in the same folder, which continues the run in it."""

import copy
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from condiff.checkpoint import Checkpoint
from condiff.configuration import without_paths
from condiff.errors import InputError

log = logging.getLogger(__name__)


def is_restarted() -> bool:
    """Whether SLURM has started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0


def stored_before(folder: Path) -> Path | None:
    """Returns the newest checkpoint in the folder of a run, if the job is restarted.

    Lightning stores ``hpc_ckpt_1.ckpt``, ``hpc_ckpt_2.ckpt`` and so on before it requeues a job.
    """
    stored = [*folder.glob("hpc_ckpt_*.ckpt"), *folder.glob("checkpoints/last.ckpt")] if is_restarted() else []
    return max(stored, key=lambda path: path.stat().st_mtime, default=None)


def continued(cfg: DictConfig) -> tuple[DictConfig, bool]:
    """Returns the configuration of a run, and whether the run is that of a requeued job, which resumes what is in its folder."""
    folder = Path(cfg.run)
    path = stored_before(folder)
    if path is None:
        if is_restarted() and not any(folder.glob("**/*.ckpt")):  # of the first stage, either
            log.info("requeued: no checkpoint in %s, so it starts again; hydra.run.dir= keeps the folder of a job", folder)
        return cfg, False
    log.info("requeued: continues %s", path)
    cfg = copy.deepcopy(cfg)
    cfg.resume, cfg.init = str(path), cfg.init and str(path)  # the network is that of the checkpoint, whatever init= was
    return cfg, True


def demand_same_words(checkpoint: Checkpoint, words: Sequence[str]) -> None:
    """Raises InputError if a checkpoint was stored by a command with other words. Words with a path are not compared."""
    different = set(checkpoint.config["overrides"]) ^ set(without_paths(list(words)))
    if different:
        raise InputError(
            f"{checkpoint.path}: the command that stored it differs in {' '.join(sorted(different))}; a requeued job continues "
            "its own run, so choose another hydra.run.dir"
        )
