"""Averaged weights: the one that samples, and those stored on the way for later choice."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from condiff.averaging import power
from condiff.systems.checkpoint_io import store

Decay = Callable[[int], float]  # updates -> the share of itself that the average keeps


class EMA(WeightAveraging):
    """An average of the weights. Validation, sampling and the checkpoint's ``state_dict`` use it, the raw weights go
    on in ``current_model_state``. Buffers are copied, never averaged.

    Args:
        decay: `condiff.averaging.power` or `constant`.
    """

    def __init__(self, decay: Decay):
        def update(averages: list[Tensor], currents: list[Tensor], count: Tensor | int) -> None:
            torch._foreach_lerp_(averages, currents, 1 - decay(int(count) + 1))

        super().__init__(use_buffers=False, multi_avg_fn=torch.no_grad()(update))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning copies the model before it moves to its device: let the average follow."""
        if self._average_model is not None:
            self._average_model.to(pl_module.device)
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()  # it is read at every step


class StoredAverages(L.Callback):
    """Keeps averages of a few widths and stores them now and then, so that ``ema.py`` can make any other of them.

    Each file holds ``step``, ``stds``, one float16 state dict a width, and the buffers as they were.

    Args:
        folder: where the files go.
        stds: relative widths; two are enough to make others of; ``ema.py`` says how nearly.
        times: how often, evenly over the run; 0 is never.
    """

    def __init__(self, folder: str | Path, stds: Sequence[float] = (0.05, 0.1), times: int = 8):
        self.folder, self.stds, self.times = Path(folder), tuple(stds), times
        self.count = 0
        self.averages: list[list[Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if self.times < 1 or not trainer.is_global_zero or trainer.global_step == self.count:  # or gradients are accumulated
            return
        self.count = trainer.global_step
        learned = {name: parameter.detach() for name, parameter in pl_module.named_parameters() if parameter.requires_grad}
        current = list(learned.values())
        if not self.averages:
            self.averages = [[parameter.clone() for parameter in current] for _ in self.stds]
        for std, average in zip(self.stds, self.averages, strict=True):
            torch._foreach_lerp_(average, current, 1 - power(self.count, std))
        total = int(trainer.estimated_stepping_batches)
        due = self.count * self.times // total > (self.count - 1) * self.times // total
        if due:
            names, state = list(learned), pl_module.state_dict()
            buffers = {name: buffer.cpu() for name, buffer in pl_module.named_buffers() if name in state}
            self._store([dict(zip(names, (p.half().cpu() for p in average), strict=True)) for average in self.averages], buffers)

    def _store(self, states: list[dict[str, Tensor]], buffers: dict[str, Tensor]) -> None:
        if not all(weight.isfinite().all() for state in states for weight in state.values()):
            return  # diverged; it is told elsewhere
        content = {"step": self.count, "stds": self.stds, "averages": states, "buffers": buffers}
        store(content, self.folder / f"step-{self.count:07d}.pt")

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "averages": self.averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count, self.averages = state_dict["count"], state_dict["averages"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What a resumed run brings along lies on the CPU; what a folder holds of another run goes, or the two would be mixed."""
        if not trainer.is_global_zero:
            self.averages = []  # the first process stores them
        elif not self.count:
            for old in self.folder.glob("step-*.pt"):
                old.unlink()
        self.averages = [[parameter.to(pl_module.device) for parameter in average] for average in self.averages]
