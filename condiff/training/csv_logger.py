"""The metrics of a run as two CSV tables without empty cells."""

import csv
import io
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from condiff.files.atomic import atomic_write

Row = dict[str, Any]
Table = list[dict[str, str]]


def counted_from_one(metrics: Mapping[str, Any], step: int | None) -> tuple[Row, int | None]:
    """Returns metrics and step with epoch and step counted from 1; Lightning counts both from 0."""
    row = dict(metrics)
    if "epoch" in row:
        row["epoch"] = int(row["epoch"]) + 1
    return row, None if step is None else step + 1


def read(path: str | Path) -> Table:
    """Returns the rows of a table; empty if the file does not exist."""
    if not Path(path).is_file():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def copy_earlier_rows(source: Path, folder: Path, step: int) -> None:
    """Begins the tables of a folder with the rows of another run up to a step; not where a table exists or one is no table."""
    for name in ("metrics_train.csv", "metrics_validation.csv"):
        try:
            rows = [row for row in read(source / name) if all(float(cell or 0) < inf for cell in row.values())]
            rows = [row for row in rows if float(row["step"]) <= step]
        except (OSError, ValueError, TypeError, LookupError, csv.Error):
            continue
        if rows and not (folder / name).exists():
            _write(folder / name, list(rows[0]), rows)


def _write(path: Path, columns: list[str], rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


class CSVLogger(Logger):
    """Writes ``metrics_train.csv``, a row every ``trainer.log_every_n_steps`` steps, and ``metrics_validation.csv``, a row per
    validation.

    A resumed run continues the tables of its folder, which begin with those of the run that it resumes (`copy_earlier_rows`):
    rows of its first step and later are replaced.

    Args:
        save_dir: folder of the two files.
    """

    def __init__(self, save_dir: str | Path):
        super().__init__()
        self.folder = Path(save_dir)
        self._columns: dict[str, list[str]] = {}

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row, step = counted_from_one(metrics, step)
        names = [name for name in row if name != "epoch"]
        table = "train" if all(name.startswith("train/") for name in names) else "validation"
        self._append(table, {"epoch": row.pop("epoch", None), "step": step} | {name: f"{row[name]:.9g}" for name in names})

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Does nothing: config.yaml holds the configuration."""

    def _append(self, table: str, row: Row) -> None:
        path = self.folder / f"metrics_{table}.csv"
        if not row.keys() <= set(self._columns.get(table, ())):  # the first row, or a metric that is new
            self._rewrite(path, table, row)
        with open(path, "a", newline="") as file:
            csv.DictWriter(file, self._columns[table], lineterminator="\n").writerow(row)

    def _rewrite(self, path: Path, table: str, row: Row) -> None:
        """Rewrites a table with a column for every metric, without the rows of an interrupted run from this step on."""
        earlier = [old for old in read(path) if float(old.get("step") or 0) < (row["step"] or 0)]
        self._columns[table] = list(dict.fromkeys([*(earlier[0] if earlier else ()), *row]))
        _write(path, self._columns[table], earlier)
