"""Ends a training within seconds, with one line, if one of its processes is lost."""

import os
import re
import subprocess
import sys
import threading
import time

import lightning as L
from lightning.fabric.plugins.environments import LightningEnvironment

GRACE_SECONDS = 20.0  # for a process to end by itself
LOST_PROCESS = "a process of this training is gone, perhaps for want of memory; resume its last checkpoint, resume=PATH"


def is_lost(error: BaseException) -> bool:
    """Whether communication with a lost process raised the error; torch has no single type for these."""
    return isinstance(error, RuntimeError) and re.search(r"gloo|NCCL|Connection (closed|reset)", str(error)) is not None


class StopAtLostProcess(L.Callback):
    """Ends this process if another one of the training is lost, also while it waits for it: on GPUs up to half an hour.

    Processes that Lightning did not start are left to the cluster.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._started: list[subprocess.Popen] = []
        self._parent: int | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        started = getattr(trainer.strategy.launcher, "procs", [])
        self._started = list(started)
        started.clear()  # Lightning would kill this process before it prints the reason
        if trainer.local_rank and isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment):
            self._parent = os.getppid()
        if self._started or self._parent:
            threading.Thread(target=self._watch, daemon=True).start()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._over.set()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if is_lost(exception) and self._parent and trainer.local_rank == 1:
            time.sleep(1.0)  # connections close before the process ends
            if not self._is_complete():
                print(f"error: {LOST_PROCESS}", file=sys.stderr, flush=True)  # the first process cannot
        if not isinstance(exception, RuntimeError):
            self._over.set()

    def _is_complete(self) -> bool:
        return all(process.poll() in (None, 0) for process in self._started) and self._parent in (None, os.getppid())

    def _watch(self) -> None:
        while self._is_complete():
            if self._over.wait(1.0):
                return
        if not self._over.wait(GRACE_SECONDS):
            print(f"error: {LOST_PROCESS}", file=sys.stderr, flush=True)
            for process in self._started:
                process.kill()
            os._exit(1)
