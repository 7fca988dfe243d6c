"""Which files are reconstructed, none of a patient that the prior was trained on; and which of their slices."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from condiff.data.fastmri.acquired import Acquired
from condiff.data.fastmri.reader import label
from condiff.data.patients import Fingerprints
from condiff.errors import InputError


def select_files(root: Path, trained_on: Sequence[Fingerprints], volumes: int | None, say: Callable[[str], None]) -> list[Path]:
    """The fastMRI files of a folder, without patients that are trained on; at most so many, evenly spread.

    Args:
        trained_on: empty to reconstruct all.
        say: receives a line for each reason why files are skipped.

    Raises:
        InputError: no such folder, or no file is left.
    """
    if not root.is_dir():
        raise InputError(f"data.root: no folder {root}; give the one that holds fastMRI's .h5 files")
    files = sorted(root.rglob("*.h5"))
    if not files:
        raise InputError(f"data.root: {root} holds no .h5 file; give the folder with fastMRI's multicoil files")
    if trained_on:
        files = held_out(files, trained_on, say)
    if not files:
        raise InputError(
            f"data.root: the prior was trained on all patients of {root}, or their files have no patient_id; give others, or set "
            "seen=true"
        )
    chosen = torch.linspace(0, len(files) - 1, min(volumes or len(files), len(files))).round().long()
    return [files[index] for index in chosen.tolist()]


def select_slices(acquired: Acquired, numbers: Sequence[int] | None) -> list[int]:
    """The good slices of a file, or those of them with these numbers. Raises InputError where there is none."""
    slices = acquired.good if numbers is None else [index for index in numbers if index in acquired.good]
    if not slices:
        raise InputError(f"slices={numbers}: of these none is good, or there; it has {acquired.volume.slices}, counted from 0")
    return slices


def held_out(files: Sequence[Path], trained_on: Sequence[Fingerprints], say: Callable[[str], None]) -> list[Path]:
    """The files of patients that a prior was not trained on; those without a ``patient_id`` may be of any, and are left out."""
    patients = {path: label(path).patient.strip() for path in files}
    known = set().union(*(prints.known(patients.values()) for prints in trained_on))
    reasons = {
        "the model was trained on these patients": sum(patient in known for patient in patients.values()),
        "no patient_id, so they may be training patients": sum(not patient for patient in patients.values()),
    }
    for reason, count in reasons.items():
        if count:
            say(f"skipped     {count} of {len(files)} volumes: {reason} (seen=true includes them)")
    return [path for path, patient in patients.items() if patient and patient not in known]
