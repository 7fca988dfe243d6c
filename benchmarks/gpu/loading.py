"""Images per second of the loader beside those of a training step, and of the whole program, which has both."""

import tempfile
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate

from benchmarks.gpu.models import Program, Training
from benchmarks.gpu.report import Add, Bench, seconds_per_call, synchronize
from benchmarks.networks import DEVICE
from condiff.training.precision import candidates
from condiff.training.stage import decide
from condiff.training.step_time import StepTimer

CONTRASTS = ("AXT1", "AXT1POST", "AXT2", "AXFLAIR")
FEW = ("data.volumes_per_contrast=1", "data.held_out_per_contrast=1", "callbacks.averages.times=1")
TOY_PHANTOM = ("data.phantom.patients=3", "data.phantom.slices=2", "data.phantom.coils=2", "data.phantom.matrix=32")
PHANTOM = ("data.phantom.patients=3", "data.phantom.slices=4", "data.phantom.coils=2")
WORKERS = (0, 4)  # processes that read batches
WARM = 20  # steps that do not count


def measure(bench: Bench, add: Add) -> None:
    """The phantom with the default network, and raw volumes of fastMRI's layout with unet_160; the batches are conf/'s."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        phantom = (*(TOY_PHANTOM if bench.toy else PHANTOM), *FEW)
        one(bench, add, "phantom, default, 64", phantom, root)
        volumes(root / "fastmri", bench.toy)
        words = ("data=fastmri", f"data.root={root / 'fastmri'}", "data.workers=0", "net=unet_160", *FEW)
        one(bench, add, "fastMRI files, unet_160, 160", words, root)


def volumes(folder: Path, toy: bool) -> None:
    """Three patients of each contrast as raw k-space in fastMRI's layout."""
    threads = torch.get_num_threads()
    write_raw = import_module("tests.conftest").write_raw
    torch.set_num_threads(threads)  # which that module sets
    folder.mkdir()
    size: dict[str, Any] = {"coils": 2, "shape": (64, 32)} if toy else {"coils": 4, "shape": (640, 320), "slices": 4}
    for contrast in CONTRASTS:
        for patient in range(3):
            write_raw(folder / f"{contrast}_{patient}.h5", contrast, f"{contrast}-{patient}", **size)


def one(bench: Bench, add: Add, name: str, words: tuple[str, ...], folder: Path) -> None:
    """Rows of the step alone, of the loader alone with and without processes, and of ``Trainer.fit``."""
    program = program_of(words, folder, bench.toy)
    program.data.prepare_data()
    program.data.setup()
    size, low = program.data.batch_size, "bf16-mixed" in candidates(torch.device(DEVICE))
    step = Training(program_of(words, folder, bench.toy), size, low)
    seconds = seconds_per_call({"step": step}, bench.rounds)["step"]
    alone = size / seconds
    about = {"data": name, "batch": size}
    add(**about, what="training step alone", **{"images/s": alone, "× the step": 1.0})
    for workers in WORKERS[:1] if bench.toy else WORKERS:
        rate = loaded(program, workers, 0.3 if bench.toy else 3.0)
        add(**about, what=f"loader, {workers} processes", **{"images/s": rate, "× the step": rate / alone})
    rate = fitted(program_of(words, folder, bench.toy), 4 if bench.toy else 200, 1 if bench.toy else WARM)
    add(**about, what="Trainer.fit, both", **{"images/s": rate, "× the step": rate / alone})


def program_of(words: tuple[str, ...], folder: Path, toy: bool) -> Program:
    """A new system with data that keep their files in a folder."""
    return Program((*words, f"data.cache={folder / 'cache'}", f"run={folder}", *(("data.batch_size=2",) if toy else ())), toy)


def loaded(program: Program, workers: int, seconds: float) -> float:
    """Images per second of batches that are read, copied to the device and augmented, for so many seconds."""
    data = program.data
    loop = SimpleNamespace(total_batch_idx=0)
    data.trainer = SimpleNamespace(global_rank=0, world_size=1, training=True, fit_loop=loop)
    data.steps_per_epoch = 1_000_000
    data.num_workers = workers
    batches = iter(data.train_dataloader())
    for _ in range(3):
        data.on_after_batch_transfer(next(batches), 0)
    synchronize()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        batch = next(batches)
        batch = type(batch)(*(tensor.to(DEVICE, non_blocking=True) for tensor in batch))
        count += len(data.on_after_batch_transfer(batch, 0).image)
        loop.total_batch_idx += 1
    synchronize()
    return count / (time.perf_counter() - begin)


class Clock(L.Callback):
    """Seconds of the steps after the first ``warm``."""

    def __init__(self, warm: int):
        self.warm, self.begin, self.end = warm, 0.0, 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.warm:
            synchronize()
            self.begin = time.perf_counter()
        if trainer.global_step == trainer.max_steps:
            synchronize()
            self.end = time.perf_counter()


def fitted(program: Program, steps: int, warm: int) -> float:
    """Images per second of ``train.py``'s trainer, with the averages and the check for NaN, without pictures and checkpoints."""
    clock = Clock(warm)
    callbacks = [clock, *(instantiate(program.cfg.callbacks[name]) for name in ("divergence", "ema", "averages"))]
    program.data.steps_per_epoch = steps
    off: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "limit_val_batches": 0}
    program.data.prepare_data()
    program.data.setup()
    timer = StepTimer(program.system, program.data.trial_batch(), torch.device(DEVICE))
    decided = decide(program.cfg, None, timer)
    trainer: L.Trainer = instantiate(decided.trainer, callbacks=callbacks, max_steps=steps, **off)
    trainer.fit(program.system, program.data)
    return (steps - warm) * program.data.batch_size / (clock.end - clock.begin)
