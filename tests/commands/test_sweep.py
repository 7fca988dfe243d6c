"""The table of a sweep: the best first, whatever the objectives are."""

import math

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import OmegaConf

from condiff.commands.sweep import SweepTable, add, read


def config(folder, number=0):
    hydra = {
        "mode": RunMode.MULTIRUN, "job": {"num": number}, "runtime": {"output_dir": f"{folder}/{number}"},
        "sweep": {"dir": str(folder)}, "sweeper": {},
    }  # fmt: skip
    return OmegaConf.create({"hydra": hydra, "name": "x"})


def ended(value, overrides=("seed=1",), status=JobStatus.COMPLETED):
    job = JobReturn(overrides=overrides, status=status)
    job.return_value = value
    return job


def test_the_best_is_first(tmp_path):
    values = [0.3, math.nan, 0.0, 0.1, math.inf, None, -0.2]
    for number, value in enumerate(values):
        add(tmp_path, {"job": number, "folder": f"f{number}", "objective": value, "status": "completed"})
    assert [row["job"] for row in read(tmp_path)][:4] == ["6", "2", "3", "0"]
    add(tmp_path, {"job": 0, "folder": "f0", "objective": -1.0, "status": "completed"})  # again: its row is replaced
    assert [row["job"] for row in read(tmp_path)][:2] == ["0", "6"] and len(read(tmp_path)) == len(values)


def test_failed_and_diverged_jobs_are_in_the_table(tmp_path, capsys):
    table = SweepTable()
    table.on_multirun_start(config(tmp_path))
    failed = ended(ValueError("bad"), ["seed=3"], JobStatus.FAILED)
    for number, job in enumerate([ended(0.5), ended(math.inf, ["seed=2"]), failed, ended(math.nan, ["seed=4"])]):
        table.on_job_end(config(tmp_path, number), job)
    rows = {row["job"]: row["status"] for row in read(tmp_path)}
    assert rows == {"0": "completed", "1": "diverged", "2": "failed", "3": "diverged"}
    with pytest.raises(SystemExit) as exit_:
        table.on_multirun_end(config(tmp_path))
    printed = capsys.readouterr().out
    assert exit_.value.code == 1 and f"best        {tmp_path}/0" in printed and "seed" in printed


def test_a_single_run_has_no_table(tmp_path):
    one = config(tmp_path)
    one.hydra.mode = RunMode.RUN
    SweepTable().on_job_end(one, ended(0.1))
    assert read(tmp_path) == []


def test_a_sweep_without_result_names_no_best(tmp_path, capsys):
    for number, value in enumerate([math.inf, math.nan]):
        SweepTable().on_job_end(config(tmp_path, number), ended(value, [f"lr=0.00334772690593{number}", "net=unet_large"]))
    SweepTable().on_multirun_end(config(tmp_path))
    printed = capsys.readouterr().out
    assert "best" not in printed and f"table       {tmp_path}/sweep.csv" in printed
    assert "0.0033477 " in printed and "0.00334772690593" not in printed
