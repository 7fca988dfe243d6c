"""Memory of a training step: what it takes at a batch of one and per further image, and the batches that fit into a card."""

import gc

import torch

from benchmarks.gpu.models import CASES, Case, Program, Training
from benchmarks.gpu.report import NEEDS_GPU, Add, Bench
from benchmarks.networks import DEVICE

CARDS = (8, 16, 24, 80)  # GB
CONTEXT = 0.8e9  # bytes that the driver and libraries take
SPARE = 0.05  # share of a card that fragmentation costs
MORE = 8  # the second batch
MODELS = {"default, 64": CASES["default, 64"], "default, 128": Case(("data.downsample=1",), 0)} | CASES


def measure(bench: Bench, add: Add) -> None:
    """A row for each model and precision."""
    if DEVICE != "cuda":
        add(network="all", note=NEEDS_GPU)
        return
    for name, case in MODELS.items():
        for precision, low in (("bf16", True), ("float32", False)):
            try:
                one, more = (peak(case, batch, low, bench.toy) for batch in (1, MORE))
            except torch.OutOfMemoryError as error:
                add(network=name, precision=precision, note=str(error)[:100])
                continue
            slope = (more - one) / (MORE - 1)
            figures = {"MB, batch of 1": one / 1e6, "MB per image": slope / 1e6}
            add(
                network=name, precision=precision, **figures, **{f"batch, {card} GB": largest(card, one, slope) for card in CARDS}
            )


def peak(case: Case, batch: int, low: bool, toy: bool) -> float:
    """Bytes allocated at most in the second and third step, weights, optimizer and averages included."""
    gc.collect()
    torch.cuda.empty_cache()
    step = Training(Program(case.words, toy), batch, low)
    step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        step()
    torch.cuda.synchronize()
    return float(torch.cuda.max_memory_allocated())


def largest(card: int, one: float, slope: float) -> int:
    """The largest batch for a card of so many GB, 0 where not even one image fits."""
    room = card * 1e9 * (1 - SPARE) - CONTEXT - one
    return 0 if room < 0 else 1 + int(room / max(slope, 1.0))
