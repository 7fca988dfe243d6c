"""Evaluate: the results of evaluate.py in the folder of a run. Images of patients are in its page alone."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from condiff.checkpoint import results_folder, run_folder
from condiff.data import image_files
from condiff.data.image_spec import ImageSpec
from condiff.errors import InputError, command
from condiff.evaluation.serialization import read_numbers

MAX_FLAGGED = 16  # samples shown


def evaluations(checkpoint: Path) -> list[str]:
    """Returns the names of the evaluations of a checkpoint's run or model folder, the newest first."""
    files = results_folder(checkpoint, "evaluation", "").glob("*/evaluation.json")
    return [path.parent.name for path in sorted(files, key=lambda path: -path.stat().st_mtime)]


def missing(checkpoint: Path) -> str:
    """Returns a sentence with the command that makes an evaluation."""
    made = f"{command('evaluate')} ckpt={run_folder(checkpoint)}"
    return f"This model has no evaluation. Make one with {made}, then start this program again."


def folder_of(checkpoint: Path, name: str) -> Path:
    """Returns the folder of an evaluation. Raises InputError if it is not one, or holds links out of the run."""
    if name not in evaluations(checkpoint):
        raise InputError(f"evaluation={name}: no such evaluation of this model; reload the page")
    return results_folder(checkpoint, "evaluation", name)


def numbers_of(folder: Path) -> dict[str, Any]:
    """Returns the content of evaluation.json. Raises InputError if it is damaged."""
    return read_numbers(folder / "evaluation.json")


def remarks(numbers: Mapping[str, Any]) -> list[str]:
    """Returns the result of the search for copies, and the notes of the evaluation."""
    return [numbers["summary"], *map(str, numbers.get("notes", []))]


def flagged(folder: Path, numbers: Mapping[str, Any], spec: ImageSpec) -> list[tuple[str, np.ndarray]]:
    """Returns titles and magnitudes [H, W] of the samples that resemble a training image, the most similar first.

    They are samples alone; the training images are not read. Raises InputError if the file of the samples cannot be read.
    """
    named: Sequence[Mapping[str, Any]] = numbers.get("named", [])
    if not named:
        return []
    name = f"samples-{hashlib.sha256(json.dumps(numbers['settings']).encode()).hexdigest()[:8]}.h5"
    images = spec.transform.magnitude(image_files.read(folder / name, spec)[0]).numpy()
    shown = [row for row in named if 0 <= row["sample"] < len(images)][:MAX_FLAGGED]
    titles = [
        f"{row['contrast']}, seed {row['seed']}: {min(row['distance_over_limit'].values()):.0%} of the limit" for row in shown
    ]
    return [(title, images[row["sample"]]) for title, row in zip(titles, shown, strict=True)]


def page_of(folder: Path) -> Image.Image:
    """Returns the page that evaluate.py wrote, with held-out and training images. Raises InputError if it cannot be read."""
    try:
        with Image.open(folder / "evaluation.png", formats=["PNG"]) as page:
            return page.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{folder}/evaluation.png: cannot be read ({error}); run {command('evaluate')} again") from None
