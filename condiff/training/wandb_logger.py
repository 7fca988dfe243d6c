"""Weights & Biases logger without prompts."""

import os
from collections.abc import Mapping
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from condiff.training.csv_logger import counted_from_one


class Wandb(WandbLogger):
    """Lightning's W&B logger: offline if not logged in, unless WANDB_MODE is set. Its run ends with the training.

    An open run would receive the metrics of the next job of a multirun.
    """

    def __init__(self, **settings):
        offline = "WANDB_MODE" not in os.environ and not _logged_in()
        # Lightning's offline=True refuses log_model, but W&B stores artifacts offline, too
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
    except wandb.errors.Error:  # not logged in; no prompt was shown
        return False
