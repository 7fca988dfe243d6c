"""The index of a folder tree: what each file in it is, read once and kept as a table.

The index does not depend on the selection and the split, which come after it. A file is read again only when its size or one of
its times has changed. The table is saved after every few hundred files, so an interrupted index continues where it was.
"""

import csv
import hashlib
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from condiff.data.layout import STAMP, Layout, Row
from condiff.data.no_volumes import no_files, no_volumes
from condiff.data.volume import Volume
from condiff.data.workers import FEWER, alone, worker_pool
from condiff.errors import DataFault, InputError, printable
from condiff.files.atomic import atomic_write, friendly_disk_errors
from condiff.files.foreign import UNREADABLE
from condiff.progress import track

VERSION = 2  # of what is read of a file: raise it when that changes
FILES_PER_SAVE = 512
FILES_PER_PROCESS = 32  # at least; fewer are not worth a process
MAX_LOGGED = 5  # skipped files in the log; the report has all
Stamp = tuple[int, int, int]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Index:
    """The usable volumes of a folder, and the reason why each other file is skipped; both in the order of paths.

    Attributes:
        report: path of ``index_report.csv``, the table of skipped files.
    """

    volumes: list[Volume]
    skipped: dict[Path, str]
    report: Path = field(compare=False)

    def add_skipped(self, reasons: Mapping[Path, str]) -> None:
        """Add files with their reasons, and write the report."""
        self.skipped.update(reasons)
        rows = ({"file": printable(path), "reason": printable(reason)} for path, reason in sorted(self.skipped.items()))
        _write_table(self.report, ["file", "reason"], rows)


def index(root: Path, cache: Path, layout: Layout, workers: int = 0) -> Index:
    """The index of a layout's files under ``root``; broken, undersampled and duplicate ones are reported and left out.

    Args:
        cache: folder for the table and the report, which may serve many roots.
        layout: which files there are, and what volumes they make.
        workers: processes that read; with 0 this one does.

    Raises:
        InputError: no folder there, no usable volume in it, or a cache that cannot be written.
    """
    if not root.is_dir():
        what = f"{root} is a file" if root.is_file() else f"no folder {root}"
        raise InputError(f"data.root: {what}; give the one that holds the {layout.files}s, data.root=DIR")
    folder = table_path(root, cache, layout.name).parent
    with friendly_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / "lock"):
            stamps, skipped = _find_files(root, layout)
            rows = _update_table(root, stamps, folder / "index.csv", layout, workers)
    result = Index([], {}, folder / "index_report.csv")
    originals: dict[Any, Volume] = {}
    skipped |= {root / name: row["reason"] for name, row in rows.items() if row["reason"]}
    volumes, left_out = layout.volumes(root, {name: row for name, row in sorted(rows.items()) if not row["reason"]})
    for volume in volumes:
        original = originals.setdefault(_measurement_key(volume), volume)
        if original is volume:
            result.volumes.append(volume)
        else:
            note = "" if original.patient == volume.patient else ", of another patient; give the person one name"
            skipped[volume.path] = f"the same measurement as {printable(original.path)}{note}"
    result.add_skipped(skipped | left_out)
    _log_summary(result, root, len(rows), layout)
    return result


def table_path(root: Path, cache: Path, layout: str = "fastmri") -> Path:
    """Path of the table of a folder tree, whether it exists or not."""
    name = f"{VERSION} {root.resolve()}" + (f" {layout}" if layout != "fastmri" else "")
    return cache / f"index-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}" / "index.csv"


def _log_summary(result: Index, root: Path, files: int, layout: Layout) -> None:
    """Log the skipped files. Raises InputError where no volume is left."""
    first = {reason: path for path, reason in reversed(result.skipped.items())}  # files of a series share theirs
    for reason, path in list(reversed(first.items()))[:MAX_LOGGED]:
        log.warning("skipped %s: %s", printable(path), printable(reason))
    if result.skipped:
        log.warning("skipped %d of %d files in %s; the reasons are in %s", len(result.skipped), files, root, result.report)
    if not result.volumes:
        raise no_volumes(root, result.skipped, files, layout) if files else no_files(root, layout)


def _update_table(root: Path, stamps: Mapping[str, Stamp], path: Path, layout: Layout, workers: int) -> dict[str, Row]:
    """The rows of the table by relative path, after new and changed files were read and deleted ones dropped."""
    columns = ["file", *layout.columns, "reason"]
    before = _load_table(path, columns)
    rows = {
        name: row for name, row in before.items() if stamps.get(name) == _stamp_of_row(row) and UNREADABLE not in row["reason"]
    }
    new = [name for name in stamps if name not in rows]

    def read() -> Iterator[None]:
        with worker_pool(min(workers, len(new) // FILES_PER_PROCESS), FEWER) as run:
            for begin in range(0, len(new), FILES_PER_SAVE):
                names = new[begin : begin + FILES_PER_SAVE]
                for name, row in zip(names, run(partial(_row_of, layout), [root / name for name in names]), strict=True):
                    rows[name] = row
                    yield
                _save_table(path, columns, rows)

    for _ in track(read(), "Reading headers", len(new)):
        pass
    if rows.keys() != before.keys():
        _save_table(path, columns, rows)
    return rows


def _find_files(root: Path, layout: Layout) -> tuple[dict[str, Stamp], dict[Path, str]]:
    """Stamps of all files of a layout by relative path, in order; and the reasons why folders could not be listed.

    Links are followed, each folder once.
    """
    stamps, unreadable, visited = {}, {}, set()

    def report(error: OSError) -> None:
        unreadable[Path(os.fsdecode(error.filename))] = f"{UNREADABLE}: a folder that cannot be listed ({error.strerror})"

    for folder, subfolders, names in os.walk(root, onerror=report, followlinks=True):
        try:
            stat = os.stat(folder)
        except OSError as error:
            report(error)
            continue
        if (stat.st_dev, stat.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        below = "" if (below := os.path.relpath(folder, root)) == os.curdir else below + os.sep
        for name in names:
            if layout.reads(below + name):
                stamps[below + name] = _stamp_of_file(os.path.join(folder, name))
    return dict(sorted(stamps.items())), unreadable


def _stamp_of_file(path: str | Path) -> Stamp:
    """Size and times; (-1, 0, 0) of a dangling link."""
    try:
        stat = os.stat(path)
        return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    except OSError:
        return -1, 0, 0


def _stamp_of_row(row: Row) -> Stamp:
    return int(row["size"]), int(row["mtime_ns"]), int(row["ctime_ns"])


def _row_of(layout: Layout, path: Path) -> Row:
    """The row of a file. An error of the program, not of the file, gets a note that names the file."""
    stamp = {key: str(value) for key, value in zip(STAMP, _stamp_of_file(path), strict=True)}
    try:
        return stamp | layout.row(path) | {"reason": ""}
    except DataFault as reason:
        return {"reason": str(reason), **stamp}
    except Exception as error:
        error.add_note(f"while reading {printable(path)}")
        raise


def _measurement_key(volume: Volume) -> Any:
    """Equal for copies of a measurement: by the norm, which differs between repeated scans; without a norm, by the bytes.

    Equal bytes are one measurement, whatever the patient's name.
    """
    measurement = volume.header.measurement if volume.header else ""
    return measurement, volume.norm or volume.digest, volume.acquisition, volume.patient if volume.norm else "", volume.slices


def _load_table(path: Path, columns: list[str]) -> dict[str, Row]:
    """The rows by relative path; none where there is no table, or one of another version."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        try:  # a power cut may leave half a table
            rows = [row for row in reader if None not in row and None not in row.values()]
        except (csv.Error, ValueError):
            return {}
        return {row.pop("file"): row for row in rows} if reader.fieldnames == columns else {}


def _save_table(path: Path, columns: list[str], rows: Mapping[str, Row]) -> None:
    _write_table(path, columns, ({"file": name} | row for name, row in rows.items()))


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    with friendly_disk_errors(path.parent), atomic_write(path) as file:
        text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="", write_through=True)
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
        text.detach()
