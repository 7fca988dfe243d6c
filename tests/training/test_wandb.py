"""What W&B is given, read back from the file of an offline run; and what a sweep minimises."""

import csv
import struct
import sys
import time
from pathlib import Path

import pytest
import torch
import wandb
from wandb.proto import wandb_internal_pb2

from tests.conftest import TINY_RUN, bad

QUALITY = ["data.phantom.patients=5", "data.held_out_per_contrast=2", "callbacks.evaluation.every_n_epochs=1"]
QUALITY += ["callbacks.evaluation.num_samples=2", "callbacks.evaluation.steps=2"]


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))


def records(run):
    """The records of a run's one ``.wandb`` file: LevelDB's log format after a header of 7 bytes."""
    (path,) = Path(run).glob("wandb/offline-run-*/*.wandb")
    content, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # a block ends: no room for another piece
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        if at + 7 + length > len(content):  # not yet written to its end
            return
        whole, at = whole + content[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def read_back(run):
    """Everything logged {key: [values as JSON]}, configuration keys, artifact types, exit codes, files."""
    for _ in range(100):  # the process of W&B writes on for a moment after the run has ended
        if any(record.WhichOneof("record_type") == "exit" for record in records(run)):
            break
        time.sleep(0.1)
    logged, config, artifacts, exits, files = {}, set(), [], [], []
    for record in records(run):
        for item in record.history.item:
            logged.setdefault(item.key or "/".join(item.nested_key), []).append(item.value_json)
        config |= {item.key for item in record.config.update}
        files += [file.path for file in record.files.files]
        if record.WhichOneof("record_type") == "artifact":
            artifacts.append(record.artifact.type)
        if record.WhichOneof("record_type") == "exit":
            exits.append(record.exit.exit_code)
    return logged, config, artifacts, exits, files


def test_training(run_entry, tmp_path):
    run_entry("train.py", *TINY_RUN, *QUALITY, "logger=wandb", "logger.wandb.log_model=true")
    logged, config, artifacts, exits, files = read_back("runs/now")
    with open("runs/now/metrics_validation.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(value) for value in logged["val/loss"]] == pytest.approx([float(row["val/loss"]) for row in rows])
    assert {row["epoch"] for row in rows} == set(logged["epoch"]) == {"1", "2"}
    assert {"train/learning_rate", "train/seconds", "train/images_per_second"} <= logged.keys()
    levels = [key for key in logged if key.startswith("val/loss_sigma_")]
    assert len(levels) == 8
    assert len(logged["quality/pooled/random_kid"]) == 2 and "quality/AXT2/spectrum_decibels" in logged
    assert logged["samples/captions"][-1] == '["AXT1","AXT1POST","AXT2","AXFLAIR"]'
    assert {"model", "data", "schedule", "seed"} <= config and "model" in artifacts and exits == [0]
    assert any(name.endswith(".gif") for name in files)
    assert wandb.run is None


def test_evaluation(run_entry, tmp_path, quick_evaluation):
    run_entry("train.py", *TINY_RUN, "trainer.max_epochs=1")
    run_entry("evaluate.py", "num_samples=3", "steps=2", "accelerator=cpu", "logger=wandb", "out=judged")
    logged, config, _, exits, files = read_back("judged")
    told = {"AXT2/random_frechet", "AXT2/copies_pixels_share", "pooled/copies_random_p", "pooled/seconds_per_image"}
    assert {f"evaluation/{name}" for name in told} <= logged.keys() and any("table" in name for name in files)
    assert "evaluation page/captions" in logged or "evaluation page/filenames" in logged
    assert {"checkpoint", "steps", "sampler", "summary"} <= config and exits == [0] and wandb.run is None


def test_every_job_of_a_multirun_is_a_run_of_its_own(run_entry, tmp_path):
    run_entry("train.py", "-m", *TINY_RUN[:-1], "trainer.max_epochs=1", "logger=wandb", "seed=0,1", "hydra.sweep.dir=runs/sweep")
    folders = sorted(path.parents[2] for path in Path("runs/sweep").glob("*/wandb/offline-run-*/*.wandb"))
    assert len(folders) == 2 and all(read_back(folder)[3] == [0] for folder in folders)


def test_quality_does_not_disturb_training(run_entry, tmp_path):
    """The same weights, to the last bit, with and without."""
    run_entry("train.py", *TINY_RUN, *QUALITY, "callbacks.evaluation.every_n_epochs=0")
    run_entry("train.py", *TINY_RUN, *QUALITY, "hydra.run.dir=runs/other")
    one, other = (torch.load(f"runs/{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in ("now", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_that_diverges_is_worth_infinity(run_entry, tmp_path):
    """In a sweep, which goes on; the job says why, and leaves no checkpoint."""
    sweep = ["model.optimizer.lr=1e30,1e-3", "trainer.gradient_clip_val=null", "hydra.sweep.dir=runs/sweep"]
    run_entry("train.py", "-m", *TINY_RUN[:-1], *sweep)
    jobs = {"not a number at step" in path.read_text(): path.parent for path in tmp_path.glob("runs/sweep/*/train.log")}
    assert (jobs[False] / "checkpoints/last.ckpt").exists() and not (jobs[True] / "checkpoints/last.ckpt").exists()


def test_optuna_is_told_so(run_entry):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    import yaml

    study = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "hydra.sweeper.n_jobs=1", "hydra.sweep.dir=runs/study"]
    run_entry("train.py", "-m", *TINY_RUN[:-1], *study, "model.optimizer.lr=choice(1e30)", "trainer.gradient_clip_val=null")
    assert yaml.safe_load(Path("runs/study/optimization_results.yaml").read_text())["best_value"] == float("inf")


def test_a_sweep_minimises_the_objective(run_entry, tmp_path):
    """Optuna is told what the objective was; without the plugin the test is left out."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    import yaml

    study = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1", "hydra.sweep.dir=runs/study"]
    search = ["model.optimizer.lr=choice(1e-9,5e-2)", "objective=quality/pooled/random_frechet"]
    run_entry("train.py", "-m", *TINY_RUN[:-1], *QUALITY, *study, *search)
    result = yaml.safe_load(Path("runs/study/optimization_results.yaml").read_text())
    found = {}
    for path in Path("runs/study").glob("*/metrics_validation.csv"):
        with open(path) as file:
            values = [row["quality/pooled/random_frechet"] for row in csv.DictReader(file)]
        found[str(path.parent)] = float(values[-1])
    assert len(found) >= 1 and result["best_value"] == pytest.approx(min(found.values()), rel=1e-5)


def test_an_objective_that_is_not_measured_is_told_before_training(capsys, run_entry):
    line = bad(capsys, run_entry, "train.py", *TINY_RUN, "objective=quality/pooled/random_frechet")
    assert "objective=quality/pooled/random_frechet: needs callbacks.evaluation.every_n_epochs" in line
    assert not list(Path("runs/now").glob("checkpoints/*"))
    run_entry("train.py", *TINY_RUN, "~callbacks.evaluation", "trainer.max_epochs=1")  # it can be left out altogether
    other = ["objective=val/los", "hydra.run.dir=runs/other"]
    assert "objective=val/los: was not measured; there are" in bad(capsys, run_entry, "train.py", *TINY_RUN, *other)
    too_few = ["callbacks.evaluation.every_n_epochs=1", "hydra.run.dir=runs/third"]
    assert "1 held-out patients of AXT1" in bad(capsys, run_entry, "train.py", *TINY_RUN, *too_few)
    assert "hydra" not in sys.argv[0]
