"""Reconstruction of many volumes: each process takes its share, and the first one collects the failures."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import lightning as L
import torch

from condiff.errors import InputError, NotANumber, is_memory, printable
from condiff.files.atomic import atomic_write
from condiff.progress import progress_bar
from condiff.reconstruction.numbers import numbers_of

POLL_SECONDS = 1.0


def reconstruct_all(fabric: L.Fabric, targets: Mapping[Path, Path], reconstruct: Callable[..., None]) -> dict[Path, str]:
    """Reconstructs this process's share of the volumes, except those already done. Returns the reasons of the failed ones.

    Args:
        targets: k-space file -> file of its reconstruction.
        reconstruct: (file, target, share of the work done -> None).
    """
    files, failed = [*targets][fabric.global_rank :: fabric.world_size], {}
    with progress_bar("Reconstructing", len(files)) as advance:
        for index, path in enumerate(files):
            try:
                if numbers_of(targets[path]) is None:
                    reconstruct(path, targets[path], advance)
            except (InputError, NotANumber, torch.linalg.LinAlgError) as reason:
                failed[path] = str(reason).removeprefix(f"{printable(path)}: ")
            except (MemoryError, RuntimeError) as error:
                if not is_memory(error):
                    raise
                failed[path] = "one image does not fit into memory; set fewer coils"
            advance(to=index + 1)
    return failed


def reasons_file(out: Path, rank: int) -> Path:
    """The file in which a process writes the reasons of its failed volumes; its presence shows that the process has finished."""
    return out / f"failed-{rank}.json"


def gather(out: Path, rank: int, processes: int, failed: dict[Path, str]) -> dict[Path, str]:
    """The failures of all processes, in the first process; the other processes return their own at once.

    They are exchanged by files, because the processes' work may differ by hours and a collective operation would time out.
    """
    with atomic_write(reasons_file(out, rank)) as stream:
        stream.write(json.dumps({str(path): reason for path, reason in failed.items()}).encode())
    if rank > 0:
        return failed
    files = [reasons_file(out, number) for number in range(processes)]
    while not all(file.is_file() for file in files):
        time.sleep(POLL_SECONDS)  # if a process dies, its launcher stops this one too
    reasons = [json.loads(file.read_text()) for file in files]
    for file in files:
        file.unlink()
    return {Path(path): reason for of_process in reasons for path, reason in of_process.items()}
