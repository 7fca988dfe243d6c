"""TensorBoard: the same numbers as in the tables, pictures of samples, and no image of a patient."""

import csv
import sys

import pytest

from tests.conftest import TINY_RUN, bad


def test_without_it_one_line_has_the_remedy(run_entry, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    error = bad(capsys, run_entry, "train.py", *TINY_RUN, "logger=tensorboard")
    assert 'tensorboard is not installed; pip install -e ".[tensorboard]"' in error


def test_metrics_and_pictures(run_entry, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run_entry("train.py", *TINY_RUN, "logger=tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "runs/now/tensorboard"), size_guidance={"images": 0})
    events.Reload()
    with open(tmp_path / "runs/now/metrics_validation.csv") as file:
        rows = list(csv.DictReader(file))
    logged = events.Scalars("val/loss")
    assert [one.step for one in logged] == [int(row["step"]) for row in rows]
    assert [one.value for one in logged] == pytest.approx([float(row["val/loss"]) for row in rows], rel=1e-6)
    assert {*events.Tags()["images"]} == {f"samples/{name}" for name in ("AXT1", "AXT1POST", "AXT2", "AXFLAIR")}
    assert not [*(tmp_path / "runs/now").rglob("hparams.yaml")]
