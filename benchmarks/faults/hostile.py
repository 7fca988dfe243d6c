"""Hostile checkpoints and folders of runs, each given to one of the entry points that read them."""

import os
import shutil
import zlib

import torch

from benchmarks.faults.attacks import ATTACKS, Aim, arrange, snapshot, write
from benchmarks.faults.attacks.folders import FOLDERS
from benchmarks.faults.base import Base, Result, command
from benchmarks.faults.process import run

SECONDS = 30
READERS = "sample likelihood resume reconstruct ema init sample resume_anywhere likelihood teacher sample autoencoder"
RESUMED = "words path overrides deletes leaves callbacks scheduler optimizer epoch version"  # families that resuming is for
FITTING = dict.fromkeys(RESUMED.split(), "resume resume_anywhere") | {"patients": "reconstruct init resume"}
RUN_READERS = "ema sample likelihood_beside resume reconstruct_beside"


def jobs(base: Base, scale: float) -> list[tuple]:
    """(name of an attack, entry point), spread evenly over all attacks; half of them at scale 1, all at scale 2."""
    run_readers = RUN_READERS.split()
    found = []
    for name in ATTACKS:
        number = zlib.crc32(name.encode())
        fitting = FITTING.get(name.split("_")[0], READERS).split()
        found.append((name, fitting[number % len(fitting)]))
    found += [(name, run_readers[number % len(run_readers)]) for number, name in enumerate(FOLDERS)]
    found += [(name, "ema") for name in FOLDERS if name.startswith("average")]
    found = sorted({*found}, key=lambda job: zlib.crc32(repr(job).encode()))
    return found[: round(scale * len(found) / 2)]


def attempt(base: Base, name: str, entry: str) -> Result:
    """One attack through one entry point."""
    room = base.room(f"attack-{os.getpid()}")
    aim = Aim(room.folder / "pwn", room.folder / "victim")
    arrange(aim)
    checkpoint = room.run / "checkpoints/last.ckpt"
    for part in ("checkpoints", "averages"):
        shutil.copytree(base.run / part, room.run / part)
    (room.work / "runs/pwn").mkdir(parents=True)
    shutil.copy(aim.pwn / "evil.py", room.work / "runs/pwn")
    if name in FOLDERS:
        FOLDERS[name](room.run, aim)
    else:
        write(name, torch.load(base.checkpoint, weights_only=True), aim, checkpoint)
    before = snapshot(aim)
    main, words = command(entry, base, checkpoint, room)
    outcome = run(main, room, words, seconds=SECONDS)
    after, faults = snapshot(aim), outcome.faults()
    changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    if any(key.startswith("pwn") for key in changed):
        faults["code"] = f"appeared: {changed}"
    elif changed:
        faults["outside"] = f"changed: {changed[:4]}"
    room.clear()
    return Result(f"{entry} {name}", faults, outcome.last)
