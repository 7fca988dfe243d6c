"""An interrupt, a request to end and a lost terminal while a command works: its exit code, its last line, and what is left."""

import os
import signal

import torch

from benchmarks.faults.base import MAIN, SMALL, Base, Result
from benchmarks.faults.kills import preparing, reconstructing
from benchmarks.faults.process import Room, run

SIGNALS = {"SIGINT": (130,), "SIGTERM": (143,), "SIGHUP": (129, -signal.SIGHUP)}  # and the exit codes that a shell expects
GRACE = 2.0  # seconds after the first checkpoint


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
        return elapsed > 0.3 + 0.4 * number if name != "train" else last.is_file() and elapsed > GRACE * (1 + number)

    outcome = run(MAIN[name], room, COMMANDS[name](base, room), seconds=60, stop=(now, getattr(signal, which)))
    faults = outcome.faults(codes=(0, 1, *SIGNALS[which]))
    if name == "train":
        try:
            torch.load(last, weights_only=True)
        except (OSError, RuntimeError) as error:
            faults["lost"] = f"last.ckpt: {error}"
        if "resume=" not in outcome.text and outcome.code >= 0:
            faults["lost"] = f"no line names resume=: {outcome.last}"
    if outcome.code not in (0, *SIGNALS[which]) or (name in ("train", "sample") and outcome.code == 0):
        faults["lost"] = f"exit code {outcome.code}, not {SIGNALS[which][0]}"
    if outcome.left:
        faults["hang"] = f"{outcome.left} processes left"
    room.clear()
    return Result(f"{name} {which} {number}", faults, outcome.last)
