"""Exclusive folders of runs: two commands that start in the same second, or get the same folder, never mix.

Hydra makes the folder before train.py runs; `NewFolder` chooses it, and `claim_folder` locks it until the command ends.
"""

import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from condiff.commands.sweep import TABLE
from condiff.errors import InputError
from condiff.files.atomic import check_links_stay_inside
from condiff.progress import is_first_process

LOCK = ".lock"
TRACES = {LOCK, "train.log", "config.yaml", "splits.csv"}  # files of a command that was refused before training
STARTED = time.time() - 60  # of this process, with a margin for the clocks of file systems
SWEEP = "multirun.yaml"  # Hydra's own, in the folder of a sweep


class NewFolder(Callback):
    """Hydra callback: gives a run or a sweep an unused folder, unless the command line names one."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        self._renew(config, "run")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self._renew(config, "sweep")

    @staticmethod
    def _renew(config: DictConfig, kind: str) -> None:
        is_given = any(word.startswith(f"hydra.{kind}.dir=") for word in config.hydra.overrides.hydra)
        if is_given or not is_first_process():
            return
        folder = f"hydra.{kind}.dir={unused(Path(config.hydra[kind].dir))}"
        with read_write(config), open_dict(config):
            config.hydra[kind].dir = folder.partition("=")[2]
            if kind == "sweep":  # its jobs, and processes started by Lightning, compose their configuration again
                config.hydra.overrides.hydra.append(folder)
                sys.argv.append(folder)


def unused(folder: Path) -> Path:
    """Creates and returns the first unused of ``folder``, ``folder_1``, ``folder_2`` …"""
    number = 0
    while True:
        candidate = folder.with_name(f"{folder.name}_{number}") if number else folder
        candidate.mkdir(parents=True, exist_ok=True)  # another task of the same job may have made it
        if not any((candidate / name).exists() for name in (SWEEP, TABLE)):
            with suppress(FileExistsError):
                (candidate / LOCK).touch(exist_ok=False)
                return candidate
        number += 1


@contextmanager
def claim_folder(folder: Path) -> Iterator[None]:
    """Locks ``folder`` against other commands inside the block; the lock ends with the process.

    A command that ends before training leaves no folder. Only the first process of a run takes the lock.

    Raises:
        InputError: another process holds the lock, or the folder holds links out of it.
    """
    if not is_first_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    check_links_stay_inside(folder, folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(f"hydra.run.dir: {folder} is in use by a run that has not ended; choose another folder") from None
    try:
        yield
    finally:
        lock.release()
        remove_traces(folder)


def print_run_files(folder: Path) -> None:
    """Prints the paths of the files of a run."""
    print(f"run         {folder}\ncheckpoint  {folder}/checkpoints/last.ckpt")
    for title, name in (("samples", "samples.png"), ("animation", "denoising.gif")):
        if (folder / "samples" / name).is_file():
            print(f"{title:12}{folder}/samples/{name}")


def remove_traces(folder: Path) -> None:
    """Removes the folder of a run without training, and empty folders above it up to the current one.

    A folder with files older than this process is kept.
    """
    if all(path.name in TRACES and path.stat().st_mtime >= STARTED for path in folder.rglob("*") if path.is_file()):
        for handler in logging.getLogger().handlers[:]:
            if isinstance(handler, logging.FileHandler) and folder.resolve() in Path(handler.baseFilename).resolve().parents:
                handler.close()
                logging.getLogger().removeHandler(handler)
        shutil.rmtree(folder, ignore_errors=True)
        above = [parent for parent in folder.absolute().parents if Path.cwd() in parent.parents]
        for parent in above:
            if not {path.name for path in parent.iterdir()} <= {LOCK, SWEEP}:
                break
            shutil.rmtree(parent, ignore_errors=True)
