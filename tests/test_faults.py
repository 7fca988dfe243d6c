"""The campaign of faults sees what it should: code that starts, files that change, work without an end."""

import os
import resource
import subprocess
import time

import h5py
import pytest

from benchmarks.faults.mutants import MUTANTS, volume
from benchmarks.faults.process import Room, run
from condiff.data.fastmri.reader import probe


@pytest.fixture
def room(tmp_path):
    return Room(tmp_path / "room")


def test_a_good_end_has_no_faults(room):
    outcome = run(lambda: (room.tmp / "x").write_text(""), room)
    assert (outcome.code, outcome.faults()) == (0, {})


@pytest.mark.parametrize(
    ("main", "column"),
    [
        (lambda: subprocess.run(["true"], check=True), "code"),
        (lambda: os.system("true"), "code"),
        (lambda: open("../elsewhere", "w").close(), "outside"),
        (lambda: os.mkdir("../folder"), "outside"),
        (lambda: 1 / 0, "traceback"),
        (lambda: os._exit(5), "traceback"),
        (lambda: time.sleep(60), "hang"),
        (lambda: [bytes([1]) * 2**20 for _ in range(10**6)], "hang"),
    ],
)
def test_faults_are_seen(room, main, column):
    assert (
        column in run(main, room, seconds=0.4, memory=2**30 + 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss).faults()
    )


def test_a_signal_is_sent_once_and_ends_it(room):
    outcome = run(lambda: time.sleep(60), room, stop=(lambda elapsed: elapsed > 0.1, 15))
    assert outcome.code == -15 and not outcome.stopped


def test_mutants_start_from_a_good_volume(tmp_path):
    assert probe(volume(tmp_path / "good.h5")).contrast == "AXT1"
    with h5py.File(volume(tmp_path / "bad.h5"), "r+") as file:
        MUTANTS["absent_kspace"](file)
        MUTANTS["text_ismrmrd_header"](file)
        assert "kspace" not in file and file["ismrmrd_header"][()] == b"hello"
