"""The index of a folder tree: what every file in it is, read once, kept as a table.

The table knows nothing of who asks: selection and split come after. A file is read again only when its size
or one of its times has changed, and the table is whole after every few hundred files, so an interrupted index goes on.
"""

import csv
import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from condiff.data.header import Header
from condiff.data.volume import Volume
from condiff.data.workers import workers_for
from condiff.errors import DataFault, InputError, printable
from condiff.files.atomic import whole, writing
from condiff.files.hdf5 import UNREADABLE
from condiff.progress import tracked

VERSION = 2  # of what is read of a file: raise it when that changes
CHUNK = 512  # files between two savings of the table
FEW = 32  # are not worth a process
NAMED = 5  # skipped files in the log; the report has all
KEYS = [f.name for f in fields(Volume) if f.name not in ("path", "contrast", "official", "header")]
STAMP = ("size", "mtime_ns", "ctime_ns")  # writing changes the last, which no program can set back
HEADER_KEYS = [f.name for f in fields(Header)]
TEXT = {"patient", "acquisition", "digest", "measurement", "sequence", "reason"}  # the other cells are JSON
Row = dict[str, str]
Stamp = tuple[int, int, int]
Probe = Callable[[Path], Volume]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Index:
    """The usable volumes of a folder, and for each file that is none the reason; both in the order of paths.

    Attributes:
        report: where the reasons are written.
    """

    volumes: list[Volume]
    skipped: dict[Path, str]
    report: Path = field(compare=False)

    def report_also(self, reasons: Mapping[Path, str]) -> None:
        """Add what turned out later, and write the report, ``index_report.csv``."""
        self.skipped.update(reasons)
        rows = ({"file": printable(p), "reason": printable(r)} for p, r in sorted(self.skipped.items()))
        _write(self.report, ["file", "reason"], rows)


def index(root: Path, cache: Path, probe: Probe, workers: int = 0) -> Index:
    """Look into every .h5 file under ``root``; what is broken, undersampled or a copy is reported and left out.

    Args:
        cache: folder for the table and the report, which may serve many roots.
        probe: path -> what the file is; raises DataFault with the reason where it is no usable volume.
        workers: processes that read; with 0 this one does.

    Raises:
        InputError: no folder there, no usable volume in it, or a cache that cannot be written.
    """
    if not root.is_dir():
        raise InputError(f"data.root: no folder {root}; give the one that holds fastMRI's .h5 files, data.root=DIR")
    folder = table(root, cache).parent
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            files, skipped = _files(root)
            rows = _refreshed(root, files, folder / "index.csv", probe, workers)
    found = Index([], {}, folder / "index_report.csv")
    first: dict[Any, Volume] = {}
    for name, row in sorted(rows.items()):
        path = root / name
        if row["reason"]:
            skipped[path] = row["reason"]
            continue
        volume = _decoded(root, name, row)
        original = first.setdefault(_measurement(volume), volume)
        if original is volume:
            found.volumes.append(volume)
        else:
            skipped[path] = f"the same measurement as {printable(original.path)}"
    found.report_also(skipped)
    _say(found, root, len(rows))
    return found


def table(root: Path, cache: Path) -> Path:
    """The table of a folder tree, which need not be there."""
    return cache / f"index-{hashlib.sha256(os.fsencode(f'{VERSION} {root.resolve()}')).hexdigest()[:12]}" / "index.csv"


def _say(found: Index, root: Path, files: int) -> None:
    for path, reason in list(found.skipped.items())[:NAMED]:
        log.warning("skipped %s: %s", printable(path), printable(reason))
    if found.skipped:
        log.warning("skipped %d of %d files in %s; the reasons are in %s", len(found.skipped), files, root, found.report)
    if not found.volumes:
        first = f", the first being {next(iter(found.skipped))}: {next(iter(found.skipped.values()))}" if found.skipped else ""
        raise InputError(
            f"data.root: {root} holds no readable fastMRI volume ({files} .h5 files{first}); "
            "give the folder with the multicoil brain files, data.root=DIR"
        )


def _refreshed(root: Path, there: Mapping[str, Stamp], path: Path, probe: Probe, workers: int) -> dict[str, Row]:
    """The table by relative path, brought up to date."""
    before = _load(path)
    table = {name: row for name, row in before.items() if there.get(name) == _stamp(row) and UNREADABLE not in row["reason"]}
    new = [name for name in there if name not in table]

    def read() -> Iterator[None]:
        with workers_for(min(workers, len(new) // FEW)) as run:
            for begin in range(0, len(new), CHUNK):
                some = new[begin : begin + CHUNK]
                for name, row in zip(some, run(partial(_row, probe), [root / name for name in some]), strict=True):
                    table[name] = row
                    yield
                _save(path, table)

    for _ in tracked(read(), "Reading headers", len(new)):
        pass
    if table.keys() != before.keys():
        _save(path, table)
    return table


def _files(root: Path) -> tuple[dict[str, Stamp], dict[Path, str]]:
    """Stamps of all .h5 files by relative path, in order; and the reasons why folders could not be listed.

    Links are followed, but not in circles.
    """
    found, unreadable, seen = {}, {}, set()

    def report(error: OSError) -> None:
        unreadable[Path(os.fsdecode(error.filename))] = f"{UNREADABLE}: a folder that cannot be listed ({error.strerror})"

    for folder, inside, names in os.walk(root, onerror=report, followlinks=True):
        try:
            here = os.stat(folder)
        except OSError as error:
            report(error)
            continue
        if (here.st_dev, here.st_ino) in seen:
            inside.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        for name in names:
            if name.endswith(".h5"):
                path = Path(folder, name)
                found[str(path.relative_to(root))] = _stat(path)
    return dict(sorted(found.items())), unreadable


def _stat(path: Path) -> Stamp:
    """Size and times; of a dangling link nothing."""
    try:
        found = path.stat()
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns
    except OSError:
        return -1, 0, 0


def _row(probe: Probe, path: Path) -> Row:
    """The row of a file. An error of the program, not of the file, names the file."""
    stamp = {key: str(value) for key, value in zip(STAMP, _stat(path), strict=True)}
    try:
        volume = probe(path)
    except DataFault as reason:
        return {"reason": str(reason), **stamp}
    except Exception as error:
        error.add_note(f"while reading {printable(path)}")
        raise
    cells = {key: getattr(volume, key) for key in KEYS} | {key: getattr(volume.header, key) for key in HEADER_KEYS}
    return {key: value if key in TEXT else json.dumps(value) for key, value in cells.items()} | {"reason": ""}


def _decoded(root: Path, name: str, row: Row) -> Volume:
    def cell(key: str) -> Any:
        value = row[key] if key in TEXT else json.loads(row[key])
        return tuple(value) if isinstance(value, list) else value

    about = Header(**{key: cell(key) for key in HEADER_KEYS})
    volume = Volume(root / name, row["acquisition"], row["patient"], header=about)
    return replace(volume, **{key: cell(key) for key in KEYS}, official=_official(name))


def _official(name: str) -> str:
    """The split whose folder a file lies in, as the dataset is unpacked: multicoil_train, multicoil_val, multicoil_test_full."""
    kinds = [part.split("_")[1] for part in Path(name).parts[:-1] if part.startswith("multicoil_")]
    return kinds[-1] if kinds and kinds[-1] in ("train", "val", "test") else ""


def _measurement(volume: Volume) -> Any:
    """Equal for copies of a measurement: by the norm, which repeated scans do not share; without one, by the bytes."""
    about = volume.header.measurement if volume.header else ""
    return about, volume.norm or volume.digest, volume.acquisition, volume.patient, volume.slices


def _stamp(row: Row) -> Stamp:
    return int(row["size"]), int(row["mtime_ns"]), int(row["ctime_ns"])


def _load(path: Path) -> dict[str, Row]:
    """What is there; nothing where it was written by another version."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        try:  # a power cut may leave half a table
            rows = [row for row in reader if None not in row and None not in row.values()]
        except (csv.Error, ValueError):
            return {}
        return {row.pop("file"): row for row in rows} if reader.fieldnames == _columns() else {}


def _save(path: Path, table: Mapping[str, Row]) -> None:
    _write(path, _columns(), ({"file": name} | row for name, row in table.items()))


def _columns() -> list[str]:
    return ["file", *KEYS, *HEADER_KEYS, "reason"]


def _write(path: Path, columns: list[str], rows: Iterable[Row]) -> None:
    with writing(path.parent), whole(path) as file:
        text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="", write_through=True)
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
        text.detach()
