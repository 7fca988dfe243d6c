"""Splitting by patient: nobody is seen in training and in validation."""

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from condiff.data.volume import Volume
from condiff.errors import InputError


@dataclass
class Split:
    """Volumes to train on, to validate on and to test on; no patient in two of them."""

    train: list[Volume] = field(default_factory=list)
    val: list[Volume] = field(default_factory=list)
    test: list[Volume] = field(default_factory=list)

    @property
    def all(self) -> list[Volume]:
        return self.train + self.val + self.test

    def save(self, path: Path) -> None:
        """Write which file is in which split, as CSV: file, contrast, split. It names files, so it stays on this disk."""
        with path.open("w", newline="", errors="surrogateescape") as file:
            rows = csv.writer(file)
            rows.writerow(["file", "contrast", "split"])
            for name in ("train", "val", "test"):
                rows.writerows([volume.path, volume.contrast, name] for volume in getattr(self, name))


def split_by_patient(volumes: Iterable[Volume], contrasts: Sequence[str], train: int | None, held_out: int, seed: int) -> Split:
    """``train`` volumes of each contrast to train on (None: all but those held out), up to ``held_out`` of each to validate and
    to test on; with None also at most a third of each, so that a rare contrast is trained on.

    Patients are drawn in an order that depends on ``seed`` and their identifiers alone. Volumes that lie in one of the
    dataset's own folders keep to it: those of multicoil_val are validated and, where there is no test folder, tested on.
    The test split may be empty; the other two may not.

    Raises:
        InputError: too few volumes of a contrast, or nobody left to validate on.
    """
    wanted = _foldered([volume for volume in volumes if volume.contrast in contrasts])
    found = Counter(volume.contrast for volume in wanted)
    absent = [contrast for contrast in contrasts if not found[contrast]]
    if absent:
        there = ", ".join(f"{count} {contrast}" for contrast, count in sorted(found.items())) or "none of them"
        raise InputError(
            f"data.contrasts: no {absent[0]} volume in data.root (there are {there}); leave it out of data.contrasts"
        )
    result = _draw(wanted, train, held_out, seed)
    if _complete(result, contrasts, train):
        return result
    low, high = 0, (train or max(found.values())) - 1  # as many as could be trained on, by bisection
    while low < high:
        middle = (low + high + 1) // 2
        fits = _complete(_draw(wanted, middle, held_out, seed), contrasts, middle)
        low, high = (middle, high) if fits else (low, middle - 1)
    there = ", ".join(f"{found[contrast]} {contrast}" for contrast in contrasts)
    patients = len({volume.patient for volume in wanted})
    remedy = (
        f"set data.volumes_per_contrast={low}"
        if low
        else "add volumes of other patients, or leave a contrast out of data.contrasts"
    )
    raise InputError(
        f"data.volumes_per_contrast={'null' if train is None else train}: data.root has {there} of {patients} patients, "
        f"and at least one patient must be left to validate on; {remedy}"
    )


def _foldered(volumes: list[Volume]) -> list[Volume]:
    """The dataset's own folders count where there are some to train and some to validate on, not in a part of it."""
    folders = {volume.official for volume in volumes}
    return volumes if {"train", "val"} <= folders else [replace(volume, official="") for volume in volumes]


def _draw(volumes: list[Volume], train: int | None, held_out: int, seed: int) -> Split:
    """Patient by patient: to train on while it is short of a contrast of theirs, else held out, and what nobody needs left out.

    Where all are to be trained on, those held out come first.
    """
    patients: dict[str, list[Volume]] = {}
    for volume in sorted(volumes, key=lambda v: v.path.name):
        patients.setdefault(volume.patient, []).append(volume)
    tested = any(volume.official == "test" for volume in volumes)
    found = Counter(volume.contrast for volume in volumes)
    held = {c: held_out if train is not None else min(held_out, max(n // 3, 1)) for c, n in found.items()}
    limits: dict[str, dict[str, float]] = {"train": dict.fromkeys(found, train or math.inf), "val": {**held}, "test": {**held}}
    taken: dict[str, Counter[str]] = {name: Counter() for name in limits}
    result = Split()
    for patient in sorted(patients, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()):
        own = patients[patient]
        order = sorted(["val", "test"], key=lambda name: len(getattr(result, name)))  # stable: validation goes first
        for name in [*order, "train"] if train is None else ["train", *order]:
            needed = [volume for volume in own if taken[name][volume.contrast] < limits[name][volume.contrast]]
            if needed and name in _allowed({volume.official for volume in own}, tested):
                for volume in own:  # one after the other: two of a contrast may be one too many
                    if taken[name][volume.contrast] < limits[name][volume.contrast]:
                        getattr(result, name).append(volume)
                        taken[name][volume.contrast] += 1
                break
    return result


def _allowed(folders: set[str], tested: bool) -> set[str]:
    """Where a patient may go who lies in these of the dataset's folders; who lies in several is of those to train on."""
    if "train" in folders:
        return {"train"}
    if "val" in folders:
        return {"val"} if tested else {"val", "test"}
    return {"test"} if "test" in folders else {"train", "val", "test"}


def _complete(result: Split, contrasts: Sequence[str], train: int | None) -> bool:
    counts = Counter(volume.contrast for volume in result.train)
    return bool(result.val) and all(counts[contrast] == train if train else counts[contrast] for contrast in contrasts)
