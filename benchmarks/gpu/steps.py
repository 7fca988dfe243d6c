"""Training steps and sampling steps: our models as conf/ has them, and diffusers' network beside one of ours of equal size."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks import networks
from benchmarks.gpu.models import CASES, Program, Training, evaluation
from benchmarks.gpu.report import NEEDS_GPU, Add, Bench, seconds_of, seconds_per_call
from benchmarks.networks import DEVICE, installed

RESERVE = 150.0  # seconds for the sections that follow
COMPILING = 30.0  # seconds that the first compilation may take; half of what must be left for it
SPENT = "skipped: the time of the section is spent"
PEERS = {160: 32, 320: 8}  # size -> batch
PRECISIONS = {"float32": False, "bf16": True}
FIRST = ("default, 64", "equal, 160", "diffusers, 160", "unet_320, 320, complex")  # to be compiled
Make = Callable[..., Callable[[], object]]


class Timed:
    """A network with its two steps.

    Attributes:
        batch: images per step.
        flops: of one evaluation per image.
        parameters: millions.
        steps: train and sample, each (bfloat16, compiled) -> a function that takes one step.
    """

    def __init__(self, batch: int, flops: float, parameters: float, train: Make, sample: Make):
        self.batch, self.flops, self.parameters, self.steps = batch, flops, parameters, {"train": train, "sample": sample}


def ours(name: str, bench: Bench, batch: int | None = None) -> Timed:
    """A model of conf/."""
    case, toy = CASES[name], bench.toy
    size = batch or (2 if toy else case.batch)
    program = Program(case.words, toy)

    def train(bfloat16: bool, compiled: bool = False) -> Training:
        made = Program(case.words, toy)
        step = Training(made, size, bfloat16)
        if compiled:
            made.compile()
        return step

    def sample(bfloat16: bool, compiled: bool = False) -> Callable[[], object]:
        made = Program(case.words, toy)
        if compiled:
            made.compile()
        return evaluation(made, size, bfloat16)

    return Timed(size, program.flops(), program.parameters(), train, sample)


def peer(name: str, size: int, bench: Bench) -> Timed:
    """A network of benchmarks/networks.py: a mean square for the loss, fused AdamW, no clipping and no averages."""
    side = 16 if bench.toy else size
    shape = (1 if bench.toy else PEERS[size], 1, side, side)
    parameters, gigaflops = networks.size_of(name, side, 1)
    makes: list[Make] = [
        lambda low, compiled=False: networks.training(name, shape, low, compiled),
        lambda low, compiled=False: networks.sampling(name, shape, low, compiled),
    ]
    return Timed(shape[0], gigaflops * 1e9, parameters, *makes)


def all_of(bench: Bench) -> Iterator[tuple[str, Callable[[], Timed]]]:
    """The networks, and how each is made."""
    if bench.toy:
        yield "latent_brain, 320", lambda: ours("latent_brain, 320", bench)
        yield "default, 160", lambda: peer("default", 160, bench)
        return
    yield "default, 64, batch of 16", lambda: ours("default, 64", bench, 16)
    for case in CASES:
        yield case, lambda case=case: ours(case, bench)  # type: ignore[misc]
    for size in PEERS:
        for name in ("equal", *(["diffusers"] if installed("diffusers") else [])):
            yield f"{name}, {size}", lambda name=name, size=size: peer(name, size, bench)  # type: ignore[misc]


def measure(bench: Bench, add: Add) -> None:
    """Eager in both precisions, then compiled as long as the time lasts. A failing network does not stop the others."""
    if not installed("diffusers"):
        add(network="diffusers", note="is not installed")
    made = dict(all_of(bench))
    for name, make in made.items():
        if bench.left(RESERVE) < 0:
            add(network=name, note=SPENT)
            continue
        attempt(add, name, lambda make=make, name=name: eager(make(), name, bench, add))  # type: ignore[misc]
    if bench.toy or DEVICE != "cuda":
        add(network="all", precision="bf16 compiled", note=NEEDS_GPU)
        return
    longest = COMPILING
    for name in [*FIRST, *(name for name in made if name not in FIRST)]:
        if name not in made:
            continue
        for kind in ("train", "sample"):
            if bench.left(RESERVE) < 2 * longest:
                add(network=name, step=kind, precision="bf16 compiled", note=SPENT)
                continue
            seconds = attempt(add, name, lambda name=name, kind=kind: compiled(made[name](), name, kind, bench, add))  # type: ignore[misc]
            longest = max(longest, seconds or 0.0)


def attempt(add: Add, name: str, work: Callable[[], Any]) -> Any:
    """What ``work`` returns, or a row with its error."""
    try:
        return work()
    except Exception as error:
        add(network=name, note=f"{type(error).__name__}: {str(error)[:200]}".splitlines()[0])
    finally:
        gc.collect()
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
    return None


def eager(timed: Timed, name: str, bench: Bench, add: Add) -> None:
    """Both steps in both precisions, interleaved."""
    for kind, make in timed.steps.items():
        times = seconds_per_call({precision: make(low) for precision, low in PRECISIONS.items()}, bench.rounds)
        for precision, seconds in times.items():
            add(**row(timed, name, kind, precision, seconds, bench))


def compiled(timed: Timed, name: str, kind: str, bench: Bench, add: Add) -> float:
    """A compiled step beside the eager one, interleaved. Returns seconds of compilation."""
    torch._dynamo.reset()
    fast = timed.steps[kind](True, compiled=True)
    compilation = seconds_of(fast)
    times = seconds_per_call({"bf16": timed.steps[kind](True), "bf16 compiled": fast}, bench.rounds)
    figures = row(timed, name, kind, "bf16 compiled", times["bf16 compiled"], bench)
    add(**figures, **{"eager / compiled": times["bf16"] / times["bf16 compiled"], "compilation, s": compilation})
    return compilation


def row(timed: Timed, name: str, kind: str, precision: str, seconds: float, bench: Bench) -> dict[str, Any]:
    """Cells of a step that takes so many seconds."""
    rate = timed.batch * timed.flops * (3 if kind == "train" else 1) / seconds / 1e12
    cells = {"network": name, "step": kind, "precision": precision, "batch": timed.batch, "M parameters": timed.parameters}
    cells |= {"GFLOP, forward": timed.flops / 1e9, "ms/image": 1000 * seconds / timed.batch, "images/s": timed.batch / seconds}
    return cells | {"TFLOP/s": rate} | ({"share of the ceiling": rate / bench.ceiling} if bench.ceiling else {})
