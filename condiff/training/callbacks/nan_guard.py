"""Stops a training that has diverged."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from condiff.errors import NotANumber


class StopAtNaN(L.Callback):
    """Raises NotANumber, with step and noise level, if the loss or the weights are not finite.

    Losses are checked whenever metrics are logged, losses and weights before every validation and checkpoint: no checkpoint
    holds diverged weights, and most steps do not wait for the device.
    """

    def __init__(self) -> None:
        self.recent: list[tuple[int, Tensor | None, Tensor]] = []  # step, sigma [B] of a diffusion model, loss [B]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.recent.append((trainer.global_step, outputs.get("sigma"), outputs["losses"]))
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:
            self._check_losses(trainer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._check_finite(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._check_finite(trainer, pl_module)

    def _check_finite(self, trainer: Any, pl_module: Any) -> None:
        self._check_losses(trainer)
        finite = torch.stack([weight.isfinite().all() for weight in pl_module.parameters()]).all()
        self._raise_unless(trainer, bool(finite), f"the weights are not numbers after step {trainer.global_step}")

    def _check_losses(self, trainer: Any) -> None:
        finite = torch.stack([loss.isfinite().all() for _, _, loss in self.recent]).tolist() if self.recent else []  # one wait
        bad = [(*recent, ~recent[2].isfinite()) for recent, is_finite in zip(self.recent, finite, strict=True) if not is_finite]
        self.recent.clear()
        where = "on another process"
        if bad:
            step, sigma, _, which = bad[0]
            where = f"at step {step}" + ("" if sigma is None else f", sigma {sigma[which][0].item():.3g}")
        self._raise_unless(trainer, not bad, f"the network's output is not a number {where}")

    def _raise_unless(self, trainer: Any, is_finite: bool, problem: str) -> None:
        """Raises NotANumber on all processes if ``is_finite`` is false on one."""
        if trainer.strategy.reduce_boolean_decision(bool(is_finite)):
            return
        candidates = getattr(trainer.checkpoint_callback, "last_model_path", None), trainer.ckpt_path
        last = next((path for path in candidates if path and Path(path).is_file()), None)
        checkpoint_note = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        raise NotANumber(
            f"{problem}; stopped, {checkpoint_note}. "
            "Lower model.optimizer.lr, lengthen model.lr_factor.warmup, or set trainer.precision=32-true"
        )
