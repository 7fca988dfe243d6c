"""A pool of processes that maps a function over many items, and the lock around such work."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from filelock import FileLock

from condiff.errors import InputError

FEWER = "set fewer, data.workers=N"  # a remedy
Run = Callable[..., Iterator]  # (function, *iterables), as map


def available_cpus() -> list[int]:
    """The numbers of the CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Holds a lock, for work with a `worker_pool` that other commands may do at the same time.

    Raises:
        InputError: in a worker that runs the user's script again as it starts, and would wait for its parent's lock for ever.
    """
    if getattr(current_process(), "_inheriting", False):  # as multiprocessing itself asks
        raise InputError(
            "this script starts its work when it is imported, as every process of data.workers does; "
            "begin it with if __name__ == '__main__':, or set data.workers=0"
        )
    with FileLock(lock):
        yield


@contextmanager
def worker_pool(workers: int, remedy: str) -> Iterator[Run]:
    """Gives ``map`` over ``workers`` processes of one thread each; with fewer than two, this process's own ``map``.

    Args:
        remedy: what to do if a process is killed.

    Raises:
        InputError: a process was killed, as systems do when memory is short.
    """
    if workers < 2:
        yield map
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin) as pool:  # CUDA cannot be forked
        try:
            yield pool.map
        except BrokenProcessPool:
            raise InputError(f"one of {workers} processes ended, probably because memory is short; {remedy}") from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def own_group(_: int) -> None:
    """For a process of a DataLoader: a signal to all, as of Ctrl-C, does not end it before the process that needs its batches."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def _begin() -> None:
    """Use one thread, and end when the process that started this one is gone, for whatever reason."""
    torch.set_num_threads(1)
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
