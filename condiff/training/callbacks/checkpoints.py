"""When checkpoints are stored: at the end of every epoch, and where a signal stops the training."""

import shlex
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def batch_progress(trainer: L.Trainer) -> Any:
    """How far the epoch is."""
    return trainer.fit_loop.epoch_loop.batch_progress


class Checkpoints(ModelCheckpoint):
    """The best by a metric, and the last: at the end of every epoch, whether it was validated and whether it was better.

    No path is stored: a run that is resumed in its folder goes on with the ``best`` that lies there, in another with its own.
    """

    def state_dict(self) -> dict[str, Any]:
        return {"best_model_score": self.best_model_score, "current_score": self.current_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best, score = Path(self.dirpath or "") / f"{self.filename}{self.FILE_EXTENSION}", state_dict["best_model_score"]
        if score is not None and best.is_file():
            self.best_model_path = self.kth_best_model_path = str(best)
            self.best_model_score = self.kth_value = score
            self.best_k_models = {str(best): score}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put off a limit of steps: with one, Lightning takes a run that is resumed at an epoch's end for one within it."""
        loop = trainer.fit_loop.epoch_loop
        self._max_steps, loop.max_steps = loop.max_steps, -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        trainer.fit_loop.epoch_loop.max_steps = self._max_steps

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        super().on_train_batch_end(trainer, pl_module, *args)
        if trainer.global_step == trainer.max_steps and not batch_progress(trainer).is_last_batch:
            self.store_last(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        before = self._last_global_step_saved
        super().on_train_epoch_end(trainer, pl_module)
        is_stored = self._last_global_step_saved != before
        if not is_stored and batch_progress(trainer).is_last_batch:  # or stored before the epoch was counted
            self.store_last(trainer)

    def store_last(self, trainer: L.Trainer) -> None:
        """Store ``last`` as things stand."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


class Stopped(SystemExit):
    """A signal has ended the training.

    Attributes:
        code: 128 + the signal's number.
        again: arguments of the command that goes on, those that resume the checkpoint ``stored``; empty where there is none.
    """

    def __init__(self, received: signal.Signals, step: int, stored: str | None):
        super().__init__(128 + received)
        self.resume_arguments = shlex.quote(f"resume={stored}") if stored else ""
        self.reason = f"stopped by {received.name} after step {step}"


class StopAtSignal(Checkpoint):
    """SIGINT, SIGTERM and SIGHUP end the training after the step, with ``last`` stored and an exit code of 128 + the signal.

    A second signal ends it at once. Any process of several may be signalled: all stop after the same step. It counts as a
    checkpoint callback to run after the others, whose state is stored. SIGTERM is left to Lightning where that requeues
    SLURM's jobs.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._replaced: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning has set its own handlers by now."""
        environment = trainer._accelerator_connector.cluster_environment
        requeues = isinstance(environment, SLURMEnvironment) and environment.auto_requeue
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            ignored = signal.getsignal(number) == signal.SIG_IGN  # as nohup has SIGHUP
            if not ignored and not (requeues and number == signal.SIGTERM):
                self._replaced[number] = signal.signal(number, self._receive)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if not batch_progress(trainer).is_last_batch:  # the epoch's end is near, and simpler to resume
            self._stop_where_received(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch + 1 != trainer.max_epochs:
            self._stop_where_received(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            raise SystemExit(128 + number)
        self.received = signal.Signals(number)

    def _stop_where_received(self, trainer: L.Trainer) -> None:
        if not trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            return
        last = next((callback for callback in trainer.checkpoint_callbacks if isinstance(callback, Checkpoints)), None)
        if last is not None and last._last_global_step_saved != trainer.global_step:
            last.store_last(trainer)
        stopped = Stopped(self.received or signal.SIGTERM, trainer.global_step, last.last_model_path if last else None)
        if not trainer.is_global_zero:
            stopped.code = 0  # where a process fails that it has started, Lightning kills the first
        raise stopped

    def _restore(self) -> None:
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        self._replaced.clear()
