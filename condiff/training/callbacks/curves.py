"""Loss curves of a training as a picture."""

from pathlib import Path
from typing import Any

import lightning as L
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from condiff.training import csv_logger
from condiff.training.callbacks.optional import optional


class Curves(L.Callback):
    """At the end of training, plots losses and learning rate of ``metrics_train.csv`` and ``metrics_validation.csv``.

    Args:
        run: folder of the two files.
        folder: of ``curves.png``.
    """

    def __init__(self, run: str | Path, folder: str | Path):
        self.run, self.folder = Path(run), Path(folder)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        train, validation = (csv_logger.read(self.run / f"metrics_{table}.csv") for table in ("train", "validation"))
        if trainer.is_global_zero and (train or validation):
            with optional("curves", trainer.global_step):
                self.folder.mkdir(parents=True, exist_ok=True)
                figure = draw(train, validation)
                FigureCanvasAgg(figure).print_png(str(self.folder / "curves.png"))


def draw(train: csv_logger.Table, validation: csv_logger.Table) -> Figure:
    """Returns a figure with the losses above and the learning rate below, over steps."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    losses, rates = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    for rows, name, style in ((train, "train/loss", {"alpha": 0.7}), (validation, "val/loss", {"marker": "o", "markersize": 3})):
        losses.plot(*curve(rows, name), label={"train/loss": "training", "val/loss": "validation"}[name], **style)
    rates.plot(*curve(train, "train/learning_rate"), color="0.3")
    if all(value > 0 for rows, name in ((train, "train/loss"), (validation, "val/loss")) for value in curve(rows, name)[1]):
        losses.set_yscale("log")
    losses.set_ylabel("loss")
    losses.legend()
    rates.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    for axes in (losses, rates):
        axes.grid(alpha=0.3)
    return figure


def curve(rows: csv_logger.Table, name: str) -> tuple[list[float], list[Any]]:
    """Returns the steps at which a metric was logged, and its values."""
    points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name) and row.get("step")]
    return [step for step, _ in points], [value for _, value in points]
