"""A function applied to many things by several processes, or by this one, with a progress bar."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import TypeVar

import torch
from lightning.pytorch.utilities import rank_zero_only
from rich import get_console
from rich.progress import track

from condiff.errors import InputError

T = TypeVar("T")
Run = Callable[[Callable, Iterable], Iterator]


def tracked(items: Iterable[T], title: str, total: int) -> Iterable[T]:
    """With a progress bar, where somebody looks and this is the first process."""
    silent = not is_first_process() or not get_console().is_terminal
    return track(items, title, total, transient=True, disable=silent)


def is_first_process() -> bool:
    """Of those that train or sample together, on all machines: Lightning knows how each kind of cluster numbers them."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined]


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
