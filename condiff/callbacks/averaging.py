"""Averaged weights."""

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class PowerEMA(WeightAveraging):
    """Average of the weights over training with a power-law profile, Karras et al. 2024 (EDM2), section 3.1.

    After t updates the new weights count (1 + gamma) / t: the average always spans the same share of the
    run, however long it is. Validation, sampling and the checkpoint's ``state_dict`` use the average, the
    raw weights go on in ``current_model_state``. Buffers are copied, never averaged.

    Args:
        gamma: exponent of the profile; 6.94 averages over a tenth of the run (relative std 0.1).
    """

    def __init__(self, gamma: float = 6.94):
        def update(averages: list[Tensor], currents: list[Tensor], count: Tensor | int) -> None:
            beta = (1 - 1 / (int(count) + 1)) ** (1 + gamma)
            torch._foreach_lerp_(averages, currents, 1 - beta)

        super().__init__(use_buffers=False, multi_avg_fn=torch.no_grad()(update))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning copies the model before it moves to its device: let the average follow."""
        if self._average_model is not None:
            self._average_model.to(pl_module.device)
