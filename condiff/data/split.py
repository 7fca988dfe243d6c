"""Splitting by patient: nobody is seen in training and in validation."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from condiff.data.fastmri import Volume
from condiff.errors import InputError


@dataclass
class Split:
    """Volumes to train on, to validate on and to test on; no patient in two of them."""

    train: list[Volume] = field(default_factory=list)
    val: list[Volume] = field(default_factory=list)
    test: list[Volume] = field(default_factory=list)


def split_by_patient(volumes: Iterable[Volume], contrasts: Sequence[str], train: int, held_out: int, seed: int) -> Split:
    """``train`` volumes of each contrast to train on, up to ``held_out`` of each to validate and to test on.

    Patients are drawn in an order that depends on ``seed`` and their identifiers alone. The test split
    may be empty; the other two may not.

    Raises:
        InputError: too few volumes of a contrast, or nobody left to validate on.
    """
    wanted = [volume for volume in volumes if volume.contrast in contrasts]
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
    possible = next((n for n in range(train - 1, 0, -1) if _complete(_draw(wanted, n, held_out, seed), contrasts, n)), 0)
    there = ", ".join(f"{found[contrast]} {contrast}" for contrast in contrasts)
    patients = len({volume.patient for volume in wanted})
    remedy = (
        f"set data.volumes_per_contrast={possible}"
        if possible
        else "add volumes of other patients, or leave a contrast out of data.contrasts"
    )
    raise InputError(
        f"data.volumes_per_contrast={train}: data.root has {there} of {patients} patients, "
        f"and at least one patient must be left to validate on; {remedy}"
    )


def _draw(volumes: list[Volume], train: int, held_out: int, seed: int) -> Split:
    patients: dict[str, list[Volume]] = {}
    for volume in sorted(volumes, key=lambda v: v.path.name):
        patients.setdefault(volume.patient, []).append(volume)
    result = Split()
    for patient in sorted(patients, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()):
        own = patients[patient]
        if not _take(result.train, own, train):
            fewer, more = sorted([result.val, result.test], key=len)  # stable: validation goes first
            _take(fewer, own, held_out) or _take(more, own, held_out)
    return result


def _take(split: list[Volume], own: list[Volume], limit: int) -> bool:
    """Add those of a patient's volumes that the split still needs; whether there were any."""
    taken = False
    for volume in own:
        if sum(other.contrast == volume.contrast for other in split) < limit:
            split.append(volume)
            taken = True
    return taken


def _complete(result: Split, contrasts: Sequence[str], train: int) -> bool:
    counts = Counter(volume.contrast for volume in result.train)
    return bool(result.val) and all(counts[contrast] == train for contrast in contrasts)
