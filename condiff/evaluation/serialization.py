"""Results of an evaluation as plain containers, for evaluation.json and loggers."""

import json
import math
from pathlib import Path
from typing import Any

from condiff.errors import InputError, command
from condiff.evaluation.copy_summary import copy_summary, flagged_samples
from condiff.evaluation.evaluate import EvaluationResult
from condiff.evaluation.memorization import CopyTest
from condiff.evaluation.resampling import Estimate, Scores
from condiff.evaluation.sets import POOLED
from condiff.files.foreign import small_text

SETS = ("floor", "samples", "ceiling")  # of a metric
MAX_BYTES = 1 << 26  # of evaluation.json


def read_numbers(path: Path) -> dict[str, Any]:
    """Return the content of evaluation.json. Raises InputError if it is damaged, or of another kind."""
    try:
        return check_numbers(json.loads(small_text(path, MAX_BYTES), parse_constant=_refuse))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)[:200]
        raise InputError(f"{path}: cannot be read as an evaluation ({reason}); run {command('evaluate')} again") from None


def check_numbers(content: Any) -> dict[str, Any]:
    """Return the content of evaluation.json as it is. Raises ValueError unless it has the structure of `to_dict` and a report."""
    kinds = {"settings": dict, "held_out": dict, "scores": dict, "copies": dict, "named": list, "summary": str, "notes": list}
    for key, kind in kinds.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), kind):
            raise ValueError(f"no {key}")
    counts = [content["held_out"].get("patients"), content["held_out"].get("images")]
    sets = [sets for metrics in _values(content["scores"]) for sets in _values(metrics)]
    estimates = [estimate for each in sets for estimate in _values({name: each[name] for name in SETS if each.get(name)})]
    numbers = [estimate.get(key) for estimate in estimates for key in ("value", "low", "high")]
    tests = [test for by_contrast in _values(content["copies"]) for test in _values(by_contrast)]
    p_values = [test.get("p") for test in tests if test.get("p") is not None]
    if not all(isinstance(number, int | float) for number in (*counts, *numbers, *p_values)):
        raise ValueError("a score, count or p is no number")
    return content


def _values(mapping: Any) -> list[dict[str, Any]]:
    values = list(mapping.values())
    if not all(isinstance(value, dict) for value in values):
        raise ValueError("scores or copies are no tables")
    return values


def _refuse(constant: str) -> Any:
    raise ValueError(f"holds {constant}")


def to_dict(result: EvaluationResult) -> dict[str, Any]:
    """Return the result in plain containers, NaN as None."""
    return {
        "compared": result.set_sizes,
        "scores": {
            name: {key: _scores_to_dict(scores) for key, scores in metrics.items()} for name, metrics in result.scores.items()
        },
        "copies": {
            space: {name: _copy_test_to_dict(test) for name, test in copies.tests.items()}
            for space, copies in result.copies.items()
        },
        "named": flagged_samples(result),
        "summary": copy_summary(result),
        "notes": result.notes,
    }


def to_long_table(numbers: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Return column names and rows of a table with one number per row, from the content of evaluation.json."""
    columns = ["contrast", "measure", "images", "value", "low", "high"]
    scores = [
        [name, key, set_name, *(estimate or dict.fromkeys(("value", "low", "high"))).values()]
        for name, metrics in numbers["scores"].items()
        for key, triple in metrics.items()
        for set_name, estimate in triple.items()
    ]
    copies = [
        [name, f"copies_{space}_{key}", "samples", value, None, None]
        for space, tests in numbers["copies"].items()
        for name, test in tests.items()
        for key, value in test.items()
    ]
    cost = [[POOLED, key, "samples", value, None, None] for key, value in numbers["cost"].items()]
    return columns, scores + copies + cost


def to_flat_dict(numbers: dict[str, Any]) -> dict[str, float]:
    """Return the samples' numbers by ``evaluation/<contrast>/<metric>``, from the content of evaluation.json."""
    _, rows = to_long_table(numbers)
    return {
        f"evaluation/{name}/{key}": value
        for name, key, set_name, value, *_ in rows
        if set_name == "samples" and value is not None
    }


def _scores_to_dict(scores: Scores) -> dict[str, dict[str, float] | None]:
    return {set_name: _estimate_to_dict(estimate) for set_name, estimate in scores._asdict().items()}


def _estimate_to_dict(estimate: Estimate) -> dict[str, float] | None:
    return None if math.isnan(estimate.value) else estimate._asdict()


def _copy_test_to_dict(test: CopyTest) -> dict[str, float | None]:
    numbers = {key: value for key, value in test._asdict().items() if key != "copies"}
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}
