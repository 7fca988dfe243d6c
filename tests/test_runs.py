"""A run that is stopped, killed, starved or started twice loses nothing."""

import csv
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_RUN as TINY

NO_GRID = "~callbacks.grid"
KEEP = ["callbacks.checkpoint.save_top_k=-1", "callbacks.checkpoint.filename='at-{step}'"]
KEEP += ["+callbacks.checkpoint.auto_insert_metric_name=false"]


def losses(run):
    with open(Path(f"runs/{run}") / "metrics.csv") as file:
        return {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]}


def last(run):
    return torch.load(f"runs/{run}/checkpoints/last.ckpt", weights_only=True)


def same_weights(one, other):
    """Raw and averaged, to the last bit."""
    kinds = ("state_dict", "current_model_state")
    return all(torch.equal(one[kind][name], other[kind][name]) for kind in kinds for name in one[kind])


@pytest.mark.parametrize(
    "how",
    [
        ["+trainer.val_check_interval=2"],  # in the middle of an epoch, after a validation
        ["+trainer.limit_val_batches=0", "callbacks.checkpoint.monitor=null", "+callbacks.checkpoint.every_n_train_steps=1"],
    ],
)
def test_a_run_resumed_within_an_epoch_equals_an_uninterrupted_one(run_entry, tmp_path, how):
    run_entry("train.py", *TINY, NO_GRID, *KEEP, *how)
    stored = sorted(int(path.stem[3:]) for path in Path("runs/now/checkpoints").glob("at-*.ckpt"))
    assert set(stored) >= {2, 5}
    for step in stored[:-1]:
        run_entry("train.py", f"resume=runs/now/checkpoints/at-{step}.ckpt", f"hydra.run.dir=runs/{step}")
        whole = losses("now")
        assert losses(step) == {at: loss for at, loss in whole.items() if at >= step}, step
        assert same_weights(last(step), last("now")), step
        assert last(step)["epoch"] == 1 and last(step)["global_step"] == 6
