"""What an evaluation leaves: a table, a file of numbers, a page of pictures and the samples that resemble training images."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from condiff.evaluation import table
from condiff.evaluation.evaluate import EvaluationResult
from condiff.evaluation.figure import as_image, page, shareable
from condiff.evaluation.sets import Sets
from condiff.sampling import SampleRequest

WIDTH = 130  # of the table, whatever the terminal


@dataclass(frozen=True)
class Report:
    """An evaluation as people and programs read it.

    Attributes:
        about: settings of the samples, which images they were compared with, what they cost.
        requests: of the samples.
        sources: file and slice of each training image.
    """

    about: dict[str, Any]
    evaluation: EvaluationResult
    sets: Sets
    requests: Sequence[SampleRequest]
    sources: Sequence[tuple[Path, int]]

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """All numbers and the summary, in plain values."""
        numbers = self.about | table.as_dict(self.evaluation)
        samples = [self.requests[row["sample"]] for row in numbers["named"]]
        named = [
            row | {"contrast": request.label, "seed": request.seed}
            for row, request in zip(numbers["named"], samples, strict=True)
        ]
        return numbers | {"named": named}

    @property
    def heading(self) -> str:
        """Checkpoint and sampler."""
        of = self.about["settings"]
        return f"{of['checkpoint']} · {of['sampler']['fn']['_target_'].split('.')[-1]}, {of['steps']} steps"

    def save(self, out: Path) -> None:
        """Write evaluation.json, evaluation.png and, where samples resemble training images, copies.csv into a folder."""
        (out / "evaluation.json").write_text(json.dumps(self.numbers, indent=2, allow_nan=False) + "\n")
        page(self.evaluation, self.sets, self.heading).savefig(out / "evaluation.png", dpi=80)
        if self.numbers["named"]:
            self._write_copies(out / "copies.csv")
        else:
            (out / "copies.csv").unlink(missing_ok=True)  # of an earlier evaluation

    def log(self, loggers: Sequence[Any]) -> None:
        """Send numbers to loggers, and no image of a patient; nothing at all where samples may be copies of training patients."""
        if loggers and table.private(self.evaluation):
            print("logger: nothing of this evaluation is sent; samples may be copies of training patients")
            return
        for logger in loggers:
            extra = {"summary": self.numbers["summary"], "notes": self.numbers["notes"]}
            logger.log_hyperparams(self.about["settings"] | extra)
            logger.log_metrics(table.flat(self.numbers))
            if hasattr(logger, "log_table"):
                logger.log_table("evaluation", *table.long(self.numbers))
                logger.log_image("evaluation page", [as_image(shareable(self.evaluation, self.sets, self.heading))])
            logger.finalize("success")

    def show(self, out: Path) -> None:
        """Print the table, the summary and where the files are."""
        Console(width=WIDTH).print(table.table(self.evaluation, self.about["cost"]))
        print(table.BLIND_SPOTS, self.numbers["summary"], *(f"note: {note}" for note in self.evaluation.notes), sep="\n")
        if self.numbers["named"]:
            print(f"copies      {out}/copies.csv (samples and the training files they resemble)")
        print(f"scores      {out}/evaluation.json\npage        {out}/evaluation.png (holds real images)")

    def _write_copies(self, path: Path) -> None:
        """A row per sample that is named and space that names it: which training file and slice it resembles."""
        with open(path, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["sample", "contrast", "seed", "space", "distance_over_limit", "file", "slice", "mirrored"])
            for row in self.numbers["named"]:
                for space, ratio in row["distance_over_limit"].items():
                    near, index = self.evaluation.copies[space].samples, row["sample"]
                    mirrored = ("", "left-right", "front-back", "both")[int(near.flip[index])]
                    sample = row["sample"], row["contrast"], row["seed"]
                    rows.writerow([*sample, space, f"{ratio:.3f}", *self.sources[int(near.which[index])], mirrored])
