"""The table of a sweep: ``sweep.csv`` in its folder, one row per job, the best first."""

import csv
import io
import math
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write
from rich.console import Console
from rich.table import Table

from condiff.configuration import EARLIER, job_number
from condiff.files.atomic import atomic_write
from condiff.progress import is_first_process

TABLE = "sweep.csv"
STUDY = "study.db"  # of Optuna, in the sweep's folder
COLUMNS = ["job", "folder", "objective", "status"]
Row = dict[str, Any]


class JobFailed(Exception):
    """A job of a sweep had invalid input, which is already reported; the other jobs continue."""


def can_store() -> bool:
    """Whether Optuna can store a study in a file; the version of Hydra's sweeper does not support SQLAlchemy 2."""
    try:
        return int(version("sqlalchemy").partition(".")[0]) < 2
    except PackageNotFoundError:
        return False


class SweepTable(Callback):
    """Hydra callback: adds every job to ``sweep.csv`` when it ends, and prints the table at the end.

    A failed job counts as infinity; the command then exits with 1 after all jobs have run.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        os.environ[EARLIER] = str(len(read(folder)) if (folder / STUDY).is_file() else 0)
        sweeper = config.hydra.sweeper
        if "storage" in sweeper and sweeper.storage is None and can_store():  # Optuna: the same command continues the study
            folder.mkdir(parents=True, exist_ok=True)
            with read_write(config), open_dict(config):
                sweeper.storage = f"sqlite:///{(folder / STUDY).resolve()}"
                sweeper.study_name = sweeper.study_name or config.name

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if config.hydra.mode != RunMode.MULTIRUN or not is_first_process():
            return
        failed = job_return.status == JobStatus.FAILED
        value = math.inf if failed else job_return._return_value
        row = {
            "job": job_number(config.hydra.job.num),
            "folder": config.hydra.runtime.output_dir,
            "objective": value,
            "status": "failed" if failed else "diverged" if value is not None and not math.isfinite(value) else "completed",
        }
        words = [word.lstrip("+").partition("=")[::2] for word in job_return.overrides or ()]
        add(Path(config.hydra.sweep.dir), row | {name: value for name, value in words if name not in COLUMNS})
        if failed and isinstance(job_return._return_value, JobFailed):
            job_return.status, job_return.return_value = JobStatus.COMPLETED, math.inf

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        rows = read(folder)
        if not rows or not is_first_process():
            return
        show(rows)
        if math.isfinite(rank(rows[0])):
            print(f"best        {rows[0]['folder']}")
        print(f"table       {folder / TABLE}")
        if any(row["status"] == "failed" for row in rows):
            sys.exit(1)


def rank(row: Row) -> float:
    """Returns the objective to sort rows by; infinity if missing or not a number."""
    value = row["objective"]
    value = math.inf if value is None or value == "" else float(value)
    return math.inf if math.isnan(value) else value


def add(folder: Path, row: Row) -> None:
    """Adds a row to the table of a sweep, under a lock: jobs may end at the same time."""
    with FileLock(folder / ".sweep.lock"):
        other_rows = [earlier for earlier in read(folder) if earlier["folder"] != row["folder"]]
        rows = sorted([*other_rows, row], key=rank)
        text = io.StringIO()
        writer = csv.DictWriter(
            text, list(dict.fromkeys([*COLUMNS, *(name for job in rows for name in job)])), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
        with atomic_write(folder / TABLE) as file:
            file.write(text.getvalue().encode())


def read(folder: Path) -> list[Row]:
    """Returns the rows of the table of a sweep, the best first; empty without one."""
    if not (folder / TABLE).is_file():
        return []
    with open(folder / TABLE, newline="") as file:
        return list(csv.DictReader(file))


def show(rows: list[Row]) -> None:
    """Prints job, objective, status, and the overrides that differ between jobs."""
    differing = [name for name in rows[0] if name not in COLUMNS and len({row[name] for row in rows}) > 1]
    table = Table("job", "objective", "status", *differing, box=None)
    for row in rows:
        objective = f"{float(row['objective']):.5g}" if row["objective"] else ""
        table.add_row(row["job"], objective, row["status"], *(_short(row[name]) for name in differing))
    Console(soft_wrap=True).print(table)


def _short(value: str) -> str:
    """Returns a value of a sweep, numbers with at most five digits."""
    try:
        return f"{float(value):.5g}" if len(value) > 7 else value
    except ValueError:
        return value
