"""What the device can do at most: a matrix product in bfloat16, and a copy."""

import torch

from benchmarks.gpu.report import Add, Bench, seconds_per_call
from benchmarks.networks import DEVICE


def measure(bench: Bench, add: Add) -> None:
    """TFLOP/s of a square product, which later sections are compared with, and GB/s read and written by a copy."""
    n, numbers = (256, 1 << 20) if bench.toy else (8192, 1 << 30)
    a, b = (torch.randn(n, n, device=DEVICE).bfloat16() for _ in range(2))
    source = torch.zeros(numbers, dtype=torch.bfloat16, device=DEVICE)
    target = torch.empty_like(source)
    times = seconds_per_call({"product": lambda: a @ b, "copy": lambda: target.copy_(source)}, bench.rounds)
    bench.ceiling = 2 * n**3 / times["product"] / 1e12
    add(what=f"bf16 matrix product, {n}^3", **{"TFLOP/s": bench.ceiling, "ms": 1000 * times["product"]})
    gigabytes = 2 * source.nbytes / 1e9
    add(what=f"copy of {source.nbytes / 1e6:.0f} MB", **{"GB/s": gigabytes / times["copy"], "ms": 1000 * times["copy"]})
