"""An interrupt, a request to end and a lost terminal while a command works: its exit code, its last line, and what is left."""

import os
import signal
from pathlib import Path

import torch

from benchmarks.faults.base import MAIN, SMALL, Base, Result
from benchmarks.faults.kills import preparing, reconstructing
from benchmarks.faults.process import Room, run

SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}  # and the exit status that a shell sees


def endless(base: Base, room: Room) -> list[str]:
    return [*SMALL, "trainer.max_epochs=100000", f"hydra.run.dir={room.out}"]


def many(base: Base, room: Room) -> list[str]:
    return [f"ckpt={base.checkpoint}", "num_samples=2000", "steps=50", "accelerator=cpu", f"out={room.out}"]


COMMANDS = {"train": endless, "sample": many, "prepare": preparing, "reconstruct": reconstructing}


def jobs(base: Base, scale: float) -> list[tuple]:
    found = [(name, which, number) for number in range(2) for name in COMMANDS for which in SIGNALS]
    return found[: max(1, round(scale * len(found)))]


def attempt(base: Base, name: str, which: str, number: int) -> Result:
    """Send a command one signal."""
    room = base.room(f"signal-{os.getpid()}", own_cache=name == "prepare")
    last = room.out / "checkpoints/last.ckpt"

    def now(elapsed: float) -> bool:
        return elapsed > 2 + 2 * number and last.is_file() if name == "train" else elapsed > 0.3 + 0.4 * number

    outcome = run(MAIN[name], room, COMMANDS[name](base, room), seconds=60, stop=(now, getattr(signal, which)))
    status = outcome.code if outcome.code >= 0 else 128 - outcome.code
    ended = status == 0 and name in ("prepare", "reconstruct")  # before the signal came
    faults, lost = outcome.faults(codes=(outcome.code,)), []
    if status != SIGNALS[which] and not ended:
        lost.append(f"exit status {status}, not {SIGNALS[which]}")
    if name == "train" and which != "SIGHUP" and "resume=" not in outcome.text:
        lost.append(f"no line names resume=: {outcome.last}")
    if name == "train" and not _readable(last):
        lost.append("last.ckpt is damaged")
    if outcome.left:
        faults["hang"] = f"{outcome.left} processes left"
    room.clear()
    return Result(f"{name} {which} {number}", faults | ({"lost": "; ".join(lost)} if lost else {}), outcome.last)


def _readable(path: Path) -> bool:
    try:
        return isinstance(torch.load(path, weights_only=True), dict)
    except (OSError, RuntimeError):
        return False
