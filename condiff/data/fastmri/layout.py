"""The layout of fastMRI's folders: a volume per .h5 file, and folders named by split."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from condiff.data.fastmri.reader import probe
from condiff.data.header import Header
from condiff.data.layout import Row
from condiff.data.volume import Volume

VOLUME_COLUMNS = (
    "patient", "acquisition", "slices", "coils", "rows", "cols", "norm", "digest", "size", "mtime_ns", "ctime_ns",
)  # fmt: skip
HEADER_COLUMNS = tuple(f.name for f in fields(Header))
TEXT = {"patient", "acquisition", "digest", "measurement", "sequence"}  # the other cells are JSON


class FastMRI:
    """FastMRI's multicoil files, at any depth.

    Args:
        probe: path -> the record of a file; raises DataFault.
    """

    name = "fastmri"
    files = ".h5 file"
    columns: tuple[str, ...] = (*VOLUME_COLUMNS, *HEADER_COLUMNS)

    def __init__(self, probe: Callable[[Path], Volume] = probe):
        self.probe = probe

    def remedy(self, root: Path) -> str:
        return (
            "give the folder with fastMRI's multicoil brain files (.h5), data.root=DIR; for NIfTI, BIDS or DICOM use data=nifti, "
            "data=bids or data=dicom: docs/data.md"
        )

    def reads(self, name: str) -> bool:
        return name.endswith(".h5")

    def row(self, path: Path) -> Row:
        volume = self.probe(path)
        cells: dict[str, Any] = {key: getattr(volume, key) for key in VOLUME_COLUMNS}
        cells |= {key: getattr(volume.header, key) for key in HEADER_COLUMNS}
        return {key: value if key in TEXT else json.dumps(value) for key, value in cells.items()}

    def volumes(self, root: Path, rows: Mapping[str, Row]) -> tuple[list[Volume], dict[Path, str]]:
        return [_volume_of(row, root, name) for name, row in rows.items()], {}


def _volume_of(row: Row, root: Path, name: str) -> Volume:
    """The inverse of `FastMRI.row`."""

    def cell(key: str) -> Any:
        value = row[key] if key in TEXT else json.loads(row[key])
        return tuple(value) if isinstance(value, list) else value

    header = Header(**{key: cell(key) for key in HEADER_COLUMNS})
    volume = Volume(root / name, row["acquisition"], row["patient"], header=header)
    return replace(volume, **{key: cell(key) for key in VOLUME_COLUMNS}, official=_official_split(name))


def _official_split(name: str) -> str:
    """The split whose folder a file lies in, as the dataset is unpacked: multicoil_train, multicoil_val, multicoil_test_full."""
    splits = [part.split("_")[1] for part in Path(name).parts[:-1] if part.startswith("multicoil_")]
    return splits[-1] if splits and splits[-1] in ("train", "val", "test") else ""
