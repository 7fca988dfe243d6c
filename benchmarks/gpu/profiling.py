"""Where the time of a step goes: kernels, kinds of work, and lines that make the host wait for the device."""

import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.models import CASES, Program, Training, evaluation
from benchmarks.gpu.report import NEEDS_GPU, Add, Bench, Figure, seconds_of, synchronize
from benchmarks.networks import DEVICE
from condiff.sampling import Sampling, make_requests, sample

ROOT = Path(__file__).parents[2]
SAMPLED = 10  # steps of the sampler
MODELS = {"default, 64": 16, "unet_320, 320, complex": 8}  # batch
TOP = 10
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
KINDS = {  # words in the names of operators -> kind of work; the first that fits
    "convolution": ("conv",),
    "attention": ("attention", "softmax"),
    "matrix product": ("aten::mm", "addmm", "bmm", "linear"),
    "normalization": ("norm",),
    "copy": ("copy", "memcpy", "aten::cat", "contiguous", "clone"),
    "optimizer and averages": ("_fused_", "_foreach_"),
}


def measure(bench: Bench, add: Add) -> None:
    """Synchronisations of both steps first, then the profiles, in bfloat16."""
    for name, batch in list(MODELS.items())[: 1 if bench.toy else None]:
        size = 2 if bench.toy else batch
        program = Program(CASES[name].words, bench.toy)
        step = Training(program, size, True)
        waits(name, "train", step, 1, add)
        waits(name, "sample", sampler(program, size), SAMPLED, add)
        profiled(name, "train", step, size, add)
        profiled(name, "sample", evaluation(program, size, True), size, add)


def sampler(program: Program, batch: int, steps: int = SAMPLED) -> Callable[[], object]:
    """A function that draws a batch as ``sample.py`` does after ``train.py``."""
    cfg = program.cfg
    how = Sampling(instantiate(cfg.sampler.fn), instantiate(cfg.guided), steps, batch)
    requests = make_requests(program.spec.contrasts[:1], batch, seed=0)
    return lambda: sample(program.system.model.eval(), program.spec, requests, how)


def waits(name: str, kind: str, step: Callable[[], object], steps: int, add: Add) -> None:
    """Rows of how often the host waits in a step, and in which lines."""
    if DEVICE != "cuda":
        add(network=name, step=kind, what="host synchronisations", note=NEEDS_GPU)
        return
    step()
    torch.cuda.synchronize()
    with recorded() as lines:
        step()
    torch.cuda.synchronize()
    add(network=name, step=kind, what="host synchronisations", **{"per step": lines.total() / steps})
    for line, count in lines.most_common(15):
        add(network=name, step=kind, what=f"synchronises: {line}", **{"per step": count / steps})


@contextmanager
def recorded() -> Iterator[Counter[str]]:
    """Counts the warnings of torch's synchronisation check by the last line of this project that led to them."""
    lines: Counter[str] = Counter()

    def record(message: Any, category: Any, filename: str, lineno: int, *_: Any) -> None:
        if "called a synchronizing" in str(message):
            lines[place(filename, lineno)] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = record  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield lines
        finally:
            torch.cuda.set_sync_debug_mode("default")


def place(filename: str, lineno: int) -> str:
    """The innermost frame in condiff/, else in benchmarks/, else the one that the warning names."""
    frames = traceback.extract_stack()[:-2]
    for folder in ("condiff", "benchmarks"):
        for frame in reversed(frames):
            path = Path(frame.filename)
            if path.is_relative_to(ROOT / folder) and path != Path(__file__):
                return f"{path.relative_to(ROOT)}:{frame.lineno} {frame.line}"
    return f"{filename}:{lineno}"


def profiled(name: str, kind: str, step: Callable[[], object], batch: int, add: Add) -> None:
    """Rows of the kinds of work and of the ten longest kernels of one step, after two that are not profiled."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if DEVICE == "cuda" else [])]
    step()
    wall = seconds_of(step)
    with profile(activities=activities) as found:
        step()
        synchronize()
    events = [event for event in found.key_averages() if not getattr(event, "is_user_annotation", False) and "#" not in event.key]
    kernels = [event for event in events if event.device_type == DeviceType.CUDA]
    about: dict[str, Figure] = {"network": name, "step": kind, "batch": batch}
    operators = [event for event in events if event.device_type == DeviceType.CPU]
    total, busy = sum(map(duration, operators)), sum(map(duration, kernels or operators)) / 1e6
    add(**about, what="wall clock, without the profiler", ms=1000 * wall, share=1.0)
    if not total or not busy:
        add(**about, note="the profiler sees no kernels here")
        return
    add(**about, what="all kernels", ms=1000 * busy, share=busy / wall)
    if DEVICE == "cuda":
        waiting = sum(event.count for event in operators if event.key in WAITS) - 1  # the last is of this function
        launches = sum(event.count for event in operators if "LaunchKernel" in event.key)
        add(**about, what="calls that wait, in the profile", **{"per step": max(waiting, 0)})
        add(**about, what="kernel launches", **{"per step": launches})
    shares: Counter[str] = Counter()
    for event in operators:
        shares[kind_of(event.key)] += duration(event) / total  # type: ignore[assignment]
    for work, share in shares.most_common():
        add(**about, what=f"kind: {work}", ms=share * total / 1000, share=share)
    for event in sorted(kernels or operators, key=duration, reverse=True)[:TOP]:
        seconds = duration(event) / 1e6
        add(**about, what=f"kernel: {event.key[:90]}", ms=1000 * seconds, share=seconds / busy, calls=event.count)


def duration(event: Any) -> float:
    """Microseconds on the device of an event alone; on a CPU there."""
    return float(event.self_device_time_total if DEVICE == "cuda" else event.self_cpu_time_total)


def kind_of(operator: str) -> str:
    """The kind of work of an operator."""
    name = operator.lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "elementwise and others")
