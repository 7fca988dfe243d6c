"""Runs Lightning's fit; one-line errors for a state that cannot be resumed and for a lost process."""

from pathlib import Path
from typing import Any

import lightning as L

from condiff.errors import InputError, is_memory
from condiff.training.build import MISMATCH
from condiff.training.callbacks.lost_process import LOST_PROCESS, is_lost
from condiff.training.csv_logger import read

RESTORING = (TypeError, LookupError, ValueError, RuntimeError, AttributeError, ArithmeticError, AssertionError)


class Steps(L.Callback):
    """Records whether a step was taken: an error before it is caused by the state that was resumed."""

    has_stepped = False

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.first_step = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.has_stepped = trainer.global_step > self.first_step  # gradients may be accumulated


def fit(trainer: L.Trainer, system: L.LightningModule, data: L.LightningDataModule, ckpt: str | None) -> None:
    """Trains the system. Raises InputError if a process is lost, or the checkpoint to resume does not fit."""
    steps = Steps()
    trainer.callbacks.append(steps)  # type: ignore[attr-defined]
    try:
        trainer.fit(system, data, ckpt_path=ckpt, weights_only=True)
    except RESTORING as error:
        if is_lost(error):
            raise InputError(LOST_PROCESS) from None
        if is_memory(error):
            raise
        if isinstance(error, InputError) or steps.has_stepped or not ckpt:
            raise
        reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise InputError(MISMATCH.format(ckpt=ckpt, reason=reason)) from error


def stored_value(folder: Path, objective: str) -> float | None:
    """Returns the last value of a metric in the table of the validations of a run; None without one."""
    values = [row[objective] for row in read(folder / "metrics_validation.csv") if row.get(objective)]
    return float(values[-1]) if values else None


def last_value(trainer: L.Trainer, objective: str) -> float:
    """Returns the last value of a metric. Raises InputError if it was not logged."""
    if objective not in trainer.callback_metrics:
        names = ", ".join(sorted(trainer.callback_metrics))
        raise InputError(f"objective={objective}: was not measured; there are {names}. The run itself is complete")
    return float(trainer.callback_metrics[objective])
