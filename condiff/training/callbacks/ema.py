"""EMA of the weights, and snapshots of it for post-hoc EMA."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from condiff.training.checkpoint_io import store
from condiff.training.ema import power

Decay = Callable[[int], float]  # number of updates -> share of the average that is kept


class EMA(WeightAveraging):
    """EMA of the weights, used by validation, sampling and the ``state_dict`` of checkpoints.

    Checkpoints hold the raw weights in ``current_model_state``. Running statistics of BatchNorm are averaged like the weights;
    integers are copied.

    Args:
        decay: `condiff.training.ema.power` or `constant`.
    """

    def __init__(self, decay: Decay):
        def update(averages: list[Tensor], currents: list[Tensor], count: Tensor) -> None:
            """Updates averages in place; all tensors have one dtype. The count is read on the CPU: on a GPU that would wait."""
            if averages[0].is_floating_point():
                on_host = count if self._average_model is None else self._average_model.n_averaged
                torch._foreach_lerp_(averages, currents, 1 - decay(int(on_host) + 1))
            else:
                torch._foreach_copy_(averages, currents)

        super().__init__(use_buffers=True, multi_avg_fn=torch.no_grad()(update))
        self._in_place = False  # whether the module has the averaged weights, as during validation

    def _swap_models(self, pl_module: L.LightningModule) -> None:
        super()._swap_models(pl_module)
        self._in_place = not self._in_place

    @contextmanager
    def use_average(self, pl_module: L.LightningModule) -> Iterator[None]:
        """Gives the module its averaged weights inside the block, whether or not validation has done so already."""
        swap = self._average_model is not None and not self._in_place
        if swap:
            self._swap_models(pl_module)
        try:
            yield
        finally:
            if swap:
                self._swap_models(pl_module)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Moves the average to the device of the model: Lightning copies the model before it is moved."""
        if self._average_model is not None:
            self._average_model.to(pl_module.device)
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()  # it is read at every step


@contextmanager
def averaged_weights(trainer: L.Trainer, pl_module: L.LightningModule) -> Iterator[None]:
    """Gives the module, inside the block, the weights used for validation: the average if the trainer has an `EMA`."""
    averaging = next((callback for callback in trainer.callbacks if isinstance(callback, EMA)), None)  # type: ignore[attr-defined]
    with averaging.use_average(pl_module) if averaging else nullcontext():
        yield


def batch_statistics(module: nn.Module) -> dict[str, Tensor]:
    """Returns the running means and variances of batch normalization, by name."""
    return {name: buffer for name, buffer in module.named_buffers() if name.endswith(("running_mean", "running_var"))}


class PostHocEMASnapshots(L.Callback):
    """Stores snapshots of averages of a few widths, from which ``ema.py`` reconstructs any other width (Karras et al. 2024).

    Each file holds ``step``, ``stds``, one float16 state dict of trained weights and `batch_statistics` per width, and the
    other buffers.

    Args:
        folder: of the files.
        stds: relative widths; two are enough.
        times: number of snapshots, evenly over the run; 0: none.
    """

    def __init__(self, folder: str | Path, stds: Sequence[float] = (0.05, 0.1), times: int = 8):
        self.folder, self.stds, self.times = Path(folder), tuple(stds), times
        self.count = 0
        self.averages: list[list[Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if (
            self.times < 1 or not trainer.is_global_zero or trainer.global_step == self.count
        ):  # no step: gradients are accumulated
            return
        self.count = trainer.global_step
        trainable = {name: parameter.detach() for name, parameter in pl_module.named_parameters() if parameter.requires_grad}
        trainable |= batch_statistics(pl_module)
        current = list(trainable.values())
        if not self.averages or len(self.averages[0]) < len(current):  # states of early versions lack the statistics
            averages = self.averages or [[] for _ in self.stds]
            self.averages = [[*average, *(tensor.clone() for tensor in current[len(average) :])] for average in averages]
        for std, average in zip(self.stds, self.averages, strict=True):
            torch._foreach_lerp_(average, current, 1 - power(self.count, std))
        total = int(trainer.estimated_stepping_batches)
        due = self.count * self.times // total > (self.count - 1) * self.times // total
        if due:
            names, buffer_names = list(trainable), pl_module.state_dict().keys() - trainable
            buffers = {name: buffer.cpu() for name, buffer in pl_module.named_buffers() if name in buffer_names}
            self._store([dict(zip(names, (p.half().cpu() for p in average), strict=True)) for average in self.averages], buffers)

    def _store(self, states: list[dict[str, Tensor]], buffers: dict[str, Tensor]) -> None:
        if not all(weight.isfinite().all() for state in states for weight in state.values()):
            return  # diverged; `StopAtNaN` reports it
        content = {"step": self.count, "stds": self.stds, "averages": states, "buffers": buffers}
        store(content, self.folder / f"step-{self.count:07d}.pt")

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "averages": self.averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count, self.averages = state_dict["count"], state_dict["averages"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Moves the averages of a resumed run to the device; deletes snapshots of an earlier run in the folder of a new one."""
        if not trainer.is_global_zero:
            self.averages = []  # the first process stores them
        elif not self.count:
            for old in self.folder.glob("step-*.pt"):
                old.unlink()
        self.averages = [[parameter.to(pl_module.device) for parameter in average] for average in self.averages]
