"""Result of the search for copies: a sentence, and a list of the flagged samples."""

import math
from collections.abc import Mapping
from typing import Any

from condiff.evaluation.evaluate import EvaluationResult
from condiff.evaluation.memorization import SIGNIFICANCE

MAX_UNDETECTABLE = 0.1  # share of copies; a test that cannot detect it is called undecided


def copy_summary(result: EvaluationResult) -> str:
    """Return one line: the number of flagged samples, then the result of the tests of the counts."""
    if not result.copies:
        return "copies of training images: no search"
    shares = "; ".join(
        f"in {space} {', '.join(f'{name} {100 * result.copies[space].tests[name].share:.0f} %' for name in names)}"
        for space, names in significant_spaces(result).items()
    )
    flagged, power = int(result.flagged.sum()), _power_statement(result)
    if flagged:
        by_space = ", ".join(f"{space} {int(copies.flagged.sum())}" for space, copies in result.copies.items())
        return (
            f"copies of training images: YES, {flagged} of {len(result.flagged)} samples are nearer to a training image than any "
            f"held-out image, by a margin ({by_space}); "
            + (f"more samples near training images than expected of new patients; {shares}" if shares else power)
        )
    if shares:
        return f"copies of training images: YES, more samples near training images than expected of new patients; {shares}"
    return f"copies of training images: no sample is flagged; {power}"


def _power_statement(result: EvaluationResult) -> str:
    """Return what the tests could have detected, for tests that are not significant."""
    detectable = max(test.detectable for copies in result.copies.values() for test in copies.tests.values())
    if math.isnan(detectable) or math.isinf(detectable):
        return "with so few held-out patients and samples no count is significant"
    if detectable > MAX_UNDETECTABLE:
        return (
            f"the count is undecided: up to {format_percent(detectable)} of one contrast's samples could be copies without "
            "a significant result; hold out more patients"
        )
    return f"the count is no higher than by chance; {format_percent(detectable)} of copies would have been significant"


def significant_spaces(result: EvaluationResult) -> dict[str, list[str]]:
    """Return the rows with a significant number of copies, by space."""
    significant = {
        space: [name for name, test in copies.tests.items() if test.p < SIGNIFICANCE] for space, copies in result.copies.items()
    }
    return {space: names for space, names in significant.items() if names}


def may_hold_copies(result: EvaluationResult) -> bool:
    """Return whether samples may be copies of patients; nothing of the evaluation is then uploaded."""
    return bool(result.flagged.any() or significant_spaces(result))


def reports_copies(numbers: Mapping[str, Any]) -> bool:
    """Return the same of the content of evaluation.json."""
    tests = [test for by_contrast in numbers["copies"].values() for test in by_contrast.values()]
    return bool(numbers["named"]) or any(test["p"] is not None and test["p"] < SIGNIFICANCE for test in tests)


def flagged_samples(result: EvaluationResult) -> list[dict[str, Any]]:
    """Return index and distance over the limit, by space, of the flagged samples, the most similar first."""
    rows = []
    for index in result.flagged.nonzero()[:, 0].tolist():
        ratios = {space: copies.samples.distance[index].item() / copies.limit for space, copies in result.copies.items()}
        rows.append({"sample": index, "distance_over_limit": {space: ratio for space, ratio in ratios.items() if ratio < 1}})
    return sorted(rows, key=lambda row: min(row["distance_over_limit"].values()))


def format_percent(share: float) -> str:
    """Return a share in percent; "none" if it is infinite."""
    return "none" if math.isinf(share) else f"{100 * share:.0f} %"
