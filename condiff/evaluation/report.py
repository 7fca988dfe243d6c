"""Output of an evaluation: table, evaluation.json, page, and a list of the samples that resemble training images."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from condiff.evaluation.copy_summary import may_hold_copies
from condiff.evaluation.evaluate import EvaluationResult
from condiff.evaluation.figure import full_page, shareable_page, to_image
from condiff.evaluation.serialization import to_dict, to_flat_dict, to_long_table
from condiff.evaluation.sets import ImageSets
from condiff.evaluation.table import BLIND_SPOTS, result_table
from condiff.sampling import SampleRequest

WIDTH = 130  # of the table, for any terminal


@dataclass(frozen=True)
class Report:
    """An evaluation to save, log and print.

    Attributes:
        metadata: "settings" of the samples, "held_out" images, "cost" per image.
        requests: one per sample.
        training_sources, held_out_sources: file and slice of each image.
    """

    metadata: dict[str, Any]
    evaluation: EvaluationResult
    sets: ImageSets
    requests: Sequence[SampleRequest]
    training_sources: Sequence[tuple[Path, int]]
    held_out_sources: Sequence[tuple[Path, int]]

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """Content of evaluation.json: metadata, all numbers, summary."""
        numbers = self.metadata | to_dict(self.evaluation)
        samples = [self.requests[row["sample"]] for row in numbers["named"]]
        flagged = [
            row | {"contrast": request.label, "seed": request.seed}
            for row, request in zip(numbers["named"], samples, strict=True)
        ]
        return numbers | {"named": flagged}

    @property
    def heading(self) -> str:
        """Run, checkpoint, sampler and steps in one line, without the place of the run on this disk."""
        settings = self.metadata["settings"]
        path, sampler = Path(settings["checkpoint"]), settings["sampler"]["fn"]["_target_"].split(".")[-1]
        run = path.parts[-4:-2] if path.parent.name == "checkpoints" else ()
        return f"{'/'.join([*run, path.name])} · {sampler}, {settings['steps']} steps"

    def save(self, out: Path) -> None:
        """Write evaluation.json, evaluation.png and, where there is something to list, copies.csv and same_person.csv."""
        (out / "evaluation.json").write_text(json.dumps(self.numbers, indent=2, allow_nan=False) + "\n")
        full_page(self.evaluation, self.sets, self.heading).savefig(out / "evaluation.png", dpi=80)
        for name, rows in (("copies.csv", self._copies()), ("same_person.csv", self._same_person())):
            (out / name).unlink(missing_ok=True)  # of an earlier evaluation
            if len(rows) > 1:
                with open(out / name, "w", newline="") as file:
                    csv.writer(file).writerows(rows)

    def log(self, loggers: Sequence[Any]) -> None:
        """Send numbers and the shareable page to loggers; nothing if samples may be copies of training patients."""
        if loggers and may_hold_copies(self.evaluation):
            print("logger: nothing of this evaluation is sent, because samples may be copies of training patients")
            return
        for logger in loggers:
            summary = {"summary": self.numbers["summary"], "notes": self.numbers["notes"]}
            logger.log_hyperparams(self.metadata["settings"] | summary)
            logger.log_metrics(to_flat_dict(self.numbers))
            if hasattr(logger, "log_table"):
                logger.log_table("evaluation", *to_long_table(self.numbers))
                logger.log_image("evaluation page", [to_image(shareable_page(self.evaluation, self.sets, self.heading))])
            logger.finalize("success")

    def show(self, out: Path) -> None:
        """Print the table, the summary and the paths of the files."""
        Console(width=WIDTH).print(result_table(self.evaluation, self.metadata["cost"]))
        print(BLIND_SPOTS, self.numbers["summary"], *(f"note: {note}" for note in self.evaluation.notes), sep="\n")
        if self.numbers["named"]:
            print(f"copies      {out}/copies.csv (samples and the training files they resemble)")
        if self.evaluation.trained_on.any():
            print(f"people      {out}/same_person.csv (held-out files that seem to show training patients)")
        print(f"scores      {out}/evaluation.json\npage        {out}/evaluation.png (contains held-out and training images)")

    def _copies(self) -> list[list[Any]]:
        """Titles, then one row per flagged sample and space: file and slice of the nearest training image."""
        rows: list[list[Any]] = [["sample", "contrast", "seed", "space", "distance_over_limit", "file", "slice", "mirrored"]]
        for row in self.numbers["named"]:
            for space, ratio in row["distance_over_limit"].items():
                neighbors, index = self.evaluation.copies[space].samples, row["sample"]
                mirrored = ("", "left-right", "front-back", "both")[int(neighbors.flip[index])]
                source = self.training_sources[int(neighbors.training_index[index])]
                rows.append([row["sample"], row["contrast"], row["seed"], space, f"{ratio:.3f}", *source, mirrored])
        return rows

    def _same_person(self) -> list[list[Any]]:
        """Titles, then one row per held-out image that shows a training patient: its file and slice, and the nearest one's."""
        rows: list[list[Any]] = [["held_out_file", "held_out_slice", "training_file", "training_slice", "distance"]]
        for index in self.evaluation.trained_on.nonzero()[:, 0].tolist():
            nearest = self.evaluation.copies["anatomy"].held_out
            training = self.training_sources[int(nearest.training_index[index])]
            rows.append([*self.held_out_sources[index], *training, f"{nearest.distance[index]:.3f}"])
        return rows
