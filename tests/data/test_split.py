"""Splits: nobody in two of them, and small sets are ordinary."""

import csv
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from condiff.data.split import split_by_patient
from condiff.data.volume import Volume
from condiff.errors import InputError

FOUR = ("AXT1", "AXT1POST", "AXT2", "AXFLAIR")


def volumes(**patients):
    """patient="contrasts" -> volumes."""
    return [Volume(Path(f"{p}_{c}.h5"), c, p) for p, contrasts in patients.items() for c in contrasts.split()]


def assert_disjoint(split):
    for one, other in combinations((split.train, split.val, split.test), 2):
        assert not {v.patient for v in one} & {v.patient for v in other}


@pytest.mark.parametrize("seed", range(20))
def test_one_patient_a_volume(seed):
    many = volumes(**{f"{c}{i}": c for c in FOUR for i in range(16)})
    split = split_by_patient(many, FOUR, train=10, held_out=3, seed=seed)
    assert_disjoint(split)
    for part, n in ((split.train, 10), (split.val, 3), (split.test, 3)):
        assert [sum(v.contrast == c for v in part) for c in FOUR] == [n] * 4


@pytest.mark.parametrize("seed", range(20))
def test_three_patients_one_without_t1post(seed):
    few = volumes(a=" ".join(FOUR), b=" ".join(FOUR), c="AXT1 AXT2 AXFLAIR")
    split = split_by_patient(few, FOUR, train=1, held_out=3, seed=seed)
    assert_disjoint(split)
    assert [sum(v.contrast == c for v in split.train) for c in FOUR] == [1] * 4
    assert split.val


def test_same_seed_same_split_whatever_the_order():
    many = volumes(**{f"p{i}": " ".join(FOUR) for i in range(8)})
    one = split_by_patient(many, FOUR, 2, 2, seed=3)
    assert one == split_by_patient(many[::-1], FOUR, 2, 2, seed=3)
    assert one != split_by_patient(many, FOUR, 2, 2, seed=4)


def test_other_contrasts_are_left_out():
    split = split_by_patient(volumes(a="AXT1 AXT1PRE", b="AXT1", c="AXT1PRE"), ("AXT1",), 1, 1, seed=0)
    assert {v.contrast for v in split.train + split.val + split.test} == {"AXT1"}


def test_too_few_volumes_says_how_many_there_are():
    with pytest.raises(InputError, match=r"volumes_per_contrast=10: .*3 AXT1.*set data.volumes_per_contrast=2"):
        split_by_patient(volumes(a="AXT1", b="AXT1", c="AXT1"), ("AXT1",), 10, 1, seed=0)


def test_nobody_left_to_validate_on():
    with pytest.raises(InputError, match="one patient must be left.*add volumes"):
        split_by_patient(volumes(a="AXT1 AXT2"), ("AXT1", "AXT2"), 1, 1, seed=0)


def test_absent_contrast_is_named():
    with pytest.raises(InputError, match="no AXT2 volume in data.root .there are 1 AXT1"):
        split_by_patient(volumes(a="AXT1"), ("AXT1", "AXT2"), 1, 1, seed=0)


def official(folder, **patients):
    return [replace(v, official=folder) for v in volumes(**patients)]


def test_official_folders_are_honoured():
    both = official("train", **{f"t{i}": "AXT2" for i in range(6)}) + official("val", **{f"v{i}": "AXT2" for i in range(6)})
    split = split_by_patient(both, ("AXT2",), 5, 3, seed=0)
    assert {v.patient[0] for v in split.train} == {"t"} and {v.patient[0] for v in split.val + split.test} == {"v"}
    assert (len(split.train), len(split.val), len(split.test)) == (5, 3, 3)
    third = split_by_patient(both + official("test", x="AXT2"), ("AXT2",), 5, 3, seed=0)
    assert [v.patient for v in third.test] == ["x"]


def test_who_lies_in_two_folders_is_trained_on_alone():
    twice = official("train", a="AXT2", b="AXT2") + official("val", a="AXT1", c="AXT2")
    split = split_by_patient(twice, ("AXT2",), None, 3, seed=0)
    assert_disjoint(split)
    assert {v.patient for v in split.val + split.test} == {"c"}


def test_all_there_are_but_those_held_out():
    many = volumes(**{f"p{i}": "AXT2" for i in range(20)}, **{f"q{i}": "AXT1" for i in range(5)})
    split = split_by_patient(many, ("AXT1", "AXT2"), None, 2, seed=0)
    assert_disjoint(split)
    assert len(split.all) == 25
    for part, counts in ((split.val, [1, 2]), (split.test, [1, 2]), (split.train, [3, 16])):
        assert [sum(v.contrast == c for v in part) for c in ("AXT1", "AXT2")] == counts
    with pytest.raises(InputError, match="data.root: has 1 AXT2 of 1 patient, and at least one patient must be left"):
        split_by_patient(volumes(a="AXT2"), ("AXT2",), None, 2, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_contrast_is_not_held_out_whole(seed):
    many = volumes(**{f"p{i}": "AXT1 AXT2" if i < 15 else "AXT2" for i in range(30)})
    split = split_by_patient(many, ("AXT1", "AXT2"), None, 10, seed=seed)
    assert_disjoint(split)
    assert sum(v.contrast == "AXT1" for v in split.train) >= 3


@pytest.mark.parametrize("folder", ["train", "val", "test"])
def test_a_part_of_the_dataset_is_split_like_any_folder(folder):
    split = split_by_patient(official(folder, **{f"p{i}": "AXT2" for i in range(6)}), ("AXT2",), 3, 1, seed=0)
    assert (len(split.train), len(split.val), len(split.test)) == (3, 1, 1)


def test_the_most_that_fits_is_named():
    many = volumes(**{f"p{i}": "AXT2" for i in range(50)})
    with pytest.raises(InputError, match="set data.volumes_per_contrast=49"):
        split_by_patient(many, ("AXT2",), 50, 3, seed=0)


def test_a_split_is_written_down(tmp_path):
    split = split_by_patient(volumes(**{f"p{i}": "AXT1" for i in range(4)}), ["AXT1"], train=2, held_out=1, seed=0)
    split.train[0] = replace(split.train[0], path=Path("M\udcfcller, 1.h5"))  # a name that is not UTF-8
    split.save(tmp_path / "splits.csv")
    with (tmp_path / "splits.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "contrast", "split", "coregistered"] and rows[1] == ["M\udcfcller, 1.h5", "AXT1", "train", ""]
    assert [row[2] for row in rows[1:]] == ["train"] * 2 + ["val"] + ["test"]


@pytest.mark.parametrize(
    ("train", "held_out", "begin"),
    [
        (None, 10, "more patients are held out than trained on; a smaller data.held_out_per_contrast trains on more"),
        (None, 1, None),  # no smaller one is possible
        (1, 1, "4 volumes in no split: data.held_out_per_contrast has enough of their contrasts, and so has data.volumes_per"),
    ],
)
def test_what_is_told_of_a_split(train, held_out, begin):
    """Of seven patients; at most two each are held out."""
    split = split_by_patient(volumes(**{f"p{i}": "AXT2" for i in range(7)}), ["AXT2"], train, held_out, seed=0)
    remarks = split.remarks(train, held_out)
    assert len(remarks) == (begin is not None) and all(remark.startswith(begin) for remark in remarks)


def test_scans_of_held_out_patients_that_no_split_takes():
    """Those of a contrast that is full when a patient is held out for another."""
    both = volumes(**{f"p{i}": "AXT1" for i in range(9)}, **{f"q{i}": "AXT1 AXT2" for i in range(3)})
    (remark,) = split_by_patient(both, ["AXT1", "AXT2"], None, 1, seed=0).remarks(None, 1)
    assert (
        remark
        == "2 volumes in no split: data.held_out_per_contrast has enough of their contrasts, and their patients are held out"
    )
