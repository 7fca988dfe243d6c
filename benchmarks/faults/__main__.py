"""The campaign of faults: python -m benchmarks.faults [DIR] [only=attacks,kills] [scale=0.1] [lanes=2].

Hostile and damaged files of every kind that condiff reads; kills, signals and full disks while it writes. Prints a table, writes
every try to DIR/results.csv, and exits with 1 where something happened that should not. DIR is a temporary folder by default.
Linux only.
"""

import csv
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.faults import checkpoints, disks, hostile, kills, signals, volumes
from benchmarks.faults.base import Base, Result, make

KINDS = {
    "kills": kills, "volumes": volumes, "checkpoints": checkpoints, "attacks": hostile, "disks": disks, "signals": signals,
}  # fmt: skip
COLUMNS = {"lost": "lost", "traceback": "tracebacks", "hang": "hangs", "code": "code executed", "outside": "files outside"}


def main() -> int:
    settings = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    folders = [Path(word) for word in sys.argv[1:] if "=" not in word]
    kinds, scale = settings.get("only", ",".join(KINDS)).split(","), float(settings.get("scale", 1))
    torch.set_num_threads(1)
    begin, base = time.monotonic(), make(folders[0].resolve() if folders else Path(tempfile.mkdtemp(prefix="faults-")))
    results: dict[str, list[Result]] = {kind: [] for kind in kinds}
    with (base.folder / "results.csv").open("w", newline="", buffering=1) as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "try", *COLUMNS, "printed last"])
        for kind in kinds:
            for one in campaign(kind, base, scale, int(settings.get("lanes", 2))):
                results[kind].append(one)
                writer.writerow([kind, one.name, *(one.faults.get(key, "") for key in COLUMNS), one.last])
    Console(width=120).print(table(results))
    print(f"{(time.monotonic() - begin) / 60:.1f} minutes; every try is in {base.folder}/results.csv")
    return int(any(one.faults for tried in results.values() for one in tried))


def campaign(kind: str, base: Base, scale: float, lanes: int) -> Iterator[Result]:
    """All tries of a kind, so many at a time."""
    module = KINDS[kind]
    with ProcessPoolExecutor(lanes, get_context("fork")) as pool:
        jobs = {pool.submit(module.attempt, base, *job): job for job in module.jobs(base, scale)}
        for done in track(as_completed(jobs), kind, len(jobs), transient=True):
            try:
                yield done.result()
            except Exception as error:  # a fault of the campaign's own does not end it
                yield Result(str(jobs[done]), {"lost": f"not tried: {type(error).__name__} {error}"})


def table(results: dict[str, list[Result]]) -> Table:
    made = Table("", "tried", *COLUMNS.values())
    for kind, tried in results.items():
        made.add_row(kind, str(len(tried)), *(str(sum(key in one.faults for one in tried)) for key in COLUMNS))
    return made


if __name__ == "__main__":
    sys.exit(main())
