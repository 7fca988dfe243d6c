"""Weights & Biases as a logger that never asks and never hangs."""

import os
from collections.abc import Mapping
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from condiff.training.csv_logger import counted_from_one


class Wandb(WandbLogger):
    """Lightning's W&B logger: offline where nobody is logged in; its run ends with the training.

    A run left open would swallow the next job of a multirun. WANDB_MODE, where set, is obeyed.
    """

    def __init__(self, **settings):
        offline = "WANDB_MODE" not in os.environ and not _logged_in()
        # not Lightning's offline=True, which refuses log_model; W&B keeps artifacts offline too
        super().__init__(**settings | ({"mode": "offline"} if offline else {}))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        super().log_metrics(*counted_from_one(metrics, step))

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)


def _logged_in() -> bool:
    try:
        return wandb.login(prompt=False)
    except wandb.errors.Error:  # nobody is, and nobody was asked
        return False
