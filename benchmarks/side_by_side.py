"""Times of several things taken in turn, so that whatever else the machine does falls on all of them."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch


def interleaved(things: Mapping[str, Callable[[], object]], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each in every round, after ``warm`` rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in things}
    for turn in range(warm + rounds):
        for name, thing in things.items():
            begin = time.perf_counter()
            thing()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= warm:
                times[name].append(time.perf_counter() - begin)
    return times


def ratio(times: Mapping[str, list[float]], name: str, reference: str) -> float:
    """How many times as fast as the reference: the median over rounds."""
    return median(theirs / mine for mine, theirs in zip(times[name], times[reference], strict=True))


def peak_memory(work: Callable[..., Callable[[], object]], *arguments: object) -> float:
    """MiB that ``work(*arguments)()`` takes beyond what was there when it was called, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_remember, args=(send, work, arguments))
    process.start()
    process.join()
    return receive.recv() if receive.poll() else float("nan")


def _remember(send, work, arguments) -> None:
    step = work(*arguments)
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        step()
        send.send((torch.cuda.max_memory_allocated() - before) / 2**20)
    else:
        resting = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        step()
        send.send(resident("VmHWM") - resting)


def resident(field: str) -> float:
    """MiB of this process, by Linux's name for it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith(field))
