"""The folder of a run belongs to one command: two that start in the same second, or are given the same folder, never mix.

Hydra makes the folder before train.py runs; `NewFolder` decides which, and `claimed` keeps it until the command ends.
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

from condiff.errors import InputError
from condiff.files.atomic import check_links_stay_inside
from condiff.progress import is_first_process

LOCK = ".lock"
TRACES = {LOCK, "train.log", "config.yaml", "splits.csv"}  # what a command leaves that was refused before it trained
STARTED = time.time() - 60  # of this process, and clocks of file systems differ
SWEEP = "multirun.yaml"  # Hydra's own, in the folder of a sweep


class NewFolder(Callback):
    """Hydra callback: a run or a sweep whose folder was not given gets one that no other command has taken."""

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
            if kind == "sweep":  # its jobs, and the processes that Lightning starts, compose their configuration again
                config.hydra.overrides.hydra.append(folder)
                sys.argv.append(folder)


def unused(folder: Path) -> Path:
    """``folder``, or ``folder_1``, ``folder_2`` …: the first that no other command has taken; taken by this one now."""
    number = 0
    while True:
        candidate = folder.with_name(f"{folder.name}_{number}") if number else folder
        candidate.mkdir(parents=True, exist_ok=True)  # another task of the same job may have made it
        if not (candidate / SWEEP).exists():
            with suppress(FileExistsError):
                (candidate / LOCK).touch(exist_ok=False)
                return candidate
        number += 1


@contextmanager
def claim_folder(folder: Path) -> Iterator[None]:
    """No other command can claim ``folder`` meanwhile, and none can once this process is gone, however it went.

    A command that ends before anything was trained leaves no folder. Other processes of the same run claim nothing.

    Raises:
        InputError: another process has claimed it, or it holds links out of it.
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
    """Print where the files of a run are."""
    print(f"run         {folder}\ncheckpoint  {folder}/checkpoints/last.ckpt")
    for title, name in (("samples", "samples.png"), ("animation", "denoising.gif")):
        if (folder / "samples" / name).is_file():
            print(f"{title:12}{folder}/samples/{name}")


def remove_traces(folder: Path) -> None:
    """Remove a run's folder where nothing was trained, and what that leaves empty of the folders above, up to the current.

    Not where something in it is older than this process.
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
