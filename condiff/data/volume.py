"""A volume: the record of one scan on disk, whatever its format. Readers make it."""

from dataclasses import dataclass
from pathlib import Path

from condiff.data.header import Header


@dataclass(frozen=True)
class Volume:
    """One file: where it is, what it holds, which patient's it is, and what its header gives of the acquisition.

    Attributes:
        acquisition: as the file has it; ``contrast`` may be that or what it was merged into.
        official: the split whose folder it lies in (train, val or test), if any.
        slices, coils, rows, cols: shape of the k-space; without any, coils is 0 and the rest is of the image.
        norm: of the stored reconstruction; with ``measurement`` it identifies copies of a file.
        digest: `hdf5.digest` of the file's content.
        size, mtime_ns, ctime_ns: of the file, to see that it has changed.
        header: None where nothing could be read.
    """

    path: Path
    contrast: str
    patient: str
    acquisition: str = ""
    official: str = ""
    slices: int = 0
    coils: int = 0
    rows: int = 0
    cols: int = 0
    norm: float = 0.0
    digest: str = ""
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    header: Header | None = None
