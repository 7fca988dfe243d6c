"""A volume: the record of one scan on disk, whatever its format."""

from dataclasses import dataclass
from pathlib import Path

from condiff.data.header import Header


def agent_of(contrast: str) -> str:
    """What the name of a contrast tells of a contrast agent: "with", "without", or nothing."""
    return "with" if contrast.startswith("ce") else "without" if contrast == "T1w" else ""


@dataclass(frozen=True)
class Volume:
    """A scan: its path, shape, patient and header. Readers make it.

    Attributes:
        acquisition: as the file gives it; ``contrast`` is that, or the contrast it counts as.
        official: the split whose folder it lies in (train, val or test), if any.
        slices, coils, rows, cols: shape of the k-space; without k-space the shape of the image, and coils is 0.
        norm: of the stored reconstruction; with ``measurement`` it identifies copies of a file.
        digest: `foreign.digest` of the file's content.
        size, mtime_ns, ctime_ns: of the file; they show whether it has changed.
        header: None where it could not be read.
        agent: "with" or "without" contrast agent; empty where the acquisition alone tells it, or nothing does.
        site: where or by what it was taken, a plain word; empty if unknown.
        grid: session, shape and affine of the array; volumes of a patient with the same grid are co-registered. Empty if unknown.
        voxel_mm: size of a voxel to the right, to the front and up, along the closest axes of the array; None if unknown.
        parts: the files of a volume that has several.
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
    agent: str = ""
    site: str = ""
    grid: str = ""
    voxel_mm: tuple[float, float, float] | None = None
    parts: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the volume, which a reader takes."""
        return self.parts or (self.path,)
