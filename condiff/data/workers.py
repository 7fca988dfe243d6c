"""A function applied to many things by several processes, or by this one."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess

import torch

from condiff.errors import InputError

Run = Callable[[Callable, Iterable], Iterator]


def cores() -> list[int]:
    """Those this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


@contextmanager
def workers_for(workers: int) -> Iterator[Run]:
    """``map``, over so many processes of one thread each; with fewer than two, in this one.

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
            raise InputError(
                f"data.workers={workers}: a process was killed, probably for want of memory; set fewer, data.workers=N"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin() -> None:
    """One thread, and an end when the process that started this one is gone, however it went."""
    torch.set_num_threads(1)
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
