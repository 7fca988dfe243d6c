"""BIDS trees: anatomical images, named by subject and suffix, with acquisition parameters in JSON files beside and above them.

Source: bids-specification.readthedocs.io, common principles (entities, the inheritance principle) and magnetic resonance imaging.
"""

import csv
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from condiff.data.header import within
from condiff.data.layout import Row
from condiff.data.metadata import plain_words
from condiff.data.nifti import scan_file
from condiff.data.nifti.scan_file import COLUMNS, Label
from condiff.data.volume import Volume
from condiff.errors import DataFault, InputError, printable

NAME = re.compile(r"(?P<entities>(?:[a-zA-Z]+-[a-zA-Z0-9]+_)*)(?P<suffix>[a-zA-Z0-9]+)(?P<extension>\.nii(?:\.gz)?|\.json)")
MILLISECONDS = {"tr": "RepetitionTime", "te": "EchoTime", "ti": "InversionTime"}  # in seconds there
AS_THEY_ARE = {"flip": "FlipAngle", "field_t": "MagneticFieldStrength"}
PROCESSED = ("desc", "space", "res", "den", "label", "seg", "atlas")  # entities of derivatives
LONGEST = 2**20  # bytes of a JSON file, or of participants.tsv
log = logging.getLogger(__name__)


class Name(NamedTuple):
    """The name of a file: entities such as sub, ses and ce, and the suffix."""

    entities: dict[str, str]
    suffix: str


class Bids:
    """The anatomical images of a BIDS tree; derivatives are not read.

    A contrast is the suffix, say T2w; images with a contrast agent (entity ce) have "ce" in front, ceT1w. Sessions and runs of a
    subject are one patient's.

    Args:
        site: column of participants.tsv that gives the site of a subject; None: no site.
        voxel_mm: true size of a voxel, if headers have a wrong one.
    """

    name = "bids"
    files = "anatomical NIfTI file"
    columns: tuple[str, ...] = COLUMNS

    def __init__(self, site: str | None = None, voxel_mm: Sequence[float] | None = None):
        self.site, self.voxel_mm = site, voxel_mm

    def remedy(self, root: Path) -> str:
        if trees := _trees_near(root):
            return f"a BIDS tree begins at {trees[0]}: give that, data.root={trees[0]}"
        return "give the root of a BIDS tree, with sub-*/anat/sub-*_T1w.nii.gz, data.root=DIR; docs/data.md names other formats"

    def reads(self, name: str) -> bool:
        parts = PurePosixPath(name).parts
        is_anatomy = len(parts) >= 3 and parts[-2] == "anat" and parts[0].startswith("sub-")
        return is_anatomy and scan_file.reads(name)

    def row(self, path: Path) -> Row:
        return scan_file.row(path)

    def volumes(self, root: Path, rows: Mapping[str, Row]) -> tuple[list[Volume], dict[Path, str]]:
        found, left_out, sidecars = [], {}, Sidecars(root)
        sites = sites_of(root, self.site) if self.site else {}
        for file, row in rows.items():
            name = parsed(Path(file).name)
            if name is None or "sub" not in name.entities:
                left_out[root / file] = "has no BIDS name, sub-LABEL_…_SUFFIX.nii.gz"
            elif processed := [entity for entity in PROCESSED if entity in name.entities]:
                left_out[root / file] = f"is a derivative, by {processed[0]}-{name.entities[processed[0]]}; scans are read"
            elif name.entities.get("part", "mag") != "mag":
                left_out[root / file] = f"is the {name.entities['part']} part of an image; magnitudes are read"
            else:
                contrast = f"ce{name.suffix}" if "ce" in name.entities else name.suffix
                subject, session = name.entities["sub"], name.entities.get("ses", "")
                label = Label(contrast, subject, session, sites.get(subject, ""), sidecars.of(file, name))
                try:
                    found.append(scan_file.volume(root / file, row, label, self.voxel_mm))
                except DataFault as fault:
                    left_out[root / file] = str(fault)
        return found, left_out


class Sidecars:
    """The JSON files of a tree, each read once."""

    def __init__(self, root: Path):
        self.root = root
        self._in_folder: dict[PurePosixPath, list[tuple[Name, dict[str, Any]]]] = {}

    def of(self, file: str, name: Name) -> dict[str, float]:
        """Acquisition parameters of an image, from all files that apply to it: the closest to it, and the most specific, wins."""
        fields: dict[str, Any] = {}
        for folder in reversed(PurePosixPath(file).parents):
            applicable = [
                (len(owner.entities), content)
                for owner, content in self._folder(folder)
                if owner.suffix == name.suffix and owner.entities.items() <= name.entities.items()
            ]
            for _, content in sorted(applicable, key=lambda item: item[0]):
                fields |= content
        values = {key: _number(fields.get(field), 1000) for key, field in MILLISECONDS.items()}
        values |= {key: _number(fields.get(field), 1) for key, field in AS_THEY_ARE.items()}
        return within(values)

    def _folder(self, folder: PurePosixPath) -> list[tuple[Name, dict[str, Any]]]:
        if folder not in self._in_folder:
            files = [(parsed(path.name), path) for path in sorted((self.root / folder).glob("*.json"))]
            self._in_folder[folder] = [(name, _read_json(path)) for name, path in files if name is not None]
        return self._in_folder[folder]


def _trees_near(root: Path) -> list[Path]:
    """Folders with subjects of a tree of which ``root`` is a part, or that lie up to two levels below it."""
    root = root.resolve()
    near = [*list(root.parents)[:3], *root.glob("*"), *root.glob("*/*")]
    return [folder for folder in near if any(folder.glob("sub-*/anat")) or any(folder.glob("sub-*/ses-*/anat"))]


def sites_of(root: Path, column: str) -> dict[str, str]:
    """The entry of a column of participants.tsv for each subject, as a plain word.

    Raises:
        InputError: no such file or column.
    """
    path = root / "participants.tsv"
    try:
        rows = [*csv.DictReader(_text(path).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"data.site={column}: {path}: {reason}; mend the table, or leave data.site out") from None
    if not rows or not {column, "participant_id"} <= rows[0].keys():
        names = ", ".join(rows[0]) if rows else "none"
        raise InputError(f"data.site={column}: {path} has the columns {names}; give one of them besides participant_id")
    cells = [(row["participant_id"] or "", row[column] or "") for row in rows]
    return {subject.removeprefix("sub-"): plain_words(cell) for subject, cell in cells if cell != "n/a"}  # BIDS' missing


def parsed(name: str) -> Name | None:
    """Entities and suffix of a file's name; None for a name that is not BIDS'."""
    match = NAME.fullmatch(name)
    if not match:
        return None
    entities = dict(entity.split("-", 1) for entity in match["entities"].split("_") if entity)
    return Name(entities, match["suffix"])


def _read_json(path: Path) -> dict[str, Any]:
    """The fields of a JSON file; none, with a warning, if it cannot be read."""
    try:
        content = json.loads(_text(path))
        if not isinstance(content, dict):
            raise ValueError("is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s: no acquisition parameters, it cannot be read (%s); mend or remove it", printable(path), printable(error))
        return {}
    return content


def _text(path: Path) -> str:
    """A small file as text. Raises OSError or ValueError for one that is none; FIFOs and devices may block whoever opens them."""
    if path.exists() and not path.is_file():
        raise ValueError("is no regular file")
    with path.open("rb") as file:
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise ValueError(f"has more than {LONGEST} bytes")
    return content.decode("utf-8-sig", errors="replace")


def _number(value: Any, factor: float) -> float | None:
    return factor * value if isinstance(value, int | float) and not isinstance(value, bool) else None
