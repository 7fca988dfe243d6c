"""What a run of the benchmark knows of itself, and the files that it writes: gpu.json, gpu.md and gpu.log."""

import json
import math
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import torch

from benchmarks.networks import DEVICE
from benchmarks.side_by_side import interleaved

NEEDS_GPU = "needs a GPU"
Figure = float | int | str


class Add(Protocol):
    """Adds a row to a section's table; values are figures with the unit in their name, or words."""

    def __call__(self, **figures: Figure) -> None: ...


@dataclass
class Bench:
    """Options of a run and the time it has.

    Attributes:
        out: folder of the results.
        toy: tiny sizes and few rounds, for a CPU.
        budget: seconds of the whole run.
        ceiling: measured bfloat16 TFLOP/s of a matrix product; None before it is measured.
    """

    out: Path
    toy: bool = False
    budget: float = 480.0
    ceiling: float | None = None
    begin: float = field(default_factory=time.monotonic)

    @property
    def rounds(self) -> int:
        """Interleaved rounds of each measurement."""
        return 1 if self.toy else 5

    def left(self, reserve: float = 0.0) -> float:
        """Seconds until the budget, less a ``reserve`` for later sections, is spent."""
        return self.budget - reserve - (time.monotonic() - self.begin)


Work = Callable[[Bench, Add], None]


class Report:
    """The sections of a run. Both files are written after every row."""

    def __init__(self, bench: Bench):
        self.bench = bench
        self.sections: dict[str, dict[str, Any]] = {}
        bench.out.mkdir(parents=True, exist_ok=True)
        (bench.out / "gpu.log").unlink(missing_ok=True)

    def run(self, name: str, title: str, work: Work) -> None:
        """Run a section. An error becomes one line of the report, with its traceback in gpu.log."""
        section: dict[str, Any] = {"title": title, "rows": []}
        self.sections[name] = section
        begin = time.monotonic()
        print(f"== {title} ({self.bench.left():.0f} s left)", flush=True)

        def add(**figures: Figure) -> None:
            section["rows"].append(figures)
            section["seconds"] = time.monotonic() - begin
            print("  " + ", ".join(f"{key} {shown(value)}" for key, value in figures.items()), flush=True)
            self.write()

        try:
            work(self.bench, add)
        except Exception as error:
            section["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
            print(f"  error: {section['error']}", flush=True)
            with (self.bench.out / "gpu.log").open("a") as log:
                log.write(f"{title}\n{traceback.format_exc()}\n")
        section["seconds"] = time.monotonic() - begin
        print(f"  {section['seconds']:.1f} s", flush=True)
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
        self.write()

    def write(self) -> None:
        """gpu.json and gpu.md, as far as the run has come."""
        content = {"machine": machine(), "toy": self.bench.toy, "sections": self.sections}
        (self.bench.out / "gpu.json").write_text(json.dumps(content, indent=1))
        lines = ["# GPU benchmark", "", *(f"- {key}: {value}" for key, value in machine().items()), ""]
        for section in self.sections.values():
            lines += [f"## {section['title']}", "", *table(section["rows"])]
            lines += [f"Error: {section['error']}", ""] if "error" in section else []
            lines += [f"{section['seconds']:.0f} s.", ""] if "seconds" in section else []
        (self.bench.out / "gpu.md").write_text("\n".join(lines))


def machine() -> dict[str, Figure]:
    """The device, the versions, and the arithmetic that torch uses for float32."""
    about: dict[str, Figure] = {"device": torch.cuda.get_device_name() if DEVICE == "cuda" else platform.processor() or "CPU"}
    about |= {"torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads()}
    if DEVICE == "cuda":
        about |= {"memory, GB": torch.cuda.get_device_properties(0).total_memory / 1e9, "cuDNN": torch.backends.cudnn.version()}
        convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        about |= {"float32 convolutions": "TF32" if convolutions else "full", "float32 products": "TF32" if products else "full"}
    return about


def table(rows: list[dict[str, Figure]]) -> list[str]:
    """Lines of a Markdown table whose columns are all names in the rows."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return []
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(shown(row.get(name, "")).replace("|", "/") for name in names) + " |" for row in rows]
    return [*lines, ""]


def shown(value: Figure) -> str:
    """A figure with four significant digits."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def synchronize() -> None:
    """Wait for the device."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds of one call, until the device is done."""
    synchronize()
    begin = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - begin


def seconds_per_call(things: Mapping[str, Callable[[], object]], rounds: int, least: float = 0.1) -> dict[str, float]:
    """Medians over interleaved rounds. In each round a thing is called as often as takes ``least`` seconds."""
    counts = dict.fromkeys(things, 1)
    if rounds > 1:
        for name, thing in things.items():
            seconds_of(thing)  # first calls choose kernels and allocate memory
            counts[name] = max(1, min(100, math.ceil(least / max(seconds_of(thing), 1e-6))))

    def repeated(name: str) -> Callable[[], None]:
        def work() -> None:
            for _ in range(counts[name]):
                things[name]()

        return work

    times = interleaved({name: repeated(name) for name in things}, rounds)
    return {name: median(times[name]) / counts[name] for name in things}
