"""Selection of the files and slices to reconstruct, without patients that the prior was trained on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from condiff.data.fastmri.layout import FastMRI
from condiff.data.fastmri.raw_scan import RawScan
from condiff.data.fastmri.reader import read_identity
from condiff.data.no_volumes import no_files
from condiff.data.patients import Fingerprints
from condiff.errors import InputError


def select_files(root: Path, trained_on: Sequence[Fingerprints], volumes: int | None, log: Callable[[str], None]) -> list[Path]:
    """The fastMRI files of a folder, without training patients; at most ``volumes`` of them, evenly spread.

    Args:
        trained_on: fingerprints of the training patients; empty to reconstruct all files.
        log: receives one line for each reason why files are skipped.

    Raises:
        InputError: no such folder, or no file is left.
    """
    if not root.is_dir():
        raise InputError(f"data.root: no folder {root}; give the one that holds fastMRI's .h5 files")
    files = sorted(root.rglob("*.h5"))
    if not files:
        raise no_files(root, FastMRI())
    if trained_on:
        files = held_out(files, trained_on, log)
    if not files:
        raise InputError(
            f"data.root: the prior was trained on all patients of {root}, or their files have no patient_id; give others, or set "
            "seen=true"
        )
    indices = torch.linspace(0, len(files) - 1, min(volumes or len(files), len(files))).round().long()
    return [files[index] for index in indices.tolist()]


def select_slices(scan: RawScan, numbers: Sequence[int] | None) -> list[int]:
    """The valid slices of a scan; with ``numbers`` only those of them. Raises InputError if there are none."""
    slices = scan.valid_slices if numbers is None else [index for index in numbers if index in scan.valid_slices]
    if not slices:
        raise InputError(f"slices={numbers}: no valid slice among these; the file has {scan.volume.slices}, counted from 0")
    return slices


def held_out(files: Sequence[Path], trained_on: Sequence[Fingerprints], log: Callable[[str], None]) -> list[Path]:
    """The files of patients that a prior was not trained on. Files without ``patient_id`` are left out."""
    patients = {path: read_identity(path).patient.strip() for path in files}
    known = set().union(*(prints.known(patients.values()) for prints in trained_on))
    reasons = {
        "the model was trained on these patients": sum(patient in known for patient in patients.values()),
        "no patient_id, so they may be training patients": sum(not patient for patient in patients.values()),
    }
    for reason, count in reasons.items():
        if count:
            log(f"skipped     {count} of {len(files)} volumes: {reason} (seen=true includes them)")
    return [path for path, patient in patients.items() if patient and patient not in known]
