"""Damaged, hostile and odd volumes: one through all functions that read them, or several beside good ones through prepare.py."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from torch import Tensor

from benchmarks.faults.base import MAIN, READY, Base, Result
from benchmarks.faults.mutants import MUTANTS, flipped, volume
from benchmarks.faults.process import Room, run
from condiff.data.fastmri.raw_scan import read_raw_scan
from condiff.data.fastmri.reader import probe, read_identity, read_kspace, read_magnitude
from condiff.data.transforms import Complex, Magnitude

SECONDS = 20
IN_A_FOLDER = 12  # mutants beside the good files
SILENT = 3  # the exit code where ready images are damaged
LARGEST = 1000  # of a ready image, whose white is near 1


def check(images: Tensor) -> None:
    """Ready images are finite and of sensible size."""
    half = images.half()
    if not half.isfinite().all() or images.abs().max() > LARGEST:
        print(f"images from {images.min():.3g} to {images.max():.3g}")
        raise SystemExit(SILENT)


def ready_magnitude(path: Path) -> None:
    probe(path)
    check(Magnitude(64, 2)(*read_magnitude(path))[0])


def ready_complex(path: Path) -> None:
    probe(path)
    check(Complex(64, 2)(*read_kspace(path))[0])


READERS: tuple[Callable[[Path], Any], ...] = (probe, ready_magnitude, ready_complex, read_raw_scan, read_identity)


def read(path: Path) -> None:
    """All readers; ValueError is how they refuse a file."""
    refused = []
    for reader in READERS:
        try:
            reader(path)
        except ValueError as error:
            refused.append(f"{reader.__name__}: {error}")
    print(*refused, sep="\n")


def jobs(base: Base, scale: float) -> list[tuple]:
    """Names of mutants and numbers of random changes, 1000 at scale 1; then groups of mutants in folders."""
    names = sorted(MUTANTS, key=lambda name: zlib.crc32(name.encode()))[: round(scale * len(MUTANTS))]
    count = round(1000 * scale) - len(names)
    groups = [names[i : i + IN_A_FOLDER] for i in range(0, len(names), IN_A_FOLDER)]
    return [((name,),) for name in names] + [((number,),) for number in range(count)] + [(tuple(group),) for group in groups]


def attempt(base: Base, which: tuple[str | int, ...]) -> Result:
    """One file through all readers, or several in a folder through prepare.py."""
    room = base.room(f"volume-{os.getpid()}", own_cache=True)
    room.out.mkdir()
    good = volume(room.out / "good.h5")
    np.random.default_rng(1).random(20000, dtype=np.float32).tofile(room.out / "secret")
    os.mkfifo(room.out / "pipe")
    paths = [mutated(good, name) for name in which]
    if len(which) == 1:
        outcome = run(lambda: read(paths[0]), room, seconds=SECONDS)
        faults = {"lost": outcome.last} if outcome.code == SILENT else outcome.faults()
        result = Result(f"volume {which[0]}", faults, outcome.last)
    else:
        result = _in_a_folder(base, room, which)
    room.clear()
    return result


def mutated(good: Path, which: str | int) -> Path:
    path = good.with_name("mutant.h5" if isinstance(which, int) else f"{which[:80].replace('/', '_')}.h5")
    if isinstance(which, int):
        path.write_bytes(flipped(good.read_bytes(), which))
        return path
    with h5py.File(volume(path), "r+") as file:
        MUTANTS[which](file)
    return path


def _in_a_folder(base: Base, room: Room, which: tuple[str | int, ...]) -> Result:
    """The good volumes are made ready, whatever lies beside them."""
    for path in base.volumes.glob("*.h5"):
        (room.out / path.name).symlink_to(path)
    words = [f"data.root={room.out}", f"data.cache={room.cache}", "data.workers=0", *READY]
    outcome = run(MAIN["prepare"], room, words, seconds=3 * SECONDS)
    faults = outcome.faults(codes=(0,))
    return Result(f"folder of {which[0]} …", faults, outcome.last)
