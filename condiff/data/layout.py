"""A layout: how the scans of one format lie in a folder tree."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from condiff.data.volume import Volume
from condiff.errors import DataFault

Row = dict[str, str]  # of the index's table
STAMP = ("size", "mtime_ns", "ctime_ns")  # every change of a file sets the last one, which no program can set back


class Layout(Protocol):
    """How the scans of one format lie in a folder tree. `condiff.data.index.index` reads every file once and keeps its row.

    Attributes:
        name: of the format, a plain word.
        files: what it reads, in words, say ".h5 files".
        columns: of its rows, with those of `STAMP`.
    """

    name: str
    files: str
    columns: tuple[str, ...]

    def remedy(self, root: Path) -> str:
        """What to do about a folder without any."""
        ...

    def reads(self, name: str) -> bool:
        """Whether a file, by its path relative to the root, is one of the format."""
        ...

    def row(self, path: Path) -> Row:
        """What a file is, without its stamp. Raises DataFault with the reason if it is of no use."""
        ...

    def volumes(self, root: Path, rows: Mapping[str, Row]) -> tuple[list[Volume], dict[Path, str]]:
        """The volumes of all readable files, by relative path, and the reasons why some are left out."""
        ...


class Adapted(Layout):
    """A layout whose volumes a subclass changes, or leaves out, by `adapted`."""

    def __init__(self, layout: Layout):
        self.layout = layout
        self.name, self.files, self.columns = layout.name, layout.files, layout.columns

    def remedy(self, root: Path) -> str:
        return self.layout.remedy(root)

    def reads(self, name: str) -> bool:
        return self.layout.reads(name)

    def row(self, path: Path) -> Row:
        return self.layout.row(path)

    def volumes(self, root: Path, rows: Mapping[str, Row]) -> tuple[list[Volume], dict[Path, str]]:
        volumes, left_out = self.layout.volumes(root, rows)
        kept = []
        for volume in volumes:
            try:
                kept.append(self.adapted(volume))
            except DataFault as fault:
                left_out |= dict.fromkeys(volume.files, str(fault))
        return kept, left_out

    def adapted(self, volume: Volume) -> Volume:
        """The volume as this layout gives it. Raises DataFault with the reason if it leaves it out."""
        raise NotImplementedError


class Study(Adapted):
    """A layout whose patients belong to a study: sub-01 of one study is another person than sub-01 of the next."""

    def __init__(self, layout: Layout, study: str):
        super().__init__(layout)
        self.study = study

    def adapted(self, volume: Volume) -> Volume:
        return replace(volume, patient=f"{self.study} {volume.patient}")
