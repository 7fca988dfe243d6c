"""Folders of DICOM files: each series is a volume, however its files are named and mixed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from condiff.data.dicom.frames import MAKES, Frames, read_frames
from condiff.data.dicom.reader import affine
from condiff.data.header import Header
from condiff.data.layout import STAMP, Row
from condiff.data.planes import MIN_SLICES, voxel_of
from condiff.data.volume import Volume, agent_of
from condiff.errors import DataFault, InputError, counted
from condiff.files import foreign

SUFFIXES = {"", ".dcm", ".ima", ".dicom"}
SAME_PLACE_MM = 0.01
GAP, EVEN = 1.5, 0.9  # largest distance of slices, times the usual; smallest, times the mean


class File(NamedTuple):
    """A file of a series."""

    path: Path
    frames: Frames
    row: Row


class Dicom:
    """MR series in DICOM files at any depth.

    Args:
        patterns: contrast -> pattern of the series' description, with ``*`` for anything; None: by `contrast_of`.
        site: "Manufacturer" or "ManufacturerModelName" of the scanner; None: no site.
    """

    name = "dicom"
    files = "DICOM file"
    columns: tuple[str, ...] = ("frames", "digest", *STAMP)

    def __init__(self, patterns: Mapping[str, str] | None = None, site: str | None = None):
        self.patterns, self.site = dict(patterns or {}), site
        if site is not None and site not in MAKES:
            raise InputError(f"data.site={site}: there are {' and '.join(MAKES)}")

    def remedy(self, root: Path) -> str:
        return "give the folder with DICOM files, data.root=DIR; docs/data.md names other formats"

    def reads(self, name: str) -> bool:
        path = Path(name)
        suffix = path.suffix.lower()
        named = suffix in SUFFIXES or suffix[1:].isdigit()  # identifiers have dots, too
        return named and path.name != "DICOMDIR" and not any(part.startswith(".") for part in path.parts)

    def row(self, path: Path) -> Row:
        return {"frames": json.dumps(read_frames(path).as_dict()), "digest": foreign.digest(path)}

    def volumes(self, root: Path, rows: Mapping[str, Row], needs_label: bool = True) -> tuple[list[Volume], dict[Path, str]]:
        groups: dict[Any, list[File]] = {}
        for name, row in rows.items():
            frames = Frames(**json.loads(row["frames"]))
            place = *(round(x, 2) for x in frames.orientation), *frames.size, *(round(x, 3) for x in frames.spacing)
            echo = frames.parameters.get("te")  # the echoes of a series are volumes of their own
            key = frames.patient, frames.series, place, echo
            groups.setdefault(key, []).append(File(root / name, frames, row))
        found: list[Volume] = []
        left_out: dict[Path, str] = {}
        for files in groups.values():
            files, repeated = _without_copies(files)
            left_out |= repeated
            reason = _fault(files) or (self._unfit(files[0].frames) if needs_label else "")
            if reason:
                text = f"its series of {counted(len(files), 'file')} {reason}"
                left_out |= {file.path: text for file in files}
            else:
                found.append(self._volume(files))
        return found, left_out

    def _contrast(self, frames: Frames) -> str:
        """The contrast; empty without one, or with several."""
        if not self.patterns:
            return frames.contrast
        found = self._matching(frames)
        return found[0] if len(found) == 1 else ""

    def _matching(self, frames: Frames) -> list[str]:
        text = frames.description.lower()
        return [contrast for contrast, pattern in self.patterns.items() if fnmatch(text, pattern.lower())]

    def _unfit(self, frames: Frames) -> str:
        """The reason why a series is not trained on: synthetic, or without contrast or patient; empty if it is."""
        if frames.synthetic:
            return "is synthetic (0008,001C), made by a program; a model learns from scans"
        if not frames.patient:
            return "names no patient, without which patients cannot be kept apart; write PatientID, any pseudonym"
        if self._contrast(frames):
            return ""
        by = (
            f"matches {' and '.join(self._matching(frames)) or 'none'} of data.patterns"
            if self.patterns
            else "has no contrast that description or TR, TE and TI tell"
        )
        known = ", ".join(
            [frames.description or "no description", *(f"{key} {value:g}" for key, value in frames.parameters.items())]
        )
        return f"{by} ({known}); give data.patterns={{T1w: '*WORD*'}}"

    def _volume(self, files: Sequence[File]) -> Volume:
        frames, contrast = files[0].frames, self._contrast(files[0].frames)
        rows, cols = frames.size
        pixel_mm = frames.spacing[0], frames.spacing[1]
        header = Header.of_image((rows, cols), pixel_mm, frames.parameters, measurement=frames.series)
        digest = hashlib.sha256("".join(file.row["digest"] for file in files).encode()).hexdigest()
        size, mtime, ctime = ([int(file.row[name]) for file in files] for name in STAMP)
        depths = _depths(files)
        numbers = [*frames.orientation, *frames.spacing, *frames.size, *frames.positions[0], depths[-1]]
        grid = json.dumps([frames.frame, *(round(number, 2) for number in numbers)])
        return Volume(
            files[0].path, contrast, frames.patient, contrast, slices=len(depths), rows=rows, cols=cols, digest=digest,
            size=sum(size), mtime_ns=max(mtime), ctime_ns=max(ctime), header=header,
            agent="with" if frames.agent else agent_of(contrast), site=frames.makes.get(self.site or "", ""), grid=grid,
            voxel_mm=_voxel(files), parts=tuple(file.path for file in files),
        )  # fmt: skip


def series_at(path: Path) -> Volume:
    """The series of a file, or of a folder that holds one; its patient may be unknown.

    Raises:
        DataFault: no series, or several, or one that is no volume.
    """
    folder, layout, rows, reasons = path if path.is_dir() else path.parent, Dicom(), {}, {}
    for file in sorted(entry for entry in folder.iterdir() if entry.is_file() and layout.reads(entry.name)):
        try:
            rows[file.name] = layout.row(file) | dict.fromkeys(STAMP, "0")
        except DataFault as fault:
            reasons[file] = str(fault)
    volumes, left_out = layout.volumes(folder, rows, needs_label=False)
    if not path.is_dir():
        volumes = [volume for volume in volumes if path in volume.files]
    if len(volumes) != 1:
        first = next(iter({**left_out, **reasons}.values()), "no DICOM file in it; give the folder that holds a series' files")
        found = f"holds {len(volumes)} DICOM series of MR images"
        raise DataFault(f"{found}; give a file of one of them" if volumes else f"{found} ({first})")
    return volumes[0]


def depth(frames: Frames, index: int = 0) -> float:
    """The position of an image along the normal of its plane, mm."""
    (a, b, c, d, e, f), (x, y, z) = frames.orientation, frames.positions[index]
    return (b * f - c * e) * x + (c * d - a * f) * y + (a * e - b * d) * z


def _voxel(files: Sequence[File]) -> tuple[float, float, float] | None:
    """The size of a voxel, as of `Volume`."""
    frames = files[0].frames
    places = [(depth(file.frames, index), place) for file in files for index, place in enumerate(file.frames.positions)]
    (_, first), *_, (_, last) = sorted(places)
    return voxel_of(affine(frames, np.array(first), np.array(last), len(places)))


def _depths(files: Sequence[File]) -> list[float]:
    return sorted(depth(file.frames, index) for file in files for index in range(len(file.frames.positions)))


def _without_copies(files: list[File]) -> tuple[list[File], dict[Path, str]]:
    """The files in the order of their places, and the reason why others, of the same bytes, are left out."""
    kept: dict[str, File] = {}
    left_out = {}
    for file in sorted(files, key=lambda file: (depth(file.frames), file.path)):
        first = kept.setdefault(file.row["digest"], file)
        if first is not file:
            left_out[file.path] = f"is a copy of {first.path.name}, of the same series"
    return [*kept.values()], left_out


def _fault(files: Sequence[File]) -> str:
    """What is wrong with the places of a series' images; empty if nothing is."""
    depths = _depths(files)
    if len(depths) < MIN_SLICES:
        return f"has {counted(len(depths), 'slice')}; {MIN_SLICES} or more expected"
    steps = np.diff(depths)
    if (steps < SAME_PLACE_MM).any():
        places = 1 + int((steps >= SAME_PLACE_MM).sum())
        return f"has {len(depths)} images of {places} places, several volumes in one; keep one image of each place"
    usual = median(steps)
    if steps.max() > GAP * usual:
        missing = round(float(sum(step / usual - 1 for step in steps if step > GAP * usual)))
        return f"misses about {counted(missing, 'slice')} (steps of {usual:.3g} and {steps.max():.3g} mm); copy it again"
    if steps.min() < EVEN * steps.mean():
        return f"lies at steps of {steps.min():.3g} to {steps.max():.3g} mm, several volumes in one; give a series for each"
    return ""
