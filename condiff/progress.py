"""Progress of long work: a bar in a terminal; in a notebook or a file, such as a SLURM log, a line per minute.

Only the first of several processes shows it.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from rich import get_console
from rich.progress import Progress

T = TypeVar("T")
Advance = Callable[..., None]  # (steps=1, to=None): by ``steps``, or to ``to`` of the total
INTERVAL = 60.0  # seconds between lines
log = logging.getLogger(__name__)


def is_first_process() -> bool:
    """Whether this is the first of all processes of a command, by Lightning's rank."""
    from lightning.pytorch.utilities import rank_zero_only  # takes two seconds, which processes that only read need not wait

    return rank_zero_only.rank == 0  # type: ignore[attr-defined]


def is_terminal() -> bool:
    """Whether the output is a terminal that can redraw a line.

    In a notebook rich's bars would need a widget. A command that a notebook starts (``!condiff-evaluate``) does write to a
    terminal, but the notebook keeps every state of a bar as a line of its own; Jupyter sets JPY_PARENT_PID for its kernels.
    """
    return get_console().is_terminal and not get_console().is_jupyter and "JPY_PARENT_PID" not in os.environ


def time_left(seconds: float, done: float, total: float) -> str:
    """Returns ``0:12:34 left``, from the seconds that ``done`` of ``total`` took; empty if unknown."""
    if not 0 < done <= total < float("inf"):
        return ""
    return f"{timedelta(seconds=round(seconds * (total - done) / done))} left"


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Advance]:
    """Shows the progress of ``total`` steps. Yields a function to call after each: ``advance()``, or ``advance(to=done)``."""
    if not is_first_process():
        yield lambda steps=1, to=None: None
    elif is_terminal():
        with Progress(transient=True) as bars:
            task = bars.add_task(title, total=total)
            yield lambda steps=1, to=None: bars.update(task, advance=None if to is not None else steps, completed=to)
    else:
        yield _lines(title, total)


def track(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Yields the items and shows their progress."""
    with progress_bar(title, total) as advance:
        for item in items:
            yield item
            advance()


def _lines(title: str, total: int) -> Advance:
    begin = latest = time.monotonic()
    done = 0.0

    def advance(steps: float = 1, to: float | None = None) -> None:
        nonlocal done, latest
        done, now = done + steps if to is None else to, time.monotonic()
        if now - latest >= INTERVAL:
            latest = now
            log.info("%s  %d/%d  %s", title, done, total, time_left(now - begin, done, total))

    return advance
