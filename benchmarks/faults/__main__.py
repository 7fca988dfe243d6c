"""The campaign of faults: python -m benchmarks.faults [DIR] [only=attacks,kills] [scale=0.1] [lanes=2].

Hostile and damaged files of every kind that condiff reads; kills, signals and full disks while it writes. Prints a table, writes
every try to DIR/results.csv, and exits with 1 where something happened that should not. DIR is a new temporary folder by default.
"""

import csv
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
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
    results = {kind: campaign(kind, base, scale, int(settings.get("lanes", 2))) for kind in kinds}
    with (base.folder / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "try", *COLUMNS, "printed last"])
        for kind, tried in results.items():
            writer.writerows([kind, one.name, *(one.faults.get(key, "") for key in COLUMNS), one.last] for one in tried)
    Console(width=120).print(table(results))
    print(f"{(time.monotonic() - begin) / 60:.1f} minutes; every try is in {base.folder}/results.csv")
    return int(any(one.faults for tried in results.values() for one in tried))


def campaign(kind: str, base: Base, scale: float, lanes: int) -> list[Result]:
    """All tries of a kind, so many at a time."""
    attempt, tried = KINDS[kind].attempt, []
    with ProcessPoolExecutor(lanes, get_context("fork")) as pool, Progress(transient=True) as progress:
        bar = progress.add_task(kind)
        waiting = {pool.submit(attempt, base, *job): job for job in KINDS[kind].jobs(base, scale)}
        for done in progress.track(as_completed(waiting), total=len(waiting), task_id=bar):
            try:
                tried.append(done.result())
            except Exception as error:  # a fault of the campaign's own does not end it
                tried.append(Result(str(waiting[done]), {"lost": f"not tried: {type(error).__name__} {error}"}))
    return sorted(tried, key=lambda one: one.name)


def table(results: dict[str, list[Result]]) -> Table:
    made = Table("", "tried", *COLUMNS.values())
    for kind, tried in results.items():
        made.add_row(kind, str(len(tried)), *(str(sum(key in one.faults for one in tried)) for key in COLUMNS))
    return made


if __name__ == "__main__":
    sys.exit(main())
