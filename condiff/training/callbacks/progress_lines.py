"""Progress of a training: bars in a terminal, lines in a file. Epochs count from 1."""

import logging
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

from condiff import progress

log = logging.getLogger(__name__)


def bars_or_lines(refresh_rate: int, interval: float = progress.INTERVAL) -> ProgressBar:
    """Returns `ProgressBars` if the output is a terminal, else `ProgressLines`.

    Args:
        refresh_rate: of bars, in steps.
        interval: of lines, in seconds.
    """
    return ProgressBars(refresh_rate) if progress.is_terminal() else ProgressLines(interval)


class ProgressBars(RichProgressBar):
    """Lightning's progress bars, with epochs counted from 1."""

    def _get_train_description(self, current_epoch: int) -> str:
        last = self.trainer.max_epochs
        text = f"Epoch {current_epoch + 1}" + (f"/{last}" if last and last > 0 else "")
        return text.ljust(len(self.validation_description))


class ProgressLines(ProgressBar):
    """Logs a line after every validation and every ``interval`` seconds: epoch, step, losses, images per second, time left.

    ``train.log`` holds these lines, too.
    """

    def __init__(self, interval: float = progress.INTERVAL):
        super().__init__()
        self.interval = interval

    def disable(self) -> None:
        """Does nothing: `_log_line` logs on the first process alone."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begin = self._latest = time.monotonic()
        self._first = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if time.monotonic() - self._latest >= self.interval:
            self._log_line(trainer, pl_module)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if not trainer.sanity_checking and time.monotonic() - self._latest >= self.interval:
            self._log_line(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._log_line(trainer, pl_module)

    def _log_line(self, trainer: Any, pl_module: L.LightningModule) -> None:
        self._latest = time.monotonic()
        if not trainer.is_global_zero:
            return
        epochs, steps = trainer.max_epochs, trainer.estimated_stepping_batches
        speed = trainer.callback_metrics.get("train/images_per_second")
        parts = [
            f"epoch {trainer.current_epoch + 1}" + (f"/{epochs}" if epochs and epochs > 0 else ""),
            f"step {trainer.global_step}" + (f"/{steps}" if steps < float("inf") else ""),
            *(f"{name} {value:.4g}" for name, value in self.get_metrics(trainer, pl_module).items() if isinstance(value, float)),
            "" if speed is None else f"{float(speed):.3g} images/s",
            progress.time_left(self._latest - self._begin, trainer.global_step - self._first, steps - self._first),
        ]
        log.info("%s", "  ".join(part for part in parts if part))
