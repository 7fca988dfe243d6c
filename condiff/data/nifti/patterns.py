"""A folder of NIfTI files whose names tell contrast and patient."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from condiff.data.layout import Row
from condiff.data.nifti import scans
from condiff.data.nifti.scans import COLUMNS, Label
from condiff.data.volume import Volume
from condiff.errors import DataFault, InputError

REPEATED, MOST_REPEATED = re.compile(r"(?<!\\)[*+{]"), 3  # each lets the time of a search grow with the length of a path
OPTIONAL, MOST_OPTIONAL = re.compile(r"(?<!\\)[?|]"), 6  # each doubles it
# a repeated group, whose matches may be tried in endless ways; flags, which hide one
ENDLESS = re.compile(r"\) *[*+{]|\(\?(?!:)")


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
    remedy = "give the folder with .nii or .nii.gz files, data.root=DIR; docs/data.md names other formats"
    columns: tuple[str, ...] = COLUMNS

    def __init__(
        self, patterns: Mapping[str, str], patient: str, site: str | None = None, voxel_mm: Sequence[float] | None = None
    ):
        self.voxel_mm, self.patterns, self.expressions = voxel_mm, dict(patterns), (patient, site)

    def reads(self, name: str) -> bool:
        return scans.reads(name)

    def row(self, path: Path) -> Row:
        return scans.row(path)

    def volumes(self, root: Path, rows: Mapping[str, Row]) -> tuple[list[Volume], dict[Path, str]]:
        if not self.patterns:
            raise InputError("data.patterns: is empty; give one per contrast, 'data.patterns={T1: \"*_t1.nii.gz\"}'")
        found, left_out = [], {}
        for name, row in rows.items():
            try:
                found.append(scans.volume(root / name, row, self._label(name), self.voxel_mm))
            except DataFault as fault:
                left_out[root / name] = str(fault)
        return found, left_out

    @cached_property
    def patient(self) -> re.Pattern[str]:
        return _compiled("patient", self.expressions[0])

    @cached_property
    def site(self) -> re.Pattern[str] | None:
        return _compiled("site", self.expressions[1]) if self.expressions[1] else None

    def _label(self, name: str) -> Label:
        """Contrast and patient of a file by its name. Raises DataFault with the reason if it has none."""
        contrasts = [contrast for contrast, pattern in self.patterns.items() if fnmatch(name, pattern)]
        if len(contrasts) != 1:
            patterns = ", ".join(f"{contrast}: {pattern}" for contrast, pattern in self.patterns.items())
            raise DataFault(f"matches {' and '.join(contrasts) or 'none'} of data.patterns ({patterns}); one expected")
        patient = _found(self.patient, name)
        if not patient:
            raise DataFault(f"names no patient: data.patient={self.patient.pattern} is not found in its path")
        return Label(contrasts[0], patient, site=_found(self.site, name) if self.site else "")


def _compiled(option: str, expression: str) -> re.Pattern[str]:
    """A regular expression. Raises InputError for one that is empty or invalid, or whose search may take for ever."""
    if not expression:
        raise InputError(f"data.{option}: is empty; give a regular expression for the {option} in the path, '(sub-[a-zA-Z0-9]+)'")
    is_long = len(REPEATED.findall(expression)) > MOST_REPEATED or len(OPTIONAL.findall(expression)) > MOST_OPTIONAL
    if ENDLESS.search(expression) or is_long:
        raise InputError(
            f"data.{option}={expression}: may search for ever; repeat no group, and at most {MOST_REPEATED} characters"
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
