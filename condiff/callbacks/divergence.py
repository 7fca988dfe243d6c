"""A training that has diverged stops, and says where."""

from typing import Any

import lightning as L
from torch import Tensor

from condiff.errors import NotANumber


class StopAtNaN(L.Callback):
    """Raises NotANumber where the loss is not a number, naming the step and the noise level it happened at.

    It looks back whenever metrics are logged, and before every validation, so that no checkpoint is written of
    weights that are lost, and no step waits for the device.
    """

    def __init__(self) -> None:
        self.recent: list[tuple[int, Tensor, Tensor]] = []  # step, sigma [B], loss [B]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.recent.append((trainer.global_step, outputs["sigma"], outputs["losses"]))
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or (batch_idx + 1) % trainer.log_every_n_steps == 0:
            bad = [(step, sigma[~loss.isfinite()]) for step, sigma, loss in self.recent if not loss.isfinite().all()]
            self.recent.clear()
            if not trainer.strategy.reduce_boolean_decision(not bad):  # on all processes, or on none
                raise NotANumber(self._tell(trainer, *(bad[0] if bad else (trainer.global_step, None))))

    def _tell(self, trainer: Any, step: int, sigma: Tensor | None) -> str:
        where = f"step {step}, sigma {sigma[0].item():.3g}" if sigma is not None else f"step {step} on another process"
        last = getattr(trainer.checkpoint_callback, "last_model_path", "")
        kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        return (
            f"the network's output is not a number at {where}; stopped, {kept}. "
            "Lower model.optimizer.lr, lengthen model.lr_factor.warmup, or set trainer.precision=32-true"
        )
