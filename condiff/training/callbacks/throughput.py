"""Throughput of a training."""

import time
from typing import Any

import lightning as L
from torch.optim import Optimizer


class Throughput(L.Callback):
    """Logs ``train/learning_rate``, ``train/seconds`` of training (resumed runs add up), and ``train/images_per_second``.

    The latter is the mean since the last log, without the time of validation.
    """

    def __init__(self) -> None:
        self.seconds = 0.0  # of earlier runs that this one resumes
        self._begin = self._since = time.monotonic()
        self._rate = 0.0
        self._images = self._step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begin = self._since = time.monotonic()
        self._step = trainer.global_step

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        self._rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: Any, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        self._images += len(outputs["losses"]) * trainer.world_size
        if trainer.global_step == self._step or trainer.global_step % trainer.log_every_n_steps:  # gradients may be accumulated
            return
        now = time.monotonic()
        speed = self._images / max(now - self._since, 1e-9)
        metrics = {"learning_rate": self._rate, "seconds": self.elapsed, "images_per_second": speed}
        pl_module.log_dict({f"train/{name}": float(value) for name, value in metrics.items()})
        self._since, self._images, self._step = now, 0, trainer.global_step

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._pause = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._since += time.monotonic() - self._pause

    @property
    def elapsed(self) -> float:
        """Seconds of training, earlier runs included."""
        return self.seconds + time.monotonic() - self._begin

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.elapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]
