"""A folder of NIfTI files whose names tell contrast and patient."""

import logging
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from condiff.data.layout import Row
from condiff.data.nifti import scan_file
from condiff.data.nifti.scan_file import COLUMNS, Label
from condiff.data.volume import Volume
from condiff.errors import DataFault, InputError, counted, printable

log = logging.getLogger(__name__)
REPEATED, MOST_REPEATED = re.compile(r"(?<!\\)[*+{]"), 3  # each lets the time of a search grow with the length of a path
OPTIONAL, MOST_OPTIONAL = re.compile(r"(?<!\\)[?|]"), 6  # each doubles it
ENDLESS = re.compile(r"\) *[*+{]")  # a repeated group, whose matches may be tried in endless ways
SPECIAL = re.compile(r"\(\?(?!:|P<\w+>)")  # flags and lookarounds, which may hide one


class NamedFiles:
    """NIfTI files at any depth, named by contrast and patient.

    Args:
        patterns: contrast -> pattern of the path relative to the root, with ``*`` for anything, say "*_t1.nii.gz".
        patient: regular expression whose first group, or all of it without groups, is found in the path and names the patient.
        site: the same for the site; None: no site.
        voxel_mm: true size of a voxel, if headers have a wrong one.
    """

    name = "nifti"
    files = "NIfTI file"
    columns: tuple[str, ...] = COLUMNS

    def __init__(
        self, patterns: Mapping[str, str], patient: str, site: str | None = None, voxel_mm: Sequence[float] | None = None
    ):
        self.voxel_mm, self.patterns, self.expressions = voxel_mm, dict(patterns), (patient, site)

    def remedy(self, root: Path) -> str:
        return "give the folder with .nii or .nii.gz files, data.root=DIR; docs/data.md names other formats"

    def reads(self, name: str) -> bool:
        return scan_file.reads(name)

    def row(self, path: Path) -> Row:
        return scan_file.row(path)

    def volumes(self, root: Path, rows: Mapping[str, Row]) -> tuple[list[Volume], dict[Path, str]]:
        if not self.patterns:
            raise InputError("data.patterns: is empty; give one per contrast, 'data.patterns={T1: \"*_t1.nii.gz\"}'")
        self._check(list(rows))
        found, left_out = [], {}
        for name, row in rows.items():
            try:
                found.append(scan_file.volume(root / name, row, self._label(name), self.voxel_mm))
            except DataFault as fault:
                left_out[root / name] = str(fault)
        if len(found) > 1 and len({volume.contrast for volume in found}) > 1 and len({v.patient for v in found}) == len(found):
            log.warning(
                "data.patient=%s: every file has a patient of its own, %s …; scans of a person are then in several splits",
                self.patient.pattern,
                " and ".join(printable(volume.patient) for volume in found[:2]),
            )
        if twice := next(iter(_same_place(found, root).items()), None):
            (contrast, patient, _), (one, other, *_) = twice
            log.warning(
                "%s has several %s of one grid, %s and %s; narrow data.patterns if one is of another contrast, or data.patient "
                "if they are of several people", printable(patient), contrast, printable(one), printable(other),
            )  # fmt: skip
        spellings: dict[str, list[str]] = {}
        for name in sorted({volume.patient for volume in found}):
            spellings.setdefault(name.lower(), []).append(printable(name))
        if alike := next((names for names in spellings.values() if len(names) > 1), None):
            log.warning("data.patient: %s count as several patients; rename files if they are one", " and ".join(alike))
        return found, left_out

    def _check(self, names: Sequence[str]) -> None:
        """Raises InputError where no name has a contrast, or none a patient."""
        if names and not any(self._contrasts(name) for name in names):
            patterns = ", ".join(f"{contrast}: {pattern}" for contrast, pattern in self.patterns.items())
            raise InputError(
                f"data.patterns={{{patterns}}}: fit none of {counted(len(names), 'path')}, which look like "
                f"{printable(names[0])}; a * stands for anything, also for folders: '*_t1*'"
            )
        if names and not any(_found(self.patient, name) for name in names):
            raise InputError(
                f"data.patient={self.patient.pattern}: is found in none of {counted(len(names), 'path')}, which look like "
                f"{printable(names[0])}; give a regular expression for the patient in it, '(sub-[a-zA-Z0-9]+)'"
            )

    def _contrasts(self, name: str) -> list[str]:
        """The contrasts whose patterns fit a path; upper and lower case are the same."""
        return [contrast for contrast, pattern in self.patterns.items() if fnmatch(name.lower(), pattern.lower())]

    @cached_property
    def patient(self) -> re.Pattern[str]:
        return _compiled("patient", self.expressions[0])

    @cached_property
    def site(self) -> re.Pattern[str] | None:
        return _compiled("site", self.expressions[1]) if self.expressions[1] else None

    def _label(self, name: str) -> Label:
        """Contrast and patient of a file by its name. Raises DataFault with the reason if it has none."""
        contrasts = self._contrasts(name)
        if len(contrasts) != 1:
            patterns = ", ".join(f"{contrast}: {pattern}" for contrast, pattern in self.patterns.items())
            raise DataFault(f"matches {' and '.join(contrasts) or 'none'} of data.patterns ({patterns}); one expected")
        patient = _found(self.patient, name)
        if not patient:
            raise DataFault(f"names no patient: data.patient={self.patient.pattern} is not found in its path")
        return Label(contrasts[0], patient, site=_found(self.site, name) if self.site else "")


def _same_place(volumes: Sequence[Volume], root: Path) -> dict[tuple[str, str, str], list[str]]:
    """The files that are of one contrast, patient and grid, where there are two and more: another contrast may be among them."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for volume in volumes:
        groups.setdefault((volume.contrast, volume.patient, volume.grid), []).append(str(volume.path.relative_to(root)))
    return {key: names for key, names in groups.items() if len(names) > 1}


def _compiled(option: str, expression: str) -> re.Pattern[str]:
    """A regular expression. Raises InputError for one that is empty or invalid, or whose search may take for ever."""
    if not expression:
        raise InputError(f"data.{option}: is empty; give a regular expression for the {option} in the path, '(sub-[a-zA-Z0-9]+)'")
    if SPECIAL.search(expression):
        raise InputError(f"data.{option}={expression}: has flags or a lookaround, which are not taken; write it without (?")
    is_long = len(REPEATED.findall(expression)) > MOST_REPEATED or len(OPTIONAL.findall(expression)) > MOST_OPTIONAL
    if ENDLESS.search(expression) or is_long:
        raise InputError(
            f"data.{option}={expression}: may search for ever; repeat no group, and at most {MOST_REPEATED} characters. It is "
            f"found anywhere in the path, so give the part around the {option} alone"
        )
    try:
        return re.compile(expression)
    except re.error as error:
        raise InputError(
            f"data.{option}={expression}: is no regular expression ({error}); give one, '(sub-[a-zA-Z0-9]+)'"
        ) from None


def _found(expression: re.Pattern[str], name: str) -> str:
    """What the first group of an expression, or all of it without groups, finds in a name; empty if nothing."""
    match = expression.search(name)
    return "" if not match else (match[1] or "") if expression.groups else match[0]
