"""The tables, lines and pictures of metrics that a run leaves."""

import csv
import logging
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from condiff import progress
from condiff.training import csv_logger, stage
from condiff.training.callbacks import EMA, ProgressLines, Throughput
from condiff.training.callbacks.curves import curve, draw
from condiff.training.callbacks.validation_metrics import finite
from condiff.training.csv_logger import CSVLogger
from tests.conftest import TINY_RUN


def rows(folder, table):
    return csv_logger.read(folder / f"metrics_{table}.csv")


def test_tables_have_no_gaps_and_count_from_one(tmp_path):
    logger = CSVLogger(tmp_path)
    for step in (9, 19):
        logger.log_metrics({"train/loss": step / 3, "train/seconds": 1.0, "epoch": step // 10}, step)
        logger.log_metrics({"val/loss": 0.5, "epoch": step // 10}, step)
    assert [row["step"] for row in rows(tmp_path, "train")] == ["10", "20"]
    assert [row["epoch"] for row in rows(tmp_path, "validation")] == ["1", "2"]
    for table in ("train", "validation"):
        assert all(all(row.values()) for row in rows(tmp_path, table))
    assert float(rows(tmp_path, "train")[1]["train/loss"]) == pytest.approx(19 / 3, rel=1e-8)


def test_a_metric_that_comes_later_gets_a_column(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"val/loss": 2.0, "epoch": 0}, 0)
    logger.log_metrics({"val/loss": 1.0, "quality/AXT2/mmd": 3.0, "epoch": 1}, 1)
    assert [row["quality/AXT2/mmd"] for row in rows(tmp_path, "validation")] == ["", "3"]


def test_a_resumed_run_continues_the_tables(tmp_path):
    """From step 20; what the interrupted run logged later is logged again."""
    for first, last in ((0, 40), (20, 50)):
        logger = CSVLogger(tmp_path)
        for step in range(first, last, 10):
            logger.log_metrics({"train/loss": first, "epoch": 0}, step + 9)
    table = [(int(row["step"]), row["train/loss"]) for row in rows(tmp_path, "train")]
    assert table == [(10, "0"), (20, "0"), (30, "20"), (40, "20"), (50, "20")]


def test_images_per_second_are_those_of_training(monkeypatch):
    """Two steps of 8 images and 2 s each on 3 processes, with a validation of 100 s between; the step's own learning rate."""
    clock, logged = [0.0], {}
    monkeypatch.setattr("condiff.training.callbacks.throughput.time.monotonic", lambda: clock[0])
    trainer = SimpleNamespace(global_step=0, log_every_n_steps=2, world_size=3, sanity_checking=False)
    module, callback = SimpleNamespace(log_dict=logged.update), Throughput()
    callback.load_state_dict({"seconds": 1000.0})
    callback.on_train_start(trainer, module)
    for step in (1, 2):
        optimizer = SimpleNamespace(param_groups=[{"lr": 0.1 * step}])
        callback.on_before_optimizer_step(trainer, module, optimizer)
        clock[0] += 2
        trainer.global_step = step
        callback.on_train_batch_end(trainer, module, {"losses": torch.zeros(8)}, None, 0)
        if step == 1:
            assert not logged
            callback.on_validation_start(trainer, module)
            clock[0] += 100
            callback.on_validation_end(trainer, module)
    assert logged == pytest.approx({"train/learning_rate": 0.2, "train/seconds": 1104.0, "train/images_per_second": 12.0})


def test_lines_of_a_training(monkeypatch, caplog):
    """A line a minute and one a validation, with the time that is left; 60 steps of 10 s, begun at step 20."""
    clock = [0.0]
    monkeypatch.setattr("condiff.training.callbacks.progress_lines.time.monotonic", lambda: clock[0])
    metrics = {"train/images_per_second": torch.tensor(12.34)}
    trainer = SimpleNamespace(
        global_step=20, max_epochs=3, estimated_stepping_batches=60, current_epoch=1, is_global_zero=True,
        sanity_checking=False, callback_metrics=metrics, progress_bar_metrics={"train/loss": 0.512345}, loggers=[],
    )  # fmt: skip
    lines, module = ProgressLines(interval=60), SimpleNamespace()
    with caplog.at_level(logging.INFO):
        lines.on_train_start(trainer, module)
        for step in range(21, 33):
            clock[0] += 10
            trainer.global_step = step
            lines.on_train_batch_end(trainer, module)
        trainer.progress_bar_metrics["val/loss"] = 0.25
        lines.on_validation_end(trainer, module)
    assert caplog.messages == [
        "epoch 2/3  step 26/60  train/loss 0.5123  12.3 images/s  0:05:40 left",
        "epoch 2/3  step 32/60  train/loss 0.5123  12.3 images/s  0:04:40 left",
        "epoch 2/3  step 32/60  train/loss 0.5123  val/loss 0.25  12.3 images/s  0:04:40 left",
    ]


def test_a_command_of_a_notebook_writes_lines(monkeypatch):
    """A notebook runs `!command` in a pseudo-terminal and keeps all that it redraws."""
    monkeypatch.setattr("condiff.progress.get_console", lambda: Console(force_terminal=True))
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert progress.is_terminal()
    monkeypatch.setenv("JPY_PARENT_PID", "7")
    assert not progress.is_terminal()


def test_lines_of_other_work(monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr("condiff.progress.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("condiff.progress.is_terminal", lambda: False)
    with caplog.at_level(logging.INFO):
        for _ in progress.track(range(8), "Preparing volumes", 8):
            clock[0] += 25
    assert caplog.messages == ["Preparing volumes  3/8  0:02:05 left", "Preparing volumes  6/8  0:00:50 left"]


def test_a_resumed_run_begins_with_the_earlier_rows(tmp_path):
    earlier, folder = tmp_path / "earlier", tmp_path / "resumed"
    logger = CSVLogger(earlier)
    for step in range(4):
        logger.log_metrics({"train/loss": 1.0 / (step + 1), "epoch": 0}, step)
    (earlier / "metrics_validation.csv").write_text("step,val/loss\n2,no number\n")
    csv_logger.copy_earlier_rows(earlier, folder, 2)
    logger = CSVLogger(folder)
    logger.log_metrics({"train/loss": 0.2, "epoch": 1}, 2)
    logger.log_metrics({"val/loss": 0.3, "epoch": 1}, 2)
    assert [(row["step"], row["train/loss"]) for row in rows(folder, "train")] == [("1", "1"), ("2", "0.5"), ("3", "0.2")]
    assert len(rows(folder, "validation")) == 1  # that of the earlier run was no table
    csv_logger.copy_earlier_rows(earlier, folder, 1)
    assert len(rows(folder, "train")) == 3


def test_curves(tmp_path):
    train = [{"step": str(step), "train/loss": str(1 / step), "train/learning_rate": "0.1"} for step in (10, 20)]
    validation = [{"step": "20", "val/loss": "0.25"}, {"step": "30", "val/loss": ""}]
    assert curve(validation, "val/loss") == ([20.0], [0.25])
    losses, rates = draw(train, validation).axes
    assert [line.get_xydata().tolist() for line in losses.lines] == [[[10, 0.1], [20, 0.05]], [[20, 0.25]]]
    assert rates.lines[0].get_ydata().tolist() == [0.1, 0.1]


def test_the_order_of_callbacks_does_not_matter(run_entry, tmp_path, monkeypatch):
    """Pictures and measurements are those of the averaged weights, wherever in the list their callbacks stand."""
    settings = ["data.phantom.patients=5", "data.held_out_per_contrast=2", "trainer.max_epochs=1"]
    settings += ["callbacks.evaluation.every_n_epochs=1", "callbacks.evaluation.num_samples=2", "callbacks.evaluation.steps=2"]
    run_entry("train.py", *TINY_RUN, *settings, "hydra.run.dir=runs/a")
    instantiated = stage.instantiate_group

    def reordered(group):
        """Averaging first: it takes the averaged weights away before the others look."""
        return sorted(instantiated(group), key=lambda part: (not isinstance(part, EMA), type(part).__name__))

    monkeypatch.setattr(stage, "instantiate_group", reordered)
    run_entry("train.py", *TINY_RUN, *settings, "hydra.run.dir=runs/b")
    for name in ("samples/samples.png", "samples/denoising.gif"):
        assert (tmp_path / "runs/a" / name).read_bytes() == (tmp_path / "runs/b" / name).read_bytes()
    tables = [(tmp_path / f"runs/{run}/metrics_validation.csv").read_text() for run in "ab"]
    assert "quality/pooled/random_kid" in tables[0]
    assert [*csv.DictReader(tables[0].splitlines())] == [*csv.DictReader(tables[1].splitlines())]


def test_measures_that_are_no_numbers_are_named(caplog):
    assert finite({"quality/AXT2/kid": 0.5, "quality/AXT2/c2st_auroc": float("nan"), "quality/AXT1/kid": float("inf")}) == {
        "quality/AXT2/kid": 0.5
    }
    assert caplog.messages == ["not logged, because it is not finite: quality/AXT2/c2st_auroc, quality/AXT1/kid"]
