"""Disks that are full: limits on the size of a file for every user, small file systems in memory for root."""

import os
import subprocess
from pathlib import Path
from typing import Any

import h5py
import torch

from benchmarks.faults.base import MAIN, READY, SMALL, Base, Result
from benchmarks.faults.process import Room, run

SPACE = 8 * 2**20  # of the small file systems
FREE = (0, 2**12, 2**17, 2**19, 2**20)  # bytes that are left there
SIZES = (1000, 30_000, 200_000)  # of the largest file, in bytes
READERS = {
    ".ckpt": lambda path: torch.load(path, weights_only=True),
    ".pt": lambda path: torch.load(path, weights_only=True),
    ".h5": lambda path: h5py.File(path).close(),
}


def words(name: str, base: Base, small: Path, room: Room) -> tuple[str, list[str]]:
    """An entry point that writes to a small disk."""
    few = ["steps=2", "accelerator=cpu"]
    return {
        "train": ("train", [*SMALL, "trainer.max_epochs=4", f"hydra.run.dir={small}/run"]),
        "phantom": ("train", [*SMALL, "data.phantom.seed=5", f"data.cache={small}/cache", f"hydra.run.dir={room.out}"]),
        "prepare": ("prepare", [f"data.root={base.volumes}", f"data.cache={small}/cache", "data.workers=0", *READY]),
        "sample": ("sample", [f"ckpt={base.checkpoint}", "num_samples=8", f"out={small}/samples", *few]),
        "ema": ("ema", [f"ckpt={base.checkpoint}", f"out={small}/ema.ckpt"]),
        "likelihood": ("likelihood", [f"ckpt={base.checkpoint}", "num_images=2", f"out={small}/likelihood", *few]),
        "reconstruct": ("reconstruct", [f"ckpt={base.checkpoint}", *base.scans, "volumes=1", f"out={small}/images", *few]),
    }[name]


NAMES = ("train", "phantom", "prepare", "sample", "ema", "likelihood", "reconstruct")


def jobs(base: Base, scale: float) -> list[tuple]:
    """(command, limit, whether it is of a file system); without root only limits on files."""
    found = [(name, size, False) for size in SIZES for name in NAMES]
    if _mounts(base.folder):
        found += [(name, free, True) for free in FREE for name in (*NAMES, "temporary")]
    return found[:: max(1, round(1 / scale))]


def attempt(base: Base, name: str, free: int, mounted: bool) -> Result:
    room = base.room(f"disk-{os.getpid()}", own_cache=name == "phantom")
    small, settings = room.out / "small", dict[str, Any]()
    small.mkdir(parents=True)
    if name == "temporary":  # files that are written elsewhere and moved
        name, settings, target = "train", {"environment": {"TMPDIR": str(small)}}, room.out
    else:
        target = small
    entry, arguments = words(name, base, target, room)
    if mounted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SPACE}", "tmpfs", small], check=True)
    try:
        if mounted:
            (small / "fill").write_bytes(bytes(SPACE - free))
        else:
            settings["file_size"] = free
        outcome = run(MAIN[entry], room, arguments, seconds=120, **settings)
        faults = outcome.faults()
        damaged = [path.name for path in target.rglob("*") if path.is_file() and not _readable(path)]
    finally:
        if mounted:
            subprocess.run(["umount", "-l", small], check=True)
    if damaged:
        faults["lost"] = f"damaged: {damaged}"
    room.clear()
    return Result(f"{entry} {'disk' if mounted else 'file'} {free}", faults, outcome.last)


def _readable(path: Path) -> bool:
    try:
        READERS.get(path.suffix, lambda _: None)(path)
    except (OSError, RuntimeError, EOFError):
        return False
    return True


def _mounts(folder: Path) -> bool:
    """Whether this user may mount file systems here."""
    place = folder / "mount"
    place.mkdir(exist_ok=True)
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, check=False).returncode:
        return False
    subprocess.run(["umount", place], check=True)
    return True
