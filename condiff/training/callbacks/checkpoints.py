"""Storing of checkpoints at the end of every epoch and when a signal stops the training."""

import os
import shlex
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
REQUEUE_SIGNALS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))


def batch_progress(trainer: L.Trainer) -> Any:
    """Returns Lightning's count of the batches of the current epoch."""
    return trainer.fit_loop.epoch_loop.batch_progress


class Checkpoints(ModelCheckpoint):
    """Stores the best checkpoint by a metric, and the last one at the end of every epoch, validated or not.

    Its state holds no path: a run resumed in its own folder continues with its ``best``, in a new folder without one.
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
        """Disables ``max_steps`` until training starts: Lightning would resume an epoch's end as the middle of the epoch."""
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
        """Stores ``last.ckpt`` now."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


class Stopped(SystemExit):
    """A signal has ended the training.

    Attributes:
        code: 128 + the signal's number.
        resume_arguments: of the command that resumes the checkpoint ``stored``; empty without one.
        is_requeued: whether the signal has requeued the job.
    """

    def __init__(self, received: signal.Signals, step: int, stored: str | None):
        super().__init__(128 + received)
        self.is_requeued = received in REQUEUE_SIGNALS
        self.resume_arguments = shlex.quote(f"resume={stored}") if stored else ""
        self.reason = f"stopped by {received.name} after step {step}"


class StopAtSignal(Checkpoint):
    """Stops the training after the current step at SIGINT, SIGTERM or SIGHUP, stores ``last`` and exits with 128 + the signal.

    So does SIGUSR1 or SIGUSR2 in a SLURM job where Lightning or submitit waits for it: they requeue the job before the exit.
    A second signal of the same kind stops at once. A signal to any of several processes stops all after the same step. The class
    is a checkpoint callback, because these run after the others, whose state is stored.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._replaced: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Installs the signal handlers; Lightning has installed its own before."""
        if threading.current_thread() is not threading.main_thread():
            return
        heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # as nohup has SIGHUP
        if "SLURM_JOB_ID" in os.environ:
            heard += [number for number in REQUEUE_SIGNALS if callable(signal.getsignal(number))]
        for number in heard:
            self._replaced[number] = signal.signal(number, self._receive)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        is_end = batch_progress(trainer).is_last_batch or trainer.global_step == trainer.max_steps
        if not is_end:  # then `on_train_epoch_end` stops: an epoch's end is simpler to resume
            self._stop_where_received(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch + 1 != trainer.max_epochs:
            self._stop_where_received(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _receive(self, number: int, _: FrameType | None) -> None:
        if number == self.received and number in SIGNALS:
            raise SystemExit(128 + number)
        if self.received not in REQUEUE_SIGNALS:  # else the SIGTERM that follows it
            self.received = signal.Signals(number)

    def _stop_where_received(self, trainer: L.Trainer) -> None:
        if not trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            return
        last = next((callback for callback in trainer.checkpoint_callbacks if isinstance(callback, Checkpoints)), None)
        if last is not None and last._last_global_step_saved != trainer.global_step:
            last.store_last(trainer)
        kinds = (*SIGNALS, *REQUEUE_SIGNALS)  # the last of those that the processes have received counts in all
        kind = kinds.index(self.received) if self.received else 0
        kind = int(trainer.strategy.reduce(torch.tensor(kind, device=trainer.strategy.root_device), reduce_op="max"))
        stopped = Stopped(kinds[kind], trainer.global_step, last.last_model_path if last else None)
        if stopped.is_requeued and (requeue := self._replaced.get(kinds[kind])):
            requeue(kinds[kind], None)
        if not trainer.is_global_zero:
            stopped.code = 0  # Lightning kills the first process if another fails
        raise stopped

    def _restore(self) -> None:
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        self._replaced.clear()
