"""Splits by patient: the volumes of a patient are all in one split."""

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from condiff.data.volume import Volume
from condiff.errors import InputError, counted


@dataclass
class Split:
    """The volumes to train, validate and test on; no patient is in two of them.

    Attributes:
        unused: number of volumes in none, because those of their contrast suffice.
    """

    train: list[Volume] = field(default_factory=list)
    val: list[Volume] = field(default_factory=list)
    test: list[Volume] = field(default_factory=list)
    unused: int = 0

    @property
    def all(self) -> list[Volume]:
        return self.train + self.val + self.test

    def remarks(self, train: int | None, held_out: int) -> list[str]:
        """Lines for the log, of a split that `split_by_patient` made with ``train`` and ``held_out``."""
        lines = []
        if self.unused:
            reason = "and their patients are held out" if train is None else "and so has data.volumes_per_contrast"
            unused = counted(self.unused, "volume")
            lines.append(f"{unused} in no split: data.held_out_per_contrast has enough of their contrasts, {reason}")
        trained, held = ({volume.patient for volume in volumes} for volumes in (self.train, self.val + self.test))
        is_official = any(volume.official for volume in self.all)
        if train is None and held_out > 1 and not is_official and len(trained) < len(held):
            lines.append("more patients are held out than trained on; a smaller data.held_out_per_contrast trains on more")
        if groups := coregistered(self.all):
            lines.append(f"{counted(len(groups), 'group')} of co-registered contrasts; splits.csv numbers them")
        return lines

    def save(self, path: Path) -> None:
        """Write a CSV of file, contrast, split, and a number that co-registered volumes share.

        It holds the names of files, so it is never uploaded.
        """
        numbers = {volume.path: number for number, group in enumerate(coregistered(self.all), 1) for volume in group}
        with path.open("w", newline="", errors="surrogateescape") as file:
            rows = csv.writer(file)
            rows.writerow(["file", "contrast", "split", "coregistered"])
            for name in ("train", "val", "test"):
                rows.writerows([v.path, v.contrast, name, numbers.get(v.path, "")] for v in getattr(self, name))


def coregistered(volumes: Iterable[Volume]) -> list[list[Volume]]:
    """The groups of two and more volumes of a patient that share a grid, so that their voxels show the same places."""
    groups: dict[tuple[str, str], list[Volume]] = {}
    for volume in volumes:
        groups.setdefault((volume.patient, volume.grid), []).append(volume)
    return [group for (_, grid), group in groups.items() if grid and len(group) > 1]


def split_by_patient(volumes: Iterable[Volume], contrasts: Sequence[str], train: int | None, held_out: int, seed: int) -> Split:
    """A split by patient.

    Patients are drawn in an order that depends on ``seed`` and their identifiers alone. Volumes that lie in one of the
    dataset's own folders keep to it: those of multicoil_val are validated on and, where there is no test folder, tested on.
    The test split may be empty; the other two may not.

    Args:
        train: volumes of each contrast to train on; None: all but the held-out ones.
        held_out: at most this many volumes of each contrast to validate on, and as many to test on. Where ``train`` is None,
            also at most a third of each, so that a rare contrast is trained on.

    Raises:
        InputError: too few volumes of a contrast, or no patient left to validate on.
    """
    volumes = list(volumes)
    candidates = _respect_official_folders([volume for volume in volumes if volume.contrast in contrasts])
    counts = Counter(volume.contrast for volume in candidates)
    absent = [contrast for contrast in contrasts if not counts[contrast]]
    if absent:
        present = ", ".join(f"{count} {contrast}" for contrast, count in sorted(Counter(v.contrast for v in volumes).items()))
        raise InputError(
            f"data.contrasts={_list(contrasts)}: no {absent[0]} volume in data.root (there are {present}); give those that there "
            f"are, data.contrasts={_list(_nearest(contrasts, sorted({volume.contrast for volume in volumes})))}"
        )
    split = _assign_patients(candidates, train, held_out, seed)
    if _is_complete(split, contrasts, train):
        return replace(split, unused=len(candidates) - len(split.all))
    low, high = 0, (train or max(counts.values())) - 1  # the largest number that works, by bisection
    while low < high:
        middle = (low + high + 1) // 2
        fits = _is_complete(_assign_patients(candidates, middle, held_out, seed), contrasts, middle)
        low, high = (middle, high) if fits else (low, middle - 1)
    present = ", ".join(f"{counts[contrast]} {contrast}" for contrast in contrasts)
    patients = len({volume.patient for volume in candidates})
    remedy = (
        f"set data.volumes_per_contrast={low}"
        if low
        else "add volumes of other patients"
        + (", or leave a contrast out of data.contrasts" if patients > 1 and len(contrasts) > 1 else "")
    )
    wanted = "data.root:" if train is None else f"data.volumes_per_contrast={train}: data.root"
    there = f"{present} of {counted(patients, 'patient')}"
    raise InputError(f"{wanted} has {there}, and at least one patient must be left to validate on; {remedy}")


def _nearest(wanted: Sequence[str], present: Sequence[str]) -> list[str]:
    """Of the names that there are the wanted ones, or those most like them; all without any."""
    found = [name for each in wanted for name in get_close_matches(each, present, n=1, cutoff=0.6)]
    return [*dict.fromkeys(found)] or [*present]


def _list(names: Sequence[str]) -> str:
    return f"[{','.join(names)}]"


def _respect_official_folders(volumes: list[Volume]) -> list[Volume]:
    """The volumes; without their official split where the folders do not hold both training and validation volumes."""
    folders = {volume.official for volume in volumes}
    return volumes if {"train", "val"} <= folders else [replace(volume, official="") for volume in volumes]


def _assign_patients(volumes: list[Volume], train: int | None, held_out: int, seed: int) -> Split:
    """Assigns one patient after another: to the training split while it lacks volumes of one of the patient's contrasts, then
    to the held-out ones. Volumes that no split needs are left out.

    Where all volumes are to be trained on, the held-out splits are filled first.
    """
    patients: dict[str, list[Volume]] = {}
    for volume in sorted(volumes, key=lambda v: v.path.name):
        patients.setdefault(volume.patient, []).append(volume)
    has_test_folder = any(volume.official == "test" for volume in volumes)
    counts = Counter(volume.contrast for volume in volumes)
    held = {c: held_out if train is not None else min(held_out, max(n // 3, 1)) for c, n in counts.items()}
    limits: dict[str, dict[str, float]] = {"train": dict.fromkeys(counts, train or math.inf), "val": {**held}, "test": {**held}}
    filled: dict[str, Counter[str]] = {name: Counter() for name in limits}
    split = Split()
    for patient in sorted(patients, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()):
        own = patients[patient]
        order = sorted(["val", "test"], key=lambda name: len(getattr(split, name)))  # stable: validation goes first
        for name in [*order, "train"] if train is None else ["train", *order]:
            needed = [volume for volume in own if filled[name][volume.contrast] < limits[name][volume.contrast]]
            if needed and name in _allowed_splits({volume.official for volume in own}, has_test_folder):
                for volume in own:  # one after the other: two of a contrast may be one too many
                    if filled[name][volume.contrast] < limits[name][volume.contrast]:
                        getattr(split, name).append(volume)
                        filled[name][volume.contrast] += 1
                break
    return split


def _allowed_splits(folders: set[str], has_test_folder: bool) -> set[str]:
    """The splits allowed for a patient with volumes in these official folders; training comes first where there are several."""
    if "train" in folders:
        return {"train"}
    if "val" in folders:
        return {"val"} if has_test_folder else {"val", "test"}
    return {"test"} if "test" in folders else {"train", "val", "test"}


def _is_complete(split: Split, contrasts: Sequence[str], train: int | None) -> bool:
    counts = Counter(volume.contrast for volume in split.train)
    return bool(split.val) and all(counts[contrast] == train if train else counts[contrast] for contrast in contrasts)
