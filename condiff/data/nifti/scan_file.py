"""NIfTI files of a folder as rows of the index and as volumes, whatever names their contrast and patient."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from condiff.data.header import Header
from condiff.data.layout import STAMP, Row
from condiff.data.nifti.reader import SUFFIXES, check_place, read_header
from condiff.data.planes import check_extent, scaled, voxel_of
from condiff.data.volume import Volume, agent_of
from condiff.errors import DataFault
from condiff.files import foreign

COLUMNS = ("grid", "digest", *STAMP)


@dataclass(frozen=True)
class Label:
    """What is known of a scan besides its file.

    Attributes:
        contrast: with "ce" in front if a contrast agent was given.
        site: where or by what it was taken; empty if unknown.
        session: of the patient; empty without sessions.
        parameters: fields of `Header`: tr, te, ti (ms), flip (degrees), field_t (T).
    """

    contrast: str
    patient: str
    session: str = ""
    site: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)


def reads(name: str) -> bool:
    """Whether a file is NIfTI by its name; hidden files are not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".") and f"{os.sep}." not in name


def row(path: Path) -> Row:
    """The grid and the digest of a file. Raises DataFault as `read_header` does, or if nothing says how the head lies."""
    header = read_header(path)
    check_place(header)
    try:
        affine = header.get_best_affine()[:3]
    except ValueError as error:
        raise DataFault(f"has a quaternion that is no rotation ({error}); write its affine into the file") from None
    grid = [*map(int, header.get_data_shape()[:3])], np.round(affine, 4).ravel().tolist()
    return {"grid": json.dumps(grid), "digest": foreign.digest(path)}


def volume(path: Path, row: Row, label: Label, voxel_mm: Sequence[float] | None) -> Volume:
    """The volume of a file. Its rows and columns are the first axes of the array; `read_slices` may choose others.

    Args:
        voxel_mm: true size of a voxel, if the header has a wrong one.

    Raises:
        DataFault: a volume too small for a head; seen before it is split off for a purpose.
    """
    shape, affine = json.loads(row["grid"])
    sizes = [math.hypot(*affine[axis::4]) for axis in range(3)]
    cols, rows, slices = [*shape, 1, 1][:3]
    sizes = sizes if voxel_mm is None else [float(size) for size in voxel_mm]
    place = np.vstack([np.array(affine).reshape(3, 4), [0, 0, 0, 1]])
    check_extent((cols, rows, slices), sizes)
    header = Header.of_image((rows, cols), (sizes[1], sizes[0]), label.parameters)
    stamp: dict[str, Any] = {name: int(row[name]) for name in STAMP}
    return Volume(
        path, label.contrast, label.patient, label.contrast, slices=slices, rows=rows, cols=cols, digest=row["digest"],
        header=header, agent=agent_of(label.contrast), site=label.site, grid=f"{label.session} {row['grid']}",
        voxel_mm=voxel_of(scaled(place, sizes)), **stamp,
    )  # fmt: skip
